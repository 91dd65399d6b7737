package main

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
)

// isDegraded returns a condition: the api is ready, and lacks these alone.
func (a *api) isDegraded(names ...string) func() error {
	return a.admin.Is(func(s testkit.State) bool {
		var degraded []string
		for _, text := range s.Degraded {
			name, _, _ := strings.Cut(text, ": ")
			degraded = append(degraded, name)
		}
		return s.Ready && slices.Equal(degraded, names)
	})
}

func TestWaitingRequestsAreAnsweredBeforeTheProcessEnds(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API))
	walletID := a.newWallet(t)
	release := lockWallet(t, database, walletID)
	replies := make(chan reply, 1)
	go func() { replies <- a.deposit(walletID, 1) }()
	testkit.Until(t, "the request waits", a.admin.Counts("wallet_api_queue_operations", "1"))
	a.signal(t, syscall.SIGTERM)
	testkit.Until(t, "the api is not ready", a.admin.Says("draining"))
	testkit.Until(t, "no new request is let in", func() error {
		r := a.send("GET", walletsPath+"/"+walletID.String(), "", "Connection: close")
		return testkit.Unless(r.err != nil, "one was: %d", r.status)
	})
	release()
	if r := <-replies; r.status != http.StatusAccepted {
		t.Errorf("the waiting request: %d %s %v", r.status, r.text, r.err)
	}
	if code := a.exitCode(t, 5*time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestTheProcessEndsInTimeAlthoughARequestCannotBeAccepted(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API), "REQUEST_TIMEOUT=30s")
	walletID := a.newWallet(t)
	lockWallet(t, database, walletID)
	replies := make(chan reply, 1)
	go func() { replies <- a.deposit(walletID, 1) }()
	testkit.Until(t, "the request waits", a.admin.Counts("wallet_api_queue_operations", "1"))
	a.signal(t, syscall.SIGTERM)
	if code := a.exitCode(t, 20*time.Second); code != 0 { // less than a request may take
		t.Errorf("exit code %d", code)
	}
	if r := <-replies; r.body["code"] != "overloaded" {
		t.Errorf("the waiting request: %d %s %v", r.status, r.text, r.err)
	}
}

func TestPostgresMayComeLateAndGo(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	proxy := newProxy(t, database.As(testdb.API))
	proxy.Cut()
	a := launchAPI(t, proxy.URL)
	testkit.Until(t, "the api waits", a.admin.Says("postgres: "))
	proxy.Open(t)
	a.listening(t)
	walletID := a.newWallet(t)
	if r := a.deposit(walletID, 1); r.status != http.StatusAccepted {
		t.Fatalf("%d %s", r.status, r.text)
	}

	proxy.Cut()
	testkit.Until(t, "postgres is named as lost", a.isDegraded("postgres"))
	read := a.send("GET", walletsPath+"/"+walletID.String()+"/operations/"+absent, "")
	if read.status != http.StatusServiceUnavailable || read.body["code"] != "overloaded" {
		t.Errorf("a read without postgres: %d %s", read.status, read.text)
	}
	replies := make(chan reply, 1)
	go func() { replies <- a.deposit(walletID, 2) }()
	testkit.Until(t, "the request waits", a.admin.Counts("wallet_api_queue_operations", "1"))
	proxy.Open(t)
	if r := <-replies; r.status != http.StatusAccepted || r.number(t, "sequence") != 2 {
		t.Errorf("the request that waited: %d %s", r.status, r.text)
	}
	testkit.Until(t, "nothing is degraded", a.isDegraded())
	for _, message := range []string{"degraded: accepting", "recovered: accepting", "degraded: postgres", "recovered: postgres"} {
		testkit.Until(t, message, a.log.Has(message))
		if said := a.log.Lines(message); len(said) != 1 { // Postgres was lost twice within a minute
			t.Errorf("%q was said %d times", message, len(said))
		}
	}
}

// A server that is set to be read-only refuses new connections only: those that are open must tell.
func TestAReadOnlyPostgresIsLost(t *testing.T) {
	t.Parallel()
	config, err := db.Config(testdb.New(t).As(testdb.API))
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 1
	pool, err := db.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	for _, test := range []struct{ readOnly, want string }{
		{"off", ""},
		{"on", "it is read-only: a standby, or default_transaction_read_only"},
		{"off", ""},
	} {
		if _, err := pool.Exec(t.Context(), "SET default_transaction_read_only = "+test.readOnly); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := canAccept(t.Context(), pool); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("read-only %s: got %q, want %q", test.readOnly, got, test.want)
		}
	}
}

func TestMigrationsAreWaitedFor(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	conn := database.Conn(t)
	if _, err := conn.Exec(t.Context(), "DELETE FROM schema_migrations WHERE version = '20261124000003'"); err != nil {
		t.Fatal(err)
	}
	a := launchAPI(t, database.As(testdb.API))
	testkit.Until(t, "the api names the migration", a.admin.Says("20261124000003_outbox.sql"))
	if _, err := conn.Exec(t.Context(), "INSERT INTO schema_migrations VALUES ('20261124000003')"); err != nil {
		t.Fatal(err)
	}
	a.listening(t)
}

// cached is a Redis of the test's own: what one test caches, the slowness of another can make unreadable.
type cached struct {
	*miniredis.Miniredis
	client redis.UniversalClient
}

