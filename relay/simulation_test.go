package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/service"
	"github.com/prometheus/client_golang/prometheus"
)

// The simulation runs the relay's own code (order.go and session.go) between a simulated outbox and
// a simulated log. One seed decides everything: who runs next, what breaks, who dies, what arrives
// late. Several relays run at once, as if there were no leader's lock.

// TestSimulation checks, for every seed: no row is lost, every wallet's messages first appear in
// order within a topic, in one partition, and no position is saved that Kafka has not acknowledged. Operations come
// to their end while Kafka takes no events at all. Relays of the last release, which knew one position, run before
// and between those of this one.
func TestSimulation(t *testing.T) {
	t.Parallel()
	first, schedules := 0, 3_000 // SCHEDULES=100000 is a campaign of a minute.
	if given, err := strconv.Atoi(os.Getenv("SCHEDULES")); err == nil {
		schedules = given
	}
	if given, err := strconv.Atoi(os.Getenv("SEED")); err == nil {
		first, schedules = given, 1
	}
	var total counts
	for seed := range schedules {
		w := newWorld(uint64(first + seed))
		if err := w.run(); err != nil {
			t.Fatalf("%v (run it again with SEED=%d)", err, first+seed)
		}
		total.add(w.counts)
	}
	t.Logf("%d schedules: %+v", schedules, total)
	// A simulation in which nothing happens proves nothing.
	for name, n := range map[string]int{
		"pages": total.pages, "lost acknowledgements": total.lostAcks, "kills": total.kills, "late batches": total.late,
		"crashes": total.crashes, "rejections": total.rejections, "duplicates": total.duplicates, "parked": total.parked,
		"cut pages": total.cut, "refused topics": total.refused, "upgrades": total.upgrades, "ways back": total.waysBack, "rebases": total.rebases,
	} {
		if n < schedules/10 && schedules > 1 {
			t.Errorf("only %d %s", n, name)
		}
	}
}

type counts struct {
	rows, pages, lostAcks, kills, late, crashes, rejections, duplicates, parked int
	cut, refused, upgrades, waysBack, rebases                                   int
}

func (c *counts) add(d counts) {
	c.rows += d.rows
	c.pages += d.pages
	c.lostAcks += d.lostAcks
	c.kills += d.kills
	c.late += d.late
	c.crashes += d.crashes
	c.rejections += d.rejections
	c.duplicates += d.duplicates
	c.parked += d.parked
	c.cut += d.cut
	c.refused += d.refused
	c.upgrades += d.upgrades
	c.waysBack += d.waysBack
	c.rebases += d.rebases
}

const (
	simWallets    = 4
	simRegistered = 3 // partitions
	simRelays     = 2
)

// Topics: the last two share a position.
const (
	simOperations = iota
	simEvents
	simOther
	simTopics
)

var topicNames = [simTopics]string{"operations", "events", "other"}

var (
	errSimulated = errors.New("simulated")
	errPoison    = errors.New("rejected")
	errRefused   = errors.New("topic authorization failed")
)

type world struct {
	*rand.Rand
	clock  time.Time
	broken error // the first violation
	quiet  bool  // no more faults
	counts counts

	// Postgres. A snapshot is how many transactions had committed: its text is that number.
	lastID    int64
	lastSeq   [simTopics][simWallets]int
	locked    [simTopics][simWallets]bool
	running   []*transaction
	committed []*transaction
	rows      map[int64]simRow // of committed transactions
	epoch     int              // grows with each crash: connections of an older one are broken
	saved     savedPositions
	previous  savedPositions // what a crash may bring back
	parked    map[int64]bool
	poison    int64 // the row that Kafka rejects
	paused    bool

	// What is wrong with the events until the operations have come to their end.
	refused, unregistered bool

	// Kafka
	partitions int
	late       []batch // sent by producers that are gone
	logged     map[int64]bool
	first      [simTopics][simWallets]int // the last sequence that appeared for the first time
	home       [simTopics][simWallets]int // partition + 1

	processes []*simProcess
	old       bool // processes that start are of the last release
	// One of the last release may have begun at a position of this one, which is that of the operations: it passes over
	// events that wait, and that this release publishes once it is back. None is lost, but the order is.
	mixed bool
}

