package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service"
)

// ledger connects as the worker; parameters are added to the connection string.
func (s *store) ledger(parameters ...string) postgres {
	s.Helper()
	return s.ledgerAt(s.As(testdb.Worker) + "&" + strings.Join(parameters, "&"))
}

// patient are settings of a ledger that waits for longer than a busy machine may take.
var patient = []string{"lock_timeout=20000", "statement_timeout=20000"}

func (s *store) ledgerAt(url string) postgres {
	s.Helper()
	config, err := db.Config(url)
	if err != nil {
		s.Fatal(err)
	}
	pool, err := db.Open(context.Background(), config)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(pool.Close)
	return postgres{pool, db.NewCommits(config.ConnConfig, nil), s.topic, s.events(pool)}
}

// bench is a partition without Kafka, and what it tells the outside.
type bench struct {
	*partition
	stored  []int64
	reports []error
	applied []operation
}

func newBench(l ledger) *bench {
	b := &bench{}
	a := &applier{ledger: l, halted: newHalted(discard), committed: func(_ context.Context, done plan, _ []received) {
		b.applied = append(b.applied, done.applied...)
	}}
	b.partition = newPartition(0, newQueue(0, 1), a, b)
	b.sleep = func(context.Context, time.Duration) {}
	return b
}

func (b *bench) store(next int64)        { b.stored = append(b.stored, next) }
func (b *bench) report(err error)        { b.reports = append(b.reports, err) }
func (b *bench) took(int, time.Duration) {}

// batch makes messages that follow each other from an offset on.
func batch(offset int64, payloads ...[]byte) []received {
	messages := make([]received, len(payloads))
	for i, payload := range payloads {
		m, _ := event.DecodeHint(payload)
		messages[i] = received{Hint: m, offset: offset + int64(i)}
	}
	return messages
}

func repeat(amount int64, n int) []int64 {
	return slices.Repeat([]int64{amount}, n)
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	wallet := s.wallet()
	b := newBench(s.ledger())
	if err := b.process(t.Context(), batch(10, s.accept(wallet, 100, -30, -80, maxBalance)...)); err != nil {
		t.Fatal(err)
	}
	type row struct {
		Status, Reason string
		Balance        int64
	}
	var got []row
	for seq := range int64(4) {
		var r row
		if err := s.conn.QueryRow(t.Context(), "SELECT status::text, coalesce(failure_reason, ''), balance_after FROM outcomes WHERE wallet_id = $1 AND seq = $2", wallet, seq+1).Scan(&r.Status, &r.Reason, &r.Balance); err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	want := []row{{Status: "PROCESSED", Balance: 100}, {Status: "PROCESSED", Balance: 70}, {Status: "FAILED", Reason: insufficientFunds, Balance: 70}, {Status: "FAILED", Reason: balanceLimit, Balance: 70}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]int64{14}, b.stored); diff != "" {
		t.Errorf("offsets stored: %s", diff)
	}
	s.audit()
}

// The second worker waits for the first one's lock, and must then see what the first has applied:
// its statements after the lock do, the one that waited does not.
func TestTwoWorkersApplyOneWalletAtOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	wallet := s.wallet()
	s.accept(wallet, 100, -30, 1, 1, 1)
	first, second := s.ledger(), s.ledger(patient...)

	conn, err := first.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	read, err := lockAndRead(t.Context(), conn.Conn(), []target{{walletID: wallet, upTo: 3}}, true)
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		plan
		error
	}
	answers := make(chan answer, 1)
	go func() {
		done, err := second.transaction(context.Background(), []target{{walletID: wallet, upTo: 5}}, nil)
		answers <- answer{done, err}
	}()
	s.waitForLocks(1)

	next, err := newPlan(read)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.write(t.Context(), conn, next); err != nil {
		t.Fatal(err)
	}
	a := <-answers
	if a.error != nil {
		t.Fatalf("second worker: %v", a.error)
	}
	if len(a.applied) != 2 || len(a.damaged) != 0 {
		t.Errorf("second worker applied %d operations, want the 2 that the first had left; damaged: %v", len(a.applied), a.damaged)
	}
	s.wantBalance(wallet, 73, 5)
	s.audit()
}

