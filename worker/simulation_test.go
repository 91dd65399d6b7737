package main

import (
	"context"
	"errors"
	"fmt"
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
	for _, event := range []string{"applied", "duplicate", "late", "lost", "kill in a transaction", "zombie", "conflict", "outcome unknown, happened", "stuck", "unstuck", "damaged", "restored", "swept", "full"} {
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

	wallets []simWallet
	unsent  []event.Hint // accepted, and not yet in Kafka
	log     []event.Hint
	// committed is the group's offset, owner the member that Kafka takes for the partition's owner.
	committed int64
	owner     *simWorker
	workers   []*simWorker
	depth     int
}

type simWallet struct {
	walletdb.Wallet
	operations []operation
	outcomes   int
	damaged    bool // an operation is missing
	passed     bool // was damaged, and has not caught up since
	poisoned   bool // cannot be written for now
	locked     bool
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
	w := &world{Rand: rand.New(rand.NewPCG(seed, 1)), events: map[string]int{}}
	for range simWallets {
		var id uuid.UUID
		for i := range id {
			id[i] = byte(w.IntN(256))
		}
		w.wallets = append(w.wallets, simWallet{Wallet: walletdb.Wallet{ID: id, State: active}})
	}
	slices.SortFunc(w.wallets, func(a, b simWallet) int { return slices.Compare(a.ID[:], b.ID[:]) })
	for range simWorkers {
		w.workers = append(w.workers, &simWorker{world: w})
	}
	for _, worker := range w.workers {
		worker.restart()
	}
	w.owner = w.workers[0]
	return w
}

func (w *world) run() {
	for range simSteps {
		w.step()
		w.check()
	}
	// Everything heals; then everything must end.
	w.quiet = true
	for i := range w.wallets {
		w.wallets[i].poisoned = false
	}
	for range 4 {
		w.send()
		w.owner.step()
		w.sweep()
		w.check()
	}
	for i := range w.wallets {
		w.checkEnd(&w.wallets[i])
	}
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

func (w *world) accept() {
	wallet := &w.wallets[w.IntN(simWallets)]
	for range 1 + w.IntN(4) {
		op := operation{WalletID: wallet.ID, Seq: int64(len(wallet.operations)) + 1, Type: walletdb.OperationTypeDEPOSIT, Amount: 1 + w.Int64N(9)}
		op.ID[0], op.ID[1] = byte(op.Seq), 1
		if w.IntN(2) == 0 {
			op.Type = walletdb.OperationTypeWITHDRAW
		}
		wallet.operations = append(wallet.operations, op)
		w.unsent = append(w.unsent, event.Hint{WalletID: wallet.ID, Sequence: op.Seq, OperationID: op.ID})
	}
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

// damage loses an operation that is not applied, or brings one back.
func (w *world) damage(wallet *simWallet) {
	pending := wallet.operations[wallet.AppliedSeq:]
	switch {
	case wallet.locked:
	case wallet.damaged:
		w.restore(wallet)
	case len(pending) > 0:
		w.events["damaged"]++
		wallet.damaged, wallet.passed = true, true
		pending[w.IntN(len(pending))].Amount *= -1 // marks the row as missing
	}
}

func (w *world) restore(wallet *simWallet) {
	w.events["restored"]++
	wallet.damaged = false
	for i := range wallet.operations {
		wallet.operations[i].Amount = max(wallet.operations[i].Amount, -wallet.operations[i].Amount)
	}
}

func (w *world) sweep() {
	var targets []target
	for _, wallet := range w.wallets {
		if wallet.AppliedSeq < int64(len(wallet.operations)) {
			targets = append(targets, target{wallet.ID, int64(len(wallet.operations)), true})
		}
	}
	sweeper := &simWorker{world: w}
	sweeper.restart()
	defer sweeper.survive()
	before := w.events["applied"]
	if err := sweeper.partition.applier.apply(context.Background(), targets, nil); err != nil && w.quiet {
		w.violation("sweep: %v", err)
	}
	w.events["swept"] += w.events["applied"] - before
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
	errLocked   = &pgconn.PgError{Code: "55P03"}
	errPoisoned = &pgconn.PgError{Code: "23514"}
)

func (x *simWorker) transaction(_ context.Context, targets []target) (plan, error) {
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
			return plan{}, errLocked
		}
		mine = append(mine, wallet)
		wallets = append(wallets, wallet.Wallet)
		for _, op := range wallet.operations {
			if op.Seq > wallet.AppliedSeq && op.Seq <= targets[j].upTo && op.Amount > 0 {
				pending = append(pending, op)
			}
		}
	}
	full := len(pending) >= simLimit
	if full {
		w.events["full"]++
		pending = pending[:simLimit]
	}
	next, err := newPlan(reading{wallets: wallets, pending: pending})
	if err != nil {
		w.violation("plan: %v", err)
	}
	next.full = full
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
	for i, id := range p.outcomes.WalletIds {
		wallet := w.wallet(id)
		if wallet.outcomes++; int64(wallet.outcomes) != p.outcomes.Seqs[i] {
			w.violation("outcome %d is given to sequence %d", wallet.outcomes, p.outcomes.Seqs[i])
		}
		w.events["applied"]++
	}
	for i, id := range p.advances.Ids {
		wallet := w.wallet(id)
		wallet.Balance, wallet.AppliedSeq = p.advances.Balances[i], p.advances.AppliedSeqs[i]
		if wallet.AppliedSeq != int64(wallet.outcomes) {
			w.violation("%d outcomes, applied up to %d", wallet.outcomes, wallet.AppliedSeq)
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

// check is of what holds at every moment.
func (w *world) check() {
	for i := range w.wallets {
		if wallet := &w.wallets[i]; !wallet.damaged && wallet.AppliedSeq == int64(len(wallet.operations)) {
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

// checkEnd is of what holds once things are quiet.
func (w *world) checkEnd(wallet *simWallet) {
	end := int64(len(wallet.operations))
	if wallet.damaged {
		end = int64(slices.IndexFunc(wallet.operations, func(op operation) bool { return op.Amount < 0 }))
	}
	want := account{state: active}
	for _, op := range wallet.operations[:end] {
		want.apply(op)
	}
	if wallet.AppliedSeq != end || wallet.Balance != want.balance {
		w.violation("balance %d at sequence %d, want %d at %d", wallet.Balance, wallet.AppliedSeq, want.balance, end)
	}
}
