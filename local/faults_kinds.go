package main

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
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// kind is one kind of fault.
type kind struct {
	name  string
	throw func(ctx context.Context) error
	// heal ends a fault that does not end by itself. A fault that holds for some time has to be
	// recovered from when it is healed. One that does not say for how long has to be survived: the
	// system recovers while it lasts, then it is healed, and that has to do no harm.
	heal  func(ctx context.Context) error
	holds time.Duration
	// within is what recovery may take, apart from the backlog.
	within time.Duration
	// losesLog is a fault after which Kafka's log is not complete.
	losesLog bool
	// movesClock is a fault after which an operation may have an earlier time than the one before. Each backend
	// sees the step within a second, and until all have, the clocks of two apis differ.
	movesClock bool
	// goesBack is a fault after which Postgres may know less than it has shown to whoever looked.
	goesBack bool
	// cutsSome is a fault that cuts some processes off from Redis, and not others: what they tell may be
	// older than what another told by what the worker's write is late.
	cutsSome bool
	// toldBy is a service whose processes all have to name told in /readyz before the fault heals.
	toldBy, told string
	// notPossible is why it cannot be thrown here.
	notPossible string
}

func (k kind) cuttingSome() kind                 { k.cutsSome = true; return k }
func (k kind) telling(service, what string) kind { k.toldBy, k.told = service, what; return k }

// What recovery may take: of a service, of a server that starts again, of a worker whose death is
// noticed by the end of its session, and of operations that Kafka has lost.
const (
	ofService = 10 * time.Second
	ofServer  = 30 * time.Second
	ofSession = 10*time.Second + ofService
	ofSweep   = time.Minute
)

func (f *campaign) kinds() []kind {
	if f.lying != nil {
		return f.lies()
	}
	ofEverything := ofServer
	if f.stack.Backing.Brokers == servers.ClusterBrokers {
		ofEverything = ofCluster
	}
	return slices.Concat([]kind{
		f.signal("kill -9 of an api", syscall.SIGKILL, ofService, "api"),
		f.dethroned(f.signal("kill -9 of the leading relay", syscall.SIGKILL, ofService, "relay"), 2*time.Second),
		f.signal("kill -9 of a worker", syscall.SIGKILL, ofService, "worker"),
		f.signal("kill -9 of kafka", syscall.SIGKILL, ofServer, "kafka"),
		f.signal("kill -9 of redis", syscall.SIGKILL, ofService, "redis"),
		{name: "kill -9 of postgres", throw: f.killPostgres, within: ofServer},
		{name: "kill -9 of all services", within: ofSession, throw: func(context.Context) error {
			for _, p := range f.stack.Services {
				p.Signal(syscall.SIGKILL)
			}
			return nil
		}},
		{name: "kill -9 of everything", within: ofEverything, throw: func(ctx context.Context) error {
			for _, p := range slices.Concat(f.stack.Services, f.stack.Backing.Processes) {
				if p != f.stack.PostgresServers()[0].Process {
					p.Signal(syscall.SIGKILL)
				}
			}
			return f.killPostgres(ctx)
		}},
		f.signal("SIGTERM of an api", syscall.SIGTERM, ofService, "api"),
		f.signal("SIGTERM of the leading relay", syscall.SIGTERM, ofService, "relay"),
		f.signal("SIGTERM of a worker", syscall.SIGTERM, ofService, "worker"),
		f.signal("SIGTERM of kafka", syscall.SIGTERM, ofServer, "kafka"),
		f.signal("SIGTERM of redis", syscall.SIGTERM, ofService, "redis"),
		f.signal("SIGTERM of postgres", syscall.SIGTERM, ofServer, "postgres"),
		{name: "rolling restart of all services", throw: f.rollingRestart, within: ofService},
		f.stopped("SIGSTOP of an api, until the others do its work", "api", 0, ofService),
		f.dethroned(f.stopped("SIGSTOP of the leading relay, until another leads", "relay", 0, ofService), 6*time.Second),
		f.stopped("SIGSTOP of a worker, past its session", "worker", 0, ofSession),
		f.stopped("SIGSTOP of kafka for 5 s", "kafka", 5*time.Second, ofService),
		f.stopped("SIGSTOP of redis for 5 s", "redis", 5*time.Second, ofService).telling("worker", "redis"),
		{
			name: "SIGSTOP of the postmaster for 5 s", holds: 5 * time.Second, within: ofService,
			throw: func(context.Context) error { return f.signalPostmaster(syscall.SIGSTOP) },
			heal:  func(context.Context) error { return f.signalPostmaster(syscall.SIGCONT) },
		},
		f.sql("one backend of the api terminated", ofService, terminate+" WHERE usename = 'local_api' ORDER BY random() LIMIT 1"),
		f.sql("one backend of the relay terminated", ofService, terminate+" WHERE usename = 'local_relay' ORDER BY random() LIMIT 1"),
		f.sql("one backend of the worker terminated", ofService, terminate+" WHERE usename = 'local_worker' ORDER BY random() LIMIT 1"),
		f.sql("all backends of the services terminated", ofService, terminate+" WHERE usename LIKE 'local_%'"),
		{name: "FLUSHALL", within: ofService, throw: func(ctx context.Context) error { return f.cache.FlushAll(ctx).Err() }},
		f.held("a writer's transaction open for 5 s", pgx.ReadCommitted, "SELECT pg_current_xact_id() WHERE $1::uuid IS NOT NULL"),
		f.held("a reader's snapshot open for 5 s", pgx.RepeatableRead, "SELECT applied_seq FROM wallets WHERE id = $1"),
		f.held("the hot wallet's sequence locked for 5 s", pgx.ReadCommitted, "SELECT FROM wallet_sequences WHERE wallet_id = $1 FOR UPDATE"),
		{name: "the relay's position rolled back", throw: f.rollBackPosition, within: ofService},
		f.stolenLock(),
		f.deletedRecords(),
		{name: "messages that are no operations", throw: f.sendPoison, within: ofService},
		f.lockedWallet(),
		{name: "a stale writer of the cache replayed", throw: f.replayCacheWriter, within: ofService},
		f.fullDisk(),
		f.clockStep("Postgres's clock an hour ahead for 4 s", "+1h"),
		f.clockStep("Postgres's clock an hour behind for 4 s", "-1h"),
	}, f.redisFaults(), f.failpoints(), f.networkFaults(), f.brokerFaults(), f.clusterFaults(), f.standbyFaults())
}

const terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"

// signal sends a signal to a process; the supervision starts it again when it ends.
func (f *campaign) signal(name string, signal syscall.Signal, within time.Duration, which string) kind {
	return kind{name: name, within: within, throw: func(context.Context) error {
		f.pick(which).Signal(signal)
		return nil
	}}
}

func (f *campaign) stopped(name, which string, holds, within time.Duration) kind {
	var p *proc.Process
	return kind{
		name: name, holds: holds, within: within,
		throw: func(context.Context) error { p = f.pick(which); p.Signal(syscall.SIGSTOP); return nil },
		heal:  func(context.Context) error { p.Signal(syscall.SIGCONT); return nil },
	}
}

// dethroned measures until another relay leads than the one that a fault takes away.
func (f *campaign) dethroned(k kind, within time.Duration) kind {
	throw := k.throw
	k.throw = func(ctx context.Context) error {
		old := f.pick("relay").CurrentPID()
		began := time.Now()
		if err := throw(ctx); err != nil {
			return err
		}
		watch := f.watch
		watch.done.Go(func() {
			led := func() bool {
				return slices.ContainsFunc(f.stack.Replicas("relay"), func(p *proc.Process) bool {
					pid := p.CurrentPID()
					if pid == old {
						return false
					}
					r, err := stack.AskReady(ctx, p)
					return err == nil && r.Role == "leader"
				})
			}
			for !led() && ctx.Err() == nil && time.Since(began) < givenUp {
				proc.Pause(ctx, 10*time.Millisecond)
			}
			took := time.Since(began)
			f.takeover.Store(int64(took))
			if took > within && !f.unhurried {
				watch.violate("another relay led after %.1f s, not within %s", took.Seconds(), within)
			}
		})
		return nil
	}
	return k
}

// pick chooses one of the replicas; of the relays, the one that leads.
func (f *campaign) pick(name string) *proc.Process {
	replicas := f.stack.Replicas(name)
	leads := func(p *proc.Process) bool { return stack.Role(p) == "leader" }
	if name == "relay" && proc.Await(context.Background(), 5*time.Second, func() bool { return slices.ContainsFunc(replicas, leads) }) {
		if i := slices.IndexFunc(replicas, leads); i >= 0 {
			return replicas[i]
		}
	}
	return replicas[f.random.IntN(len(replicas))]
}

