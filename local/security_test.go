//go:build e2e

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

// secureSystem is a whole stack of its own that speaks TLS only and asks for passwords everywhere.
func secureSystem(t *testing.T, c stack.Config) *system {
	t.Helper()
	own, err := proc.TemporaryState()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Close)
	secure, err := servers.NewSecured(filepath.Join(own.Dir, "certificates"))
	if err != nil {
		t.Fatal(err)
	}
	p := &servers.Backing{Kafka: "apache", Secure: secure}
	if err := p.Start(t.Context(), own, io.Discard, func(string, string) {}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	s := newSystemOn(t, p, nil)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateTopic(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.StartServices(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	s.Connect()
	return s
}

// Everything runs over TLS and with passwords, by settings alone; and no log has a password in it,
// although each server was lost on the way.
func TestEverythingRunsOverTLSAndTellsNoSecret(t *testing.T) {
	s := secureSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1, Hooks: 1})
	l := s.Load(s.OpenWallets(10))
	s.UntilApplied(time.Minute)

	var plain, encrypted int
	err := s.Conn.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE NOT ssl), count(*) FILTER (WHERE ssl)
		FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename LIKE 'local\_%'`).Scan(&plain, &encrypted)
	if err != nil || plain != 0 || encrypted < 4 {
		t.Errorf("%d sessions without TLS, %d with, %v", plain, encrypted, err)
	}
	for _, name := range []string{"redis", "kafka"} {
		p := s.Process(name)
		p.Signal(syscall.SIGSTOP)
		time.Sleep(300 * time.Millisecond) // as long as connections fail in the middle of their work
		p.Signal(syscall.SIGCONT)
		s.Kill(p, syscall.SIGKILL)
	}
	if _, err := s.Conn.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'local\\_%'"); err != nil {
		t.Fatal(err)
	}
	s.UntilApplied(time.Minute)
	s.Keep(l)
	for _, service := range s.Services {
		text, err := os.ReadFile(service.Log)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(text, []byte("level")) {
			t.Errorf("%s has logged nothing: this test sees nothing", service.Name)
		}
		// "local" is the services' password for Postgres.
		for _, secret := range []string{s.Backing.Secure.Password, ":local@", "password=local", s.APIKey, "postgres:postgres"} {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s logs the secret %q", service.Name, secret)
			}
		}
	}
}

// A server with another authority's certificate, and a wrong password, are refused by each service; and
// what it says of that tells no password.
func TestWrongCertificatesAndPasswordsAreRefused(t *testing.T) {
	s := newSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1})
	secure, err := servers.NewSecured(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const secret = "recognisable-secret"
	wallet := s.OpenWallets(1)[0]
	s.Deposit(s.APIURLs[0], wallet) // something to publish
	database, redisURL := servers.HostOf(s.Backing.DatabaseURL), servers.HostOf(s.Backing.RedisURL)
	for i, test := range []struct{ service, setting string }{
		{"api", "DATABASE_URL=postgres://api:" + secret + "@" + database + "/none?sslmode=disable"},
		{"api", "DATABASE_URL=postgres://api:" + secret + "@" + database + "/none?sslmode=verify-full&sslrootcert=" + secure.CA},
		{"relay", "DATABASE_URL=postgres://relay:" + secret + "@" + database + "/none?sslmode=disable"},
		{"worker", "DATABASE_URL=postgres://worker:" + secret + "@" + database + "/none?sslmode=disable"},
		{"api", "REDIS_URL=rediss://default:" + secret + "@" + redisURL + "/0"},
		{"worker", "REDIS_URL=rediss://default:" + secret + "@" + redisURL + "/0"},
		{"relay", "RDKAFKA_SASL_PASSWORD=" + secret},
		{"worker", "RDKAFKA_SASL_PASSWORD=" + secret},
		{"hooks", "DATABASE_URL=postgres://hooks:" + secret + "@" + database + "/none?sslmode=disable"},
		{"hooks", "RDKAFKA_SASL_PASSWORD=" + secret},
	} {
		p, err := s.Service(test.service, 10+i, "")
		if err != nil {
			t.Fatal(err)
		}
		p.Log, p.Changed = filepath.Join(t.TempDir(), "log"), func(string) {}
		if strings.HasPrefix(test.setting, "RDKAFKA") {
			p.Env = append(p.Env, secure.Env()...)
		}
		p.Env = append(p.Env, "LOG_LEVEL=debug", "GROUP_INSTANCE_ID=", "KAFKA_GROUP=wrong-"+s.Topic, "RELAY_NAME=wrong", test.setting)
		if err := p.Begin(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Stop)
		s.Until(test.service+" says what is wrong with "+strings.ReplaceAll(test.setting, secret, "…"), time.Minute, func() bool {
			if test.service == "api" { // it notices the loss of Redis when it wants to read
				c := load.Client{Addr: strings.TrimPrefix(s.APIURLs[len(s.APIURLs)-1], "http://"), APIKey: s.APIKey, Timeout: time.Second}
				_, _ = c.Do(http.MethodGet, "/api/v1/wallets/"+wallet.String(), "", nil)
				c.Close()
			}
			return stacktest.CountLines(t, p.Log, `"WARN"`, `"ERROR"`) > 0
		})
		text, err := os.ReadFile(p.Log)
		if err != nil || bytes.Contains(text, []byte(secret)) {
			t.Errorf("the log of %s tells the secret: %v\n%s", test.service, err, text)
		}
	}
}

// Clients that send next to nothing, 200 of each kind, hold a connection and no more, for a limited time, and no other
// client notices.
func TestSlowClientsHarmNobody(t *testing.T) {
	s := newSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1})
	wallet := s.OpenWallets(1)[0]
	addr := strings.TrimPrefix(s.APIURLs[0], "http://")
	const each = 200
	slow := func(name, begins, drip string, within time.Duration) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			closed := make(chan error)
			for range each {
				go func() { closed <- dripUntilClosed(t.Context(), addr, begins, drip, within) }()
			}
			for range each {
				if err := <-closed; err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	slow("headers", "POST /api/v1/wallet HTTP/1.1\r\nHost: api\r\n", "X-A: b\r\n", 10*time.Second)
	slow("body", fmt.Sprintf("POST /api/v1/wallet HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n{", s.APIKey), " ", 25*time.Second)
	slow("nothing", "", "", 10*time.Second)
	t.Run("others", func(t *testing.T) {
		t.Parallel()
		for range 20 {
			stall, began := testdb.WatchStalls(t, s.Backing.DatabaseURL), time.Now()
			s.Deposit(s.APIURLs[0], wallet)
			if took := time.Since(began) - stall().Sum; took > 2*time.Second {
				t.Errorf("a lone operation took %s", took)
			}
		}
	})
}

// dripUntilClosed returns nil when the server has ended the connection in time.
func dripUntilClosed(ctx context.Context, addr, begins, drip string, within time.Duration) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	began := time.Now()
	if _, err := io.WriteString(conn, begins); err != nil {
		return err
	}
	buffer := make([]byte, 4096)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		if _, err := conn.Read(buffer); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil // ended by the server
		}
		if time.Since(began) > within {
			return fmt.Errorf("still open after %s", within)
		}
		if _, err := io.WriteString(conn, drip); err != nil {
			return nil
		}
	}
}
