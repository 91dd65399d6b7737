package kinds

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/local/faults/system"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

func All(f *system.System) []system.Fault {
	if f.Lying != nil {
		return lies(f)
	}
	ofEverything := system.OfServer
	if f.Stack.Backing.Brokers == servers.ClusterBrokers {
		ofEverything = system.OfCluster
	}
	return slices.Concat([]system.Fault{
		signalled(f, "kill -9 of an api", syscall.SIGKILL, system.OfService, "api"),
		dethroned(f, signalled(f, "kill -9 of the leading relay", syscall.SIGKILL, system.OfService, "relay"), 2*time.Second),
		signalled(f, "kill -9 of a worker", syscall.SIGKILL, system.OfService, "worker"),
		signalled(f, "kill -9 of kafka", syscall.SIGKILL, system.OfServer, "kafka"),
		signalled(f, "kill -9 of redis", syscall.SIGKILL, system.OfService, "redis"),
		{Name: "kill -9 of postgres", Throw: func(ctx context.Context) error { return killPostgres(ctx, f) }, Within: system.OfServer},
		{Name: "kill -9 of all services", Within: system.OfSession, Throw: func(context.Context) error {
			for _, p := range f.Stack.Services {
				p.Signal(syscall.SIGKILL)
			}
			return nil
		}},
		{Name: "kill -9 of everything", Within: ofEverything, Throw: func(ctx context.Context) error {
			for _, p := range slices.Concat(f.Stack.Services, f.Stack.Backing.Processes) {
				if p != f.Stack.PostgresServers()[0].Process {
					p.Signal(syscall.SIGKILL)
				}
			}
			return killPostgres(ctx, f)
		}},
		signalled(f, "SIGTERM of an api", syscall.SIGTERM, system.OfService, "api"),
		signalled(f, "SIGTERM of the leading relay", syscall.SIGTERM, system.OfService, "relay"),
		signalled(f, "SIGTERM of a worker", syscall.SIGTERM, system.OfService, "worker"),
		signalled(f, "SIGTERM of kafka", syscall.SIGTERM, system.OfServer, "kafka"),
		signalled(f, "SIGTERM of redis", syscall.SIGTERM, system.OfService, "redis"),
		signalled(f, "SIGTERM of postgres", syscall.SIGTERM, system.OfServer, "postgres"),
		{Name: "rolling restart of all services", Throw: func(ctx context.Context) error { return rollingRestart(ctx, f) }, Within: system.OfService},
		stopped(f, "SIGSTOP of an api, until the others do its work", "api", 0, system.OfService),
		dethroned(f, stopped(f, "SIGSTOP of the leading relay, until another leads", "relay", 0, system.OfService), 6*time.Second),
		stopped(f, "SIGSTOP of a worker, past its session", "worker", 0, system.OfSession),
		stopped(f, "SIGSTOP of kafka for 5 s", "kafka", 5*time.Second, system.OfService),
		stopped(f, "SIGSTOP of redis for 5 s", "redis", 5*time.Second, system.OfService).Telling("worker", "redis"),
		{
			Name: "SIGSTOP of the postmaster for 5 s", Holds: 5 * time.Second, Within: system.OfService,
			Throw: func(context.Context) error { return signalPostmaster(f, syscall.SIGSTOP) },
			Heal:  func(context.Context) error { return signalPostmaster(f, syscall.SIGCONT) },
		},
		sql(f, "one backend of the api terminated", system.OfService, terminate+" WHERE usename = 'local_api' ORDER BY random() LIMIT 1"),
		sql(f, "one backend of the relay terminated", system.OfService, terminate+" WHERE usename = 'local_relay' ORDER BY random() LIMIT 1"),
		sql(f, "one backend of the worker terminated", system.OfService, terminate+" WHERE usename = 'local_worker' ORDER BY random() LIMIT 1"),
		sql(f, "all backends of the services terminated", system.OfService, terminate+" WHERE usename LIKE 'local_%'"),
		{Name: "FLUSHALL", Within: system.OfService, Throw: func(ctx context.Context) error { return f.Cache.FlushAll(ctx).Err() }},
		held(f, "a writer's transaction open for 5 s", pgx.ReadCommitted, "SELECT pg_current_xact_id() WHERE $1::uuid IS NOT NULL"),
		held(f, "a reader's snapshot open for 5 s", pgx.RepeatableRead, "SELECT applied_seq FROM wallets WHERE id = $1"),
		held(f, "the hot wallet's sequence locked for 5 s", pgx.ReadCommitted, "SELECT FROM wallet_sequences WHERE wallet_id = $1 FOR UPDATE"),
		{Name: "the relay's position rolled back", Throw: func(ctx context.Context) error { return rollBackPosition(ctx, f) }, Within: system.OfService},
		stolenLock(f),
		deletedRecords(f),
		{Name: "messages that are no operations", Throw: func(ctx context.Context) error { return sendPoison(ctx, f) }, Within: system.OfService},
		lockedWallet(f),
		{Name: "a stale writer of the cache replayed", Throw: func(ctx context.Context) error { return replayCacheWriter(ctx, f) }, Within: system.OfService},
		fullDisk(f),
		clockStep(f, "Postgres's clock an hour ahead for 4 s", "+1h"),
		clockStep(f, "Postgres's clock an hour behind for 4 s", "-1h"),
	}, redisFaults(f), failpoints(f), networkFaults(f), brokerFaults(f), clusterFaults(f), standbyFaults(f))
}

const terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"

// signalled sends a signal to a process; the supervision starts it again when it ends.
func signalled(f *system.System, name string, signal syscall.Signal, within time.Duration, which string) system.Fault {
	return system.Fault{Name: name, Within: within, Throw: func(context.Context) error {
		pick(f, which).Signal(signal)
		return nil
	}}
}

func stopped(f *system.System, name, which string, holds, within time.Duration) system.Fault {
	var p *proc.Process
	return system.Fault{
		Name: name, Holds: holds, Within: within,
		Throw: func(context.Context) error { p = pick(f, which); p.Signal(syscall.SIGSTOP); return nil },
		Heal:  func(context.Context) error { p.Signal(syscall.SIGCONT); return nil },
	}
}

// dethroned measures until another relay leads than the one that a fault takes away.
func dethroned(f *system.System, k system.Fault, within time.Duration) system.Fault {
	throw := k.Throw
	k.Throw = func(ctx context.Context) error {
		old := pick(f, "relay").CurrentPID()
		began := time.Now()
		if err := throw(ctx); err != nil {
			return err
		}
		watch := f.Watch
		watch.Done.Go(func() {
			led := func() bool {
				return slices.ContainsFunc(f.Stack.Replicas("relay"), func(p *proc.Process) bool {
					pid := p.CurrentPID()
					if pid == old {
						return false
					}
					r, err := stack.AskReady(ctx, p)
					return err == nil && r.Role == "leader"
				})
			}
			for !led() && ctx.Err() == nil && time.Since(began) < system.GivenUp {
				proc.Pause(ctx, 10*time.Millisecond)
			}
			took := time.Since(began)
			f.Takeover.Store(int64(took))
			if took > within && !f.Unhurried {
				watch.Violate("another relay led after %.1f s, not within %s", took.Seconds(), within)
			}
		})
		return nil
	}
	return k
}

// pick chooses one of the replicas; of the relays, the one that leads.
func pick(f *system.System, name string) *proc.Process {
	replicas := f.Stack.Replicas(name)
	leads := func(p *proc.Process) bool { return stack.Role(p) == "leader" }
	if name == "relay" && proc.Await(context.Background(), 5*time.Second, func() bool { return slices.ContainsFunc(replicas, leads) }) {
		if i := slices.IndexFunc(replicas, leads); i >= 0 {
			return replicas[i]
		}
	}
	return replicas[f.Random.IntN(len(replicas))]
}

// signalPostmaster reaches the server itself: its process is only its launcher.
func signalPostmaster(f *system.System, signal syscall.Signal) error {
	pid, err := f.Stack.PostgresServers()[0].Postmaster()
	if err != nil {
		return err
	}
	return syscall.Kill(pid, signal)
}

// killPostgres ends the server and then its launcher, which does not notice; the supervision starts
// both on the same data.
func killPostgres(_ context.Context, f *system.System) error {
	return f.Stack.PostgresServers()[0].Kill()
}

func rollingRestart(ctx context.Context, f *system.System) error {
	for _, p := range f.Stack.Services {
		if err := p.Restart(ctx, syscall.SIGTERM); err != nil {
			return err
		}
	}
	return nil
}

func sql(f *system.System, name string, within time.Duration, statement string) system.Fault {
	return system.Fault{Name: name, Within: within, Throw: func(ctx context.Context) error {
		_, err := f.Pool.Exec(ctx, statement)
		return err
	}}
}

// held keeps a transaction open for 5 s, after a statement about the hot wallet.
func held(f *system.System, name string, level pgx.TxIsoLevel, statement string) system.Fault {
	var tx pgx.Tx
	return system.Fault{
		Name: name, Holds: 5 * time.Second, Within: system.OfService,
		Throw: func(ctx context.Context) (err error) {
			if tx, err = f.Pool.BeginTx(context.WithoutCancel(ctx), pgx.TxOptions{IsoLevel: level}); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, statement, f.Hot)
			return err
		},
		Heal: func(ctx context.Context) error { return tx.Commit(ctx) },
	}
}

