package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service"
)

// newFlusher is a flusher without a process around it.
func newFlusher(t *testing.T, databaseURL string) *flusher {
	t.Helper()
	config, err := db.Config(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	f := &flusher{
		wake: func() {}, report: func(error) {}, repeats: service.NewRepeats(slog.New(slog.DiscardHandler)),
		queue:   newQueue(limits{operations: 1000, bytes: 1 << 20, flush: 100}),
		commits: db.NewCommits(config.ConnConfig, nil),
		config:  flushConfig(config.ConnConfig),
		topic:   "wallet-operations",
		observe: func(int, time.Duration) {},
	}
	t.Cleanup(f.disconnect)
	return f
}

// insertWallet makes a wallet in the database.
func insertWallet(t *testing.T, database testdb.Database) uuid.UUID {
	t.Helper()
	id, err := testdb.CreateWallet(t.Context(), database.Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestHundredEqualKeysAtOnceAreOneOperation(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	apis := []*api{startAPI(t, database.As(testdb.API)), startAPI(t, database.As(testdb.API))}
	walletID := apis[0].newWallet(t)
	replies := make([]reply, 100)
	var clients sync.WaitGroup
	for i := range replies {
		clients.Go(func() { replies[i] = apis[i%2].deposit(walletID, 5, "Idempotency-Key: same") })
	}
	clients.Wait()
	originals := 0
	for _, r := range replies {
		if r.status != http.StatusAccepted || r.text != replies[0].text {
			t.Fatalf("answers differ: %d %s %v, and %s", r.status, r.text, r.err, replies[0].text)
		}
		if r.header.Get("Idempotency-Replayed") == "" {
			originals++
		}
	}
	if originals != 1 {
		t.Errorf("%d answers say that they are the first", originals)
	}
	mustBeDense(t, database.Conn(t), walletID, 1)
}

func TestTwoProcessesGiveOneWalletOneOrder(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	apis := []*api{startAPI(t, database.As(testdb.API)), startAPI(t, database.As(testdb.API))}
	walletID := apis[0].newWallet(t)
	type call struct {
		start, end time.Time
		seq        int64
	}
	const clients, each = 20, 25
	calls := make([]call, clients*each)
	var group sync.WaitGroup
	for c := range clients {
		group.Go(func() {
			for i := range each {
				start := time.Now()
				r := apis[c%2].deposit(walletID, 1, fmt.Sprintf("Idempotency-Key: %d-%d", c, i))
				if r.status != http.StatusAccepted {
					t.Errorf("%d %s %v", r.status, r.text, r.err)
					return
				}
				calls[c*each+i] = call{start, time.Now(), r.number(t, "sequence")}
			}
		})
	}
	group.Wait()
	mustBeDense(t, database.Conn(t), walletID, len(calls))
	for _, a := range calls {
		for _, b := range calls {
			if a.end.Before(b.start) && a.seq >= b.seq {
				t.Fatalf("an operation was acknowledged as %d before one was sent that got %d", a.seq, b.seq)
			}
		}
	}
}

func TestOneBadRequestInAFlushHarmsNoOther(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	f := newFlusher(t, database.As(testdb.API))
	walletID := insertWallet(t, database)
	requests := make([]*request, 9)
	for i := range requests {
		requests[i] = waitingRequest(t.Context(), walletID)
	}
	requests[4].reference = "\x00" // which Postgres does not take
	requests[2].kind = "HOLD"
	requests[5].kind, requests[5].subjectID = "EXPIRE", &requests[2].id // which only the worker may accept
	requests[7].walletID = uuid.New()
	f.queue.push(requests...)
	taken := f.queue.take(nil)
	if back := f.flush(t.Context(), taken); len(back) > 0 {
		t.Fatalf("%d came back", len(back))
	}
	seq := int64(0)
	for i, r := range requests {
		got := <-r.done
		switch i {
		case 4, 5, 7:
			if got.err == nil {
				t.Errorf("request %d was accepted", i)
			}
		default:
			if seq++; got.err != nil || got.operation.Seq != seq {
				t.Errorf("request %d: sequence %d, want %d (%v)", i, got.operation.Seq, seq, got.err)
			}
		}
	}
	mustBeDense(t, database.Conn(t), walletID, 6)
}

// The lookup has to see what the lock's last holder committed while the flush waited for the lock.
func TestAnOperationCommittedWhileTheFlushWaitedIsFound(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	f := newFlusher(t, database.As(testdb.API))
	f.config.RuntimeParams["lock_timeout"] = "10s"
	f.config.RuntimeParams["application_name"] = "flush"
	f.lookupUntil = time.Now().Add(time.Minute)
	walletID := insertWallet(t, database)
	r := waitingRequest(t.Context(), walletID)

	if got := whileCommitting(t, f, database, r, r.id, "DEPOSIT"); got.err != nil || !got.replayed || got.operation.Seq != 1 {
		t.Errorf("got %+v, want the operation that was committed meanwhile", got)
	}
}

// The same for what a request refers to.
func TestAHoldCommittedWhileTheFlushWaitedIsFound(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	f := newFlusher(t, database.As(testdb.API))
	f.config.RuntimeParams["lock_timeout"] = "10s"
	f.config.RuntimeParams["application_name"] = "flush"
	r, hold := waitingRequest(t.Context(), insertWallet(t, database)), uuid.New()
	r.kind, r.subjectID = "CAPTURE", &hold
	if got := whileCommitting(t, f, database, r, hold, "HOLD"); got.err != nil || got.operation.Seq != 2 {
		t.Errorf("got %+v, want a capture of the hold that was committed meanwhile", got)
	}
}

// whileCommitting returns the answer to a request of a wallet whose first operation another transaction
// commits while the request's flush waits for the wallet.
func whileCommitting(t *testing.T, f *flusher, database testdb.Database, r *request, first uuid.UUID, kind string) *answer {
	t.Helper()
	holder, observer := database.Conn(t), database.Conn(t)
	for _, sql := range []string{
		"BEGIN",
		"UPDATE wallet_sequences SET last_seq = 1",
		fmt.Sprintf("INSERT INTO operations (wallet_id, seq, id, type, amount) VALUES ('%s', 1, '%s', '%s', 1)", r.walletID, first, kind),
	} {
		if _, err := holder.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	go f.flush(t.Context(), []*request{r})
	testkit.Until(t, "the flush waits for the lock", flushWaits(observer))
	if _, err := holder.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	return <-r.done
}

// Whether a key was used before does not depend on whether flushes happen to look for known operations.
func TestAKeyIsRecognizedBeforeWhatItRefersTo(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	f := newFlusher(t, database.As(testdb.API))
	walletID := insertWallet(t, database)
	id := uuid.NewSHA1(walletID, []byte("key"))
	send := func(change func(r *request)) *answer {
		f.lookupUntil = time.Time{}
		r := waitingRequest(t.Context(), walletID)
		r.id = id
		change(r)
		f.flush(t.Context(), []*request{r})
		return <-r.done
	}
	nothing := uuid.New()
	if got := send(func(r *request) { r.kind, r.amount, r.subjectID = "CAPTURE", 0, &nothing }); !errors.Is(got.err, errHoldNotFound) {
		t.Errorf("a capture of nothing with a new key: %v", got.err)
	}
	if got := send(func(*request) {}); got.err != nil {
		t.Errorf("a deposit with its key: %v", got.err)
	}
	for name, kind := range map[string]string{"a capture": "CAPTURE", "a reversal": "REVERSE"} {
		if got := send(func(r *request) { r.kind, r.amount, r.subjectID = walletdb.OperationType(kind), 0, &nothing }); !errors.Is(got.err, errKeyReused) {
			t.Errorf("%s of nothing with the deposit's key: %v", name, got.err)
		}
	}
	if got := send(func(r *request) { r.kind, r.targetID = "TRANSFER", &nothing }); !errors.Is(got.err, errKeyReused) {
		t.Errorf("a transfer to nowhere with the deposit's key: %v", got.err)
	}
	mustBeDense(t, database.Conn(t), walletID, 1)
}

// What an operation has besides its amount is stored as it was asked, and a null for what it has not.
func TestAFlushStoresAllOfEachOperation(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	f := newFlusher(t, database.As(testdb.API))
	from, to := insertWallet(t, database), insertWallet(t, database)
	expiresAt, no := time.Date(2026, 12, 1, 12, 0, 0, 123456000, time.UTC), false
	ids := make([]uuid.UUID, 9)
	for i := range ids {
		ids[i] = uuid.New()
	}
	requests := []*request{
		{kind: "DEPOSIT", amount: 9, reference: "r", metadata: []byte(`{"a":"ü\"\\"}`)},
		{kind: "HOLD", amount: 5, expiresAt: &expiresAt},
		{kind: "HOLD", amount: 5},
		{kind: "CAPTURE", amount: 2, subjectID: &ids[1], final: &no},
		{kind: "CAPTURE", subjectID: &ids[1], targetID: &to, final: &no},
		{kind: "RELEASE", subjectID: &ids[2]},
		{kind: "REVERSE", subjectID: &ids[0], amount: 1},
		{kind: "TRANSFER", amount: 3, targetID: &to},
		{kind: "FREEZE", reference: "why"},
	}
	for i, r := range requests {
		r.tenant, r.walletID, r.id, r.ctx, r.deadline, r.done = allTenants, from, ids[i], t.Context(), time.Now().Add(time.Minute), make(chan *answer, 1)
	}
	f.flush(t.Context(), requests)
	for i, r := range requests {
		got := <-r.done
		if got.err != nil {
			t.Fatalf("%s: %v", r.kind, got.err)
		}
		stored, err := walletdb.New(database.Conn(t)).GetOperation(t.Context(), walletdb.GetOperationParams{ID: r.id, WalletID: from, Tenant: db.AllTenants})
		if err != nil {
			t.Fatal(err)
		}
		if want := r.operation(int64(i+1), got.operation.CreatedAt); !r.asked(stored) || stored.Seq != want.Seq || !stored.CreatedAt.Equal(want.CreatedAt) {
			t.Errorf("%s: stored is %+v, want %+v", r.kind, stored, want)
		}
	}
}

// While one wallet cannot be locked, the others are accepted as fast as those of an api that has no such wallet, at the
// same time on the same machine; its own operations wait.
func TestALockedWalletDelaysNoOther(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a, undisturbed := startAPI(t, database.As(testdb.API)), startAPI(t, testdb.New(t).As(testdb.API))
	locked := a.newWallet(t)
	var wallets, others []uuid.UUID
	for range 4 {
		wallets, others = append(wallets, a.newWallet(t)), append(others, undisturbed.newWallet(t))
	}
	const rounds = 10 // for one in which nothing else keeps the machine busy
	for round := 1; ; round++ {
		release := lockWallet(t, database, locked)
		waiting := make(chan reply, 20)
		for range cap(waiting) {
			go func() { waiting <- a.deposit(locked, 1) }()
		}
		var beside, alone []time.Duration
		var both sync.WaitGroup
		both.Go(func() { beside = latencies(t, a, wallets, 5*time.Second) })
		both.Go(func() { alone = latencies(t, undisturbed, others, 5*time.Second) })
		both.Wait()
		select {
		case r := <-waiting:
			t.Fatalf("an operation of the locked wallet was answered: %d %s", r.status, r.text)
		default:
		}
		release()
		for range cap(waiting) {
			if r := <-waiting; r.status != http.StatusAccepted {
				t.Errorf("after the lock was gone: %d %s %v", r.status, r.text, r.err)
			}
		}
		mustBeDense(t, database.Conn(t), locked, 20*round)

		limit := percentile(alone, 99) + lockWait
		t.Logf("p99 %v beside a locked wallet, %v without one (p50 %v and %v)", percentile(beside, 99), percentile(alone, 99), percentile(beside, 50), percentile(alone, 50))
		if percentile(beside, 99) <= limit {
			break
		}
		if round == rounds {
			t.Errorf("p99 %v, more than %v", percentile(beside, 99), limit)
			break
		}
	}
}

func latencies(t *testing.T, a *api, wallets []uuid.UUID, during time.Duration) (all []time.Duration) {
	t.Helper()
	var mu sync.Mutex
	var clients sync.WaitGroup
	end := time.Now().Add(during)
	for _, walletID := range wallets {
		clients.Go(func() {
			for time.Now().Before(end) {
				start := time.Now()
				r := a.deposit(walletID, 1)
				took := time.Since(start)
				if r.status != http.StatusAccepted {
					t.Errorf("%d %s %v", r.status, r.text, r.err)
					return
				}
				mu.Lock()
				all = append(all, took)
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	return all
}

func percentile(all []time.Duration, p int) time.Duration {
	slices.Sort(all)
	return all[len(all)*p/100]
}

func TestATransactionLeftOpenIsEndedAndHoldsItsWalletNoLonger(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	proxy := newProxy(t, database.As(testdb.API))
	stopped := startAPI(t, proxy.URL)
	other := startAPI(t, database.As(testdb.API))
	walletID := stopped.newWallet(t)

	holding := proxy.holdInsert()
	go stopped.deposit(walletID, 1, "Idempotency-Key: stopped")
	<-holding // the wallet is locked, the insert on its way
	stopped.signal(t, syscall.SIGSTOP)
	stall, start := testdb.WatchStalls(t, database.URL), time.Now()
	if r := other.deposit(walletID, 1); r.status != http.StatusAccepted {
		t.Fatalf("%d %s %v", r.status, r.text, r.err)
	}
	if took := time.Since(start); took > 7*time.Second+stall().Sum {
		t.Errorf("the wallet was held for %v, not for the 5 s of the session's limit", took)
	}
	if said := other.log.Lines("wallet is locked by another transaction"); len(said) != 1 || !strings.Contains(said[0], walletID.String()) {
		t.Errorf("the log says of the wallet: %q", said)
	}
	mustBeDense(t, database.Conn(t), walletID, 1)

	// The stopped process wakes up, finds its transaction gone, and does the same flush again.
	proxy.release()
	stopped.signal(t, syscall.SIGCONT)
	testkit.Until(t, "the stopped process has accepted its operation", func() error {
		r := stopped.deposit(walletID, 1, "Idempotency-Key: stopped")
		return testkit.Unless(r.status == http.StatusAccepted, "%d %s %v", r.status, r.text, r.err)
	})
	mustBeDense(t, database.Conn(t), walletID, 2)
}

func TestALostAnswerToACommitIsFoundOut(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		committed bool
	}{{"it was committed", true}, {"it was not", false}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			database := testdb.New(t)
			proxy := newProxy(t, database.As(testdb.API))
			a := startAPI(t, proxy.URL)
			for _, header := range []string{"Idempotency-Key: k", "X-Request-Id: without-a-key"} {
				walletID := a.newWallet(t)
				proxy.cutInsert(test.committed, false)
				r := a.deposit(walletID, 7, header)
				if r.status != http.StatusAccepted || r.number(t, "sequence") != 1 {
					t.Errorf("%d %s %v", r.status, r.text, r.err)
				}
				if r.header.Get("Idempotency-Replayed") != "" {
					t.Error("the request is called a replay of itself")
				}
				if !proxy.spent() {
					t.Error("no answer was lost")
				}
				mustBeDense(t, database.Conn(t), walletID, 1)
			}
		})
	}
}

func TestAnOutcomeThatStaysUnknownIsToldWithTheOperationsID(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	proxy := newProxy(t, database.As(testdb.API))
	a := startAPI(t, proxy.URL, "REQUEST_TIMEOUT=5s")
	walletID := a.newWallet(t)
	proxy.cutInsert(true, true)
	r := a.deposit(walletID, 7, "Idempotency-Key: k")
	want := uuid.NewSHA1(walletID, []byte("k")).String()
	if r.status != http.StatusServiceUnavailable || r.body["code"] != "outcome-unknown" || r.body["operationId"] != want {
		t.Fatalf("%d %s %v", r.status, r.text, r.err)
	}
	proxy.Open(t)
	testkit.Until(t, "a retry finds the operation", func() error {
		r := a.deposit(walletID, 7, "Idempotency-Key: k")
		return testkit.Unless(r.status == http.StatusAccepted && r.body["operationId"] == want, "%d %s %v", r.status, r.text, r.err)
	})
	mustBeDense(t, database.Conn(t), walletID, 1)
}

// Killed before or after the commit, the api leaves one operation, or none; a retry finds or makes it.
func TestARetryAfterAKillIsTheSameOperation(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"accept-before-commit", "accept-after-commit"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			database := testdb.New(t)
			a := startAPI(t, database.As(testdb.API), "FAILPOINT="+point)
			walletID := a.newWallet(t)
			if r := a.deposit(walletID, 3, "Idempotency-Key: k"); r.err == nil {
				t.Fatalf("the api lived: %d %s", r.status, r.text)
			}
			next := startAPI(t, database.As(testdb.API))
			if r := next.deposit(walletID, 3, "Idempotency-Key: k"); r.status != http.StatusAccepted || r.number(t, "sequence") != 1 {
				t.Errorf("%d %s %v", r.status, r.text, r.err)
			}
			mustBeDense(t, database.Conn(t), walletID, 1)
		})
	}
}

func TestAFullQueueRefusesWithoutAccepting(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API), "QUEUE_MAX_OPERATIONS=4", "REQUEST_TIMEOUT=6s")
	locked, other := a.newWallet(t), a.newWallet(t)
	lockWallet(t, database, locked)
	var clients sync.WaitGroup
	replies := make(chan reply, 10)
	for range cap(replies) {
		clients.Go(func() { replies <- a.deposit(locked, 1) })
	}
	testkit.Until(t, "the wallet's half of the queue is full", func() error {
		return testkit.Unless(len(replies) == 8, "%d requests are refused, not 8", len(replies))
	})
	if r := a.deposit(other, 1); r.status != http.StatusAccepted {
		t.Errorf("another wallet: %d %s", r.status, r.text)
	}
	clients.Wait()
	close(replies)
	for r := range replies {
		if r.status != http.StatusServiceUnavailable || r.body["code"] != "overloaded" || r.header.Get("Retry-After") == "" {
			t.Errorf("%d %s %v", r.status, r.text, r.header)
		}
	}
	mustBeDense(t, database.Conn(t), locked, 0)
}

func TestARequestIsNotAcceptedAfterItsClientHasLeft(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API))
	walletID := a.newWallet(t)
	release := lockWallet(t, database, walletID)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	go func() {
		request, _ := http.NewRequestWithContext(ctx, "POST", a.url+"/api/v1/wallet", strings.NewReader(depositBody(walletID, 1)))
		request.Header.Set("Content-Type", "application/json")
		_, _ = client.Do(request)
	}()
	testkit.Until(t, "the request waits", a.admin.Counts("wallet_api_queue_operations", "1"))
	leave()
	testkit.Until(t, "the request is dropped", a.admin.Counts("wallet_api_queue_operations", "0"))
	release()
	if r := a.deposit(walletID, 1); r.status != http.StatusAccepted {
		t.Errorf("%d %s", r.status, r.text)
	}
	mustBeDense(t, database.Conn(t), walletID, 1)
}
