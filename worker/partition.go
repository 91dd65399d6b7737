package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/service"
)

const (
	// failuresBeforeSplit is how often a batch may fail before its wallets are tried one by one.
	failuresBeforeSplit = 3
	// maxStuck is how many wallets may fail on their own. If more do, something else is wrong.
	maxStuck = 100

	minRetryDelay = 50 * time.Millisecond
	maxRetryDelay = 2 * time.Second
	stuckDelay    = 5 * time.Second
)

// partition applies the messages of one assigned partition, batch by batch, in a goroutine of its own.
//
// Its offset is a hint, and applied_seq in Postgres is the truth: after a crash the messages since
// the last stored offset come again and change nothing. So an offset is stored only when every
// wallet of the messages before it has applied what they say, or is damaged.
type partition struct {
	number   int32
	queue    *queue
	applier  *applier
	progress progress
	sleep    func(ctx context.Context, d time.Duration) // until ctx ends at most

	next       int64     // the offset after the last message applied, or unknownOffset
	stuck      []target  // wallets that fail on their own or are locked, and keep the offset where it is
	stuckUntil time.Time // when they are tried again

	stored    atomic.Int64 // the last offset stored, or unknownOffset; others read it
	abandoned atomic.Bool  // others have set it: no offset is stored any more

	stop context.CancelFunc // starts no other transaction and lets the running one finish
	done chan struct{}
}

// progress is where a partition reports what it does: Kafka, health and metrics, or a simulation of them.
type progress interface {
	// store makes an offset the one at which the next worker begins.
	store(next int64)
	// report says why nothing can be applied; nil: something was.
	report(err error)
	// took says how long a batch took.
	took(messages int, d time.Duration)
}

// unknownOffset is where a partition stands before its first message.
const unknownOffset = -1

func newPartition(number int32, queue *queue, applier *applier, progress progress) *partition {
	p := &partition{
		number: number, queue: queue, applier: applier, progress: progress,
		sleep: func(ctx context.Context, d time.Duration) { service.Sleep(ctx, d) },
		next:  unknownOffset, done: make(chan struct{}),
	}
	p.stored.Store(unknownOffset)
	return p
}

// start returns at once; stop ends what it started.
func (p *partition) start() {
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	go p.run(ctx)
}

// run processes batches until ctx ends.
func (p *partition) run(ctx context.Context) {
	defer close(p.done)
	for ctx.Err() == nil {
		var batch []received
		switch wait := time.Until(p.stuckUntil); {
		case len(p.stuck) == 0:
			batch = p.queue.next(ctx, nil)
		case len(p.stuck) <= maxStuck:
			batch = p.queue.next(ctx, time.After(wait))
		default:
			p.sleep(ctx, wait)
		}
		begin := time.Now()
		if ctx.Err() != nil || p.process(ctx, batch) != nil {
			return
		}
		p.progress.took(len(batch), time.Since(begin))
	}
}

// process applies a batch and the wallets that are stuck since earlier ones, and stores the offset if no
// wallet is left. Its error says that ctx has ended.
func (p *partition) process(ctx context.Context, batch []received) error {
	failed, err := p.settle(ctx, p.targets(batch), batch)
	if err != nil {
		return err
	}
	if len(p.stuck) > 0 && !time.Now().Before(p.stuckUntil) {
		p.retryStuck(ctx)
	}
	if len(failed) > 0 {
		if len(p.stuck) == 0 { // or the others would wait longer each time that one joins them
			p.stuckUntil = time.Now().Add(stuckDelay)
		}
		p.stuck = append(p.stuck, failed...)
	}
	if len(batch) > 0 {
		p.next = batch[len(batch)-1].offset + 1
	}
	if len(p.stuck) == 0 {
		p.progress.report(nil)
		if p.next != p.stored.Load() && !p.abandoned.Load() {
			p.progress.store(p.next)
			p.stored.Store(p.next)
		}
	}
	return nil
}

// retryStuck tries every stuck wallet again that nobody else has locked.
func (p *partition) retryStuck(ctx context.Context) {
	free, stuck := p.divide(ctx, p.stuck)
	err := p.applier.applyEach(ctx, free, nil, func(t target, err error) {
		stuck = append(stuck, t)
		p.progress.report(fmt.Errorf("wallet %s: %w", t.walletID, err))
	})
	p.stuckUntil = time.Now().Add(stuckDelay)
	if err != nil {
		p.progress.report(err)
		return
	}
	p.stuck = stuck
}

// targets returns what a batch asks for, without the wallets that are stuck: those get
// the new sequence and wait.
func (p *partition) targets(batch []received) []target {
	targets := make([]target, 0, len(batch))
	place := make(map[uuid.UUID]int, len(batch))
	for _, m := range batch {
		if m.Sequence == 0 {
			continue
		}
		i, seen := place[m.WalletID]
		if !seen {
			i = len(targets)
			place[m.WalletID] = i
			targets = append(targets, target{walletID: m.WalletID})
		}
		targets[i].upTo = max(targets[i].upTo, m.Sequence)
	}
	return slices.DeleteFunc(targets, func(t target) bool {
		i := slices.IndexFunc(p.stuck, func(s target) bool { return s.walletID == t.walletID })
		if i >= 0 {
			p.stuck[i] = target{walletID: t.walletID, upTo: max(p.stuck[i].upTo, t.upTo)}
		}
		return i >= 0
	})
}

// settle applies targets, for as long as it takes, and returns those that fail on their own, or that somebody else
// has locked once one was waited for in vain.
// Nothing becomes FAILED here: what cannot be written now is tried again. Its error says that ctx
// has ended.
func (p *partition) settle(ctx context.Context, targets []target, batch []received) (failed []target, err error) {
	failures := 0
	for delay := minRetryDelay; ; delay = min(2*delay, maxRetryDelay) {
		var alone []target
		if failures < failuresBeforeSplit {
			err = p.applier.apply(ctx, targets, batch)
		} else {
			alone, err = p.oneByOne(ctx, targets, batch)
			failures = 0
		}
		if err == nil {
			return append(failed, alone...), nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		p.progress.report(err)
		if lockTimedOut(err) {
			free, locked := p.divide(ctx, targets)
			if len(locked) > 0 { // or it was another lock, of what follows
				targets, failed = free, append(failed, locked...)
				continue
			}
		}
		if causeOf(err) != connection {
			failures++
		}
		p.sleep(ctx, delay)
	}
}

// divide tells the wallets that somebody else has locked from the others, which would wait with them. If it cannot,
// none is locked.
func (p *partition) divide(ctx context.Context, targets []target) (free, locked []target) {
	ids, err := p.applier.ledger.lockedWallets(ctx, walletIDs(targets))
	if err != nil {
		p.progress.report(err)
	}
	for _, t := range targets {
		if !slices.Contains(ids, t.walletID) {
			free = append(free, t)
			continue
		}
		locked = append(locked, t)
		p.progress.report(fmt.Errorf("wallet %s: %w", t.walletID, errLocked))
	}
	return free, locked
}

// oneByOne applies each target on its own and returns those that fail. It returns an error if the cause is
// not the targets.
func (p *partition) oneByOne(ctx context.Context, targets []target, batch []received) (failed []target, err error) {
	for _, t := range targets {
		err := p.applier.apply(ctx, []target{t}, batch)
		if err == nil {
			continue
		}
		if failed = append(failed, t); causeOf(err) == connection || len(failed) > maxStuck {
			return nil, err
		}
		p.progress.report(fmt.Errorf("wallet %s: %w", t.walletID, err))
	}
	return failed, nil
}
