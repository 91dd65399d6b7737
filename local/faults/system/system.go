// Package system is what faults are thrown at: a stack with doors between its processes, and what looks at
// it from outside.
package system

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/receiver"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

const (
	// RatePerSecond is the load of a round.
	RatePerSecond = 1000
	// Half of the operations go to one wallet, the others to these.
	otherWallets = 30
	// refusingWallets are in as many partitions as not to be all another worker's.
	refusingWallets = 12
	// The system works if the hot wallet accepts something and no operation waits to be applied for
	// longer than WorksWithin, all the time for steadyFor.
	WorksWithin = time.Second
	steadyFor   = WorksWithin + 500*time.Millisecond // a fault shows only after WorksWithin
	// drainRate is what a backlog is allowed to take, in operations a second.
	drainRate = 10_000
	// receiverTakes is what a receiver of webhooks works on each: long enough for two deliveries of one wallet to meet.
	receiverTakes = 2 * time.Millisecond
	// AbandonAfter is when a system that has not recovered is left alone.
	AbandonAfter = 90 * time.Second
)

// System is a stack of its own that faults are thrown at, with doors between its processes, a disk and a
// clock that can be changed, and what looks at it from outside.
type System struct {
	Stack  *stack.Stack
	Group  string // of the workers
	Random *rand.Rand
	Pool   *pgxpool.Pool
	Cache  redis.UniversalClient
	Log    *logReader[check.Message]
	// Events are what the topic of outcomes tells, Receiver is told by webhooks; nil: nothing is.
	Events   *logReader[check.Event]
	Receiver *receiver.Recorder
	Webhook  uuid.UUID // the receiver's
	// Bystander is told the same, and never fails: so each process of hooks has an endpoint, and gives one up.
	Bystander *receiver.Recorder
	Doors     map[Door]way
	Kfake     *kfake.Cluster // instead of Apache Kafka
	Disk      *smallDisk
	Away      time.Duration // of standbys, for long
	Clock     string        // the file that moves Postgres's clock, if it can be moved

	Footprints map[string]Footprint // the most after any round, by service
	Patience   time.Duration        // with a system that does not recover
	Unhurried  bool                 // it may take its time
	// Stalls begins to measure for how long the machine stalls, beside what has a limit; nil: it does not.
	Stalls   func() (stalled func() time.Duration)
	Standbys int // of Postgres, synchronous ones

	Hot       uuid.UUID
	Refusing  []uuid.UUID // are closed, and receive nothing
	Wallets   []uuid.UUID // of this round, the hot one first
	Positions []relayPosition
	Offsets   map[int32]int64  // the group's at the beginning of the round
	Told      []load.Operation // what a fault's own clients know
	Load      *load.Load
	Watch     *Watch
	Recreated atomic.Bool  // the topic of operations was: what the group has committed may be past its end
	Takeover  atomic.Int64 // nanoseconds until another relay led, if the fault was about that
}

// Start builds the programs and starts a stack with doors between its processes, and what looks at it.
func Start(ctx context.Context, c stack.Config, root string, seed uint64, out io.Writer) (f *System, err error) {
	state, err := proc.TemporaryState()
	if err != nil {
		return nil, err
	}
	bin := filepath.Join(state.Dir, "bin")
	f = &System{Group: "wallet-worker", Random: rand.New(rand.NewPCG(seed, 0))}
	c.Starting = stack.Starting{ServersReady: f.openDoors, Prepared: f.moveToSmallDisk}
	f.Stack = stack.New(state, c, bin, out)
	begun := f // an error returns none
	defer func() {
		if err != nil {
			begun.Close()
			if ctx.Err() != nil {
				err = proc.ErrInterrupted
			}
		}
	}()
	if err := os.Mkdir(bin, 0o755); err != nil {
		return nil, err
	}
	if err := stack.Build(ctx, root, bin, out, "-tags", "failpoints"); err != nil {
		return nil, err
	}
	if c.Kafka == "kfake" {
		const brokers = 3 // so that leaders can move
		if f.Kfake, err = kfake.NewCluster(kfake.NumBrokers(brokers)); err != nil {
			return nil, err
		}
		f.Stack.Backing.KafkaBrokers = strings.Join(f.Kfake.ListenAddrs(), ",")
	}
	f.planClock()
	if f.Standbys = c.Standbys; f.Standbys == 0 {
		f.planSmallDisk()
	} else {
		f.Disk = &smallDisk{Err: errors.New("a standby would share it: STANDBYS=0")}
	}
	if err := f.planKafkaDoors(); err != nil {
		return nil, err
	}
	if err := f.Stack.Start(ctx, c); err != nil {
		return nil, err
	}
	return f, f.Connect(ctx)
}

