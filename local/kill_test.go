package main

import (
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/receiver"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// killsOfEach is how often each service is killed, unless KILLS says another number.
const killsOfEach = 20

func TestKilledServicesLoseDoubleAndReorderNothing(t *testing.T) {
	t.Parallel()
	for name, others := range map[string]int{"one wallet, deposits and withdrawals": 0, "two hot wallets and 300, every type": 300} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1})
			wallets, mix := s.OpenWallets(1), load.Mix{}
			var closed []load.Operation
			if others > 0 {
				hot := append(wallets, s.OpenWallets(1)...)
				wallets, mix = append(slices.Repeat(hot, others/2), s.OpenWallets(others)...), load.EveryType
				mix.Refusing = s.OpenWallets(1)
				closed = s.close(mix.Refusing[0])
			}
			l := s.MixedLoad(mix, wallets)
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			kills := killsOfEach
			if given, err := strconv.Atoi(os.Getenv("KILLS")); err == nil {
				kills = given
			}
			for range kills {
				for _, i := range random.Perm(len(s.Services)) {
					// Each kill hits a system in which operations get all the way, at a moment of its own.
					s.UntilApplied(time.Minute)
					time.Sleep(time.Duration(random.Int64N(int64(100 * time.Millisecond))))
					s.Kill(s.Services[i], syscall.SIGKILL)
				}
			}
			s.Keep(l, closed...)
			t.Logf("%d operations", s.Totals().Operations)
		})
	}
}

// What one wallet gives another one is received by the same commit that took it, and given back by the one that
// refused it: so a worker that dies between any two steps of a transfer neither loses nor doubles money.
func TestServicesKilledAtEachNamedPointLoseDoubleAndReorderNothing(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1})
	wallets := s.OpenWallets(21)
	mix := load.EveryType
	mix.Refusing = wallets[20:]
	closed := s.close(wallets[20])
	l := s.MixedLoad(mix, wallets[:20])
	for service, points := range map[string][]string{
		"api":   {"accept-before-commit", "accept-after-commit"},
		"relay": {"relay-after-read", "relay-mid-wave", "relay-after-acks"},
		"worker": {
			"worker-before-transaction", "worker-after-lock", "worker-after-updates", "worker-after-events", "worker-after-commit", "worker-after-redis",
			"worker-before-credit-commit", "worker-after-credit-commit", "worker-before-return-commit", "worker-after-return-commit",
		},
	} {
		p := s.Process(service)
		for _, point := range points {
			s.UntilApplied(time.Minute)
			p.NextStartWith("FAILPOINT="+point, "FAILPOINT_AFTER=3")
			s.Kill(p, syscall.SIGKILL)
			atPoint := p.StartCount()
			s.Until(service+" dies at "+point, time.Minute, func() bool { return p.StartCount() > atPoint })
		}
	}
	s.UntilApplied(time.Minute)
	s.Keep(l, closed...)
}

// A hooks that dies between any two of its steps misses nothing, and sends nothing out of a wallet's order.
func TestHooksKilledAtEachNamedPointMissesNothing(t *testing.T) {
	s := newSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1, Hooks: 1})
	r, err := receiver.Record()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	api := load.Client{Addr: strings.TrimPrefix(s.APIURLs[0], "http://"), APIKey: s.APIKey, Timeout: 5 * time.Second}
	defer api.Close()
	if _, err := r.Subscribe(&api); err != nil {
		t.Fatal(err)
	}
	wallets := s.OpenWallets(20)
	l := s.Load(wallets)
	hooks := s.Process("hooks")
	for _, point := range []string{"hooks-after-take", "hooks-before-attempt", "hooks-after-delivery", "hooks-between-states-and-cursors", "hooks-after-save"} {
		came := len(r.Got(wallets))
		s.Until("webhooks arrive", time.Minute, func() bool { return len(r.Got(wallets)) > came })
		hooks.NextStartWith("FAILPOINT=" + point)
		s.Kill(hooks, syscall.SIGKILL)
		atPoint := hooks.StartCount()
		s.Until("hooks dies at "+point, time.Minute, func() bool { return hooks.StartCount() > atPoint })
	}
	s.Keep(l)
	finished, err := walletdb.New(s.Conn).FinishedOperations(t.Context(), walletdb.FinishedOperationsParams{Wallets: wallets})
	if err != nil {
		t.Fatal(err)
	}
	s.Until("everything is told", 60*time.Second, func() bool {
		_, receipt := check.Webhooks(r.Got(wallets), finished)
		return receipt.Missed == 0
	})
	told, receipt := check.Webhooks(r.Got(wallets), finished)
	for _, broken := range append(told.Broken, r.Forget()...) {
		t.Error(broken)
	}
	t.Logf("%+v", receipt)
}

// close closes a wallet, so that it receives nothing.
func (s *system) close(wallet uuid.UUID) []load.Operation {
	s.T.Helper()
	l := &load.Load{APIs: s.APIURLs, APIKey: s.APIKey, Attempt: 12 * time.Second, Patience: time.Minute}
	told := l.SendThese(s.T.Context(), load.Operation{Wallet: wallet, Kind: "CLOSE"})
	if l.Failures.Load() > 0 {
		s.T.Fatalf("close a wallet: %s", *l.LastFail.Load())
	}
	return told
}