// savedPositions are the rows of relay_positions. Until there is one of the events, everything up to that of the
// operations is published.
type savedPositions struct {
	operations, events position
	hasEvents          bool
}

type transaction struct {
	topic   int
	wallets []int
	rows    []simRow
	sent    []row // what the relay reads of them, once they are committed
}

type simRow struct {
	id     int64
	topic  int
	wallet int
	seq    int
	size   int32 // that of the key included
}

type batch struct {
	partition int
	ids       []int64
}

// simProcess is a relay's process: of one lane if it is of the last release.
type simProcess struct{ lanes []*simRelay }

func (p *simProcess) kill() {
	for _, lane := range p.lanes {
		lane.kill()
	}
}

func (p *simProcess) ended() bool {
	return !slices.ContainsFunc(p.lanes, func(lane *simRelay) bool { return !lane.ended })
}

type simRelay struct {
	world  *world
	old    bool // of the last release: it knows one position, and publishes all topics
	relay  *relay
	next   func() (struct{}, bool)
	kill   func()
	yield  func(struct{}) bool
	cancel context.CancelFunc
	dead   bool
	ended  bool
}

// simMetrics takes every relay's numbers, which nobody reads.
var simMetrics = newMetrics()

// simHealth is not looked at.
var simHealth = service.NewHealth(slog.New(slog.DiscardHandler), prometheus.NewRegistry())

func newWorld(seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 1)), rows: map[int64]simRow{}, parked: map[int64]bool{}, logged: map[int64]bool{}, partitions: simRegistered}
	w.saved.operations = position{prev: "0"}
	w.previous = w.saved
	if w.IntN(4) == 0 {
		w.poison = 1 + w.Int64N(30)
	}
	w.refused, w.unregistered = w.IntN(4) == 0, w.IntN(8) == 0
	if w.refused || w.unregistered {
		w.counts.refused++
	}
	w.old = w.IntN(2) == 0
	for range simRelays {
		w.processes = append(w.processes, w.newProcess())
	}
	return w
}

func (w *world) newProcess() *simProcess {
	operations, events := lanes("relay", topicNames[simOperations])
	lookout := newLookout()
	if w.old {
		return &simProcess{[]*simRelay{w.newRelay(operations, lookout)}}
	}
	return &simProcess{[]*simRelay{w.newRelay(operations, lookout), w.newRelay(events, lookout)}}
}

func (w *world) newRelay(lane lane, lookout *lookout) *simRelay {
	p := &simRelay{world: w, old: w.old}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	if lane.others {
		lookout.wait = func(context.Context, time.Duration) bool {
			_ = p.step()
			return len(lookout.woken) > 0 && lookout.waitForRows(ctx, time.Hour)
		}
	}
	p.relay = &relay{
		lane:           lane,
		lookout:        lookout,
		openOutbox:     func(context.Context) (outbox, error) { return &simOutbox{p, w.epoch}, p.step() },
		openProducer:   func() (producer, error) { return &simProducer{p}, nil },
		limits:         limits{rows: 6, bytes: 12, pageWidth: 4},
		interval:       20 * time.Millisecond,
		publishTimeout: time.Hour,
		now:            func() time.Time { return w.clock },
		sleep:          func(context.Context, time.Duration) { _ = p.step() },
		status:         &progress{log: slog.New(slog.DiscardHandler), metrics: simMetrics.operations, health: simHealth},
	}
	p.next, p.kill = iter.Pull(func(yield func(struct{}) bool) {
		p.yield = yield
		p.relay.lead(ctx)
	})
	return p
}

