package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/hook"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// TestMain lets the test binary be hooks, so that tests can kill and stop one.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_BINARY_IS_HOOKS") != "" {
		main()
	}
	var err error
	if names, err = startNameServer(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// process is hooks that can be killed.
type process struct {
	*exec.Cmd
	log   *testkit.Log
	admin testkit.Admin
}

func (b *bed) startProcess(settings ...string) *process {
	b.Helper()
	p := &process{exec.Command(os.Args[0]), testkit.NewLog(b, "a hooks process"), testkit.Admin(testkit.FreeAddr(b).String())}
	p.Env = append(b.environ(append(settings, "ADMIN_ADDR="+string(p.admin))...), "TEST_BINARY_IS_HOOKS=1")
	p.Stderr = p.log
	p.SysProcAttr = testkit.EndsWithTest
	if err := p.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.kill)
	return p
}

func (p *process) kill() {
	_ = p.Process.Signal(syscall.SIGKILL)
	_ = p.Wait()
}

func TestHooksStartAndEnd(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2)
	h := b.start()
	h.stop()
	if h.code != 0 {
		t.Errorf("hooks ended with %d", h.code)
	}
}

func TestEveryRunArrivesInOrder(t *testing.T) {
	t.Parallel()
	b, r := newBed(t, 2), newReceiver(t)
	b.produce(1, 99) // before the endpoint is there
	delete(b.last, walletOf(0, 99))
	time.Sleep(2 * time.Millisecond)
	id := b.endpoint(r)
	h := b.start()
	b.awaitBegun(id)
	for i := range 50 {
		b.produce(1+i%3, 1, 2, 3, 1)
	}
	testkit.Until(t, "all has arrived", r.has(b))
	b.awaitSaved(id)
	if r.doubled > 0 {
		t.Errorf("%d came twice", r.doubled)
	}
	for _, m := range r.seen() {
		if m.walletID == walletOf(0, 99) {
			t.Error("what was finished before the endpoint was created is sent")
		}
	}
	h.stop()
	before := len(r.seen())
	b.produce(1, 1, 2)
	h = b.start()
	testkit.Until(t, "what came meanwhile has arrived", r.has(b))
	if r.doubled > 0 || len(r.seen()) != before+2 {
		t.Errorf("after a restart %d came twice, in %d attempts", r.doubled, len(r.seen())-before)
	}
	testkit.Until(t, "attempts are kept", b.keptAttempts(id, r))
	h.admin.UntilWell(t)
}

// Attempts that come faster than they are saved one by one are saved when the process ends.
func TestAnOrderlyEndKeepsTheAttempts(t *testing.T) {
	t.Parallel()
	b, r := newBed(t, 1), newReceiver(t)
	id := b.endpoint(r)
	h := b.start()
	b.awaitBegun(id)
	b.produce(1, 1)
	testkit.Until(t, "the first attempt is kept", b.keptAttempts(id, r))
	b.produce(1, 1, 2, 3, 4, 5, 6, 7, 8)
	testkit.Until(t, "all has arrived", r.has(b))
	h.stop()
	if err := b.keptAttempts(id, r)(); err != nil {
		t.Error(err)
	}
}

// A dead, a refusing and a slow endpoint slow no other.
func TestADeadEndpointSlowsNoOther(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2)
	refusing, slow, good := newReceiver(t), newReceiver(t), newReceiver(t)
	refusing.status(http.StatusInternalServerError)
	slow.answers(func(http.ResponseWriter, *http.Request, received) int {
		time.Sleep(300 * time.Millisecond)
		return 200
	})
	b.endpointAt(silentListener(t), good)
	b.endpoint(refusing)
	b.endpoint(slow)
	id := b.endpoint(good)
	b.start()
	b.awaitBegun(id)
	stall := testdb.WatchStalls(t, b.Database.URL)
	wallets := make([]int, 50)
	for i := range wallets {
		wallets[i] = i
	}
	for range 30 {
		b.produce(1, wallets...)
		time.Sleep(20 * time.Millisecond)
	}
	testkit.Until(t, "all has arrived at the good one", good.has(b))
	if good.latest > 5*time.Second+stall().Sum {
		t.Errorf("the good one waited for %v", good.latest)
	}
	t.Logf("the longest time from applied to received: %v", good.latest)
}

