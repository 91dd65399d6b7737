package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/event"
)

// testRetries are the schedule of production without its chance.
func testRetries() *retries {
	delays, err := parseDelays(defaultRetries)
	if err != nil {
		panic(err)
	}
	return &retries{delays: delays, giveUp: 72 * time.Hour, jitter: func() float64 { return 0.5 }}
}

var epoch = time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)

// testLog is a topic: each partition's messages, offset 0 first.
type testLog struct {
	partitions [][]*message
	last       map[uuid.UUID]int64 // sequences
}

func newTestLog(partitions int) *testLog {
	return &testLog{partitions: make([][]*message, partitions), last: map[uuid.UUID]int64{}}
}

// walletOf is a wallet of a partition.
func walletOf(partition, n int) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%d %d", partition, n))
}

// add writes a run of so many operations of a wallet.
func (l *testLog) add(partition int, walletID uuid.UUID, operations int, at time.Time) *message {
	value := testRun(walletID, l.last[walletID]+1, operations, at)
	l.last[walletID] += int64(operations)
	return l.append(partition, value, at)
}

func (l *testLog) append(partition int, value []byte, at time.Time) *message {
	m, err := parse(value)
	if err != nil {
		panic(err)
	}
	m.partition, m.offset, m.at = int32(partition), int64(len(l.partitions[partition])), at
	l.partitions[partition] = append(l.partitions[partition], m)
	return m
}

// testRun is a message's value.
func testRun(walletID uuid.UUID, from int64, operations int, at time.Time) []byte {
	run := event.Run{
		WalletID: walletID, Tenant: "default", Currency: "EUR", FromSequence: from, Version: from + int64(operations) - 1,
		Balance: 100 * (from + int64(operations) - 1), Available: 100 * (from + int64(operations) - 1), State: "ACTIVE",
	}
	for i := range operations {
		seq := from + int64(i)
		run.Operations = append(run.Operations, event.Operation{
			OperationID: uuid.NewSHA1(walletID, fmt.Append(nil, seq)), WalletID: walletID, Sequence: seq, OperationType: "DEPOSIT", Amount: 100,
			Status: "PROCESSED", BalanceAfter: 100 * seq, AvailableAfter: 100 * seq, CreatedAt: at, AppliedAt: at,
		})
	}
	return run.Append(nil)
}

// fill loads all that there is room for.
func (l *testLog) fill(q *queue) {
	for partition, w := range q.windows {
		for messages := l.partitions[partition]; q.room(w) && w.read < int64(len(messages)); {
			before := w.read
			q.load(w, messages[w.read:min(w.read+100, int64(len(messages)))])
			if w.read == before {
				break
			}
		}
	}
}

func (l *testLog) queue() *queue {
	q := newQueue(testRetries(), &filter{tenant: "default"})
	for partition := range l.partitions {
		q.begin(int32(partition), cursor{})
	}
	return q
}

// TestSimulation runs an endpoint against receivers that take, refuse, hang and lose their answers, through
// restarts from what was saved last, replays, and memory that is given back. Whatever happens, a wallet's runs come in
// order and without a gap, one at a time, and in the end all have come. SCHEDULES=500 plays 24 of them, each as long as
// many of the relay's and the worker's.
func TestSimulation(t *testing.T) { // as TestACursorIsASetOfFinishedOffsets, before those that run at once
	schedules := uint64(24)
	if given, err := strconv.ParseUint(os.Getenv("SCHEDULES"), 10, 64); err == nil {
		schedules = max(1, given*24/500)
	}
	for seed := range schedules {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			(&simulation{T: t, random: rand.New(rand.NewPCG(seed, 1)), now: epoch}).run()
		})
	}
}

type simulation struct {
	*testing.T
	random *rand.Rand
	now    time.Time
	log    *testLog
	q      *queue
	flying []*delivery
	got    map[uuid.UUID]int64 // by the receiver: the last sequence of each wallet

	saved    map[int32]cursor
	set      map[place]setback
	poison   map[string]time.Time // runs that are refused, until when
	down     time.Time            // until then nothing is reached
	attempts int
}