// The transaction's begin may be before what the lock's last holder has written.
func TestTheTimeOfApplicationIsReadOnceTheWalletIsLocked(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	wallet := s.wallet()
	s.accept(wallet, 1)
	worker, holder := s.ledger(patient...), s.Conn(t)
	if _, err := holder.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	if _, err := holder.Exec(t.Context(), "SELECT FROM wallets WHERE id = $1 FOR UPDATE", wallet); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := worker.transaction(context.Background(), []target{{walletID: wallet, upTo: 1}}, nil)
		done <- err
	}()
	s.waitForLocks(1)
	var released, applied time.Time
	s.scan(&released, "SELECT clock_timestamp()")
	if _, err := holder.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s.scan(&applied, "SELECT applied_at FROM outcomes"); applied.Before(released) {
		t.Errorf("applied at %v, while another transaction held the wallet until %v or later", applied, released)
	}
}

// waitForLocks waits until so many connections to the database wait for others' row locks.
func (s *store) waitForLocks(count int) {
	s.Helper()
	testkit.Until(s, fmt.Sprintf("%d wait for locks", count), func() error {
		var waiting int
		s.scan(&waiting, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
		return testkit.Unless(waiting >= count, "%d do", waiting)
	})
}

// Many workers, all with the same messages, in any order and cut, many of them twice.
func TestWorkersInEachOthersWay(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var payloads [][]byte
	for range 20 {
		payloads = append(payloads, s.accept(s.wallet(), 10, -7, -7, 10, 10, -30, -5, 1, 1, -1)...)
	}
	l := s.ledger(patient...)
	errs := make(chan error)
	const workers = 4
	for seed := range uint64(workers) {
		go func() {
			b := newBench(l)
			random := rand.New(rand.NewPCG(seed, 0))
			all := slices.Concat(payloads, payloads)
			random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			var err error
			for len(all) > 0 && err == nil {
				n := min(1+random.IntN(50), len(all))
				err = b.process(context.Background(), batch(0, all[:n]...))
				all = all[n:]
			}
			errs <- errors.Join(append(b.reports, err)...)
		}()
	}
	for range workers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	s.audit()
}

func TestAWalletNeverGoesBack(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	wallet := s.wallet()
	s.exec("UPDATE wallets SET balance = 5, applied_seq = 3")
	for _, seq := range []int64{2, 3} {
		moved, err := walletdb.New(s.ledger().pool).AdvanceWallets(t.Context(), walletdb.AdvanceWalletsParams{
			Ids: []uuid.UUID{wallet}, Balances: []int64{99}, AppliedSeqs: []int64{seq},
		})
		if err != nil || moved != 0 {
			t.Errorf("moved %d wallets to sequence %d (%v), want 0", moved, seq, err)
		}
	}
	s.wantBalance(wallet, 5, 3)
}

func TestMessagesThatComeTwiceLateOrNeverChangeNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	wallet := s.wallet()
	m := s.accept(wallet, 1, 2, 3, 4, 5, 6)
	b := newBench(s.ledger())
	for _, step := range []struct {
		fact    string
		batch   [][]byte
		balance int64
		seq     int64
	}{
		{fact: "the third comes first, and brings those before it", batch: [][]byte{m[2]}, balance: 6, seq: 3},
		{fact: "then the first and the second", batch: [][]byte{m[0], m[1]}, balance: 6, seq: 3},
		{fact: "the third again", batch: [][]byte{m[2], m[2]}, balance: 6, seq: 3},
		{fact: "the sixth before the fourth; the fifth never comes", batch: [][]byte{m[5], m[3]}, balance: 21, seq: 6},
		{fact: "all of them again", batch: m, balance: 21, seq: 6},
	} {
		if err := b.process(t.Context(), batch(0, step.batch...)); err != nil {
			t.Fatal(err)
		}
		t.Log(step.fact)
		s.wantBalance(wallet, step.balance, step.seq)
	}
	if len(b.applied) != 6 {
		t.Errorf("%d operations applied, want 6", len(b.applied))
	}
	s.audit()
}

// A database that was restored to an earlier time may not have accepted what a message says.
func TestASequenceThatWasNeverAcceptedIsNoError(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	wallet := s.wallet()
	s.accept(wallet, 1, 1)
	b := newBench(s.ledger())
	messages := []received{{Hint: event.Hint{WalletID: wallet, Sequence: 7, OperationID: uuid.New()}, offset: 0}, {Hint: event.Hint{WalletID: uuid.New(), Sequence: 1, OperationID: uuid.New()}, offset: 1}}
	if err := b.process(t.Context(), messages); err != nil {
		t.Fatal(err)
	}
	s.wantBalance(wallet, 2, 2)
	if diff := cmp.Diff([]int64{2}, b.stored); diff != "" || b.applier.halted.count() != 0 {
		t.Errorf("offsets stored: %s; %d wallets halted", diff, b.applier.halted.count())
	}
}

