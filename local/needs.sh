#!/bin/sh
# Says what `make e2e` needs and this machine has not, and installs it where it may: on Debian and Ubuntu,
# as root, or by a sudo that asks at the terminal. Elsewhere it names the one command that does, and fails.
set -eu

# A program or file that is looked for, and its package in Debian, Fedora, Arch and Homebrew.
needs='
redis-server   redis-server            redis                     redis           redis
redis-sentinel redis-sentinel          redis                     redis           redis
chromium       chromium                chromium                  chromium        chromium
pgbouncer      pgbouncer               pgbouncer                 pgbouncer       pgbouncer
haproxy        haproxy                 haproxy                   haproxy         haproxy
prometheus     prometheus              golang-github-prometheus  prometheus      prometheus
java           openjdk-17-jdk-headless java-17-openjdk-devel     jdk17-openjdk   openjdk@17
mvn            maven                   maven                     maven           maven
npm            npm                     nodejs-npm                npm             node
venv           python3-venv            python3                   python          python3
libfaketime    libfaketime             libfaketime               libfaketime     libfaketime
curl           curl                    curl                      curl            curl
'

has() {
  case $1 in
  venv) python3 -c 'import venv, ensurepip' 2>/dev/null ;;
  java) javac -version >/dev/null 2>&1 ;; # macOS has one that only says that there is none
  libfaketime) ls /usr/lib*/faketime/libfaketime* /usr/lib/*/faketime/libfaketime* /opt/homebrew/lib/faketime/libfaketime* 2>/dev/null | grep -q . ;;
  *) command -v "$1" >/dev/null ;;
  esac
}

if command -v apt-get >/dev/null; then
  install='apt-get install -y --no-install-recommends' column=2
elif command -v dnf >/dev/null; then
  install='dnf install -y' column=3
elif command -v pacman >/dev/null; then
  install='pacman -S --needed' column=4
else
  install='brew install' column=5
fi

missing=
while read -r program packages; do
  [ -z "$program" ] || has "$program" || missing="$missing $(echo "$program $packages" | awk -v n=$column '{ print $n }')"
done <<END
$needs
END
# Generators of clients want Node 20, and Debian 12 has 18.
node=
[ "$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/')" -ge 20 ] 2>/dev/null || node='npm install --global node@20'
[ -n "$missing$node" ] || exit 0

as_root='sudo '
case $install in brew*) as_root= ;; esac
command="${missing:+$as_root$install$missing}${missing:+${node:+ && }}${node:+$as_root$node}"
say_and_fail() {
  echo "make e2e needs what is not installed here. Install it with:" >&2
  echo "  $command" >&2
  exit 1
}

case $install in apt-get*) ;; *) say_and_fail ;; esac
sudo=
if [ "$(id -u)" -ne 0 ]; then
  # A sudo that would ask needs somebody to answer.
  command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; } || say_and_fail
  sudo=sudo
fi
echo "make e2e installs$missing${node:+ node@20}"
if [ -n "$missing" ]; then
  # What is installed is not to start by itself: the tests start what they need.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
    $sudo chmod +x $policy
    trap '$sudo rm -f $policy' EXIT
  fi
  $sudo apt-get update
  DEBIAN_FRONTEND=noninteractive $sudo $install $missing
fi
[ -z "$node" ] || $sudo $node