func (s *simulation) run() {
	s.log, s.got, s.poison = newTestLog(1+s.random.IntN(3)), map[uuid.UUID]int64{}, map[string]time.Time{}
	s.q = s.log.queue()
	s.save()
	wallets := 1 + s.random.IntN(12)
	for step := 0; step < 1_500; step++ {
		s.now = s.now.Add(time.Duration(s.random.IntN(2_000)) * time.Millisecond)
		switch s.random.IntN(25) {
		case 0, 1, 2, 3, 4, 5, 6, 7:
			for range s.random.IntN(20) {
				partition := s.random.IntN(len(s.log.partitions))
				m := s.log.add(partition, walletOf(partition, s.random.IntN(wallets)), 1+s.random.IntN(3), s.now)
				if s.random.IntN(300) == 0 {
					s.poison[m.id()] = s.now.Add(time.Duration(s.random.IntN(7_200)) * time.Second)
				}
			}
		case 8:
			s.save()
		case 9:
			if s.random.IntN(10) == 0 {
				s.down = s.now.Add(time.Duration(s.random.IntN(7_200)) * time.Second)
			}
		case 10:
			if s.random.IntN(20) == 0 {
				s.restart()
			}
		case 11:
			if len(s.flying) == 0 {
				s.q.unload()
			}
		case 12:
			if len(s.flying) == 0 && s.random.IntN(50) == 0 {
				to := map[int32]int64{}
				for partition, w := range s.q.windows {
					to[partition] = s.random.Int64N(w.next + 10)
				}
				s.q.replay(to)
				s.save()
			}
		case 14:
			if s.random.IntN(20) == 0 {
				s.q.forgive()
			}
		case 13:
			if at := s.q.wait(s.now); !at.IsZero() && s.random.IntN(3) == 0 {
				if !at.After(s.now) {
					s.Fatalf("waits for %v, and it is %v", at, s.now)
				}
				s.now = at
			}
		default:
			s.answer()
		}
		s.send()
	}
	for step := 0; !s.finished(); step++ {
		if step > 200_000 {
			s.Fatalf("it does not end: %d failures, next %v, now %v, %d wallets, %d ready, %d waiting, %d set", s.q.failures, s.q.next, s.now, len(s.q.wallets), len(s.q.ready), len(s.q.waiting), len(s.q.set))
		}
		s.send()
		if len(s.flying) > 0 {
			s.answer()
		} else if at := s.q.wait(s.now); !at.IsZero() {
			s.now = at
		}
	}
	for id, last := range s.log.last {
		if s.got[id] != last {
			s.Errorf("wallet %s: the receiver is at %d, want %d", id, s.got[id], last)
		}
	}
	if len(s.q.wallets)+len(s.q.ready)+len(s.q.waiting)+len(s.q.set) > 0 || s.q.down() {
		s.Errorf("something is left behind: %+v", s.q)
	}
	for partition, w := range s.q.windows {
		if w.bytes != 0 || len(w.loaded) > 0 {
			s.Errorf("partition %d has %d bytes and %d messages loaded", partition, w.bytes, len(w.loaded))
		}
	}
}

func (s *simulation) finished() bool {
	for partition, w := range s.q.windows {
		if w.next < int64(len(s.log.partitions[partition])) {
			return false
		}
	}
	return true
}

// send starts all that may start, and checks it.
func (s *simulation) send() {
	s.log.fill(s.q)
	down := s.q.down()
	for d := s.q.take(s.now); d != nil; d = s.q.take(s.now) {
		if s.attempts++; down && len(s.flying) > 0 {
			s.Fatalf("%d deliveries are under way to a receiver that is down", len(s.flying)+1)
		}
		id := d.wallet.id
		if slices.ContainsFunc(s.flying, func(other *delivery) bool { return other.wallet.id == id }) {
			s.Fatalf("two deliveries of wallet %s are under way at once", id)
		}
		if s.flying = append(s.flying, d); len(s.flying) > maxFlying {
			s.Fatalf("%d deliveries are under way", len(s.flying))
		}
		for i, m := range d.messages {
			if i > 0 && m.from != d.messages[i-1].version+1 {
				s.Fatalf("merged runs do not join: %d after %d", m.from, d.messages[i-1].version)
			}
		}
		if len(d.messages) > 1 && sizeOf(d.messages) > mergedSize {
			s.Fatalf("a merged delivery has %d bytes", sizeOf(d.messages))
		}
	}
}