// lockedWallet keeps one wallet's row locked for longer than the worker waits for it: only that wallet
// may wait, and the offset with it.
func lockedWallet(f *system.System) system.Fault {
	var tx pgx.Tx
	return system.Fault{
		Name: "a wallet's row locked for 14 s", Holds: 14 * time.Second, Within: system.OfService,
		Throw: func(ctx context.Context) (err error) {
			if tx, err = f.Pool.BeginTx(context.WithoutCancel(ctx), pgx.TxOptions{}); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, "SELECT FROM wallets WHERE id = $1 FOR UPDATE", f.Wallets[len(f.Wallets)-1])
			return err
		},
		Heal: func(ctx context.Context) error { return tx.Commit(ctx) },
	}
}

// replayCacheWriter sends again, word for word, what a worker has written to Redis, once the wallets
// have gone on: as a writer that was stopped in between would.
func replayCacheWriter(ctx context.Context, f *system.System) error {
	options := f.Cache.Options()
	conn, err := net.DialTimeout("tcp", options.Addr, system.WorksWithin)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "MONITOR\r\n"); err != nil {
		return err
	}
	const enough = 20
	var written [][]any
	for lines := bufio.NewScanner(conn); len(written) < enough && lines.Scan(); {
		// 1700000000.123456 [0 127.0.0.1:1234] "evalsha" "sum" "2" "key" …
		_, command, found := strings.Cut(lines.Text(), "] ")
		if !found || !strings.HasPrefix(strings.ToLower(command), `"evalsha"`) || !strings.Contains(command, f.Hot.String()) || !strings.Contains(command, walletcache.Channel) {
			continue
		}
		var words []any
		for _, word := range strings.Split(strings.Trim(command, `"`), `" "`) {
			words = append(words, word)
		}
		written = append(written, words)
	}
	proc.Pause(ctx, 500*time.Millisecond)
	for _, words := range written {
		if err := f.Cache.Do(ctx, words...).Err(); err != nil {
			return fmt.Errorf("write to the cache again: %w", err)
		}
		proc.Pause(ctx, 10*time.Millisecond)
	}
	if len(written) < enough {
		return fmt.Errorf("only %d writes to the cache were seen", len(written))
	}
	return nil
}

// rollBackPosition takes the relay back to the beginning of the round. The relay's connections end
// before it can write its own position over that.
func rollBackPosition(ctx context.Context, f *system.System) error {
	return pgx.BeginFunc(ctx, f.Pool, func(tx pgx.Tx) error {
		p := f.Position
		_, err := tx.Exec(ctx, "UPDATE relay_positions SET prev = $2::text::pg_snapshot, cur = $3::text::pg_snapshot, after_id = $4, last_id = $5 WHERE relay = $1",
			p.Relay, p.Prev, p.Cur, p.After, p.Last)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, terminate+" WHERE usename = 'local_relay'")
		return err
	})
}

// stolenLock takes the leader's lock from it for 3 s.
func stolenLock(f *system.System) system.Fault {
	var thief *pgx.Conn
	return system.Fault{
		Name: "the leader's lock stolen for 3 s", Holds: 3 * time.Second, Within: system.OfService,
		Throw: func(ctx context.Context) (err error) {
			thief, err = StealLeadersLock(ctx, f.Pool, f.Stack.Backing.DatabaseURL)
			return err
		},
		Heal: func(ctx context.Context) error { return thief.Close(ctx) },
	}
}

// StealLeadersLock takes the lock from the relay that leads. Who closes the connection that it returns
// gives the lock back.
func StealLeadersLock(ctx context.Context, pool *pgxpool.Pool, databaseURL string) (thief *pgx.Conn, err error) {
	if thief, err = pgx.Connect(ctx, databaseURL); err != nil {
		return nil, err
	}
	taken := make(chan error, 1)
	go func() {
		_, err := thief.Exec(ctx, "SELECT pg_advisory_lock(7304518, hashtext(relay)) FROM relay_positions")
		taken <- err
	}()
	// Who waits for a lock has it before one who tries.
	var waits bool
	queued := func() bool {
		err = pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND locktype = 'advisory' AND NOT granted)", thief.PgConn().PID()).Scan(&waits)
		return err == nil && (waits || len(taken) > 0)
	}
	if !proc.Await(ctx, 5*time.Second, queued) {
		return thief, fmt.Errorf("wait for the leader's lock: %w", err)
	}
	if _, err := pool.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = 7304518 AND granted AND pid <> $1", thief.PgConn().PID()); err != nil {
		return thief, err
	}
	return thief, <-taken
}

