// Package testdb gives each test a Postgres database of its own, copied from a migrated template.
// The server is the one that TEST_DATABASE_URL names; `make test` starts one.
package testdb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"sync"
	"testing"

	"github.com/amacneil/dbmate/v2/pkg/dbmate"
	_ "github.com/amacneil/dbmate/v2/pkg/driver/postgres"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
)

// Service names a role that a test logs in with.
type Service string

// The services and their roles.
const (
	API    Service = "wallet_api"
	Relay  Service = "wallet_relay"
	Worker Service = "wallet_worker"
	Hooks  Service = "wallet_hooks"
)

// templateLock is the advisory lock that one test process holds while it makes the template.
const templateLock = 7_304_517

// Database is one test's database.
type Database struct {
	// URL connects as the owner of everything.
	URL string
}

// New makes a database with all migrations applied; it is dropped when the test ends.
func New(t testing.TB) Database {
	t.Helper()
	server := serverURL(t)
	template, err := migratedTemplate(server)
	if err != nil {
		t.Fatalf("testdb: %v", err)
	}
	name := "test_" + hex.EncodeToString(newID())
	exec(t, server, fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", name, template))
	t.Cleanup(func() { exec(t, server, fmt.Sprintf("DROP DATABASE %s WITH (FORCE)", name)) })
	return Database{URL: withPath(server, name)}
}

// Kept is New for a database that takes long to fill: it has the name, stays when the test ends, and
// is made only if there is none. It reports whether it made it.
func Kept(t testing.TB, name string) (database Database, made bool) {
	t.Helper()
	server := serverURL(t)
	template, err := migratedTemplate(server)
	if err != nil {
		t.Fatalf("testdb: %v", err)
	}
	conn := Database{URL: server.String()}.Conn(t)
	if err := conn.QueryRow(t.Context(), "SELECT NOT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&made); err != nil {
		t.Fatalf("testdb: %v", err)
	}
	if made {
		exec(t, server, fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", pgx.Identifier{name}.Sanitize(), template))
	}
	return Database{URL: withPath(server, name)}, made
}

// As returns a connection string that logs in as a member of a service's role.
func (d Database) As(service Service) string {
	u, _ := url.Parse(d.URL)
	u.User = url.UserPassword(login(service), "test")
	return u.String()
}

// Conn opens a connection as the owner, for what a test wants to see or to break.
func (d Database) Conn(t testing.TB) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), d.URL)
	if err != nil {
		t.Fatalf("testdb: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func login(service Service) string { return "test_" + string(service) }

func newID() []byte {
	id := uuid.New()
	return id[:]
}

func serverURL(t testing.TB) *url.URL {
	t.Helper()
	given := os.Getenv("TEST_DATABASE_URL")
	if given == "" {
		t.Fatal("TEST_DATABASE_URL is not set: run `make test`, or set it to a Postgres 18 server's superuser URL")
	}
	server, err := url.Parse(given)
	if err != nil {
		t.Fatalf("TEST_DATABASE_URL: %v", err)
	}
	return server
}

func withPath(server *url.URL, database string) string {
	u := *server
	u.Path = "/" + database
	return u.String()
}

var (
	templateOnce sync.Once
	templateName string
	errTemplate  error
)

// migratedTemplate makes the template and the logins, once per server and set of migrations.
func migratedTemplate(server *url.URL) (string, error) {
	templateOnce.Do(func() { templateName, errTemplate = makeTemplate(server) })
	return templateName, errTemplate
}

func makeTemplate(server *url.URL) (string, error) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, server.String())
	if err != nil {
		return "", fmt.Errorf("connect to TEST_DATABASE_URL: %w", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", templateLock); err != nil {
		return "", err
	}
	name, err := contentName()
	if err != nil {
		return "", err
	}
	var ready bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)", name).Scan(&ready); err != nil || ready {
		return name, err
	}
	if _, err := conn.Exec(ctx, fmt.Sprintf("DROP DATABASE IF EXISTS %s WITH (FORCE)", name)); err != nil {
		return "", err
	}
	if err := Migrate(withPath(server, name), os.Stderr); err != nil {
		return "", err
	}
	for _, service := range []Service{API, Relay, Worker, Hooks} {
		_, err := conn.Exec(ctx, fmt.Sprintf(`DO $$ BEGIN
			CREATE ROLE %[1]s LOGIN PASSWORD 'test' IN ROLE %[2]s;
		EXCEPTION WHEN duplicate_object THEN NULL; END $$`, login(service), service))
		if err != nil {
			return "", err
		}
	}
	_, err = conn.Exec(ctx, fmt.Sprintf("ALTER DATABASE %s IS_TEMPLATE true", name))
	return name, err
}

// Migrate creates the database that the URL names, if need be, and applies all migrations to it. It
// writes what it does to log.
func Migrate(databaseURL string, log io.Writer) error {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return err
	}
	migrator := dbmate.New(u)
	migrator.FS = db.Migrations
	migrator.MigrationsDir = []string{"migrations"}
	migrator.AutoDumpSchema = false
	migrator.Log = log
	if err := migrator.CreateAndMigrate(); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// contentName names the template after what the migrations say.
func contentName() (string, error) {
	sum := sha256.New()
	err := fs.WalkDir(db.Migrations, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(db.Migrations, path)
		sum.Write(text)
		return err
	})
	return "template_" + hex.EncodeToString(sum.Sum(nil)[:8]), err
}

func exec(t testing.TB, server *url.URL, sql string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, server.String())
	if err != nil {
		t.Fatalf("testdb: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("testdb: %s: %v", sql, err)
	}
}