// answer ends one of the deliveries under way.
func (s *simulation) answer() {
	if len(s.flying) == 0 {
		return
	}
	i := s.random.IntN(len(s.flying))
	d := s.flying[i]
	s.flying = slices.Delete(s.flying, i, i+1)
	poisoned := slices.ContainsFunc(d.messages, func(m *message) bool { return s.now.Before(s.poison[m.id()]) })
	r := result{verdict: delivered}
	switch {
	case s.now.Before(s.down):
		r = result{verdict: unreachable, err: "no answer"}
	case poisoned:
		r = result{verdict: refused, client: s.random.IntN(2) == 0, err: "poison"}
	default:
		s.receive(d)
		if s.random.IntN(200) == 0 {
			r = result{verdict: unreachable, err: "the answer was lost"}
		}
	}
	s.q.done(d, r, s.now)
}

// receive is what a receiver does: docs/events.md.
func (s *simulation) receive(d *delivery) {
	n, from, version := s.got[d.wallet.id], d.messages[0].from, d.messages[len(d.messages)-1].version
	if from > n+1 {
		s.Fatalf("wallet %s: sequence %d comes after %d", d.wallet.id, from, n)
	}
	s.got[d.wallet.id] = max(n, version)
}

func (s *simulation) save() {
	s.saved, s.set = map[int32]cursor{}, map[place]setback{}
	for partition, w := range s.q.windows {
		s.saved[partition] = decodeCursor(w.next, w.encode())
	}
	for _, b := range s.q.setbacks() {
		s.set[place{b.Partition, b.Offsets[0]}] = b
	}
}

// restart is kill -9: what was under way may have arrived, and only what was saved is left.
func (s *simulation) restart() {
	for _, d := range s.flying {
		if s.random.IntN(2) == 0 {
			s.receive(d)
		}
	}
	s.flying = nil
	s.q = newQueue(testRetries(), &filter{tenant: "default"})
	for partition, c := range s.saved {
		s.q.begin(partition, c)
	}
	maps.Copy(s.q.set, s.set)
}

// testQueue has runs of wallets 0, 1, … in one partition, one operation each.
func testQueue(wallets ...int) (*queue, *testLog) {
	log := newTestLog(1)
	for _, n := range wallets {
		log.add(0, walletOf(0, n), 1, epoch)
	}
	q := log.queue()
	log.fill(q)
	return q, log
}

// takeAll takes what may be sent.
func takeAll(q *queue, now time.Time) (all []*delivery) {
	for d := q.take(now); d != nil; d = q.take(now) {
		all = append(all, d)
	}
	return all
}

// The log lacks more than a window behind a run that is under way.
func TestAGapInTheLogIsPassedOnceWhatIsBeforeItIsFinished(t *testing.T) {
	t.Parallel()
	q, log := testQueue(1)
	log.add(0, walletOf(0, 2), 1, epoch)
	last := log.partitions[0][1]
	last.offset = 5_000
	w := q.windows[0]
	q.load(w, []*message{last})
	under := takeAll(q, epoch)
	if len(under) != 1 || w.read >= last.offset {
		t.Fatalf("%d deliveries are under way, and the next to read is %d", len(under), w.read)
	}
	q.done(under[0], result{verdict: delivered}, epoch)
	q.load(w, []*message{last})
	if under = takeAll(q, epoch); len(under) != 1 || under[0].messages[0] != last {
		t.Fatalf("%d deliveries after the gap, and the next to read is %d", len(under), w.read)
	}
	q.done(under[0], result{verdict: delivered}, epoch)
	if w.next != last.offset+1 {
		t.Errorf("the first unfinished is %d", w.next)
	}
}

