package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

func TestPreferAsksForAWait(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		prefer string
		wait   time.Duration
		asked  bool
	}{
		{prefer: "wait=5", wait: 5 * time.Second, asked: true},
		{prefer: "respond-async, Wait = 5; x=1, wait=7", wait: 5 * time.Second, asked: true},
		{prefer: `wait="5"`, wait: 5 * time.Second, asked: true},
		{prefer: "wait=0", wait: 0, asked: true},
		{prefer: "wait=31", wait: maxWait, asked: true},
		{prefer: "wait=99999999999999999999", wait: maxWait, asked: false},
		{prefer: "wait=-1", wait: 0, asked: false},
		{prefer: "wait=1.5", wait: 0, asked: false},
		{prefer: "wait", wait: 0, asked: false},
		{prefer: "waiting=5", wait: 0, asked: false},
		{wait: 0, asked: false},
	} {
		wait, asked := preferredWait(test.prefer)
		if asked != test.asked || asked && wait != test.wait {
			t.Errorf("Prefer: %s: %v %v", test.prefer, wait, asked)
		}
	}
}

// applier does what the worker does, for one database.
type applier struct {
	database testdb.Database
	redis    redis.UniversalClient
}

// apply finishes a wallet's operations, announced only if that is asked for.
func (w applier) apply(t *testing.T, walletID uuid.UUID, announced bool) {
	t.Helper()
	conn := w.database.Conn(t)
	defer func() { _ = conn.Close(context.Background()) }()
	if err := testdb.Apply(t.Context(), conn, walletID); err != nil {
		t.Fatal(err)
	}
	if announced {
		w.announce(t, w.stored(t, walletID))
	}
}

func (w applier) stored(t *testing.T, walletID uuid.UUID) walletdb.Wallet {
	t.Helper()
	conn := w.database.Conn(t)
	defer func() { _ = conn.Close(context.Background()) }()
	wallet, err := walletdb.New(conn).GetWallet(t.Context(), walletID)
	if err != nil {
		t.Fatal(err)
	}
	return wallet
}

func (w applier) announce(t *testing.T, wallet walletdb.Wallet) {
	t.Helper()
	if err := walletcache.Set(t.Context(), w.redis, []walletdb.Wallet{wallet}); err != nil {
		t.Fatal(err)
	}
}

// hasOperation returns a condition: the operation is accepted.
func (w applier) hasOperation(t *testing.T, walletID uuid.UUID, seq int64) func() error {
	conn := w.database.Conn(t)
	return func() error {
		var last int64
		err := conn.QueryRow(t.Context(), "SELECT coalesce(max(seq), 0) FROM operations WHERE wallet_id = $1", walletID).Scan(&last)
		return errors.Join(err, testkit.Unless(last >= seq, "the wallet's last sequence is %d, not %d", last, seq))
	}
}

func newApplier(t *testing.T, database testdb.Database, redisURL string) applier {
	t.Helper()
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return applier{database, client}
}

func TestAWaitEndsWithTheOutcome(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API))
	worker := newApplier(t, database, os.Getenv("TEST_REDIS_URL"))
	walletID := a.newWallet(t)
	// Without announcements an answer comes within a quarter of the poll's interval once in four times.
	const rounds, each = 8, 5
	var slowest time.Duration
	for seq := int64(1); seq <= rounds*each; seq++ {
		replies := make(chan reply, 2)
		go func() { replies <- a.deposit(walletID, 1, "Prefer: wait=20") }()
		testkit.Until(t, "the operation is accepted", worker.hasOperation(t, walletID, seq))
		worker.apply(t, walletID, false)
		wallet := worker.stored(t, walletID)
		start := time.Now()
		worker.announce(t, wallet)
		r := <-replies
		slowest = max(slowest, time.Since(start))
		if r.status != http.StatusOK || r.body["status"] != "PROCESSED" || r.number(t, "balanceAfter") != seq || r.header.Get("Preference-Applied") != "wait=20" {
			t.Errorf("%d %s %v", r.status, r.text, r.header)
		}
		if wallet := a.send("GET", walletsPath+"/"+walletID.String(), ""); wallet.number(t, "version") < seq {
			t.Errorf("the balance read next is older: %s", wallet.text)
		}
		if seq%each == 0 {
			if slowest < pollInterval/4 {
				return
			}
			slowest = 0
		}
	}
	t.Error("an answer of each round was slow: announcements are not heard")
}