// signalPostmaster reaches the server itself: its process is only its launcher.
func (f *campaign) signalPostmaster(signal syscall.Signal) error {
	pid, err := f.stack.PostgresServers()[0].Postmaster()
	if err != nil {
		return err
	}
	return syscall.Kill(pid, signal)
}

// killPostgres ends the server and then its launcher, which does not notice; the supervision starts
// both on the same data.
func (f *campaign) killPostgres(context.Context) error { return f.stack.PostgresServers()[0].Kill() }

func (f *campaign) rollingRestart(ctx context.Context) error {
	for _, p := range f.stack.Services {
		if err := p.Restart(ctx, syscall.SIGTERM); err != nil {
			return err
		}
	}
	return nil
}

func (f *campaign) sql(name string, within time.Duration, statement string) kind {
	return kind{name: name, within: within, throw: func(ctx context.Context) error {
		_, err := f.pool.Exec(ctx, statement)
		return err
	}}
}

// held keeps a transaction open for 5 s, after a statement about the hot wallet.
func (f *campaign) held(name string, level pgx.TxIsoLevel, statement string) kind {
	var tx pgx.Tx
	return kind{
		name: name, holds: 5 * time.Second, within: ofService,
		throw: func(ctx context.Context) (err error) {
			if tx, err = f.pool.BeginTx(context.WithoutCancel(ctx), pgx.TxOptions{IsoLevel: level}); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, statement, f.hot)
			return err
		},
		heal: func(ctx context.Context) error { return tx.Commit(ctx) },
	}
}

// lockedWallet keeps one wallet's row locked for longer than the worker waits for it: only that wallet
// may wait, and the offset with it.
func (f *campaign) lockedWallet() kind {
	var tx pgx.Tx
	return kind{
		name: "a wallet's row locked for 14 s", holds: 14 * time.Second, within: ofService,
		throw: func(ctx context.Context) (err error) {
			if tx, err = f.pool.BeginTx(context.WithoutCancel(ctx), pgx.TxOptions{}); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, "SELECT FROM wallets WHERE id = $1 FOR UPDATE", f.wallets[len(f.wallets)-1])
			return err
		},
		heal: func(ctx context.Context) error { return tx.Commit(ctx) },
	}
}

// replayCacheWriter sends again, word for word, what a worker has written to Redis, once the wallets
// have gone on: as a writer that was stopped in between would.
func (f *campaign) replayCacheWriter(ctx context.Context) error {
	options := f.cache.Options()
	conn, err := net.DialTimeout("tcp", options.Addr, worksWithin)
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
		if !found || !strings.HasPrefix(strings.ToLower(command), `"evalsha"`) || !strings.Contains(command, f.hot.String()) || !strings.Contains(command, walletcache.Channel) {
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
		if err := f.cache.Do(ctx, words...).Err(); err != nil {
			return fmt.Errorf("write to the cache again: %w", err)
		}
		proc.Pause(ctx, 10*time.Millisecond)
	}
	if len(written) < enough {
		return fmt.Errorf("only %d writes to the cache were seen", len(written))
	}
	return nil
}

// relayPosition is a row of relay_positions.
type relayPosition struct {
	relay, prev string
	cur         *string
	after, last int64
}

func (f *campaign) relayPosition(ctx context.Context) (p relayPosition, err error) {
	err = f.pool.QueryRow(ctx, "SELECT relay, prev::text, cur::text, after_id, last_id FROM relay_positions").Scan(&p.relay, &p.prev, &p.cur, &p.after, &p.last)
	if err != nil {
		err = fmt.Errorf("read the relay's position: %w", err)
	}
	return p, err
}

// rollBackPosition takes the relay back to the beginning of the round. The relay's connections end
// before it can write its own position over that.
func (f *campaign) rollBackPosition(ctx context.Context) error {
	return pgx.BeginFunc(ctx, f.pool, func(tx pgx.Tx) error {
		p := f.position
		_, err := tx.Exec(ctx, "UPDATE relay_positions SET prev = $2::text::pg_snapshot, cur = $3::text::pg_snapshot, after_id = $4, last_id = $5 WHERE relay = $1",
			p.relay, p.prev, p.cur, p.after, p.last)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, terminate+" WHERE usename = 'local_relay'")
		return err
	})
}