func TestAReceiverThatCannotBeReachedIsProbedByOneDelivery(t *testing.T) {
	t.Parallel()
	q, _ := testQueue(slices.Collect(func(yield func(int) bool) {
		for i := range 100 {
			yield(i)
		}
	})...)
	under := takeAll(q, epoch)
	if len(under) != maxFlying {
		t.Fatalf("%d deliveries are under way", len(under))
	}
	now := epoch.Add(time.Second)
	for _, d := range under {
		q.done(d, result{verdict: unreachable, err: "no answer"}, now)
	}
	if q.failures != 1 {
		t.Errorf("32 deliveries that failed at once count as %d failures", q.failures)
	}
	probed := map[uuid.UUID]bool{}
	for i, delay := range []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour, 6 * time.Hour} {
		if at := q.wait(now); !at.Equal(now.Add(delay)) {
			t.Fatalf("failure %d: the next attempt is after %v, want %v", i+1, at.Sub(now), delay)
		}
		if early := takeAll(q, now.Add(delay-1)); early != nil {
			t.Fatalf("failure %d: %d attempts come early", i+1, len(early))
		}
		now = now.Add(delay)
		probes := takeAll(q, now)
		if len(probes) != 1 {
			t.Fatalf("failure %d: %d probes", i+1, len(probes))
		}
		probed[probes[0].wallet.id] = true
		if q.wait(now) != (time.Time{}) || takeAll(q, now.Add(time.Hour)) != nil {
			t.Fatal("a second probe is sent beside the first")
		}
		q.done(probes[0], result{verdict: unreachable, err: "no answer"}, now)
	}
	if len(probed) != 8 {
		t.Errorf("8 probes are of %d wallets", len(probed))
	}
	now = q.next
	q.done(q.take(now), result{verdict: delivered}, now)
	if after := takeAll(q, now); len(after) != maxFlying {
		t.Errorf("after a success %d deliveries are under way", len(after))
	}
}

func TestAnEndpointIsDisabledAfterThreeDays(t *testing.T) {
	t.Parallel()
	for kind, r := range map[string]result{
		"run " + event.RunID(walletOf(0, 1), 1) + " has been refused for 7": {verdict: refused, err: "the answer was 400"},
		"no delivery has succeeded for 7":                                   {verdict: unreachable, err: "no answer"},
	} {
		q, log := testQueue(1)
		now, attempts := epoch, 0
		for q.disabled == "" {
			if d := q.take(now); d != nil {
				attempts++
				q.done(d, r, now)
				continue
			}
			if r.verdict == refused { // another wallet is well
				log.add(0, walletOf(0, 2), 1, now)
				log.fill(q)
				q.done(q.take(now), result{verdict: delivered}, now)
			}
			now = q.wait(now)
		}
		if after := now.Sub(epoch); after < 72*time.Hour || after > 79*time.Hour || attempts < 10 || attempts > 20 {
			t.Errorf("disabled after %v and %d attempts", after, attempts)
		}
		if !strings.HasPrefix(q.disabled, kind) {
			t.Errorf("the reason is %q, not %s…", q.disabled, kind)
		}
		if q.take(now.Add(100*time.Hour)) != nil || !q.wait(now).IsZero() {
			t.Error("a disabled endpoint is tried again")
		}
		if w := q.windows[0]; w.next != 0 {
			t.Errorf("the cursor is at %d", w.next)
		}
		q.enable()
		if d := q.take(now); d == nil || d.messages[0].from != 1 || d.messages[0].walletID != walletOf(0, 1) {
			t.Errorf("after enabling: %+v", d)
		} else if q.done(d, r, now.Add(time.Second)); q.disabled != "" {
			t.Errorf("one more failure disables it again: %s", q.disabled)
		}
	}
}

func TestGoneDisablesAtOnce(t *testing.T) {
	t.Parallel()
	q, _ := testQueue(1, 2)
	q.done(q.take(epoch), judge(410, nil, epoch), epoch)
	if q.disabled == "" || q.take(epoch.Add(time.Hour)) != nil {
		t.Error("it goes on")
	}
}