func TestRelayRestartsAloneUnderLoad(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1})
	wallets := s.OpenWallets(1)
	l := s.Load(wallets)
	stall := testdb.WatchStalls(t, s.Backing.DatabaseURL)
	relay := s.Process("relay")
	for range 3 {
		for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			s.UntilApplied(time.Minute)
			s.Kill(relay, signal)
		}
	}
	history, stalled := l.Finish(), stall()
	stall = testdb.WatchStalls(t, s.Backing.DatabaseURL)
	began := time.Now()
	if _, err := check.AwaitIdle(t.Context(), s.Conn, time.Minute); err != nil {
		t.Fatal(err)
	}
	if lag := time.Since(began); lag > 5*time.Second+stall().Sum {
		t.Errorf("the lag was back to zero after %s", lag)
	}
	if l.Failures.Load() > 0 {
		t.Errorf("%d operations were not accepted", l.Failures.Load())
	}
	var accepted []time.Time
	for _, op := range history {
		accepted = append(accepted, op.Answered)
	}
	if pause, allowed := testdb.LongestPause(accepted), 2*time.Second+stalled.Longest; pause > allowed {
		t.Errorf("nothing was accepted for %s, %s are allowed", pause, allowed)
	}
	s.KeepPromises(history)
}

func TestStoppedLeaderRelayIsReplacedAndHarmlessWhenItReturns(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stack.Config{APIs: 1, Relays: 2, Workers: 1})
	l := s.Load(s.OpenWallets(5))
	s.UntilApplied(time.Minute)
	leader, standby := s.Process("relay"), s.Process("relay-2")
	if stack.Role(leader) != "leader" {
		leader, standby = standby, leader
	}
	stall := testdb.WatchStalls(t, s.Backing.DatabaseURL)
	leader.Signal(syscall.SIGSTOP)
	led := s.Until("the standby leads", time.Minute, func() bool { return stack.Role(standby) == "leader" })
	if allowed := 10*time.Second + stall().Sum; led > allowed {
		t.Errorf("the standby led after %s, %s are allowed", led, allowed)
	}
	t.Logf("applied again %s after the standby led", s.UntilApplied(20*time.Second))
	leader.Signal(syscall.SIGCONT)
	s.Until("the stopped one stands by", time.Minute, func() bool { return stack.Role(leader) == "standby" })
	s.UntilApplied(20 * time.Second)
	s.Keep(l)
}

func TestStoppedAPIHoldsNobodyUpLongerThanItsTimeouts(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stack.Config{APIs: 2, Relays: 1, Workers: 1})
	wallets := s.OpenWallets(2)
	stuck, other := wallets[0], wallets[1]
	l := s.Load([]uuid.UUID{stuck}, s.APIURLs[0])
	api := s.Process("api")
	s.Until("the api is stopped inside a transaction", 60*time.Second, func() bool {
		api.Signal(syscall.SIGSTOP)
		if s.lockedForLong(stuck) {
			return true
		}
		api.Signal(syscall.SIGCONT)
		return false
	})
	var histories []load.Operation
	stall, slowest := testdb.WatchStalls(t, s.Backing.DatabaseURL), time.Duration(0)
	began := time.Now()
	freed := make(chan load.Operation)
	go func() { freed <- s.Deposit(s.APIURLs[1], stuck) }()
	for waiting := true; waiting; {
		select {
		case op := <-freed:
			histories = append(histories, op)
			waiting = false
		default:
			op := s.Deposit(s.APIURLs[1], other)
			histories = append(histories, op)
			slowest = max(slowest, op.Answered.Sub(op.SentAt))
		}
	}
	took, stalled := time.Since(began), stall()
	if slowest > 2*time.Second+stalled.Longest {
		t.Errorf("another wallet's operation took %s", slowest)
	}
	if took > 8*time.Second+stalled.Sum {
		t.Errorf("the wallet was held up for %s", took)
	}
	api.Signal(syscall.SIGCONT)
	histories = append(histories, l.Finish()...)
	s.KeepPromises(histories)
}

// lockedForLong reports whether someone holds a wallet's sequence, and not only for this moment.
func (s *system) lockedForLong(wallet uuid.UUID) bool {
	for range 5 {
		_, err := s.Conn.Exec(s.T.Context(), "SELECT FROM wallet_sequences WHERE wallet_id = $1 FOR UPDATE NOWAIT", wallet)
		if err == nil {
			return false
		}
		if locked := new(pgconn.PgError); !errors.As(err, &locked) || locked.Code != "55P03" {
			s.T.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return true
}

func TestBalancesAreReadFromPostgresWhileRedisIsGone(t *testing.T) {
	ownState, err := proc.TemporaryState()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ownState.Close)
	redis, url, err := servers.Redis(ownState, nil)
	if err != nil {
		t.Fatal(err)
	}
	redis.Changed = func(string) {}
	if err := redis.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redis.Stop)
	t.Setenv("TEST_REDIS_URL", url)
	s := newSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1})
	wallet := s.OpenWallets(1)[0]
	var history []load.Operation
	agree := func(when string) {
		t.Helper()
		history = append(history, s.Deposit(s.APIURLs[0], wallet))
		s.Until("the balance is read "+when, time.Minute, func() bool {
			_, version := s.Balance(wallet)
			return version == int64(len(history))
		})
		var stored int64
		if err := s.Conn.QueryRow(t.Context(), "SELECT balance FROM wallets WHERE id = $1", wallet).Scan(&stored); err != nil {
			t.Fatal(err)
		}
		if balance, _ := s.Balance(wallet); balance != stored {
			t.Errorf("%s the balance reads %d, stored is %d", when, balance, stored)
		}
	}
	agree("before")
	redis.Stop()
	agree("while redis is gone")
	agree("while redis is gone")
	if err := redis.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	agree("after its return")
	s.KeepPromises(history)
}
