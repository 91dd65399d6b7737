//go:build e2e

package main

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/freeport"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// startPgBouncer pools the connections to a server, and returns where it listens. What it ignores of the
// start of a connection is the list of docs/deployment.md.
func startPgBouncer(t *testing.T, mode string, logins map[string]string) string {
	t.Helper()
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs/deployment.md"))
	if err != nil {
		t.Fatal(err)
	}
	ignored := regexp.MustCompile(`(?m)^ignore_startup_parameters = .*$`).Find(page)
	if ignored == nil {
		t.Fatal("docs/deployment.md has no ignore_startup_parameters")
	}
	folder := t.TempDir()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	var users strings.Builder
	server := ""
	for _, login := range logins {
		u, err := url.Parse(login)
		if err != nil {
			t.Fatal(err)
		}
		password, _ := u.User.Password()
		fmt.Fprintf(&users, "%q %q\n", u.User.Username(), password)
		server = fmt.Sprintf("host=%s port=%s", u.Hostname(), u.Port())
	}
	for name, text := range map[string]string{
		"users": users.String(),
		"ini": fmt.Sprintf("[databases]\n* = %s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = trust\nauth_file = %s\npool_mode = %s\ndefault_pool_size = 50\n%s\n",
			server, port, filepath.Join(folder, "users"), mode, ignored),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	arguments := []string{filepath.Join(folder, "ini")}
	if os.Getuid() == 0 {
		arguments = append([]string{"-u", "nobody"}, arguments...)
	}
	cmd := exec.CommandContext(t.Context(), "pgbouncer", arguments...)
	log, err := os.Create(filepath.Join(folder, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(proc.LastLines(log.Name(), 30))
		}
	})
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// through is a login by way of the pooler.
func through(t *testing.T, login, pooler string) string {
	t.Helper()
	u, err := url.Parse(login)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = pooler
	return u.String()
}

// Behind PgBouncer in session mode everything works, with the services' own settings although PgBouncer leaves
// them out of the start of a connection.
func TestServicesRunBehindPgBouncerInSessionMode(t *testing.T) {
	s := sharedSystem(t)
	pooler := startPgBouncer(t, "session", s.Login)
	for service, login := range s.Login {
		s.Login[service] = through(t, login, pooler)
	}
	s.Prepare(stack.Config{APIs: 2, Relays: 2, Workers: 2, Hooks: 2})
	s.Begin()
	l := s.Load(s.OpenWallets(3))
	s.UntilApplied(time.Minute)
	for _, p := range s.Services {
		s.Kill(p, 9)
	}
	s.UntilApplied(time.Minute)
	s.Keep(l)

	config, err := db.Config(s.Login["api"])
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Connect(t.Context(), config.ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for name, want := range map[string]string{"lock_timeout": "3s", "synchronous_commit": "on", "idle_in_transaction_session_timeout": "5s", "jit": "off"} {
		var got string
		if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, %v, want %q", name, got, err, want)
		}
	}
}

// In transaction mode PgBouncer would take away the locks and settings that a session has: each service says so
// and ends.
func TestServicesRefusePgBouncerInTransactionMode(t *testing.T) {
	s := sharedSystem(t)
	pooler := startPgBouncer(t, "transaction", s.Login)
	for i, service := range []string{"api", "relay", "worker", "hooks"} {
		s.Login[service] = through(t, s.Login[service], pooler)
		p, err := s.Service(service, 20+i, "")
		if err != nil {
			t.Fatal(err)
		}
		p.Log, p.Changed = filepath.Join(t.TempDir(), "log"), func(string) {}
		if err := p.Begin(); err != nil {
			t.Fatal(err)
		}
		s.Until(service+" refuses the pooler", time.Minute, func() bool {
			return p.Death() == "exit status 1" && strings.Contains(proc.LastLines(p.Log, 50), "PgBouncer in transaction or statement mode")
		})
		p.Stop()
	}
}