// A refused run holds up its wallet, and its partition at the end of the window; everything else goes on.
func TestARefusedRunStallsItsPartitionAtTheEndOfTheWindow(t *testing.T) {
	t.Parallel()
	log := newTestLog(2)
	bad, good := walletOf(0, 1), walletOf(0, 2)
	log.add(0, bad, 1, epoch)
	for range 3 * windowSize {
		log.add(0, good, 1, epoch)
	}
	log.add(1, walletOf(1, 1), 1, epoch)
	q, sent := log.queue(), map[uuid.UUID]int64{}
	now := epoch
	for range 200 {
		log.fill(q)
		for _, d := range takeAll(q, now) {
			if d.wallet.id == bad {
				q.done(d, judge(400, nil, now), now)
				continue
			}
			sent[d.wallet.id] += int64(len(d.messages))
			q.done(d, result{verdict: delivered}, now)
		}
		now = now.Add(time.Minute)
	}
	if sent[good] != windowSize-1 || sent[walletOf(1, 1)] != 1 {
		t.Errorf("%d runs of the good wallet were sent, want %d; and %d of the other partition", sent[good], windowSize-1, sent[walletOf(1, 1)])
	}
	all := q.setbacks()
	if len(all) != 1 || all[0].Run.Run != event.RunID(bad, 1) || !all[0].Refused || all[0].Attempts < 5 || all[0].NextAttempt == nil {
		t.Fatalf("setbacks: %+v", all)
	}
	if runs, later := q.skip(event.RunID(bad, 2)); runs != nil || later {
		t.Errorf("a run that does not stall is skipped: %+v", runs)
	}
	if runs, later := q.skip(event.RunID(bad, 1)); len(runs) != 1 || later || runs[0].Run != event.RunID(bad, 1) {
		t.Errorf("skipped: %+v, %v", runs, later)
	}
	for range 10 {
		log.fill(q)
		for _, d := range takeAll(q, now) {
			sent[d.wallet.id] += int64(len(d.messages))
			q.done(d, result{verdict: delivered}, now)
		}
	}
	if sent[good] != 3*windowSize || len(q.setbacks()) > 0 {
		t.Errorf("after the skip %d runs of the good wallet were sent; setbacks: %+v", sent[good], q.setbacks())
	}
}

// A stalled run that is not in memory can be skipped too.
func TestARunIsSkippedAfterUnloading(t *testing.T) {
	t.Parallel()
	q, log := testQueue(1, 2, 1)
	for _, d := range takeAll(q, epoch) {
		if d.wallet.id == walletOf(0, 1) {
			q.done(d, result{verdict: refused, err: "no"}, epoch)
		} else {
			q.done(d, result{verdict: delivered}, epoch)
		}
	}
	d := takeAll(q, epoch.Add(time.Minute))[0]
	if runs, later := q.skip(d.id()); runs != nil || !later {
		t.Errorf("skipped while it is under way: %+v", runs)
	}
	q.done(d, result{verdict: refused, err: "no"}, epoch.Add(time.Minute))
	q.unload()
	stalled := q.setbacks()
	if len(stalled) != 1 || stalled[0].Attempts != 2 {
		t.Fatalf("setbacks: %+v", stalled)
	}
	runs, _ := q.skip(d.id())
	if len(runs) != 1 || runs[0].FromSequence != 1 || runs[0].Version != 2 {
		t.Errorf("skipped: %+v", runs)
	}
	log.fill(q)
	if w := q.windows[0]; w.next != 3 || len(q.wallets) > 0 || len(q.setbacks()) > 0 {
		t.Errorf("the cursor is at %d, %d wallets", w.next, len(q.wallets))
	}
}

