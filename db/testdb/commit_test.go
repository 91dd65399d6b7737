package testdb_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// slowCommits is a database whose commits of wallets wait while the test holds a lock, as they wait for a
// standby that is missing; and say something after "warned".
func slowCommits(t *testing.T) (database testdb.Database, config *pgx.ConnConfig, hold, release func()) {
	t.Helper()
	database = testdb.New(t)
	conn := database.Conn(t)
	exec := func(sql string) func() {
		return func() {
			t.Helper()
			if _, err := conn.Exec(context.Background(), sql); err != nil {
				t.Fatal(err)
			}
		}
	}
	exec(`CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF NEW.reference = 'warned' THEN RAISE WARNING 'the wait was cut short'; END IF;
			PERFORM pg_advisory_xact_lock_shared(42);
			RETURN NULL;
		END $$;
		CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON wallets DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()`)()
	pool, err := db.Config(database.URL + "&lock_timeout=0&statement_timeout=0")
	if err != nil {
		t.Fatal(err)
	}
	return database, pool.ConnConfig, exec("SELECT pg_advisory_lock(42)"), exec("SELECT pg_advisory_unlock(42)")
}

func connectBy(t *testing.T, config *pgx.ConnConfig) *pgx.Conn {
	t.Helper()
	conn, err := db.Connect(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func createWallet(ctx context.Context, id uuid.UUID, reference string) func(q *walletdb.Queries) error {
	return func(q *walletdb.Queries) error {
		if err := q.Begin(ctx); err != nil {
			return err
		}
		if _, err := q.CreateWallet(ctx, walletdb.CreateWalletParams{ID: id, Currency: "EUR", Reference: &reference, Tenant: db.DefaultTenant}); err != nil {
			return err
		}
		return q.Commit(ctx)
	}
}

// What is left behind ends by itself, is never cancelled, and there are never more than two of it.
func TestACommitThatIsNotAnsweredIsLeftBehind(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	database, config, hold, release := slowCommits(t)
	commits := db.NewCommits(config, nil)
	hold()
	left := make(chan struct{}, 2)
	ids := []uuid.UUID{uuid.New(), uuid.New(), uuid.New()}
	leave := func(i int, ctx context.Context, limit time.Duration) {
		t.Helper()
		conn := connectBy(t, config)
		err := commits.Send(ctx, conn, limit, createWallet(ctx, ids[i], "mine"), func() {
			_ = conn.Close(context.Background())
			left <- struct{}{}
		})
		if !errors.Is(err, db.ErrUnanswered) {
			t.Fatalf("commit %d: %v", i, err)
		}
		if got := commits.Abandoned(); got != i+1 {
			t.Errorf("%d commits are abandoned, want %d", got, i+1)
		}
	}
	leave(0, ctx, 50*time.Millisecond)
	if commits.Refusing() {
		t.Error("no write is sent although one commit is left behind, not two")
	}
	ending, end := context.WithCancel(ctx)
	time.AfterFunc(50*time.Millisecond, end)
	leave(1, ending, time.Hour)
	if !commits.Refusing() {
		t.Error("two commits are left behind, and more writes are sent")
	}
	soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := commits.Await(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting until a commit may be sent ends with %v", err)
	}
	// One that was under way already stays where it is: there is no place for it.
	third, waiting := connectBy(t, config), make(chan error, 1)
	defer third.Close(context.Background())
	go func() {
		waiting <- commits.Send(ctx, third, 50*time.Millisecond, createWallet(ctx, ids[2], "mine"), func() { t.Error("the third is left behind") })
	}()
	select {
	case err := <-waiting:
		t.Errorf("the third commit: %v", err)
	case <-time.After(300 * time.Millisecond):
	}

	release()
	if err := commits.Await(ctx); err != nil {
		t.Error(err)
	}
	<-left
	<-left
	if err := <-waiting; err != nil {
		t.Errorf("the third commit: %v", err)
	}
	if commits.Refusing() || commits.Abandoned() != 0 {
		t.Errorf("%d commits are still abandoned", commits.Abandoned())
	}
	for i, id := range ids {
		if _, err := walletdb.New(database.Conn(t)).GetWallet(ctx, id); err != nil {
			t.Errorf("commit %d was cut short: %v", i, err)
		}
	}
}

// A pool's connections take the places that commits may be left behind in before they send anything.
func TestCommitsOfAPoolTakeThePlacesFirst(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	_, config, hold, release := slowCommits(t)
	pooled, err := db.Config(config.ConnString())
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.Open(ctx, pooled)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(pool)
	commits := db.NewCommits(config, nil)
	var warm []*pgxpool.Conn
	for range 2 {
		conn, err := pool.Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		warm = append(warm, conn)
	}
	for _, conn := range warm {
		conn.Release()
	}
	hold()
	clients, errs := 5, make(chan error)
	for range clients {
		go func() {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			_, err := commits.SendFrom(ctx, pool, createWallet(ctx, uuid.New(), "mine"))
			errs <- err
		}()
	}
	unanswered := 0
	for range clients {
		if err := <-errs; errors.Is(err, db.ErrUnanswered) {
			unanswered++
		} else if err == nil {
			t.Error("a commit was answered")
		}
	}
	if unanswered != 2 || commits.Abandoned() != 2 {
		t.Errorf("%d commits were sent and %d are abandoned, want 2", unanswered, commits.Abandoned())
	}
	if _, err := commits.SendFrom(ctx, pool, createWallet(ctx, uuid.New(), "mine")); !errors.Is(err, db.ErrRefusing) {
		t.Errorf("one more: %v", err)
	}
	release()
	if err := commits.Await(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := commits.SendFrom(ctx, pool, createWallet(ctx, uuid.New(), "mine")); err != nil {
		t.Errorf("once they have ended: %v", err)
	}
}

// Postgres cuts a wait for standbys short with a WARNING alone.
func TestAWarningAtTheCommitIsAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	_, config, _, _ := slowCommits(t)
	commits := db.NewCommits(config, nil)
	conn := connectBy(t, config)
	defer conn.Close(context.Background())
	err := commits.Send(ctx, conn, time.Minute, createWallet(ctx, uuid.New(), "warned"), func() {})
	if err == nil || !strings.Contains(err.Error(), "the wait was cut short (01000)") {
		t.Errorf("a commit with a warning: %v", err)
	}
	if err := commits.Send(ctx, conn, time.Minute, createWallet(ctx, uuid.New(), "mine"), func() {}); err != nil {
		t.Errorf("the next one: %v", err)
	}
	create := createWallet(ctx, uuid.New(), "mine")
	err = commits.Send(ctx, conn, time.Minute, func(q *walletdb.Queries) error {
		if err := q.Rollback(ctx); err != nil { // a warning: there is no transaction
			return err
		}
		return create(q)
	}, func() {})
	if err != nil {
		t.Errorf("a warning before the commit: %v", err)
	}
	err = db.Write(ctx, conn, func(q *walletdb.Queries) error {
		reference := "warned"
		_, err := q.CreateWallet(ctx, walletdb.CreateWalletParams{ID: uuid.New(), Currency: "EUR", Reference: &reference, Tenant: db.DefaultTenant})
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "one disk") {
		t.Errorf("a written transaction with a warning: %v", err)
	}
}

// What the promises rest on is set by the connection itself.
func TestSessionsArePinned(t *testing.T) {
	t.Parallel()
	ctx, database := t.Context(), testdb.New(t)
	role := "pinned_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	owner := database.Conn(t)
	pinned := map[string][2]string{ // what the role says, and what counts
		"default_transaction_isolation": {"serializable", "read committed"},
		"synchronous_commit":            {"off", "on"},
		"search_path":                   {"pg_catalog", "public"},
		"client_encoding":               {"LATIN1", "UTF8"},
	}
	statements := []string{fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD 'test' IN ROLE wallet_api", role)}
	for name, values := range pinned {
		statements = append(statements, fmt.Sprintf("ALTER ROLE %s SET %s = '%s'", role, name, values[0]))
	}
	for _, statement := range statements {
		if _, err := owner.Exec(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _, _ = owner.Exec(context.Background(), "DROP ROLE "+role) })
	u, err := url.Parse(database.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "test")
	config, err := db.Config(u.String())
	if err != nil {
		t.Fatal(err)
	}
	conn := connectBy(t, config.ConnConfig)
	defer conn.Close(context.Background())
	for name, values := range pinned {
		var got string
		if err := conn.QueryRow(ctx, "SHOW "+name).Scan(&got); err != nil || got != values[1] {
			t.Errorf("%s is %q, want %q: %v", name, got, values[1], err)
		}
	}
	for parameter, refused := range map[string]bool{
		"synchronous_commit=off": true, "synchronous_commit=remote_write": true, "synchronous_commit=remote_apply": false,
		"default_transaction_isolation=serializable": true, "client_encoding=LATIN1": true, "search_path=other": false,
	} {
		if _, err := db.Config(u.String() + "&" + parameter); (err != nil) != refused {
			t.Errorf("%s: %v", parameter, err)
		}
	}
}

func TestADatabaseOfAnotherEncodingIsRefused(t *testing.T) {
	t.Parallel()
	ctx, owner := t.Context(), testdb.New(t).Conn(t)
	name := "latin_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	if _, err := owner.Exec(ctx, fmt.Sprintf("CREATE DATABASE %s ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0", name)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = owner.Exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)") })
	config, err := db.Config(owner.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.Database = name
	if _, err := db.Connect(ctx, config.ConnConfig); err == nil || !strings.Contains(err.Error(), "the database's encoding is LATIN1, and must be UTF8") {
		t.Errorf("connected to a database in LATIN1: %v", err)
	}
}

// The connection of a COMMIT may look alive for ever. Its server is asked for the backend.
func TestACommitWhoseBackendIsGoneIsGivenUp(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	database, config, hold, _ := slowCommits(t)
	commits := db.NewCommits(config, nil)
	watching, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { defer close(watched); commits.Watch(watching) }()
	defer func() { stop(); <-watched }()
	hold()
	// A proxy whose server is isolated tells nothing of what that says, nor that it closes a connection.
	proxy := testkit.NewProxy(t, config.ConnString())
	proxy.Open(t)
	hidden, err := db.Config(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	conn := connectBy(t, hidden.ConnConfig)
	ended := make(chan error, 1)
	go func() {
		ended <- commits.Send(ctx, conn, time.Hour, createWallet(ctx, uuid.New(), "mine"), func() {})
	}()
	owner := database.Conn(t)
	testkit.Until(t, "the commit waits", func() error {
		var waits bool
		err := owner.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'advisory')", conn.PgConn().PID()).Scan(&waits)
		return errors.Join(err, testkit.Unless(waits, "its backend does not"))
	})
	proxy.Hold()
	if _, err := owner.Exec(ctx, "SELECT pg_terminate_backend($1)", conn.PgConn().PID()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("it was answered")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("a commit without a backend is waited for")
	}
}
