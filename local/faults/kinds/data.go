package kinds

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/local/faults/system"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// dataFaults change and hold what the services share: rows, locks, cached wallets, the log, the disk.
func dataFaults(f *system.System) []system.Fault {
	return []system.Fault{
		sql(f, "one backend of the api terminated", system.OfService, terminate+" WHERE usename = 'local_api' ORDER BY random() LIMIT 1"),
		sql(f, "one backend of the relay terminated", system.OfService, terminate+" WHERE usename = 'local_relay' ORDER BY random() LIMIT 1"),
		sql(f, "one backend of the worker terminated", system.OfService, terminate+" WHERE usename = 'local_worker' ORDER BY random() LIMIT 1"),
		sql(f, "all backends of the services terminated", system.OfService, terminate+" WHERE usename LIKE 'local_%'"),
		{Name: "FLUSHALL", Within: system.OfService, Throw: func(ctx context.Context) error { return f.Cache.FlushAll(ctx).Err() }},
		openTransaction(f, "a writer's transaction open for 5 s", pgx.ReadCommitted, "SELECT pg_current_xact_id() WHERE $1::uuid IS NOT NULL"),
		openTransaction(f, "a reader's snapshot open for 5 s", pgx.RepeatableRead, "SELECT applied_seq FROM wallets WHERE id = $1"),
		openTransaction(f, "the hot wallet's sequence locked for 5 s", pgx.ReadCommitted, "SELECT FROM wallet_sequences WHERE wallet_id = $1 FOR UPDATE"),
		{Name: "the relay's position rolled back", Throw: func(ctx context.Context) error { return rollBackPosition(ctx, f) }, Within: system.OfService},
		stolenLock(f),
		deletedRecords(f),
		{Name: "messages that are no operations", Throw: func(ctx context.Context) error { return sendPoison(ctx, f) }, Within: system.OfService},
		lockedWallet(f),
		ofOneRedis(f, system.Fault{Name: "a stale writer of the cache replayed", Throw: func(ctx context.Context) error { return replayCacheWriter(ctx, f) }, Within: system.OfService}),
		fullDisk(f),
		clockStep(f, "Postgres's clock an hour ahead for 4 s", "+1h"),
		clockStep(f, "Postgres's clock an hour behind for 4 s", "-1h"),
	}
}

const terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"

// sql runs a statement as the superuser.
func sql(f *system.System, name string, within time.Duration, statement string) system.Fault {
	return system.Fault{Name: name, Within: within, Throw: func(ctx context.Context) error {
		_, err := f.Pool.Exec(ctx, statement)
		return err
	}}
}

// openTransaction keeps a transaction open for 5 s, after a statement about the hot wallet.
func openTransaction(f *system.System, name string, level pgx.TxIsoLevel, statement string) system.Fault {
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
	conn, err := net.DialTimeout("tcp", servers.HostOf(f.Stack.Backing.RedisURL), system.WorksWithin)
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

// rollBackPosition takes the relay back to the beginning of the round, in both of its positions. The relay's
// connections end before it can write its own over that.
func rollBackPosition(ctx context.Context, f *system.System) error {
	return pgx.BeginFunc(ctx, f.Pool, func(tx pgx.Tx) error {
		for _, p := range f.Positions {
			_, err := tx.Exec(ctx, "UPDATE relay_positions SET prev = $2::text::pg_snapshot, cur = $3::text::pg_snapshot, after_id = $4, last_id = $5 WHERE relay = $1",
				p.Relay, p.Prev, p.Cur, p.After, p.Last)
			if err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, terminate+" WHERE usename = 'local_relay'")
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
		_, err := thief.Exec(ctx, "SELECT pg_advisory_lock($1, hashtext(relay)) FROM relay_positions WHERE relay NOT LIKE $2", db.RelayLock, "%"+db.EventsPosition(""))
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
	if _, err := pool.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1 AND granted AND pid <> $2", db.RelayLock, thief.PgConn().PID()); err != nil {
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
			f.Wallets, f.Told = append(f.Wallets, quiet...), append(f.Told, l.Send(ctx)...)
			return nil
		},
		Heal: func(ctx context.Context) error {
			defer signal(syscall.SIGCONT)
			return servers.DeleteRecords(ctx, f.Log.Kafka(), f.Stack.Topic, stack.TopicPartitions, nil)
		},
	}
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

// fullDisk fills the disk of the outbox and the outcomes.
func fullDisk(f *system.System) system.Fault {
	k := system.Fault{
		Name: "disk full for 4 s", Holds: 4 * time.Second, Within: system.OfService,
		Throw: func(context.Context) error { return f.Disk.Allow(0) },
		Heal:  func(context.Context) error { return f.Disk.Allow(system.SmallDiskBytes) },
	}
	if f.Disk == nil {
		k.NotPossible = "there is no small disk"
	} else if f.Disk.Err != nil {
		k.NotPossible = f.Disk.Err.Error()
	}
	return k
}

// clockStep moves the clock of Postgres.
func clockStep(f *system.System, name, offset string) system.Fault {
	k := system.Fault{
		Name: name, Holds: 4 * time.Second, Within: system.OfService, MovesClock: true,
		Throw: func(ctx context.Context) error {
			if err := f.SetClock(offset); err != nil {
				return err
			}
			moved := func() bool {
				var now time.Time
				err := f.Pool.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now)
				return err == nil && time.Until(now).Abs() > 50*time.Minute
			}
			if !proc.Await(ctx, 5*time.Second, moved) {
				return errors.New("the clock does not move")
			}
			return nil
		},
		Heal: func(context.Context) error { return f.SetClock("+0") },
	}
	if f.Clock == "" {
		k.NotPossible = "libfaketime is not installed (Debian: apt-get install libfaketime)"
	}
	return k
}
