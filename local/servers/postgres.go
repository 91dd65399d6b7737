package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/freeport"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// postgresSettings leave fsync, full_page_writes and synchronous_commit on: what the promises are
// measured with is what they need.
var postgresSettings = map[string]string{
	"listen_addresses":        "127.0.0.1",
	"unix_socket_directories": "",
	"max_connections":         "300",
	"shared_buffers":          "1GB", // taken from the machine as it is used
	"max_wal_size":            "4GB",
}

// Postgres is a Postgres 18 server whose data lies in the state folder.
func Postgres(s *proc.State, env []string, secure *Secured) (*proc.Process, string, error) {
	port, err := freeport.Find()
	if err != nil {
		return nil, "", err
	}
	dir, err := PostgresDir(s)
	if err != nil {
		return nil, "", err
	}
	url := secure.databaseURL(fmt.Sprintf("postgres://postgres:postgres@%s/postgres?sslmode=disable", proc.Address(port)))
	return &proc.Process{
		Name:           "postgres",
		About:          "PostgreSQL " + string(embeddedpostgres.V18),
		Argv:           append([]string{proc.Self(), "postgres", dir, strconv.Itoa(port)}, secure.postgresArguments()...),
		Env:            env,
		Log:            s.Log("postgres"),
		EndsWithParent: true,
		Ready:          func(ctx context.Context) error { return PingPostgres(ctx, url) },
	}, url, nil
}

func PingPostgres(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// PostgresDir is in the state folder, unless local is root and its Postgres, which is not, could not
// get there: a clone in root's home.
func PostgresDir(s *proc.State) (string, error) {
	dir := filepath.Join(s.Dir, "postgres")
	for parent := s.Dir; os.Geteuid() == 0 && parent != "/"; parent = filepath.Dir(parent) {
		info, err := os.Stat(parent)
		if err != nil {
			return "", err
		}
		if info.Mode()&0o001 != 0 {
			continue
		}
		if s.Temporary {
			return "", fmt.Errorf("%s: Postgres, which refuses to run as root, cannot enter it as another user; set TMPDIR to another folder", parent)
		}
		return filepath.Join("/var/lib/legendary-wallet", strings.ReplaceAll(dir, "/", "-")), nil
	}
	return dir, nil
}

// ServePostgres runs a server until SIGTERM, or until standard input ends, which it does with the
// parent process. As root it first becomes another user: Postgres refuses to run as root. Dying in
// between leaves the server running; the next to use or remove the folder stops it.
func ServePostgres(args []string) error {
	if len(args) < 2 {
		return errors.New("postgres: want a folder, a port and perhaps a folder of certificates")
	}
	terminated, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	port, err := strconv.ParseUint(args[1], 10, 16)
	if err != nil {
		return err
	}
	cache, err := proc.CacheDir()
	if err != nil {
		return err
	}
	cache = filepath.Join(cache, "postgres")
	settings, certificates := settingsWith(args[2:])
	if err := settleIn(args[0], cache, certificates); err != nil {
		return err
	}
	if err := proc.StopPostmaster(filepath.Join(args[0], "data")); err != nil {
		return err
	}
	server := embedded(args[0], cache, uint32(port), settings)
	if err := start(server, args[0], cache); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	<-terminated.Done()
	return server.Stop()
}

// start starts a server, the first time one after the other: its program may have to be downloaded and unpacked. Later they
// start at once, since a standby may need the others for its recovery.
func start(server *embeddedpostgres.EmbeddedPostgres, dir, cache string) error {
	if _, err := os.Stat(filepath.Join(dir, "data", "PG_VERSION")); err != nil {
		download, err := waitForLock(filepath.Join(cache, "lock"))
		if err != nil {
			return err
		}
		defer download.Close()
	}
	return server.Start()
}

// settingsWith adds the certificates in a folder, if there is one. It returns their files, too.
func settingsWith(folder []string) (settings map[string]string, files []string) {
	settings = maps.Clone(postgresSettings)
	for _, folder := range folder {
		settings["ssl"] = "on"
		settings["ssl_cert_file"], settings["ssl_key_file"] = filepath.Join(folder, "server.crt"), filepath.Join(folder, "postgres.key")
		files = append(files, settings["ssl_cert_file"], settings["ssl_key_file"])
	}
	return settings, files
}

// settleIn makes the server's folders, gives them and its files to the user that it runs as, and becomes
// that user.
func settleIn(dir, cache string, files []string) error {
	for _, folder := range []string{dir, cache} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	if os.Geteuid() == 0 {
		if err := becomeNobody(append([]string{dir, cache}, files...)...); err != nil {
			return fmt.Errorf("leave root: %w", err)
		}
	}
	for _, name := range []string{"HOME", "TMPDIR"} {
		_ = os.Setenv(name, dir)
	}
	return os.Chdir(dir)
}

func embedded(dir, cache string, port uint32, settings map[string]string) *embeddedpostgres.EmbeddedPostgres {
	return embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(embeddedpostgres.V18).
		Port(port).
		Locale("C").Encoding("UTF8").
		CachePath(cache).
		BinariesPath(filepath.Join(cache, string(embeddedpostgres.V18))).
		RuntimePath(filepath.Join(dir, "runtime")).
		DataPath(filepath.Join(dir, "data")).
		Logger(os.Stderr).
		StartParameters(settings))
}

func becomeNobody(owned ...string) error {
	nobody, err := user.Lookup("nobody")
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	for _, folder := range owned {
		if err := os.Chown(folder, uid, gid); err != nil {
			return err
		}
	}
	if err := syscall.Setgroups(nil); err != nil {
		return err
	}
	if err := syscall.Setgid(gid); err != nil {
		return err
	}
	return syscall.Setuid(uid)
}

// waitForLock serialises the downloads and unpacking of two local processes.
func waitForLock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}
