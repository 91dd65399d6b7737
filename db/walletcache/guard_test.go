package walletcache_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	useTimeout = 500 * time.Millisecond
	lease      = time.Second
	settling   = walletcache.Settling
)

// process is one that uses the cache. Its way to Redis can be cut, and what it sends last can be met.
type process struct {
	*walletcache.Guard
	*link
}

type link struct {
	mu    sync.Mutex
	cut   bool
	after func(command string) // runs after each command that came through
}

func (l *link) set(change func(l *link)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

func (l *link) state() (cut bool, after func(string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut, l.after
}

func (*link) DialHook(next redis.DialHook) redis.DialHook { return next }

func (l *link) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		cut, after := l.state()
		if cut {
			cmd.SetErr(net.ErrClosed)
			return net.ErrClosed
		}
		err := next(ctx, cmd)
		if after != nil {
			after(cmd.Name())
		}
		return err
	}
}

func (l *link) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		cut, after := l.state()
		if cut {
			for _, cmd := range cmds {
				cmd.SetErr(net.ErrClosed)
			}
			return net.ErrClosed
		}
		err := next(ctx, cmds)
		if after != nil {
			after(cmds[0].Name())
		}
		return err
	}
}

func newProcess(t *testing.T, database int) process {
	t.Helper()
	client, l := connectTo(t, database), &link{}
	client.AddHook(l)
	ignore := func(error) {}
	return process{walletcache.NewGuard(client, useTimeout, ignore, ignore), l}
}

// watched runs the guard until the test ends.
func (p process) watched(t *testing.T) process {
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { p.Run(ctx) })
	t.Cleanup(func() { stop(); done.Wait() })
	return p
}

func (p process) eventuallyWell(t *testing.T) {
	t.Helper()
	testkit.Until(t, "the cache is used again", p.Err)
}

func TestAProcessThatMissedSomethingReadsNothingOfBefore(t *testing.T) {
	t.Parallel()
	client, wallet := ownDatabase(t, 13), newWallet()
	p := newProcess(t, 13).watched(t)
	fill(t, client, wallet)
	p.set(func(l *link) { l.cut = true })
	wallet.AppliedSeq = 1
	p.Set([]walletdb.Wallet{wallet.Wallet})
	if p.Err() == nil {
		t.Fatal("a write that failed is none that was missed")
	}
	if _, _, found := p.Read(wallet.ID); found {
		t.Error("the cache is read while it is lost")
	}
	p.set(func(l *link) { l.cut = false })
	p.eventuallyWell(t)
	if w, _, found := p.Read(wallet.ID); found {
		t.Errorf("version %d can be read although 1 is committed", w.AppliedSeq)
	}
}

// A client is told a version only when no process can read an older one: at the latest when the lease is
// over that was renewed before the loss.
func TestNothingIsToldWhileOthersCanReadWhatIsOlder(t *testing.T) {
	t.Parallel()
	client, wallet := ownDatabase(t, 12), newWallet()
	p := newProcess(t, 12)
	fill(t, client, wallet)
	wallet.AppliedSeq = 1
	tell := func() time.Duration {
		began := time.Now()
		p.Fill(t.Context(), "", wallet)
		return time.Since(began)
	}
	if tell(); p.Err() != nil {
		t.Fatal(p.Err())
	}
	expect(t, client, wallet)
	p.set(func(l *link) { l.cut = true })
	wallet.AppliedSeq = 2
	if took := tell(); took < lease || took > lease+5*time.Second {
		t.Errorf("the first was told after %v", took)
	}
	if took := tell(); took > lease {
		t.Errorf("when all leases are over, one is told after %v", took)
	}
	// It is told as soon as the cache is back, and then nothing older is in it.
	p.set(func(l *link) { l.cut = false })
	tell()
	if w, _, found := p.Read(wallet.ID); p.Err() != nil || found && w.AppliedSeq < 2 {
		t.Errorf("found = %v, %+v, %v", found, w, p.Err())
	}
}

// A client who leaves is not waited for.
func TestWhoLeavesHoldsNothingUp(t *testing.T) {
	t.Parallel()
	p := newProcess(t, 11)
	p.set(func(l *link) { l.cut = true })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	began := time.Now()
	p.Raise(ctx, newWallet().Wallet)
	if took := time.Since(began); took > lease {
		t.Errorf("it took %v", took)
	}
}

// A reader fills the cache after it was invalidated, and before a write that is still left out: the
// cache must be invalidated once more.
func TestAWriteLeftOutDuringInvalidationCounts(t *testing.T) {
	t.Parallel()
	client, wallet := ownDatabase(t, 10), newWallet()
	p := newProcess(t, 10)
	p.set(func(l *link) { l.cut = true })
	p.Set([]walletdb.Wallet{wallet.Wallet})
	p.set(func(l *link) {
		l.cut = false
		l.after = func(string) {
			p.set(func(l *link) { l.after = nil })
			fill(t, client, wallet)
			newer := wallet
			newer.AppliedSeq = 1
			p.Set([]walletdb.Wallet{newer.Wallet})
		}
	})
	p.watched(t).eventuallyWell(t)
	if w, _, found := p.Read(wallet.ID); found && w.AppliedSeq == 0 {
		t.Error("version 0 can be read although 1 is committed")
	}
}

// Whoever comes while a wallet is being read gets no state of before, and shares one more reading with the others.
func TestReadersShareAReadingOfAfterTheyCame(t *testing.T) {
	t.Parallel()
	client, wallet := ownDatabase(t, 9), newWallet()
	fill(t, client, wallet)
	p := newProcess(t, 9)
	if _, _, found := p.Read(wallet.ID); !found { // it has a connection now, and Redis the script
		t.Fatal("the wallet is not cached")
	}

	var reads atomic.Int64
	came, goOn := make(chan struct{}), make(chan struct{})
	p.set(func(l *link) {
		l.after = func(command string) {
			if command == "evalsha" && reads.Add(1) == 1 {
				close(came)
				<-goOn
			}
		}
	})
	read := func(version chan<- int64) {
		w, _, _ := p.Read(wallet.ID)
		version <- w.AppliedSeq
	}
	first, later := make(chan int64, 1), make(chan int64)
	go read(first)
	<-came // what the first reader gets has left Redis
	newer := wallet.Wallet
	newer.AppliedSeq++
	if err := walletcache.Raise(t.Context(), client, newer); err != nil {
		t.Fatal(err)
	}
	const others = 20
	for range others {
		go read(later)
	}
	time.Sleep(50 * time.Millisecond)
	close(goOn)
	if got := <-first; got != wallet.AppliedSeq {
		t.Errorf("the first reader gets version %d, want %d", got, wallet.AppliedSeq)
	}
	for range others {
		if got := <-later; got != newer.AppliedSeq {
			t.Errorf("a reader that came later gets version %d, want %d", got, newer.AppliedSeq)
		}
	}
	if got := reads.Load(); got > 3 {
		t.Errorf("%d readings for %d readers, want 2, or 3 on a busy machine", got, others+1)
	}
}

// A handler's panic ends its request, and not the process: those who come later are not to wait for its reading.
func TestAReadingThatPanicsIsOver(t *testing.T) {
	t.Parallel()
	p, id := newProcess(t, 9), newWallet().ID
	p.set(func(l *link) { l.after = func(string) { panic("while reading") } })
	func() {
		defer func() { _ = recover() }()
		p.Read(id)
	}()
	p.set(func(l *link) { l.after = nil })
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Read(id)
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Error("the next reader waits for it")
	}
}