func TestAWaitEndsWithoutAnnouncementsToo(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	cache := miniredis.RunT(t)
	a := startAPI(t, database.As(testdb.API), "REDIS_URL=redis://"+cache.Addr())
	worker := newApplier(t, database, "redis://"+cache.Addr())
	walletID := a.newWallet(t)
	accepted := a.deposit(walletID, 1)
	cache.Close()
	replies := make(chan reply, 2)
	go func() { replies <- a.send("GET", accepted.header.Get("Location"), "", "Prefer: wait=20") }()
	go func() {
		replies <- a.send("GET", walletsPath+"/"+walletID.String()+"?minSequence=1", "", "Prefer: wait=20")
	}()
	testkit.Until(t, "both wait", a.admin.Counts("wallet_api_waiters", "2"))
	worker.apply(t, walletID, false)
	for range 2 {
		if r := <-replies; r.status != http.StatusOK || r.header.Get("Preference-Applied") != "wait=20" {
			t.Errorf("%d %s %v", r.status, r.text, r.header)
		}
	}
}

func TestWhenTheWaitIsOverTheAnswerIsTheUsualOne(t *testing.T) {
	t.Parallel()
	a := startAPI(t, testdb.New(t).As(testdb.API))
	walletID := a.newWallet(t)
	r := a.deposit(walletID, 1, "Prefer: respond-async", "Prefer: wait=1")
	if r.status != http.StatusAccepted || r.header.Get("Preference-Applied") != "wait=1" {
		t.Errorf("%d %s %v", r.status, r.text, r.header)
	}
	r = a.send("GET", r.header.Get("Location"), "", "Prefer: wait=1")
	if r.status != http.StatusOK || r.body["status"] != "PENDING" || r.header.Get("Preference-Applied") != "wait=1" {
		t.Errorf("%d %s %v", r.status, r.text, r.header)
	}
	r = a.send("GET", walletsPath+"/"+walletID.String()+"?minSequence=1", "", "Prefer: wait=1")
	if r.status != http.StatusConflict || r.body["code"] != "not-yet-applied" || r.header.Get("Retry-After") == "" {
		t.Errorf("%d %s %v", r.status, r.text, r.header)
	}
}

// A failed operation stays failed: a retry is told so, at once, however long it would wait.
func TestAFailedOperationIsFinal(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API))
	walletID := a.newWallet(t)
	replies := make(chan reply, 1)
	go func() { replies <- a.deposit(walletID, 1, "Idempotency-Key: k", "Prefer: wait=20") }()
	testkit.Until(t, "the request waits", a.admin.Counts("wallet_api_waiters", "1"))
	for _, sql := range []string{
		"INSERT INTO outcomes (wallet_id, seq, status, failure_reason, balance_after) VALUES ($1, 1, 'FAILED', 'BALANCE_LIMIT', 0)",
		"UPDATE wallets SET applied_seq = 1 WHERE id = $1",
	} {
		if _, err := database.Conn(t).Exec(t.Context(), sql, walletID); err != nil {
			t.Fatal(err)
		}
	}
	first := <-replies
	again := a.deposit(walletID, 1, "Idempotency-Key: k", "Prefer: wait=99")
	if first.status != http.StatusOK || first.body["status"] != "FAILED" || first.body["failureReason"] != "BALANCE_LIMIT" || again.text != first.text {
		t.Errorf("%d %s, again: %d %s", first.status, first.text, again.status, again.text)
	}
	if again.status != http.StatusOK || again.header.Get("Idempotency-Replayed") != "true" || again.header.Get("Preference-Applied") != "wait=30" {
		t.Errorf("again: %d %v", again.status, again.header)
	}
}

