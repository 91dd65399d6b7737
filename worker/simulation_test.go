package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// The simulation runs the worker's own decisions (partition.go, apply.go, rules.go) between a
// simulated Kafka partition and a simulated Postgres. One seed decides everything: what is accepted,
// which message is lost, doubled or late, who runs next, what breaks, and who dies at which step.
// While a worker is within a transaction the others go on, and wait for its wallets in vain.

// TestSimulation checks, for every seed: what lies below the committed offset is finished at every
// moment, no operation has two outcomes, and once things are quiet every wallet is where its
// operations lead, one after the other.
func TestSimulation(t *testing.T) {
	t.Parallel()
	first, schedules := 0, 3_000
	if given, err := strconv.Atoi(os.Getenv("SCHEDULES")); err == nil {
		schedules = given
	}
	if given, err := strconv.Atoi(os.Getenv("SEED")); err == nil {
		first, schedules = given, 1
	}
	total := map[string]int{}
	for seed := range schedules {
		w := newWorld(uint64(first + seed))
		w.run()
		if w.broken != nil {
			t.Fatalf("%v (run it again with SEED=%d)", w.broken, first+seed)
		}
		for event, n := range w.events {
			total[event] += n
		}
	}
	t.Logf("%d schedules: %v", schedules, total)
	// A simulation in which nothing happens proves nothing.
	for _, event := range []string{"applied", "duplicate", "late", "lost", "kill in a transaction", "zombie", "conflict", "found locked", "outcome unknown, happened", "stuck", "unstuck", "damaged", "unknown type", "restored", "swept", "full", "received", "returned", "expired"} {
		if total[event] < schedules/20 && schedules > 1 {
			t.Errorf("%q happened only %d times", event, total[event])
		}
	}
}

const (
	simWallets = 4
	simWorkers = 3
	simLimit   = 5 // operations of a transaction
	simSteps   = 60
)

// world is one schedule.
type world struct {
	*rand.Rand
	broken error // the first violation
	quiet  bool  // no more faults
	events map[string]int

	books   books
	wallets []simWallet // in the order of the books
	clock   time.Time
	unsent  []event.Hint // accepted, and not yet in Kafka
	log     []event.Hint
	// committed is the group's offset, owner the member that Kafka takes for the partition's owner.
	committed int64
	owner     *simWorker
	workers   []*simWorker
	depth     int
}

type simWallet struct {
	*book
	damaged  int64                  // the sequence of an operation that is missing, or is of an unknown type
	unknown  walletdb.OperationType // what type that one has
	passed   bool                   // was damaged, and has not caught up since
	poisoned bool                   // cannot be written for now
	locked   bool
}

type simWorker struct {
	world     *world
	partition *partition
	position  int64 // of the next message to receive
	busy      bool
	dead      bool
}

// killed unwinds a worker that dies.
type killed struct{}

func newWorld(seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 1)), events: map[string]int{}, clock: noon}
	ids := make([]uuid.UUID, simWallets)
	for i := range ids {
		ids[i] = w.id()
	}
	for _, book := range newBooks(ids...) {
		w.books = append(w.books, book)
		w.wallets = append(w.wallets, simWallet{book: book})
	}
	for range simWorkers {
		w.workers = append(w.workers, &simWorker{world: w})
	}
	for _, worker := range w.workers {
		worker.restart()
	}
	w.owner = w.workers[0]
	return w
}

func (w *world) id() (id uuid.UUID) {
	for i := range id {
		id[i] = byte(w.IntN(256))
	}
	return id
}

func (w *world) run() {
	for range simSteps {
		w.step()
		w.check()
	}
	if w.broken != nil {
		return
	}
	// Everything heals; then everything must end.
	w.quiet = true
	for i := range w.wallets {
		w.wallets[i].poisoned = false
	}
	for range 8 { // a transfer that comes back needs three
		w.send()
		w.owner.step()
		w.sweep()
		w.check()
	}
	if w.broken != nil {
		return
	}
	for i := range w.wallets {
		w.checkEnd(&w.wallets[i])
	}
	w.checkMoney()
	if w.committed != int64(len(w.log)) {
		w.violation("committed offset %d of %d", w.committed, len(w.log))
	}
}