// stolenLock takes the leader's lock from it for 3 s.
func (f *campaign) stolenLock() kind {
	var thief *pgx.Conn
	return kind{
		name: "the leader's lock stolen for 3 s", holds: 3 * time.Second, within: ofService,
		throw: func(ctx context.Context) (err error) {
			thief, err = stealLeadersLock(ctx, f.pool, f.stack.Backing.DatabaseURL)
			return err
		},
		heal: func(ctx context.Context) error { return thief.Close(ctx) },
	}
}

// stealLeadersLock takes the lock from the relay that leads. Who closes the connection that it returns
// gives the lock back.
func stealLeadersLock(ctx context.Context, pool *pgxpool.Pool, databaseURL string) (thief *pgx.Conn, err error) {
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
func (f *campaign) deletedRecords() kind {
	signal := func(signal syscall.Signal) {
		for _, p := range f.stack.Replicas("worker") {
			p.Signal(signal)
		}
	}
	return kind{
		name: "records deleted before the workers read them", holds: time.Second, within: ofSweep, losesLog: true,
		throw: func(ctx context.Context) error {
			signal(syscall.SIGSTOP)
			quiet, err := load.OpenWallets(f.stack.APIURLs[0], f.stack.APIKey, 5)
			if err != nil {
				return err
			}
			l := &load.Load{
				APIs: f.stack.APIURLs, APIKey: f.stack.APIKey, Wallets: quiet, Connections: 1, RatePerSecond: 20, Duration: time.Second,
				Attempt: 5 * time.Second, Patience: time.Minute,
			}
			f.wallets, f.told = append(f.wallets, quiet...), l.Send(ctx)
			return nil
		},
		heal: func(ctx context.Context) error {
			defer signal(syscall.SIGCONT)
			return f.deleteRecords(ctx, nil)
		},
	}
}

// deleteRecords deletes what is below the offsets, or everything without any.
func (f *campaign) deleteRecords(ctx context.Context, below map[int32]int64) error {
	request := kmsg.NewPtrDeleteRecordsRequest()
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic = f.stack.Topic
	for partition := range int32(stack.TopicPartitions) {
		p := kmsg.NewDeleteRecordsRequestTopicPartition()
		p.Partition, p.Offset = partition, -1 // up to the end
		if offset, given := below[partition]; given {
			p.Offset = max(0, offset)
		}
		topic.Partitions = append(topic.Partitions, p)
	}
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(ctx, f.log.kafka())
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
func (f *campaign) sendPoison(ctx context.Context) error {
	for partition := range int32(stack.TopicPartitions) {
		unknown := fmt.Sprintf(`{"walletId":"%s","sequence":%d,"operationId":"%s","type":"DEPOSIT","amount":1}`, uuid.New(), partition, uuid.New())
		for _, value := range []string{"", "\x00\xff{", `{"walletId":17}`, unknown} {
			if err := f.log.kafka().ProduceSync(ctx, &kgo.Record{Value: []byte(value), Key: []byte(uuid.NewString())}).FirstErr(); err != nil {
				return fmt.Errorf("send poison: %w", err)
			}
		}
	}
	return nil
}

// failpoints kill a service where it hurts most.
func (f *campaign) failpoints() (kinds []kind) {
	for _, point := range []string{
		"accept-before-commit", "accept-after-commit",
		"relay-after-read", "relay-mid-wave", "relay-after-acks",
		"worker-before-transaction", "worker-after-lock", "worker-after-updates", "worker-after-commit", "worker-after-redis",
	} {
		which, _, _ := strings.Cut(point, "-")
		which = strings.Replace(which, "accept", "api", 1)
		kinds = append(kinds, kind{name: "kill -9 at " + point, within: ofSession, throw: func(ctx context.Context) error { return f.dieAt(ctx, which, point) }})
	}
	return kinds
}

// dieAt starts a replica again with an order to die at a point. If it does not come there, the others
// are killed until it does their work: only one relay leads. Kills at a fixed interval would keep pace with
// the standby, which looks for the lock every 250 ms, and could come just after it each time.
func (f *campaign) dieAt(ctx context.Context, which, point string) error {
	p := f.pick(which)
	before := p.CurrentPID()
	p.NextStartWith("FAILPOINT="+point, "FAILPOINT_AFTER="+strconv.Itoa(f.random.IntN(10)))
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
		for _, other := range f.stack.Replicas(which) {
			if other != p {
				other.Signal(syscall.SIGKILL)
			}
		}
	}
	return fmt.Errorf("%s did not come to %s", which, point)
}