// step lets the others run before this relay goes on. It fails if the relay was killed meanwhile.
func (p *simRelay) step() error {
	if !p.dead && !p.yield(struct{}{}) {
		p.dead = true
		p.cancel()
	}
	if p.dead {
		return errSimulated
	}
	p.world.clock = p.world.clock.Add(time.Duration(p.world.IntN(60)) * time.Millisecond)
	return nil
}

// run plays one schedule: faults for a while, then none until everything has come to rest.
func (w *world) run() error {
	defer func() {
		for _, p := range w.processes {
			p.kill()
		}
	}()
	for range 150 + w.IntN(150) {
		w.act()
		if w.broken != nil {
			return w.broken
		}
	}
	w.quiet, w.paused = true, false
	for _, tx := range slices.Clone(w.running) {
		w.commit(tx)
	}
	if w.old {
		w.exchange(false, false)
	}
	end := position{prev: strconv.Itoa(len(w.committed))}
	if err := w.settle(func() bool { return w.saved.operations == end }); err != nil {
		return err
	}
	w.refused, w.unregistered = false, false
	if err := w.settle(func() bool { return w.saved == savedPositions{end, end, true} }); err != nil {
		return err
	}
	return w.check()
}

// settle runs the relays until they have come to an end.
func (w *world) settle(atEnd func() bool) error {
	for range 20_000 {
		w.oneRelay().resume()
		w.operate()
		if w.broken != nil || atEnd() {
			return w.broken
		}
	}
	return fmt.Errorf("the relays come to no end: positions %+v of %d", w.saved, len(w.committed))
}

// oneRelay chooses a lane of a process.
func (w *world) oneRelay() *simRelay {
	p := w.processes[w.IntN(len(w.processes))]
	return p.lanes[w.IntN(len(p.lanes))]
}

// exchange ends all processes, or one, and starts those of another release.
func (w *world) exchange(old, one bool) {
	w.old = old
	w.mixed = w.mixed || old || one
	for i, p := range w.processes {
		if one && i > 0 {
			break
		}
		p.kill()
		w.processes[i] = w.newProcess()
	}
}

// act does one thing.
func (w *world) act() {
	switch n := w.IntN(100); {
	case n < 12:
		w.begin()
	case n < 22 && len(w.running) > 0:
		w.insert(w.running[w.IntN(len(w.running))])
	case n < 32 && len(w.running) > 0:
		w.commit(w.running[w.IntN(len(w.running))])
	case n < 34 && len(w.running) > 0:
		w.end(w.running[w.IntN(len(w.running))]) // abort: its ids stay unused
	case n < 37:
		w.arrive()
	case n < 39:
		i := w.IntN(len(w.processes))
		w.counts.kills++
		w.processes[i].kill()
		w.processes[i] = w.newProcess()
	case n < 40: // SIGTERM
		for _, lane := range w.processes[w.IntN(len(w.processes))].lanes {
			lane.cancel()
		}
	case n < 41: // Postgres crashes, and forgets the transactions that run and the last saves.
		w.counts.crashes++
		w.epoch++
		w.saved = w.previous
		for _, tx := range slices.Clone(w.running) {
			w.end(tx)
		}
	case n < 42:
		w.partitions++
	case n < 43:
		w.paused = !w.paused
	case n == 43 && w.IntN(4) == 0:
		w.counts.rebases++ // The database is restored, and everybody connects anew.
		w.epoch++
		w.saved.operations, w.saved.events = position{prev: "0"}, position{prev: "0"}
	case n == 44 && w.old:
		w.counts.upgrades++
		w.exchange(false, w.IntN(2) == 0)
	case n == 45 && !w.old && w.IntN(3) == 0:
		w.counts.waysBack++
		w.exchange(true, w.IntN(2) == 0)
	default:
		// Runs of the same relay make zombies of the others.
		p := w.oneRelay()
		for range 1 + w.IntN(12) {
			p.resume()
		}
	}
	w.operate()
}