func TestABatchDoesNotWait(t *testing.T) {
	t.Parallel()
	a := startAPI(t, testdb.New(t).As(testdb.API))
	start := time.Now()
	r := a.send("POST", batchPath, `{"operations":[`+depositBody(a.newWallet(t), 1)+`]}`, "Prefer: wait=20")
	if r.status != http.StatusOK || r.header.Get("Preference-Applied") != "" || time.Since(start) > 10*time.Second {
		t.Errorf("%d %s %v after %v", r.status, r.text, r.header, time.Since(start))
	}
}

func TestMinSequenceWaitsFor5SecondsUnlessTheClientSaysOtherwise(t *testing.T) {
	t.Parallel()
	a := startAPI(t, testdb.New(t).As(testdb.API))
	walletID := a.newWallet(t)
	a.deposit(walletID, 1)
	start := time.Now()
	r := a.send("GET", walletsPath+"/"+walletID.String()+"?minSequence=1", "")
	if took := time.Since(start); r.status != http.StatusConflict || took < 5*time.Second || took > 10*time.Second {
		t.Errorf("%d %s after %v", r.status, r.text, took)
	}
}

// net/http sends no answer that takes longer than the server's write timeout.
func TestTheServerAllowsForTheLongestAnswer(t *testing.T) {
	t.Parallel()
	if longest := 45 * time.Second; newHTTPServer(nil, longest).WriteTimeout <= longest {
		t.Error("the longest wait is not answered")
	}
}

func TestMinSequenceReadsWhatIsAppliedAndDoesNotWaitForWhatWasNeverSent(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	cache := newCached(t)
	a := startAPI(t, database.As(testdb.API), cache.setting())
	worker := newApplier(t, database, "redis://"+cache.Addr())
	walletID := a.newWallet(t)
	path := walletsPath + "/" + walletID.String()
	cache.hold(t, a, walletID)
	a.deposit(walletID, 5)
	worker.apply(t, walletID, false)
	if r := a.send("GET", path+"?minSequence=1", "", "Prefer: wait=0"); r.status != http.StatusOK || r.number(t, "balance") != 5 {
		t.Errorf("%d %s", r.status, r.text)
	}
	stall, start := testdb.WatchStalls(t, database.URL), time.Now()
	if r := a.send("GET", path+"?minSequence=2", ""); r.status != http.StatusConflict || time.Since(start) > defaultWait/2+stall().Sum {
		t.Errorf("%d %s after %v", r.status, r.text, time.Since(start))
	}
}

func TestWaitingEndsAtOnceWhenTheProcessEnds(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API))
	worker := newApplier(t, database, os.Getenv("TEST_REDIS_URL"))
	walletID := a.newWallet(t)
	replies := make(chan reply, 1)
	go func() { replies <- a.deposit(walletID, 1, "Prefer: wait=20") }()
	testkit.Until(t, "the operation is accepted", worker.hasOperation(t, walletID, 1))
	stall, start := testdb.WatchStalls(t, database.URL), time.Now()
	a.signal(t, syscall.SIGTERM)
	if r := <-replies; r.status != http.StatusAccepted || time.Since(start) > drainTime-time.Second+stall().Sum {
		t.Errorf("%d %s %v after %v", r.status, r.text, r.err, time.Since(start))
	}
	if code := a.exitCode(t, 5*time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestNoMoreWaitThanMay(t *testing.T) {
	t.Parallel()
	ws := newWaits(nil, nil, &streams{}, nil)
	walletID := uuid.New()
	var first *waiter
	for range maxWaiters {
		first = &waiter{walletID: walletID, seq: 2, operation: uuid.New()}
		if ws.join(first) != stillWaits {
			t.Fatal("refused too early")
		}
	}
	if end, _ := ws.wait(t.Context(), time.Minute, &waiter{walletID: walletID, seq: 2}); end != tooManyWait {
		t.Error("one more waits")
	}
	ws.leave(first)
	if ws.join(&waiter{walletID: walletID, seq: 2}) != stillWaits {
		t.Error("there is no room after one has left")
	}
	if len(ws.applied(walletID, 1)) != 0 || len(ws.applied(walletID, 2)) != maxWaiters {
		t.Error("a version lets others go than those it is enough for")
	}
	if ws.join(&waiter{walletID: walletID, seq: 2}) != applied {
		t.Error("what was announced before is waited for")
	}
}