// Connect opens what looks at a stack that runs.
func (f *System) Connect(ctx context.Context) (err error) {
	f.Footprints, f.Patience = map[string]Footprint{}, AbandonAfter
	// What a fault ends is its news, not that of the children's supervision.
	f.Stack.Mute()
	if f.Cache, err = f.Stack.Backing.RedisClient(); err != nil {
		return err
	}
	if f.Log, err = followLog(strings.Split(f.Stack.Backing.KafkaBrokers, ","), f.Stack.Topic); err != nil {
		return err
	}
	if f.Stack.EventsTopic != "" {
		if f.Events, err = followEvents(strings.Split(f.Stack.Backing.KafkaBrokers, ","), f.Stack.EventsTopic); err != nil {
			return err
		}
	}
	if f.Pool, err = pgxpool.New(ctx, f.Stack.Backing.DatabaseURL); err != nil {
		return err
	}
	if len(f.Stack.Replicas("hooks")) == 0 {
		return nil
	}
	api := f.API()
	defer api.Close()
	if f.Receiver, f.Webhook, err = subscribed(&api); err != nil {
		return err
	}
	f.Bystander, _, err = subscribed(&api)
	return err
}

// subscribed is a new receiver, and its webhook.
func subscribed(api *load.Client) (*receiver.Recorder, uuid.UUID, error) {
	r, err := receiver.Record()
	if err != nil {
		return nil, uuid.Nil, err
	}
	r.Takes = receiverTakes
	id, err := r.Subscribe(api)
	return r, id, err
}

// API is a client of the first api.
func (f *System) API() load.Client {
	return load.Client{Addr: strings.TrimPrefix(f.Stack.APIURLs[0], "http://"), APIKey: f.Stack.APIKey, Timeout: 5 * time.Second}
}

// Disconnect closes that.
func (f *System) Disconnect() {
	if f.Pool != nil {
		f.Pool.Close()
	}
	if f.Log != nil {
		f.Log.close()
	}
	if f.Events != nil {
		f.Events.close()
	}
	for _, r := range []*receiver.Recorder{f.Receiver, f.Bystander} {
		if r != nil {
			r.Close()
		}
	}
	if f.Cache != nil {
		_ = f.Cache.Close()
	}
}

// Close stops everything.
func (f *System) Close() {
	f.Disconnect()
	f.Stack.Stop()
	f.closeDoors()
	if f.Kfake != nil {
		f.Kfake.Close()
	}
	f.Stack.State.Close()
}

// PrepareRound opens the wallets of a round and notes where everything stands.
func (f *System) PrepareRound(ctx context.Context) (err error) {
	if f.Wallets, err = load.OpenWallets(f.Stack.APIURLs[0], f.Stack.APIKey, 1+otherWallets+refusingWallets); err != nil {
		return err
	}
	f.Hot, f.Refusing = f.Wallets[0], f.Wallets[1+otherWallets:]
	if f.Told, err = f.closeWallets(ctx, f.Refusing); err != nil {
		return err
	}
	if f.Positions, err = f.relayPositions(ctx); err != nil {
		return err
	}
	if f.Offsets, err = f.committedOffsets(ctx); err != nil {
		return fmt.Errorf("read the committed offsets: %w", err)
	}
	return f.awaitCached(ctx)
}