func TestADamagedWalletHaltsAlone(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		fact    string
		missing int64
		applied int64
	}{
		{fact: "an operation in the middle is missing", missing: 3, applied: 2},
		{fact: "the first operation is missing", missing: 1, applied: 0},
		{fact: "the last operation is missing", missing: 5, applied: 4},
	} {
		t.Run(test.fact, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			damaged, healthy := s.wallet(), s.wallet()
			messages := slices.Concat(s.accept(damaged, 1, 1, 1, 1, 1), s.accept(healthy, 1))
			s.exec("CREATE TABLE lost AS SELECT * FROM operations WHERE wallet_id = $1 AND seq = $2", damaged, test.missing)
			s.exec("DELETE FROM operations WHERE wallet_id = $1 AND seq = $2", damaged, test.missing)
			b := newBench(s.ledger())
			for range 2 {
				if err := b.process(t.Context(), batch(0, messages...)); err != nil {
					t.Fatal(err)
				}
				s.wantBalance(damaged, test.applied, test.applied)
				s.wantBalance(healthy, 1, 1)
				if b.applier.halted.count() != 1 || !slices.Equal(b.stored, []int64{6}) {
					t.Errorf("%d wallets halted, offsets %v stored, want 1 and [6]", b.applier.halted.count(), b.stored)
				}
			}

			s.exec("INSERT INTO operations SELECT * FROM lost")
			if err := b.process(t.Context(), batch(6, s.accept(damaged, 1)...)); err != nil {
				t.Fatal(err)
			}
			if b.applier.halted.count() != 0 {
				t.Error("still halted after the repair")
			}
			s.audit()
		})
	}
}

// Operations beyond the limit of a transaction, behind a damaged wallet that has as many itself.
func TestALongBacklogTakesSeveralTransactions(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	damaged, long, short := s.wallet(), s.wallet(), s.wallet()
	var messages [][]byte
	for wallet, n := range map[uuid.UUID]int{damaged: maxOperations + 10, long: 2*maxOperations + 100, short: 1} {
		accepted := s.accept(wallet, repeat(1, n)...)
		messages = append(messages, accepted[n-1])
	}
	s.exec("DELETE FROM operations WHERE wallet_id = $1 AND seq = 1", damaged)
	l := &counting{ledger: s.ledger()}
	b := newBench(l)
	if err := b.process(t.Context(), batch(0, messages...)); err != nil {
		t.Fatal(err)
	}
	s.wantBalance(long, 2*maxOperations+100, 2*maxOperations+100)
	s.wantBalance(short, 1, 1)
	s.wantBalance(damaged, 0, 0)
	if b.applier.halted.count() != 1 || len(b.stored) != 1 {
		t.Errorf("%d wallets halted, offsets %v stored", b.applier.halted.count(), b.stored)
	}
	if l.most > maxOperations {
		t.Errorf("a transaction applied %d operations, the limit is %d", l.most, maxOperations)
	}
}

// counting remembers the largest transaction.
type counting struct {
	ledger
	most      int
	following int
}

func (c *counting) transaction(ctx context.Context, targets []target, messages []received) (plan, error) {
	done, err := c.ledger.transaction(ctx, targets, messages)
	c.most = max(c.most, len(done.applied))
	c.following = max(c.following, len(done.following))
	return done, err
}