// What is refused as a whole is sent in its parts, so that the part that is refused is known and the rest arrives.
func TestARefusedDeliveryOfSeveralRunsIsTakenApart(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		r        result
		together int // attempts
	}{
		"the receiver blames the content":   {judge(413, nil, epoch), 1},
		"the receiver blames itself":        {judge(500, nil, epoch), keptTogether},
		"the receiver cannot be reached":    {result{verdict: unreachable}, 10},
		"the receiver is out of order: 503": {judge(503, nil, epoch), 10},
	} {
		q, _ := testQueue(1, 1, 1)
		now, attempts, id := epoch, 0, ""
		for range 10 {
			d := q.take(now)
			if len(d.messages) < 3 {
				break
			}
			if attempts++; d.number != attempts || id != "" && d.id() != id {
				t.Errorf("%s: attempt %d of %s is number %d of %s", name, attempts, id, d.number, d.id())
			}
			id = d.id()
			q.done(d, test.r, now)
			now = q.wait(now)
		}
		if attempts != test.together {
			t.Errorf("%s: %d attempts together, want %d", name, attempts, test.together)
		}
	}
	q, _ := testQueue(1, 1, 1, 1)
	q.done(q.take(epoch), judge(400, nil, epoch), epoch)
	now := q.wait(epoch)
	for seq := range int64(4) {
		d := q.take(now)
		if len(d.messages) != 1 || d.messages[0].from != seq+1 {
			t.Fatalf("%d runs from %d", len(d.messages), d.messages[0].from)
		}
		q.done(d, result{verdict: delivered}, now)
	}
}

// The refusal that makes the endpoint one that fails as a whole takes its delivery apart as any other does.
func TestTheLastOfManyRefusalsTakesItsDeliveryApartToo(t *testing.T) {
	t.Parallel()
	var wallets []int
	for i := range refusalsInARow {
		wallets = append(wallets, i, i)
	}
	q, _ := testQueue(wallets...)
	under := takeAll(q, epoch)
	for _, d := range under {
		q.done(d, judge(400, nil, epoch), epoch)
	}
	last := under[len(under)-1].wallet
	if n := len(last.together()); len(under) != refusalsInARow || !q.down() || n != 1 {
		t.Errorf("after %d refusals the last wallet's next delivery has %d runs", len(under), n)
	}
}

// While the first part of a delivery that was taken apart is under way, it can be asked for.
func TestASkipWaitsForTheFirstPartOfADeliveryThatWasTakenApart(t *testing.T) {
	t.Parallel()
	q, _ := testQueue(1, 1)
	q.done(q.take(epoch), judge(400, nil, epoch), epoch)
	now := q.wait(epoch)
	d := q.take(now)
	if _, later := q.skip(d.id()); !later || d.number != 1 {
		t.Errorf("the skip is dropped while attempt %d is under way", d.number)
	}
	q.done(d, judge(400, nil, now), now)
	if runs, _ := q.skip(d.id()); len(runs) != 1 || runs[0].Version != 1 {
		t.Errorf("skipped: %+v", runs)
	}
}

// A replay also sends again what was finished behind a run that stalls before its beginning.
func TestAReplaySendsAgainWhatIsBehindAStalledRun(t *testing.T) {
	t.Parallel()
	q, log := testQueue(1, 2, 3, 4)
	for _, d := range takeAll(q, epoch) {
		if d.wallet.id == walletOf(0, 1) {
			q.done(d, judge(400, nil, epoch), epoch)
		} else {
			q.done(d, result{verdict: delivered}, epoch)
		}
	}
	q.replay(map[int32]int64{0: 2})
	log.fill(q)
	var again []int64
	for _, d := range takeAll(q, epoch) {
		again = append(again, d.messages[0].offset)
	}
	if want := []int64{0, 2, 3}; !slices.Equal(again, want) {
		t.Errorf("offsets %d are sent, want %d", again, want)
	}
}

// A filter that was narrowed leaves a gap in what was sent as one delivery.
func TestRunsThatAreSentAgainAreMergedOnlyIfTheyJoin(t *testing.T) {
	t.Parallel()
	q, log := testQueue(1, 1, 1)
	d := q.take(epoch)
	q.done(d, result{verdict: unreachable, err: "no answer"}, epoch)
	q.unload()
	log.partitions[0][1].types = []string{"HOLD"}
	q.filter.types = []string{"DEPOSIT"}
	log.fill(q)
	if d := q.take(q.wait(epoch)); len(d.messages) != 1 {
		t.Errorf("%d runs with a gap between them are merged", len(d.messages))
	}
	if all := q.setbacks(); len(all) != 1 || len(all[0].Offsets) != 1 {
		t.Errorf("setbacks: %+v", all)
	}
}