// operate is the operator: parks the row at which a relay has stopped, if it is the right one; and
// starts relays that ended.
func (w *world) operate() {
	for i, p := range w.processes {
		if p.ended() {
			w.processes[i] = w.newProcess()
		}
		for _, lane := range p.lanes {
			w.attend(lane)
		}
	}
}

func (w *world) attend(lane *simRelay) {
	var stopped *stoppedError
	if !errors.As(lane.relay.status.lastErr, &stopped) || w.parked[w.poison] {
		return
	}
	text := stopped.Error()
	if strings.Contains(text, errRefused.Error()) || strings.Contains(text, "is not registered") {
		if !lane.old && !lane.relay.lane.others {
			w.violated("the operations have stopped: %s", text)
		}
		return
	}
	if want := stoppedAt(w.poison, errPoison.Error()).Error(); text != want {
		w.violated("stopped with %q, want %q", text, want)
	}
	w.parked[w.poison] = true
	w.counts.parked++
}

// violated notes that the relay broke a promise.
func (w *world) violated(format string, args ...any) {
	if w.broken == nil {
		w.broken = fmt.Errorf(format, args...)
	}
}

// check is for when all is quiet.
func (w *world) check() error {
	for id := range w.rows {
		if !w.logged[id] && !w.parked[id] {
			return fmt.Errorf("row %d is lost", id)
		}
	}
	return w.broken
}

// resume runs the relay to its next step.
func (p *simRelay) resume() {
	_, more := p.next()
	p.ended = !more
}

// A transaction locks its wallets, by a lock that is the topic's, before it takes ids and sequences, and until its end.
func (w *world) begin() {
	tx := &transaction{topic: w.IntN(simTopics)}
	for range 1 + w.IntN(2) {
		if wallet := w.IntN(simWallets); !w.locked[tx.topic][wallet] {
			w.locked[tx.topic][wallet] = true
			tx.wallets = append(tx.wallets, wallet)
		}
	}
	if len(tx.wallets) > 0 {
		w.running = append(w.running, tx)
	}
}

func (w *world) insert(tx *transaction) {
	for range 1 + w.IntN(4) {
		wallet := tx.wallets[w.IntN(len(tx.wallets))]
		w.lastID += 1 + w.Int64N(2)
		seq := w.lastSeq[tx.topic][wallet] + 1
		for _, r := range tx.rows {
			if r.wallet == wallet {
				seq++
			}
		}
		tx.rows = append(tx.rows, simRow{w.lastID, tx.topic, wallet, seq, 1 + w.Int32N(5)})
	}
}

func (w *world) commit(tx *transaction) {
	for _, r := range tx.rows {
		w.lastSeq[r.topic][r.wallet] = r.seq
		w.rows[r.id] = r
		tx.sent = append(tx.sent, row{ID: r.id, Topic: topicNames[r.topic], Key: strconv.Itoa(r.wallet), Payload: make([]byte, r.size-1)})
	}
	if len(tx.rows) > 0 {
		w.committed = append(w.committed, tx)
	}
	w.counts.rows += len(tx.rows)
	w.end(tx)
}

func (w *world) end(tx *transaction) {
	for _, wallet := range tx.wallets {
		w.locked[tx.topic][wallet] = false
	}
	w.running = slices.DeleteFunc(w.running, func(other *transaction) bool { return other == tx })
}

// append is the log's end of a batch. Kafka itself is what order is judged by.
func (w *world) append(b batch) {
	for _, id := range b.ids {
		r := w.rows[id]
		if home := w.home[r.topic][r.wallet]; home != 0 && home != b.partition+1 {
			w.violated("%s: wallet %d in partitions %d and %d", topicNames[r.topic], r.wallet, home-1, b.partition)
		}
		w.home[r.topic][r.wallet] = b.partition + 1
		if w.logged[id] {
			w.counts.duplicates++
			continue
		}
		want := w.first[r.topic][r.wallet] + 1
		if poison := w.rows[w.poison]; w.parked[w.poison] && poison.topic == r.topic && poison.wallet == r.wallet && poison.seq == want {
			want++
		}
		if r.seq != want && (r.topic == simOperations || !w.mixed) {
			w.violated("%s: wallet %d: sequence %d appears before %d", topicNames[r.topic], r.wallet, r.seq, want)
		}
		w.logged[id], w.first[r.topic][r.wallet] = true, max(r.seq, w.first[r.topic][r.wallet])
	}
}