func (w *world) violation(format string, args ...any) {
	if w.broken == nil {
		w.broken = fmt.Errorf(format, args...)
	}
}

func (w *world) chance(percent int) bool { return !w.quiet && w.IntN(100) < percent }

func (w *world) step() {
	w.clock = w.clock.Add(time.Duration(w.IntN(1000)) * time.Millisecond)
	switch n := w.IntN(100); {
	case n < 25:
		w.accept()
	case n < 45:
		w.send()
	case n < 75:
		w.workers[w.IntN(simWorkers)].step()
	case n < 80:
		w.rebalance(w.workers[w.IntN(simWorkers)])
	case n < 84:
		w.workers[w.IntN(simWorkers)].kill()
	case n < 86:
		w.sweep()
	case n < 90:
		wallet := &w.wallets[w.IntN(simWallets)]
		wallet.poisoned = !wallet.poisoned
	case n < 92:
		w.expire()
	case n < 94:
		w.damage(&w.wallets[w.IntN(simWallets)])
	}
}

// rebalance gives the partition to another worker. The one before may be within a transaction.
func (w *world) rebalance(to *simWorker) {
	if to == w.owner || to.busy {
		return
	}
	if w.owner.busy {
		w.events["zombie"]++
	}
	w.owner = to
	to.restart()
}

// accept accepts some operations of a wallet, of every type that clients may send.
func (w *world) accept() {
	wallet := &w.wallets[w.IntN(simWallets)]
	for range 1 + w.IntN(4) {
		o := operation{ID: w.id(), Amount: 1 + w.Int64N(9), CreatedAt: w.clock}
		hold, original := w.earlier(wallet, "HOLD"), w.earlier(wallet, "DEPOSIT", "WITHDRAW", "CAPTURE")
		other := w.wallets[w.IntN(simWallets)].ID
		switch n := w.IntN(100); {
		case n < 15 && hold != nil:
			final := w.IntN(2) == 0
			o.Type, o.SubjectID, o.Final, o.Amount = capture, &hold.ID, &final, w.Int64N(5)
			if w.IntN(2) == 0 && other != wallet.ID {
				o.CounterpartID = &other
			}
		case n < 20 && hold != nil:
			o.Type, o.SubjectID, o.Amount = release, &hold.ID, 0
		case n < 30 && original != nil:
			o.Type, o.SubjectID, o.Amount = reverse, &original.ID, w.Int64N(5)
		case n < 45:
			o.Type = "HOLD"
			if w.IntN(2) == 0 {
				at := w.clock.Add(time.Duration(w.IntN(10_000)) * time.Millisecond)
				o.ExpiresAt = &at
			}
		case n < 60 && other != wallet.ID:
			o.Type, o.CounterpartID = transfer, &other
		case n < 62:
			o.Type, o.Amount = freeze, 0
		case n < 65:
			o.Type, o.Amount = closing, 0
		case n < 68:
			o.Type, o.Amount = activate, 0
		case n < 75:
			o.Type = withdraw
		default:
			o.Type = deposit
		}
		w.announce(wallet.accept(o))
	}
}