func TestAReceiverThatComesBackGetsAll(t *testing.T) {
	t.Parallel()
	b, r := newBed(t, 2), newReceiver(t)
	id := b.endpoint(r)
	b.start()
	b.awaitBegun(id)
	r.status(http.StatusServiceUnavailable)
	for range 30 {
		b.produce(1, slices.Repeat([]int{1, 2, 3, 4, 5}, 100)...)
	}
	testkit.Until(t, "it fails", func() error {
		return testkit.Unless(b.state(id, "failing_since IS NOT NULL AND last_error = 'the answer was 503 Service Unavailable' AND lag_messages > 10000") == "true",
			"%s, %s, %s", b.state(id, "failing_since"), b.state(id, "last_error"), b.state(id, "lag_messages"))
	})
	r.answers(nil)
	testkit.Within(t, 2*time.Minute, "all has arrived", r.has(b)) // 15,000 messages
	b.awaitSaved(id)
	if r.doubled > 0 {
		t.Errorf("%d came twice", r.doubled)
	}
	testkit.Until(t, "it is well", func() error {
		return testkit.Unless(b.state(id, "failing_since IS NULL AND failures = 0 AND lag_messages = 0") == "true", "it is not")
	})
}

func TestRequests(t *testing.T) {
	t.Parallel()
	b, r := newBed(t, 2), newReceiver(t)
	began := time.Now()
	id := b.endpoint(r)
	b.start()
	b.awaitBegun(id)
	b.produce(2, 1, 2, 3)
	testkit.Until(t, "all has arrived", r.has(b))

	request := b.ask(id, hook.Test, nil, nil)
	b.awaitRequest(id, request)
	seen := r.seen()
	if m := seen[len(seen)-1]; m.kind != hook.TypeTest || m.id != hook.TestID(id, request) || len(seen) != 4 {
		t.Errorf("the test is %+v, of %d", m, len(seen))
	}

	b.awaitRequest(id, b.ask(id, hook.Disable, nil, nil))
	if b.state(id, "disabled_at IS NOT NULL AND reason <> ''") != "true" {
		t.Error("it is not disabled")
	}
	b.produce(1, 1)
	b.awaitRequest(id, b.ask(id, hook.Enable, nil, nil))
	testkit.Until(t, "all has arrived", r.has(b))
	if b.state(id, "disabled_at IS NULL AND reason IS NULL") != "true" {
		t.Error("it is disabled")
	}

	b.awaitSaved(id)
	term := b.state(id, "term")
	before := len(r.seen())
	b.awaitRequest(id, b.ask(id, hook.Replay, &began, nil))
	testkit.Until(t, "all comes again", func() error {
		versions := map[string]bool{}
		for _, m := range r.seen()[before:] {
			versions[m.id] = true
		}
		return testkit.Unless(len(versions) >= 3 && versions[runIDOf(b, 1)], "%v", versions)
	})
	if b.state(id, "term") == term {
		t.Errorf("the term is still %s", term)
	}
	b.awaitSaved(id)

	r.answers(func(_ http.ResponseWriter, _ *http.Request, m received) int {
		if m.walletID == walletOf(0, 2) {
			return http.StatusBadRequest
		}
		return 200
	})
	b.produce(1, 2, 3)
	b.produce(1, 2, 3)
	testkit.Until(t, "it says what stalls", func() error {
		return testkit.Unless(b.state(id, "stalled->0->>'run'") == walletOf(0, 2).String()+":3", "%s", b.state(id, "stalled"))
	})
	run := b.state(id, "stalled->0->>'run'")
	b.awaitRequest(id, b.ask(id, hook.Skip, nil, &run))
	testkit.Until(t, "it says what was skipped", func() error {
		return testkit.Unless(b.state(id, "skipped->0->>'run'") == run, "%s", b.state(id, "skipped"))
	})
	r.mu.Lock()
	r.got[walletOf(0, 2)] = 3 // the client knows
	r.mu.Unlock()
	r.answers(nil)
	testkit.Until(t, "the rest has arrived", r.has(b))
	b.awaitSaved(id)
	testkit.Until(t, "nothing stalls", func() error {
		return testkit.Unless(b.state(id, "stalled") == "[]", "%s", b.state(id, "stalled"))
	})
}

// The log is read from a little before the time of a replay, and Kafka knows none before 1970.
func TestAReplaySinceTheEpochIsDone(t *testing.T) {
	t.Parallel()
	b, r := newBed(t, 1), newReceiver(t)
	id := b.endpoint(r)
	b.start()
	b.awaitBegun(id)
	b.produce(1, 1)
	testkit.Until(t, "all has arrived", r.has(b))
	since := time.Unix(0, 0)
	b.awaitRequest(id, b.ask(id, hook.Replay, &since, nil))
	testkit.Until(t, "it comes again", func() error { return testkit.Unless(len(r.seen()) == 2, "it does not") })
}

func runIDOf(b *bed, n int) string {
	id, _ := b.wallet(n)
	return id.String() + ":" + "3"
}