func TestAWalletThatCannotBeWrittenStopsNoOther(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	poisoned, healthy := s.wallet(), s.wallet()
	// An outcome that should not be there makes every insert fail.
	s.exec("INSERT INTO outcomes (wallet_id, seq, status, balance_after) VALUES ($1, 1, 'PROCESSED', 1)", poisoned)
	b := newBench(s.ledger())
	process := func(offset int64, payloads ...[]byte) {
		t.Helper()
		if err := b.process(t.Context(), batch(offset, payloads...)); err != nil {
			t.Fatal(err)
		}
	}
	process(0, slices.Concat(s.accept(poisoned, 1), s.accept(healthy, 1))...)
	s.wantBalance(poisoned, 0, 0)
	s.wantBalance(healthy, 1, 1)

	b.reports = nil
	process(2, slices.Concat(s.accept(healthy, 1), s.accept(poisoned, 1))...)
	s.wantBalance(healthy, 2, 2)
	if len(b.stored) != 0 {
		t.Errorf("offsets %v stored although a wallet is not done", b.stored)
	}
	if len(b.reports) != 0 {
		t.Errorf("later batches fail too: %v", b.reports)
	}

	b.stuckUntil = time.Now()
	process(4)
	if len(b.stored) != 0 || causeOf(b.reports[0]) != unknown {
		t.Errorf("offsets %v stored, reports %v", b.stored, b.reports)
	}

	s.exec("DELETE FROM outcomes WHERE wallet_id = $1", poisoned)
	b.stuckUntil = time.Now()
	process(4)
	s.wantBalance(poisoned, 2, 2)
	if !slices.Equal(b.stored, []int64{4}) || b.reports[len(b.reports)-1] != nil {
		t.Errorf("offsets %v stored, reports %v", b.stored, b.reports)
	}
	s.audit()
}

// Somebody holds one wallet's row locked.
func TestALockedWalletStopsNoOther(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	locked, healthy := s.wallet(), s.wallet()
	s.exec("BEGIN")
	s.exec("SELECT FROM wallets WHERE id = $1 FOR UPDATE", locked)
	other := &store{TB: t, Database: s.Database, conn: s.Database.Conn(t), topic: s.topic}
	b := newBench(s.ledger("lock_timeout=100"))
	if err := b.process(t.Context(), batch(0, slices.Concat(other.accept(locked, 1), other.accept(healthy, 1))...)); err != nil {
		t.Fatal(err)
	}
	other.wantBalance(healthy, 1, 1)
	s.exec("ROLLBACK")
	recorder := &recorder{cache: newTestCache(t, miniredis.RunT(t).Addr()).Guard, metrics: newMetrics(), log: service.NewRepeats(discard)}
	b.applier.committed = recorder.batch
	b.stuckUntil = time.Now()
	if err := b.process(t.Context(), nil); err != nil || len(b.stored) != 1 {
		t.Fatalf("%v, offsets %v stored", err, b.stored)
	}
	s.wantBalance(locked, 1, 1)
	if n := gathered(t, recorder.metrics.registry, "wallet_worker_gaps_healed_total"); n != 0 {
		t.Errorf("%v gaps healed, and every message came", n)
	}
	s.audit()
}

// Somebody holds rows of two wallets locked, for longer than a lock is waited for.
func TestLockedWalletsDelayTheOthersOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	locked, healthy := []uuid.UUID{s.wallet(), s.wallet()}, []uuid.UUID{s.wallet(), s.wallet(), s.wallet()}
	holder := &store{TB: t, Database: s.Database, conn: s.Database.Conn(t)}
	holder.exec("BEGIN")
	holder.exec("SELECT FROM wallets WHERE id = ANY ($1) FOR UPDATE", locked)
	b := newBench(s.ledger())
	b.sleep = func(ctx context.Context, d time.Duration) { service.Sleep(ctx, d) }
	b.queue = newQueue(20*time.Millisecond, 2_000)
	offset := int64(0)
	send := func(payloads ...[]byte) {
		for _, m := range batch(offset, payloads...) {
			b.queue.add(m)
			offset++
		}
	}
	applied := func(wallet uuid.UUID, seq int64) time.Duration {
		t.Helper()
		sent := time.Now()
		testkit.Until(s, "the wallet is applied", func() error {
			var got int64
			s.scan(&got, "SELECT applied_seq FROM wallets WHERE id = $1", wallet)
			return testkit.Unless(got >= seq, "up to %d, not %d", got, seq)
		})
		return time.Since(sent)
	}
	nobody := uuid.New()
	if got, err := b.applier.ledger.lockedWallets(t.Context(), slices.Concat(healthy, locked[:1], []uuid.UUID{nobody})); err != nil || !slices.Equal(got, locked[:1]) {
		t.Errorf("%v are locked (%v), want %v", got, err, locked[:1])
	}
	send(s.accept(locked[0], 1)[0], s.accept(locked[1], 1)[0], message(operation{WalletID: nobody, Seq: 1, ID: uuid.New()}))
	b.start()
	defer func() { b.stop(); <-b.done }()

	stall := testdb.WatchStalls(t, s.Database.URL)
	var first, later, freed time.Duration
	began := time.Now()
	seq := int64(1)
	for ; time.Since(began) < 15*time.Second; seq++ {
		for _, wallet := range healthy {
			send(s.accept(wallet, 1)...)
		}
		send(s.accept(locked[seq%2], 1)...)
		for _, wallet := range healthy {
			took := applied(wallet, seq)
			if seq == 1 {
				first = max(first, took)
			} else {
				later = max(later, took)
			}
		}
		service.Sleep(t.Context(), 100*time.Millisecond)
	}
	if b.partition.stored.Load() != unknownOffset {
		t.Errorf("offset %d stored although wallets are not done", b.partition.stored.Load())
	}
	holder.exec("ROLLBACK")
	for _, wallet := range locked {
		var last int64
		s.scan(&last, "SELECT last_seq FROM wallet_sequences WHERE wallet_id = $1", wallet)
		freed = max(freed, applied(wallet, last))
	}
	if stalled := stall().Longest; first > 5*time.Second+stalled || later > 2*time.Second+stalled || freed > stuckDelay+2*time.Second+stalled {
		t.Errorf("applied after %v, then after %v, and after %v when nothing was locked", first, later, freed)
	}
	testkit.Until(s, "the offset is stored", func() error {
		return testkit.Unless(b.partition.stored.Load() == offset, "it is %d, not %d", b.partition.stored.Load(), offset)
	})
	s.audit()
}