func TestMergedRunsAreOneRun(t *testing.T) {
	t.Parallel()
	log := newTestLog(1)
	id := walletOf(0, 1)
	log.add(0, id, 2, epoch)
	log.add(0, id, 1, epoch)
	log.add(0, id, 3, epoch.Add(time.Second))
	q := log.queue()
	log.fill(q)
	d := q.take(epoch)
	want := string(envelope("legendary-wallet.wallet.advanced.v1", epoch.Add(time.Second), testRun(id, 1, 6, epoch)))
	want = strings.ReplaceAll(want, `"createdAt":"2026-11-29T08:00:00.000000Z"`, "")
	got := string(body(d.messages))
	got = strings.NewReplacer(`"createdAt":"2026-11-29T08:00:00.000000Z"`, "", `"createdAt":"2026-11-29T08:00:01.000000Z"`, "", "08:00:01.000000Z\"}]}}", "08:00:00.000000Z\"}]}}",
		`"appliedAt":"2026-11-29T08:00:01.000000Z"`, `"appliedAt":"2026-11-29T08:00:00.000000Z"`).Replace(got)
	if got != want || d.id() != event.RunID(id, 6) {
		t.Errorf("%s\n%s\nwant\n%s", d.id(), got, want)
	}
	log.append(0, testRun(id, 9, 1, epoch), epoch) // 7 and 8 are missing
	q.done(d, result{verdict: delivered}, epoch)
	log.add(0, id, 1, epoch) // 7
	log.fill(q)
	if d := q.take(epoch); len(d.messages) != 1 || d.messages[0].from != 9 {
		t.Errorf("runs that do not join are merged: %d", len(d.messages))
	}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	m, err := parse(testRun(walletOf(0, 1), 1, 2, epoch))
	if err != nil {
		t.Fatal(err)
	}
	m.at = epoch
	for name, test := range map[string]struct {
		filter filter
		takes  bool
	}{
		"all of the tenant":      {filter{tenant: "default"}, true},
		"another tenant":         {filter{tenant: "other"}, false},
		"the wallet":             {filter{tenant: "default", wallets: map[uuid.UUID]bool{walletOf(0, 1): true}}, true},
		"another wallet":         {filter{tenant: "default", wallets: map[uuid.UUID]bool{walletOf(0, 2): true}}, false},
		"a type":                 {filter{tenant: "default", types: []string{"HOLD", "DEPOSIT"}}, true},
		"another type":           {filter{tenant: "default", types: []string{"HOLD"}}, false},
		"another tenant's types": {filter{tenant: "other", types: []string{"DEPOSIT"}}, false},
	} {
		if takes := test.filter.takes(m); takes != test.takes {
			t.Errorf("%s: %v", name, takes)
		}
	}
}

// What was finished before the endpoint's time is not told. From its time on everything is, also while the clock of
// Postgres is behind, and after a restart from what was saved then.
func TestNothingIsPassedOverWhileTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	l, back := newTestLog(1), epoch.Add(-time.Hour)
	for i, at := range []time.Time{
		epoch.Add(-lookBack), epoch.Add(-lookBack - time.Second), epoch.Add(-time.Microsecond), // early
		epoch, epoch.Add(-time.Second), back, back.Add(time.Second), epoch.Add(time.Second),
	} {
		l.add(0, walletOf(0, i), 1, at)
	}
	for from, want := range map[int64]int{0: 5, 5: 3} {
		q := newQueue(testRetries(), &filter{tenant: "default", since: epoch})
		q.begin(0, cursor{next: from})
		q.load(q.windows[0], l.partitions[0][from:])
		if got := len(q.windows[0].loaded); got != want {
			t.Errorf("from offset %d: %d are told, want %d", from, got, want)
		}
	}
}

func TestMessagesThatAreNoRuns(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		"", "x", "{}", `{"walletId":"` + uuid.NewString() + `","fromSequence":1,"version":1}`, `{"operations":[]}`,
		`{"walletId":"` + uuid.NewString() + `","fromSequence":2,"version":1,"operations":[]}`,
		`{"walletId":"` + uuid.NewString() + `","fromSequence":1,"version":1,"operations":{}}`,
	} {
		if m, err := parse([]byte(value)); err == nil {
			t.Errorf("%s: %+v", value, m)
		}
	}
}