func TestADisabledTenantsEndpointStops(t *testing.T) {
	t.Parallel()
	b, r := newBed(t, 1), newReceiver(t)
	id := b.endpoint(r)
	h := b.start()
	b.awaitBegun(id)
	b.exec("UPDATE tenants SET disabled_at = now()")
	testkit.Until(t, "hooks has seen it", h.admin.Counts(`wallet_hooks_endpoints{state="disabled"}`, "1"))
	b.produce(1, 1)
	time.Sleep(500 * time.Millisecond)
	if n := len(r.seen()); n > 0 {
		t.Errorf("%d deliveries to a disabled tenant's endpoint", n)
	}
	b.exec("UPDATE tenants SET disabled_at = NULL")
	testkit.Until(t, "all has arrived", r.has(b))
}

// An endpoint that is taken over knows that it may not deliver, and what is asked of it, before it runs.
func TestAnEndpointThatIsTakenOverKnowsWhatForbidsDeliveries(t *testing.T) {
	t.Parallel()
	b, r := newBed(t, 1), newReceiver(t)
	id := b.endpoint(r)
	b.exec("UPDATE tenants SET disabled_at = now()")
	request := b.ask(id, hook.Disable, nil, nil)
	q := walletdb.New(b.Conn(t))
	all, err := q.HookEndpoints(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	o := &owner{base: time.Now(), keys: b.keys, retries: testRetries(), log: &eventLog{}, owned: map[uuid.UUID]*ownedEndpoint{}}
	e, err := o.takeOver(t.Context(), q, all[0])
	if err != nil {
		t.Fatal(err)
	}
	defer o.drop(id)
	known, _ := e.known()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.suspended || known != request {
		t.Errorf("it is suspended: %v; it knows request %d of %d", e.suspended, known, request)
	}
}

func TestSettingsOfAnEndpointAreFollowed(t *testing.T) {
	t.Parallel()
	b, first, second := newBed(t, 1), newReceiver(t), newReceiver(t)
	id, other := b.endpoint(first), b.endpoint(newReceiver(t))
	h := b.start()
	b.awaitBegun(id, other)
	followed := func() { b.awaitRequest(other, b.ask(other, hook.Enable, nil, nil)) } // a round has looked at all endpoints
	b.produce(1, 1)
	testkit.Until(t, "all has arrived", first.has(b))
	second.got[walletOf(0, 1)], second.also = 1, []string{first.secret}
	b.exec("UPDATE hook_endpoints SET url = $2, secret = $3, previous_secret = secret, previous_until = now() + interval '1 day', updated_at = now() WHERE id = $1", id, second.URL, b.keys.Seal(id, second.secret))
	followed()
	b.produce(1, 1)
	testkit.Until(t, "the other receiver has it, signed by the new secret and by the old one", second.has(b))
	b.exec("UPDATE hook_endpoints SET wallets = ARRAY[$2::uuid], updated_at = now() WHERE id = $1", id, walletOf(0, 7))
	followed()
	b.produce(1, 1, 7)
	testkit.Until(t, "the wallet that is asked for has arrived", func() error {
		return testkit.Unless(slices.ContainsFunc(second.seen(), func(m received) bool { return m.walletID == walletOf(0, 7) }), "it has not")
	})
	b.awaitSaved(id)
	if n := len(second.seen()); n != 2 {
		t.Errorf("%d deliveries, want 2", n)
	}
	b.exec("DELETE FROM hook_endpoints WHERE id = ANY ($1)", []uuid.UUID{id, other})
	testkit.Until(t, "it is gone", h.admin.Counts(`wallet_hooks_endpoints{state="delivering"}`, "0"))
}

// A request that was done is deleted when it is a day old, and one that was not is kept for as long as that takes.
func TestRequestsThatAreDoneAreDeletedADayLater(t *testing.T) {
	t.Parallel()
	b, r := newBed(t, 1), newReceiver(t)
	id, suspended := b.endpoint(r), b.endpoint(r)
	b.exec("INSERT INTO tenants (name, disabled_at) VALUES ('acme', now())")
	b.exec("UPDATE hook_endpoints SET tenant = 'acme' WHERE id = $1", suspended)
	old, young, waits := b.ask(id, hook.Enable, nil, nil), b.ask(id, hook.Enable, nil, nil), b.ask(suspended, hook.Enable, nil, nil)
	b.exec("UPDATE hook_requests SET created_at = now() - interval '25 hours' WHERE id <> $1", young)
	b.exec("INSERT INTO hook_states (endpoint_id, term, last_request) VALUES ($1, 1, $2)", id, young)
	b.start()
	testkit.Until(t, "one is deleted", func() error {
		var kept []int64
		b.scan(&kept, "SELECT array_agg(id ORDER BY id) FROM hook_requests")
		return testkit.Unless(slices.Equal(kept, []int64{young, waits}), "%d of %d, %d and %d are kept", kept, old, young, waits)
	})
}

// Of the secrets that were exchanged each signs until its own time.
func TestEarlierSecretsSignUntilTheirTime(t *testing.T) {
	t.Parallel()
	b, r := newBed(t, 1), newReceiver(t)
	id := b.endpoint(r)
	ended := hook.NewSecret()
	r.also = []string{hook.NewSecret(), hook.NewSecret()}
	older := fmt.Sprintf(`[{"secret": %q, "until": "2026-01-01T00:00:00+00:00"}, {"secret": %q, "until": "9999-01-01T00:00:00+00:00"}]`, b.keys.Seal(id, ended), b.keys.Seal(id, r.also[0]))
	b.exec("UPDATE hook_endpoints SET previous_secret = $2, previous_until = now() + interval '1 day', older_secrets = $3, updated_at = now() WHERE id = $1", id, b.keys.Seal(id, r.also[1]), older)
	r.answers(func(_ http.ResponseWriter, request *http.Request, _ received) int {
		if signatures := strings.Fields(request.Header.Get("webhook-signature")); len(signatures) != 3 {
			t.Errorf("%d signatures: %q", len(signatures), signatures)
		}
		return http.StatusNoContent
	})
	b.start()
	b.awaitBegun(id)
	b.produce(1, 1)
	testkit.Until(t, "it has arrived", r.has(b))
}

// A run that stalls its wallet and is not asked for any more is abandoned, and so are those that wait in memory.
func TestAFilterCountsForWhatWaits(t *testing.T) {
	t.Parallel()
	b, r := newBed(t, 1), newReceiver(t)
	id := b.endpoint(r)
	b.start()
	b.awaitBegun(id)
	r.answers(func(_ http.ResponseWriter, _ *http.Request, m received) int {
		if m.walletID == walletOf(0, 2) {
			return http.StatusBadRequest
		}
		return 200
	})
	b.produce(1, 2, 7)
	b.produce(1, 2)
	testkit.Until(t, "it says what stalls", func() error {
		return testkit.Unless(b.state(id, "jsonb_array_length(stalled)") == "1", "%s", b.state(id, "stalled"))
	})
	b.exec("UPDATE hook_endpoints SET wallets = ARRAY[$2::uuid], updated_at = now() WHERE id = $1", id, walletOf(0, 7))
	b.awaitSaved(id)
	testkit.Until(t, "nothing stalls", func() error {
		return testkit.Unless(b.state(id, "stalled") == "[]", "%s", b.state(id, "stalled"))
	})
}

// An idempotency key that is used again after DELETE makes an endpoint of the same id, before hooks has looked.
func TestAnEndpointThatIsDeletedAndMadeAnewLeavesNoLock(t *testing.T) {
	t.Parallel()
	b, r := newBed(t, 1), newReceiver(t)
	id := b.endpoint(r)
	b.start()
	b.awaitBegun(id)
	b.exec("WITH d AS (DELETE FROM hook_endpoints WHERE id = $1 RETURNING id) SELECT count(*) FROM d", id)
	b.exec("INSERT INTO hook_endpoints (id, tenant, client, url, secret) VALUES ($1, 'default', 'test', $2, $3)", id, r.URL, b.keys.Seal(id, r.secret))
	b.awaitBegun(id)
	b.produce(1, 1)
	testkit.Until(t, "all has arrived", r.has(b))
	b.exec("DELETE FROM hook_endpoints WHERE id = $1", id)
	testkit.Until(t, "its lock is given back", func() error {
		var locks int
		b.scan(&locks, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1::integer::oid AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, int32(db.HookLock))
		return testkit.Unless(locks == 0, "%d are held", locks)
	})
}

// A key that is missing is ours to mend: nothing is sent, and no receiver is blamed.
func TestASecretThatCannotBeOpenedIsSaid(t *testing.T) {
	t.Parallel()
	b, r := newBed(t, 1), newReceiver(t)
	id := b.endpoint(r)
	h := b.launch("HOOKS_KEY=other:" + strings.SplitN(testKey, ":", 2)[1])
	b.produce(1, 1)
	testkit.Until(t, "health says it", h.admin.Says("which HOOKS_KEY does not have"))
	testkit.Until(t, "the endpoint says it", func() error {
		return testkit.Unless(strings.Contains(b.state(id, "last_error"), "HOOKS_KEY"), "%q", b.state(id, "last_error"))
	})
	if len(r.seen()) > 0 || b.state(id, "failing_since") != "" {
		t.Error("the receiver is blamed")
	}
}
