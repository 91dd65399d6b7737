package testkit

import (
	"net"
	"os/exec"
	"testing"
)

// Redis is a redis-server of a test's own, which can be killed, started again and stopped.
type Redis struct {
	*exec.Cmd        // of the last start
	Addr      string // stays the same

	t   testing.TB
	dir string // stays, with what was saved
}

// StartRedis starts one that writes its memory to disk only when it is told to.
func StartRedis(t testing.TB) *Redis {
	t.Helper()
	r := &Redis{Addr: FreeAddr(t).String(), t: t, dir: t.TempDir()}
	r.Start()
	t.Cleanup(r.Kill)
	return r
}

// Start starts the server, which was killed, again.
func (r *Redis) Start() {
	r.t.Helper()
	host, port, _ := net.SplitHostPort(r.Addr)
	r.Cmd = exec.Command("redis-server", "--port", port, "--bind", host, "--dir", r.dir, "--save", "")
	r.SysProcAttr = EndsWithTest
	if err := r.Cmd.Start(); err != nil {
		r.t.Fatalf("start redis-server (Debian: apt-get install redis-server): %v", err)
	}
	Until(r.t, "redis-server listens", func() error {
		conn, err := net.Dial("tcp", r.Addr)
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
}

// Kill ends the server as a crash does.
func (r *Redis) Kill() {
	_ = r.Process.Kill()
	_ = r.Wait()
}