// earlier is one of the operations of a wallet that others may refer to.
func (w *world) earlier(wallet *simWallet, types ...walletdb.OperationType) *operation {
	var all []operation
	for _, o := range wallet.operations {
		if slices.Contains(types, o.Type) && (o.Type != capture || o.CounterpartID == nil) {
			all = append(all, o)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return &all[w.IntN(len(all))]
}

func (w *world) announce(o operation) {
	w.unsent = append(w.unsent, event.Hint{WalletID: o.WalletID, Sequence: o.Seq, OperationID: o.ID})
}

// expire is what a worker does about holds whose time is over.
func (w *world) expire() {
	var targets []target
	for i := range w.wallets {
		wallet := &w.wallets[i]
		for _, seq := range slices.Sorted(maps.Keys(wallet.holds)) {
			h := wallet.operations[seq-1]
			if h.ExpiresAt == nil || w.clock.Before(*h.ExpiresAt) || w.books.has(event.ExpireID(h.ID)) {
				continue
			}
			w.events["expired"]++
			w.announce(wallet.accept(operation{ID: event.ExpireID(h.ID), Type: expire, SubjectID: &h.ID, CreatedAt: w.clock}))
			targets = append(targets, target{wallet.ID, int64(len(wallet.operations)), true})
		}
	}
	w.applyAlone(targets, "expire")
}

// send publishes what is accepted; messages get lost, doubled, and into disorder.
func (w *world) send() {
	for _, m := range w.unsent {
		if w.chance(5) {
			w.events["lost"]++
			continue
		}
		w.log = append(w.log, m)
		if w.chance(10) {
			w.events["duplicate"]++
			w.log = append(w.log, m)
		}
		if n := len(w.log); n > 1 && w.chance(10) {
			w.events["late"]++
			if at := n - 2; int64(at) >= w.furthest() {
				w.log[at], w.log[n-1] = w.log[n-1], w.log[at]
			}
		}
		if w.chance(3) {
			w.log = append(w.log, event.Hint{}) // not an operation
		}
	}
	w.unsent = nil
}

// furthest is the end of what any worker has received: that does not change any more.
func (w *world) furthest() (offset int64) {
	for _, worker := range w.workers {
		offset = max(offset, worker.position)
	}
	return offset
}

// damage loses an operation that is not applied, or gives it a type that nobody knows, or mends that.
func (w *world) damage(wallet *simWallet) {
	pending := wallet.operations[wallet.AppliedSeq:]
	switch {
	case wallet.locked:
	case wallet.damaged > 0:
		w.events["restored"]++
		wallet.operations[wallet.damaged-1].Type = wallet.unknown
		wallet.damaged = 0
	case len(pending) > 0:
		o := &pending[w.IntN(len(pending))]
		wallet.damaged, wallet.unknown, wallet.passed = o.Seq, o.Type, true
		if w.IntN(2) == 0 {
			w.events["damaged"]++
			o.Type = lost
		} else {
			w.events["unknown type"]++
			o.Type = "SPLIT"
		}
	}
}

const lost = "lost" // an operation that is missing

func (w *world) sweep() {
	var targets []target
	for _, wallet := range w.wallets {
		if wallet.AppliedSeq < int64(len(wallet.operations)) {
			targets = append(targets, target{wallet.ID, int64(len(wallet.operations)), true})
		}
	}
	before := w.events["applied"]
	w.applyAlone(targets, "sweep")
	w.events["swept"] += w.events["applied"] - before
}

// applyAlone applies targets that no message has brought.
func (w *world) applyAlone(targets []target, what string) {
	worker := &simWorker{world: w}
	worker.restart()
	defer worker.survive()
	if err := worker.partition.applier.apply(context.Background(), targets, nil); err != nil && w.quiet {
		w.violation("%s: %v", what, err)
	}
}

// restart makes the worker a new process.
func (x *simWorker) restart() {
	w := x.world
	x.dead, x.busy, x.position = false, false, w.committed
	a := &applier{ledger: x, halted: newHalted(discard), committed: func(context.Context, plan, []received) {}}
	progress := &simProgress{worker: x}
	x.partition = newPartition(0, newQueue(0, 1), a, progress)
	progress.partition = x.partition
	x.partition.sleep = func(context.Context, time.Duration) { w.nested() }
}

// simProgress is Kafka to one partition of a worker.
type simProgress struct {
	worker    *simWorker
	partition *partition
}

func (p *simProgress) store(next int64) {
	if w := p.worker.world; w.owner == p.worker && p.worker.partition == p.partition { // Kafka refuses all others
		w.committed = next
	}
}

func (p *simProgress) report(error)            {}
func (p *simProgress) took(int, time.Duration) {}

// kill ends the worker at once, or as soon as it runs again.
func (x *simWorker) kill() {
	x.dead = true
	if !x.busy {
		x.restart()
	}
}

// survive ends a worker that was killed and starts another in its place.
func (x *simWorker) survive() {
	if r := recover(); r != nil {
		if _, ok := r.(killed); !ok {
			panic(r)
		}
		x.restart()
	}
}

// step receives some messages and applies them.
func (x *simWorker) step() {
	w := x.world
	if x.busy {
		return
	}
	x.busy = true
	defer func() { x.busy = false }()
	defer x.survive()
	var batch []received
	if w.owner == x {
		n := int64(len(w.log)) - x.position
		if !w.quiet && n > 0 {
			n = 1 + w.Int64N(n)
		}
		for ; n > 0; n-- {
			batch = append(batch, received{Hint: w.log[x.position], offset: x.position})
			x.position++
		}
	}
	if w.quiet || w.chance(50) {
		x.partition.stuckUntil = time.Time{}
	}
	before := len(x.partition.stuck)
	if err := x.partition.process(context.Background(), batch); err != nil {
		w.violation("process: %v", err)
	}
	if after := len(x.partition.stuck); after > before {
		w.events["stuck"]++
	} else if after < before {
		w.events["unstuck"]++
	}
}

// nested lets the others run while a worker waits.
func (w *world) nested() {
	if w.depth > 2 || w.quiet {
		return
	}
	w.depth++
	defer func() { w.depth-- }()
	for range w.IntN(4) {
		w.step()
		w.check()
	}
}

func (x *simWorker) dieMaybe(percent int) {
	if x.dead || x.world.chance(percent) {
		panic(killed{})
	}
}

var (
	errLost     = errors.New("connection lost")
	errTimedOut = &pgconn.PgError{Code: "55P03"}
	errPoisoned = &pgconn.PgError{Code: "23514"}
)

func (x *simWorker) transaction(_ context.Context, targets []target, _ []received) (plan, error) {
	w := x.world
	x.dieMaybe(2)
	if w.chance(3) {
		return plan{}, errLost
	}
	var wallets []walletdb.Wallet
	var pending []operation
	var mine []*simWallet
	for i := range w.wallets {
		wallet := &w.wallets[i]
		j := slices.IndexFunc(targets, func(t target) bool { return t.walletID == wallet.ID })
		if j < 0 {
			continue
		}
		if wallet.locked {
			w.events["conflict"]++
			return plan{}, errTimedOut
		}
		mine = append(mine, wallet)
		wallets = append(wallets, wallet.Wallet)
		for _, op := range wallet.operations {
			if op.Seq > wallet.AppliedSeq && op.Seq <= targets[j].upTo && op.Type != lost {
				pending = append(pending, op)
			}
		}
	}
	full := len(pending) >= simLimit
	if full {
		w.events["full"]++
		pending = pending[:simLimit]
	}
	read := w.books.read(wallets, pending)
	read.at = w.clock
	if w.chance(95) || w.quiet { // else the topic is not registered now
		read.source = "legendary-wallet"
	}
	next, err := newPlan(read)
	if err != nil {
		w.violation("plan: %v", err)
	}
	next.full = next.full || full
	for _, wallet := range mine {
		wallet.locked = true
	}
	defer func() { // of the transaction, also of one whose worker dies
		for _, wallet := range mine {
			wallet.locked = false
		}
	}()
	w.nested()
	if x.dead || w.chance(2) {
		w.events["kill in a transaction"]++
		panic(killed{})
	}
	if w.chance(5) {
		return plan{}, errLost
	}
	for _, wallet := range mine {
		if wallet.poisoned && slices.Contains(next.advances.Ids, wallet.ID) {
			return plan{}, errPoisoned
		}
	}
	w.commit(next)
	x.dieMaybe(2)
	if w.chance(5) {
		w.events["outcome unknown, happened"]++
		return plan{}, errLost
	}
	return next, nil
}

func (w *world) commit(p plan) {
	accepted, err := w.books.commit(p, w.clock)
	if err != nil {
		w.violation("%v", err)
	}
	w.events["applied"] += len(p.applied)
	for _, o := range accepted {
		w.announce(o)
		if o.Type == receive {
			w.events["received"]++
		} else {
			w.events["returned"]++
		}
	}
}

func (w *world) wallet(id uuid.UUID) *simWallet {
	return &w.wallets[slices.IndexFunc(w.wallets, func(wallet simWallet) bool { return wallet.ID == id })]
}

func (x *simWorker) lastSequences(_ context.Context, ids []uuid.UUID) (map[uuid.UUID]int64, error) {
	x.dieMaybe(2)
	if x.world.chance(3) {
		return nil, errLost
	}
	last := map[uuid.UUID]int64{}
	for _, id := range ids {
		last[id] = int64(len(x.world.wallet(id).operations))
	}
	return last, nil
}

func (x *simWorker) lockedWallets(_ context.Context, ids []uuid.UUID) (locked []uuid.UUID, err error) {
	x.dieMaybe(2)
	if x.world.chance(3) {
		return nil, errLost
	}
	for _, id := range ids {
		if x.world.wallet(id).locked {
			x.world.events["found locked"]++
			locked = append(locked, id)
		}
	}
	return locked, nil
}

// check is of what holds at every moment.
func (w *world) check() {
	for i := range w.wallets {
		if wallet := &w.wallets[i]; wallet.damaged == 0 && wallet.AppliedSeq == int64(len(wallet.operations)) {
			wallet.passed = false
		}
	}
	for offset, m := range w.log[:w.committed] {
		if m.Sequence == 0 {
			continue
		}
		if wallet := w.wallet(m.WalletID); wallet.AppliedSeq < m.Sequence && !wallet.passed {
			w.violation("committed %d, but offset %d (sequence %d) is not applied (%d)", w.committed, offset, m.Sequence, wallet.AppliedSeq)
		}
	}
}

// checkEnd is of what holds once things are quiet: everything is applied, and is what the model makes of it.
func (w *world) checkEnd(wallet *simWallet) {
	end := int64(len(wallet.operations))
	if wallet.damaged > 0 {
		end = wallet.damaged - 1
	}
	var want model
	for i, o := range wallet.operations[:min(end, wallet.AppliedSeq)] {
		if want := want.turn(o); want.failed != wallet.outcomes[i].failureReason {
			w.violation("%+v has %+v, want %q", o, wallet.outcomes[i], want.failed)
			return
		}
	}
	open, held := want.openHolds()
	if wallet.AppliedSeq != end || wallet.Balance != want.balance() || wallet.Held != held || wallet.State != want.state() || len(wallet.holds) != open {
		w.violation("%+v with %d open holds, want balance %d at sequence %d, held %d, %s, %d open", wallet.Wallet, len(wallet.holds), want.balance(), end, held, want.state(), open)
	}
}

// checkMoney is of what all wallets have together: what came in and did not go out, less what is on its way.
func (w *world) checkMoney() {
	var there, put int64
	for i := range w.wallets {
		wallet := &w.wallets[i]
		there += wallet.Balance
		var m model
		for _, o := range wallet.operations[:wallet.AppliedSeq] {
			p := m.turn(o)
			switch {
			case p.failed != "" && o.Type == receive:
				if back := w.books.of(*o.CounterpartID).find(event.ReturnID(o.ID)); back == nil || back.Amount != o.Amount {
					w.violation("%+v is not given back", o)
				} else if w.books.of(*o.CounterpartID).AppliedSeq < back.Seq {
					there += back.Amount
				}
			case p.failed != "":
			case o.Type == transfer, o.Type == capture && o.CounterpartID != nil:
				if got := w.books.of(*o.CounterpartID).find(event.ReceiveID(o.ID)); got == nil || got.Amount != p.amount {
					w.violation("%+v is not received", o)
				} else if w.books.of(*o.CounterpartID).AppliedSeq < got.Seq {
					there += got.Amount
				}
			case o.Type == deposit, o.Type == reverse && m.find(o.SubjectID).Type != deposit:
				put += p.amount
			case o.Type == withdraw, o.Type == capture, o.Type == reverse:
				put -= p.amount
			}
		}
	}
	if there != put {
		w.violation("the wallets have %d, and %d was put in and not taken out", there, put)
	}
}