// deletedRecords deletes everything in the topic while no worker runs, as a retention that is too
// short does. Wallets of the load heal by their next message; quiet ones have operations that only
// the sweep can find.
func deletedRecords(f *system.System) system.Fault {
	signal := func(signal syscall.Signal) {
		for _, p := range f.Stack.Replicas("worker") {
			p.Signal(signal)
		}
	}
	return system.Fault{
		Name: "records deleted before the workers read them", Holds: time.Second, Within: system.OfSweep, LosesLog: true,
		Throw: func(ctx context.Context) error {
			signal(syscall.SIGSTOP)
			quiet, err := load.OpenWallets(f.Stack.APIURLs[0], f.Stack.APIKey, 5)
			if err != nil {
				return err
			}
			l := &load.Load{
				APIs: f.Stack.APIURLs, APIKey: f.Stack.APIKey, Wallets: quiet, Connections: 1, RatePerSecond: 20, Duration: time.Second,
				Attempt: 5 * time.Second, Patience: time.Minute,
			}
			f.Wallets, f.Told = append(f.Wallets, quiet...), l.Send(ctx)
			return nil
		},
		Heal: func(ctx context.Context) error {
			defer signal(syscall.SIGCONT)
			return deleteRecords(ctx, f, nil)
		},
	}
}

// deleteRecords deletes what is below the offsets, or everything without any.
func deleteRecords(ctx context.Context, f *system.System, below map[int32]int64) error {
	request := kmsg.NewPtrDeleteRecordsRequest()
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic = f.Stack.Topic
	for partition := range int32(stack.TopicPartitions) {
		p := kmsg.NewDeleteRecordsRequestTopicPartition()
		p.Partition, p.Offset = partition, -1 // up to the end
		if offset, given := below[partition]; given {
			p.Offset = max(0, offset)
		}
		topic.Partitions = append(topic.Partitions, p)
	}
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(ctx, f.Log.Kafka())
	if err != nil {
		return err
	}
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("delete the records of partition %d: %w", p.Partition, err)
			}
		}
	}
	return nil
}

// sendPoison writes what no relay writes: nothing, nonsense, and an operation of a wallet that does
// not exist.
func sendPoison(ctx context.Context, f *system.System) error {
	for partition := range int32(stack.TopicPartitions) {
		unknown := fmt.Sprintf(`{"walletId":"%s","sequence":%d,"operationId":"%s","type":"DEPOSIT","amount":1}`, uuid.New(), partition, uuid.New())
		for _, value := range []string{"", "\x00\xff{", `{"walletId":17}`, unknown} {
			if err := f.Log.Kafka().ProduceSync(ctx, &kgo.Record{Value: []byte(value), Key: []byte(uuid.NewString())}).FirstErr(); err != nil {
				return fmt.Errorf("send poison: %w", err)
			}
		}
	}
	return nil
}

// failpoints kill a service where it hurts most.
func failpoints(f *system.System) (kinds []system.Fault) {
	for _, point := range []string{
		"accept-before-commit", "accept-after-commit",
		"relay-after-read", "relay-mid-wave", "relay-after-acks",
		"worker-before-transaction", "worker-after-lock", "worker-after-updates", "worker-after-commit", "worker-after-redis",
	} {
		which, _, _ := strings.Cut(point, "-")
		which = strings.Replace(which, "accept", "api", 1)
		kinds = append(kinds, system.Fault{Name: "kill -9 at " + point, Within: system.OfSession, Throw: func(ctx context.Context) error { return dieAt(ctx, f, which, point) }})
	}
	return kinds
}

// dieAt starts a replica again with an order to die at a point. If it does not come there, the others
// are killed until it does their work: only one relay leads. Kills at a fixed interval would keep pace with
// the standby, which looks for the lock every 250 ms, and could come just after it each time.
func dieAt(ctx context.Context, f *system.System, which, point string) error {
	p := pick(f, which)
	before := p.CurrentPID()
	p.NextStartWith("FAILPOINT="+point, "FAILPOINT_AFTER="+strconv.Itoa(f.Random.IntN(10)))
	p.Signal(syscall.SIGKILL)
	if err := p.StartedSince(ctx, before); err != nil {
		return err
	}
	armed := p.CurrentPID()
	dead := func() bool { now := p.CurrentPID(); return now != 0 && now != armed }
	for range 30 {
		if proc.Await(ctx, time.Second+time.Duration(rand.IntN(250))*time.Millisecond, dead) {
			return nil
		}
		for _, other := range f.Stack.Replicas(which) {
			if other != p {
				other.Signal(syscall.SIGKILL)
			}
		}
	}
	return fmt.Errorf("%s did not come to %s", which, point)
}
