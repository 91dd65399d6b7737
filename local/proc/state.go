package proc

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const temporaryPrefix = "legendary-wallet-"

// State is a folder that one local process holds: the data, sockets and logs of what it runs.
type State struct {
	Dir       string
	Temporary bool
	lock      *os.File
}

// KeptState opens a state folder that lives on, unless another process holds it.
func KeptState(dir string) (*State, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("%s is in use by another local process", dir)
	}
	if err != nil {
		return nil, err
	}
	s := &State{Dir: dir, lock: lock}
	return s, s.prepare()
}

// TemporaryState makes a state folder that close removes. First it removes those whose process was
// killed before it could.
func TemporaryState() (*State, error) {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), temporaryPrefix+"*"))
	for _, dir := range left {
		removeOrphan(dir)
	}
	made, err := os.MkdirTemp("", "new-"+temporaryPrefix)
	if err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(made, "lock"))
	if err != nil {
		return nil, err
	}
	// Under the name that others look for it is locked from the beginning.
	dir := filepath.Join(filepath.Dir(made), strings.TrimPrefix(filepath.Base(made), "new-"))
	if err := os.Rename(made, dir); err != nil {
		return nil, err
	}
	s := &State{Dir: dir, Temporary: true, lock: lock}
	return s, s.prepare()
}

// Part is a folder in this one for a system of its own. It is to be closed before this one.
func (s *State) Part(name string) (*State, error) {
	part, err := KeptState(filepath.Join(s.Dir, name))
	if err == nil {
		part.Temporary = s.Temporary
	}
	return part, err
}

func (s *State) prepare() error {
	// Postgres runs as another user when local is root, and must be able to enter.
	if err := os.Chmod(s.Dir, 0o755); err != nil {
		return err
	}
	return os.MkdirAll(filepath.Join(s.Dir, "logs"), 0o755)
}

func (s *State) Log(name string) string { return filepath.Join(s.Dir, "logs", name+".log") }

func (s *State) Close() {
	if s.Temporary {
		_ = stopPostmasters(s.Dir)
		_ = os.RemoveAll(s.Dir)
	}
	_ = s.lock.Close()
}

func removeOrphan(dir string) {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || info.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid()) {
		return
	}
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return
	}
	defer lock.Close()
	if err := stopPostmasters(dir); err == nil {
		_ = os.RemoveAll(dir)
	}
}

func lockFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// stopPostmasters stops the servers of a state folder: the primary and its standbys.
func stopPostmasters(dir string) error {
	data, err := filepath.Glob(filepath.Join(dir, "postgres*", "data"))
	if inParts, _ := filepath.Glob(filepath.Join(dir, "cell-*", "postgres*", "data")); err == nil {
		data = append(data, inParts...)
	}
	for _, data := range data {
		err = errors.Join(err, StopPostmaster(data))
	}
	return err
}

// StopPostmaster stops the server that uses a data directory, if there is one: a postmaster outlives
// the process that started it.
func StopPostmaster(data string) error {
	pid := PostmasterOf(data)
	if pid == 0 {
		return nil
	}
	_ = syscall.Kill(pid, syscall.SIGQUIT)
	for deadline := time.Now().Add(stopWithin); isPostmaster(pid, data); time.Sleep(ProbeEvery) {
		if time.Now().After(deadline) {
			return fmt.Errorf("the server of %s, process %d, does not stop", data, pid)
		}
	}
	return nil
}

// PostmasterOf is the process that serves a data directory, or 0.
func PostmasterOf(data string) int {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := bytes.Cut(text, []byte("\n"))
	pid, err := strconv.Atoi(string(first))
	if err != nil || !isPostmaster(pid, data) {
		return 0
	}
	return pid
}

// isPostmaster tells the server from a process that has got its number since. One that has ended, and whose parent has not
// heard of it, has no command line: Postgres does not start as long as the number is taken.
func isPostmaster(pid int, data string) bool {
	command := CommandLine(pid)
	return bytes.Contains(command, []byte(data)) || len(command) == 0 && syscall.Kill(pid, 0) == nil
}

// CacheDir is where downloads survive between runs. Root has one that the unprivileged user of
// Postgres can reach, which root's home is not.
func CacheDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache/legendary-wallet", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	return filepath.Join(dir, "legendary-wallet"), nil
}

func Address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