// gathered is the value of a counter.
func gathered(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// If everything fails, it is not the wallets' fault: the batch waits, and not one by one.
func TestAFaultOfAllWalletsSticksToNone(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var payloads [][]byte
	for range 2 * maxStuck {
		payloads = append(payloads, s.accept(s.wallet(), 1)...)
	}
	s.exec("REVOKE INSERT ON outcomes FROM wallet_worker")
	b := newBench(s.ledger())
	b.sleep = func(context.Context, time.Duration) {
		if len(b.reports) > 2*maxStuck {
			s.exec("GRANT INSERT (wallet_id, seq, status, failure_reason, balance_after, applied_at, held_after, state_after, applied_amount, subject_left) ON outcomes TO wallet_worker")
		}
	}
	s.exec("REVOKE INSERT (wallet_id, seq, status, failure_reason, balance_after, applied_at, held_after, state_after, applied_amount, subject_left) ON outcomes FROM wallet_worker")
	if err := b.process(t.Context(), batch(0, payloads...)); err != nil {
		t.Fatal(err)
	}
	if len(b.stuck) > 0 || !slices.Equal(b.stored, []int64{int64(len(payloads))}) {
		t.Errorf("%d wallets stuck, offsets %v stored", len(b.stuck), b.stored)
	}
	s.audit()
}

// A transaction whose outcome is unknown is simply done again, whether it happened or not.
func TestAnUnknownOutcomeIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	wallet := s.wallet()
	l := s.ledger()
	for _, happened := range []bool{true, false} {
		b := newBench(&unsure{ledger: l, happened: happened})
		if err := b.process(t.Context(), batch(0, s.accept(wallet, 1, 1)...)); err != nil {
			t.Fatal(err)
		}
		if len(b.stored) != 1 {
			t.Errorf("offsets %v stored", b.stored)
		}
	}
	s.wantBalance(wallet, 4, 4)
	s.audit()
}

// unsure loses the answer to its first transaction.
type unsure struct {
	ledger
	happened bool
	asked    bool
}

func (u *unsure) transaction(ctx context.Context, targets []target, messages []received) (plan, error) {
	if u.asked {
		return u.ledger.transaction(ctx, targets, messages)
	}
	u.asked = true
	if u.happened {
		if _, err := u.ledger.transaction(ctx, targets, messages); err != nil {
			return plan{}, err
		}
	}
	return plan{}, errors.New("connection lost during COMMIT")
}