// closeWallets makes wallets that receive nothing: what is sent to them comes back.
func (f *System) closeWallets(ctx context.Context, ids []uuid.UUID) ([]load.Operation, error) {
	l := &load.Load{APIs: f.Stack.APIURLs, APIKey: f.Stack.APIKey, Attempt: 5 * time.Second, Patience: time.Minute}
	closes := make([]load.Operation, len(ids))
	for i, id := range ids {
		closes[i] = load.Operation{Wallet: id, Kind: "CLOSE"}
	}
	told := l.SendThese(ctx, closes...)
	if l.Failures.Load() > 0 {
		return nil, fmt.Errorf("close a wallet: %s", *l.LastFail.Load())
	}
	return told, nil
}

// UnderLoad does something while clients send to the wallets of the round and a watch looks on. It returns
// what the clients were told; the watch goes on.
func (f *System) UnderLoad(ctx context.Context, do func()) []load.Operation {
	f.Load = &load.Load{
		APIs: f.Stack.APIURLs, APIKey: f.Stack.APIKey, Wallets: append(slices.Repeat(f.Wallets[:1], otherWallets), f.Wallets[1:1+otherWallets]...),
		Mix: load.EveryType, Connections: 100, RatePerSecond: RatePerSecond, Duration: time.Hour, ResendPercent: 2,
		Attempt: 5 * time.Second, Patience: time.Minute,
	}
	f.Load.Mix.Refusing = f.Refusing
	history := make(chan []load.Operation, 1)
	go func() { history <- f.Load.Send(ctx) }()
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	f.Watch = f.startWatch(ctx)
	go f.readWallets(reading, f.Watch, f.Wallets[:3])
	do()
	f.Load.End()
	return <-history
}

// awaitCached returns when the apis cache what they read, which they do not for 5 s after some faults.
func (f *System) awaitCached(ctx context.Context) (err error) {
	c := f.API()
	defer c.Close()
	found := false
	if !proc.Await(ctx, 20*time.Second, func() bool {
		if _, err = c.Do(http.MethodGet, "/api/v1/wallets/"+f.Hot.String(), "", nil); err == nil {
			_, found, err = walletcache.Get(ctx, f.Cache, f.Hot)
		}
		return found && err == nil
	}) {
		return fmt.Errorf("nothing that is read is cached: %w", err)
	}
	return nil
}

// AwaitRecovery returns how long it took from now until the system worked again. Later than it
// promises is a violation.
func (f *System) AwaitRecovery(ctx context.Context, of string, within time.Duration) time.Duration {
	took, late := f.AwaitWorking(ctx, within, steadyFor)
	if late != "" && !f.Unhurried {
		f.Watch.Violate("%s: %s", of, late)
	}
	return took
}

// AwaitWorking is the same for another time without interruption, and says what is late.
func (f *System) AwaitWorking(ctx context.Context, within, steady time.Duration) (time.Duration, string) {
	began := time.Now()
	var steadySince time.Time
	for ctx.Err() == nil && time.Since(began) < f.Patience {
		now := time.Now()
		switch p := f.Watch.Latest(); {
		case p.err != nil || p.Oldest > WorksWithin || now.Sub(p.moved) > WorksWithin:
			steadySince = time.Time{}
		case steadySince.IsZero():
			steadySince = now
		}
		if !steadySince.IsZero() && now.Sub(steadySince) > steady {
			took := steadySince.Sub(began)
			if limit := within + time.Duration(f.Watch.Latest().most)*time.Second/drainRate; took > limit {
				return took, fmt.Sprintf("it recovered after %.1f s, not within %.1f s", took.Seconds(), limit.Seconds())
			}
			return took, ""
		}
		proc.Pause(ctx, 50*time.Millisecond)
	}
	p := f.Watch.Latest()
	return time.Since(began), fmt.Sprintf("it did not recover within %s: %d operations wait, %v", f.Patience, p.backlog, p.err)
}