// arrive lets a batch arrive whose producer is gone.
func (w *world) arrive() {
	if len(w.late) == 0 {
		return
	}
	i := w.IntN(len(w.late))
	w.append(w.late[i])
	w.late = slices.Delete(w.late, i, i+1)
	w.counts.late++
}

// simOutbox is one connection to Postgres.
type simOutbox struct {
	*simRelay
	epoch int
}

// call is a round trip: others run before it, and it may fail before or after its effect.
func (o *simOutbox) call(effect func()) error {
	w := o.world
	if err := o.step(); err != nil {
		return err
	}
	if o.epoch != w.epoch || !w.quiet && w.IntN(50) == 0 {
		return errSimulated
	}
	effect()
	if !w.quiet && w.IntN(50) == 0 {
		return errSimulated
	}
	return o.step()
}

func (o *simOutbox) position(context.Context) (p position, err error) {
	err = o.call(func() {
		w := o.world
		if !o.old && !w.saved.hasEvents {
			w.saved.events, w.saved.hasEvents = w.saved.operations, true
		}
		p = *o.saved()
	})
	return p, err
}

// saved is the position that is the lane's.
func (o *simOutbox) saved() *position {
	if o.relay.lane.others {
		return &o.world.saved.events
	}
	return &o.world.saved.operations
}

func (o *simOutbox) topics(context.Context) (map[string]int32, error) {
	registered := map[string]int32{}
	for topic, name := range topicNames {
		if topic != simEvents || !o.world.unregistered {
			registered[name] = simRegistered
		}
	}
	return registered, o.call(func() {})
}

func (o *simOutbox) controls(context.Context) (c controls, err error) {
	err = o.call(func() { c.parked, c.paused = maps.Clone(o.world.parked), o.world.paused })
	return c, err
}

// save checks R3: whatever the position says is published must be in the log.
func (o *simOutbox) save(_ context.Context, p position) error {
	return o.call(func() {
		w := o.world
		for _, r := range o.told(w.between("0", p.prev)) {
			if !w.logged[r.ID] && !w.parked[r.ID] {
				w.violated("position %+v is saved without row %d", p, r.ID)
			}
		}
		for _, r := range o.told(w.between(p.prev, p.window.cur)) {
			if r.ID <= p.window.after && !w.logged[r.ID] && !w.parked[r.ID] {
				w.violated("position %+v is saved without row %d", p, r.ID)
			}
		}
		if w.IntN(3) > 0 {
			w.previous = w.saved
		}
		*o.saved() = p
	})
}

// own returns those of the rows that are the lane's.
func (o *simOutbox) own(rows []row) []row {
	return slices.DeleteFunc(rows, func(r row) bool {
		return !o.old && (r.Topic == o.relay.lane.topic) == o.relay.lane.others
	})
}

// told returns those of the rows that a position of the lane says are published.
func (o *simOutbox) told(rows []row) []row {
	return slices.DeleteFunc(o.own(rows), func(r row) bool { return o.old && o.world.mixed && r.Topic != topicNames[simOperations] })
}

func (o *simOutbox) window(_ context.Context, prev string, limits limits) (f found, err error) {
	err = o.call(func() {
		cur := strconv.Itoa(len(o.world.committed))
		all := o.world.between(prev, cur)
		if len(all) == 0 {
			return
		}
		n := len(all)
		f = found{rows: o.own(all), cur: cur}
		f.foreign = len(f.rows) < n
		if f.tooMany = n > limits.rows || bytesOf(f.rows) > limits.bytes; f.tooMany {
			o.world.counts.pages++
			f.rows = nil
		}
	})
	return f, err
}