// Backends are killed all the time; nothing fails for it but transactions.
func TestKilledBackendsLoseNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	wallets := []uuid.UUID{s.wallet(), s.wallet(), s.wallet()}
	b := newBench(s.ledger())
	b.sleep = func(ctx context.Context, _ time.Duration) { service.Sleep(ctx, 5*time.Millisecond) }
	killer := s.Database.Conn(t)
	stop := make(chan struct{})
	killed := make(chan int)
	go func() {
		n := 0
		defer func() { killed <- n }()
		for {
			var k int
			_ = killer.QueryRow(context.Background(), "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'test_wallet_worker'").Scan(&k)
			n += k
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	for i := range 30 {
		var payloads [][]byte
		for _, wallet := range wallets {
			payloads = append(payloads, s.accept(wallet, repeat(1, 20)...)...)
		}
		if err := b.process(t.Context(), batch(int64(60*i), payloads...)); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if n := <-killed; n == 0 {
		t.Error("no backend was killed")
	}
	var failed int
	s.scan(&failed, "SELECT count(*) FROM outcomes WHERE status = 'FAILED'")
	if failed > 0 {
		t.Errorf("%d operations FAILED because of the database", failed)
	}
	s.audit()
}

func TestCauses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want cause
	}{
		{errors.New("unexpected EOF"), connection},
		{context.DeadlineExceeded, connection},
		{&pgconn.PgError{Code: "57P01"}, connection}, // admin shutdown
		{&pgconn.PgError{Code: "53100"}, connection}, // disk full
		{&pgconn.PgError{Code: "25006"}, connection}, // read-only
		{&pgconn.PgError{Code: "40P01"}, conflict},
		{&pgconn.PgError{Code: "55P03"}, conflict},
		{&pgconn.PgError{Code: "57014"}, conflict}, // statement timeout
		{&pgconn.PgError{Code: "23505"}, unknown},
		{&pgconn.PgError{Code: "42501"}, unknown}, // not granted
		{fmt.Errorf("%w operation type", errUnexpected), unknown},
	} {
		if got := causeOf(fmt.Errorf("lock wallets: %w", test.err)); got != test.want {
			t.Errorf("%v: %s, want %s", test.err, got, test.want)
		}
	}
	config, err := pgxpool.ParseConfig("postgres://nobody@127.0.0.1:1/none")
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	_, err = postgres{pool: pool, commits: db.NewCommits(pool.Config().ConnConfig, nil), topic: "wallet-operations"}.transaction(t.Context(), []target{{walletID: uuid.New(), upTo: 1}}, nil)
	if got := causeOf(err); err == nil || got != connection {
		t.Errorf("%v: %s, want %s", err, got, connection)
	}
}

func TestForkedHistoriesAndGapsAreSeen(t *testing.T) {
	t.Parallel()
	a, b := uuid.New(), uuid.New()
	op := func(wallet uuid.UUID, seq int64) operation {
		return operation{WalletID: wallet, Seq: seq, ID: uuid.NewSHA1(wallet, []byte{byte(seq)})}
	}
	name := func(o operation) received {
		return received{Hint: event.Hint{WalletID: o.WalletID, Sequence: o.Seq, OperationID: o.ID}, offset: o.Seq}
	}
	applied := []operation{op(a, 5), op(a, 6), op(a, 7), op(b, 1)}
	stranger := received{Hint: event.Hint{WalletID: b, Sequence: 1, OperationID: uuid.New()}, offset: 9}
	for fact, test := range map[string]struct {
		messages []received
		unnamed  int
		forked   []received
	}{
		"all named":                  {messages: []received{name(op(a, 7)), name(op(a, 5)), name(op(a, 6)), name(op(b, 1))}, unnamed: 0},
		"one of them twice":          {messages: []received{name(op(a, 7)), name(op(a, 7)), name(op(a, 5)), name(op(a, 6)), name(op(b, 1))}, unnamed: 0},
		"the last of each only":      {messages: []received{name(op(a, 7)), name(op(b, 1))}, unnamed: 2},
		"applied before, or beyond":  {messages: []received{name(op(a, 4)), name(op(a, 8)), name(op(b, 2)), {Hint: event.Hint{WalletID: a, Sequence: 1 << 62, OperationID: uuid.New()}, offset: 1}}, unnamed: 4},
		"another operation":          {messages: []received{name(op(a, 7)), name(op(a, 5)), name(op(a, 6)), stranger}, unnamed: 0, forked: []received{stranger}},
		"a wallet with nothing done": {messages: []received{{Hint: event.Hint{WalletID: uuid.New(), Sequence: 5, OperationID: uuid.New()}, offset: 1}}, unnamed: 4},
	} {
		unnamed, forked := compare(test.messages, applied)
		if diff := cmp.Diff(test.forked, forked, cmp.AllowUnexported(received{})); diff != "" || unnamed != test.unnamed {
			t.Errorf("%s: %d unnamed, want %d; forked: %s", fact, unnamed, test.unnamed, diff)
		}
	}
}