func newCached(t *testing.T) cached {
	t.Helper()
	server := miniredis.RunT(t)
	client, err := walletcache.Open("redis://" + server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return cached{server, client}
}

func (c cached) setting() string { return "REDIS_URL=redis://" + c.Addr() }

// hold returns when the wallet is in it, as the api reads it.
func (c cached) hold(t *testing.T, a *api, walletID uuid.UUID) {
	t.Helper()
	testkit.Until(t, "the wallet is cached", func() error {
		a.send("GET", walletsPath+"/"+walletID.String(), "")
		_, found, err := walletcache.Get(t.Context(), c.client, walletID)
		return errors.Join(err, testkit.Unless(found, "it is not"))
	})
}

// Redis may be away: balances then come from Postgres. After it is back, nothing older is read.
func TestRedisMayComeLateAndGo(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	cache := newCached(t)
	a := startAPI(t, database.As(testdb.API), cache.setting())
	var path string
	balance := func() int64 { return a.send("GET", path, "").number(t, "balance") }
	testkit.Until(t, "it is read from redis", func() error { // which a busy machine can make too slow
		walletID := a.newWallet(t)
		path = walletPath(walletID)
		cache.hold(t, a, walletID)
		if balance() != 0 {
			t.Fatal("a new wallet has a balance")
		}
		if _, err := database.Conn(t).Exec(t.Context(), "UPDATE wallets SET balance = 5, applied_seq = 5 WHERE id = $1", walletID); err != nil {
			t.Fatal(err)
		}
		got := balance()
		return testkit.Unless(got == 0, "balance %d", got)
	})
	cache.Close()
	if got := balance(); got != 5 {
		t.Errorf("balance %d without redis, want 5 from postgres", got)
	}
	testkit.Until(t, "redis is named as lost", a.isDegraded("redis"))
	if err := cache.Restart(); err != nil { // with what it held before
		t.Fatal(err)
	}
	testkit.Until(t, "redis is used again", a.isDegraded())
	if got := balance(); got != 5 {
		t.Errorf("balance %d, want 5: it went back", got)
	}
	if lost, back := a.log.Count("degraded: redis"), a.log.Count("recovered: redis"); lost != 1 || back != 1 { // on a busy machine it may have been slow before
		t.Errorf("that redis is lost was said %d times within a minute, that it is back %d times", lost, back)
	}
}

// Who has seen an operation's outcome reads no older balance afterwards.
func TestAFinishedOperationRaisesTheBalanceThatIsReadNext(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	cache := newCached(t)
	a := startAPI(t, database.As(testdb.API), cache.setting())
	conn := database.Conn(t)
	for name, see := range map[string]func(walletID uuid.UUID, path string) reply{
		"read": func(_ uuid.UUID, path string) reply { return a.send("GET", path, "") },
		"sent again": func(walletID uuid.UUID, _ string) reply {
			return a.deposit(walletID, 5, "Idempotency-Key: k")
		},
	} {
		walletID := a.newWallet(t)
		accepted := a.deposit(walletID, 5, "Idempotency-Key: k")
		cache.hold(t, a, walletID)
		for _, sql := range []string{
			"INSERT INTO outcomes (wallet_id, seq, status, balance_after) VALUES ($1, 1, 'PROCESSED', 5)",
			"UPDATE wallets SET balance = 5, applied_seq = 1 WHERE id = $1",
		} {
			if _, err := conn.Exec(t.Context(), sql, walletID); err != nil {
				t.Fatal(err)
			}
		}
		finished := see(walletID, accepted.header.Get("Location"))
		if finished.status != http.StatusOK || finished.body["status"] != "PROCESSED" || finished.number(t, "balanceAfter") != 5 {
			t.Errorf("%s: %d %s", name, finished.status, finished.text)
		}
		wallet := a.send("GET", walletsPath+"/"+walletID.String(), "")
		if wallet.number(t, "balance") != 5 || wallet.number(t, "version") != 1 {
			t.Errorf("%s: after its outcome was seen: %s", name, wallet.text)
		}
	}
}

// Nor is what a list has shown.
func TestAListRaisesTheBalanceThatIsReadNext(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	cache := newCached(t)
	a := startAPI(t, database.As(testdb.API), cache.setting())
	walletID := a.newWallet(t)
	path := walletsPath + "/" + walletID.String()
	cache.hold(t, a, walletID)
	if _, err := database.Conn(t).Exec(t.Context(), "UPDATE wallets SET balance = 7, applied_seq = 7"); err != nil {
		t.Fatal(err)
	}
	a.send("GET", walletsPath, "")
	if wallet := a.send("GET", path, ""); wallet.number(t, "version") != 7 {
		t.Errorf("after a list showed version 7: %s", wallet.text)
	}
}

func TestAWrongConfigurationEndsTheProcessWithCode2(t *testing.T) {
	t.Parallel()
	a := launchAPI(t, "", "FLUSH_MAX=none")
	if code := a.exitCode(t, 10*time.Second); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	if a.log.Count("DATABASE_URL") != 1 || a.log.Count("FLUSH_MAX") != 1 {
		t.Error("not both mistakes are named, each once")
	}
}

// A creation whose answer was lost may still be in its COMMIT when it is sent to Postgres again, and hold its lock for longer
// than is waited for one. Nobody then knows that nothing was created.
func TestACreationWaitsForTheAttemptBeforeIt(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	execute(t, database.Conn(t), `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(4.5); RETURN NULL; END';
		CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON wallets DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()`)
	proxy := newProxy(t, database.As(testdb.API))
	a := startAPI(t, proxy.URL)
	proxy.passInsert(func() { time.AfterFunc(300*time.Millisecond, func() { proxy.Cut(); proxy.Open(t) }) })
	began := time.Now()
	r := a.send("POST", walletsPath, `{"reference":"`+cutHere+`"}`)
	if r.status != http.StatusCreated || time.Since(began) < 4*time.Second {
		t.Errorf("%d %s after %v", r.status, r.text, time.Since(began))
	}
}