func bytesOf(rows []row) (n int) {
	for _, r := range rows {
		n += size(r)
	}
	return n
}

func (o *simOutbox) extent(_ context.Context, prev, cur string) (first, last int64, err error) {
	err = o.call(func() {
		rows := o.world.between(prev, cur)
		first, last = rows[0].ID, rows[len(rows)-1].ID
	})
	return first, last, err
}

func (o *simOutbox) page(_ context.Context, p position, upTo int64, maxBytes int) (rows []row, err error) {
	err = o.call(func() {
		for _, r := range o.own(o.world.between(p.prev, p.window.cur)) {
			switch {
			case r.ID <= p.window.after || r.ID > upTo:
			case bytesOf(rows) < maxBytes:
				rows = append(rows, r)
			default:
				o.world.counts.cut++
			}
		}
	})
	return rows, err
}

func (o *simOutbox) await(context.Context, time.Duration) error { return o.call(func() {}) }

func (o *simOutbox) close() {}

// between returns the rows of the transactions that committed between two snapshots, in id order.
func (w *world) between(prev, cur string) (rows []row) {
	from, _ := strconv.Atoi(prev)
	to, _ := strconv.Atoi(cur)
	for i := from; i < to; i++ {
		rows = append(rows, w.committed[i].sent...)
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.ID, b.ID) })
	return rows
}

// simProducer sends a publish batch as Kafka's batches, in order within a partition, one after the other.
type simProducer struct{ *simRelay }

func (p *simProducer) publish(_ context.Context, messages []message) error {
	w := p.world
	queues := map[int][]int64{}
	for _, m := range messages {
		if w.refused && m.Topic == topicNames[simEvents] {
			w.counts.rejections++
			return &rejectedError{errRefused}
		}
		partition := int(m.partition)
		if partition < 0 { // The broker's choice.
			partition = int(murmur2([]byte(m.Key))) % w.partitions
		}
		queues[partition] = append(queues[partition], m.ID)
	}
	for len(queues) > 0 {
		partition := w.oneOf(queues)
		if err := p.step(); err != nil {
			p.abandon(queues)
			return err
		}
		n := 1 + w.IntN(min(4, len(queues[partition])))
		sent := batch{partition, queues[partition][:n]}
		switch fault := w.IntN(30); {
		case slices.Contains(sent.ids, w.poison) && w.poison != 0:
			w.counts.rejections++
			delete(queues, partition)
			p.abandon(queues)
			return &rejectedError{errPoison}
		case fault == 0 && !w.quiet: // The batch is on its way, or lost.
			p.abandon(queues)
			return errSimulated
		case fault == 1 && !w.quiet: // It has arrived, and the acknowledgement is lost.
			w.counts.lostAcks++
			w.append(sent)
			p.abandon(queues)
			return errSimulated
		}
		w.append(sent)
		if queues[partition] = queues[partition][n:]; len(queues[partition]) == 0 {
			delete(queues, partition)
		}
	}
	return p.step()
}

// abandon leaves at most one batch of each partition on its way.
func (p *simProducer) abandon(queues map[int][]int64) {
	w := p.world
	for partition := range w.partitions {
		if ids := queues[partition]; len(ids) > 0 && w.IntN(2) == 0 {
			b := batch{partition, ids[:1+w.IntN(min(4, len(ids)))]}
			if !slices.Contains(b.ids, w.poison) {
				w.late = append(w.late, b)
			}
		}
	}
}

func (p *simProducer) close() {}

// oneOf chooses without regard to the order of a map, which no seed decides.
func (w *world) oneOf(queues map[int][]int64) int {
	return slices.Sorted(maps.Keys(queues))[w.IntN(len(queues))]
}
