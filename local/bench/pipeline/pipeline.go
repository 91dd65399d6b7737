// Package pipeline measures the database alone under what the services ask of it.
package pipeline

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/local/check"
)

const (
	pipelineWarmUp   = time.Second
	pipelineMeasured = 4 * time.Second
	// Lasts is about what a measurement takes.
	Lasts         = pipelineWarmUp + pipelineMeasured + 2*time.Second
	pipelineTopic = "wallet-operations"
)

// pipeline is what the services ask of the database and nothing else: one connection accepts batches,
// one reads them by snapshot difference, one applies what was read. Neither HTTP nor Kafka is there, and
// no rules but that deposits add up.
type pipeline struct {
	wallets  []uuid.UUID
	batch    int
	accepted atomic.Int64
	applied  atomic.Int64

	mu   sync.Mutex
	upTo map[uuid.UUID]int64 // what was read and is not applied
}

// Rates are operations a second.
type Rates struct{ Accepted, Applied float64 }

// Measure measures it on a database that migrating creates, and leaves it there.
func Measure(ctx context.Context, url string, wallets, batch int) (r Rates, err error) {
	if err := testdb.Migrate(url, io.Discard); err != nil {
		return r, err
	}
	p := &pipeline{batch: batch, upTo: map[uuid.UUID]int64{}, wallets: make([]uuid.UUID, wallets)}
	for i := range p.wallets {
		p.wallets[i] = uuid.New()
	}
	if err := p.openWallets(ctx, url); err != nil {
		return r, err
	}
	running, cancel := context.WithCancel(ctx)
	const connections = 3
	ended := make(chan error, connections)
	var loops sync.WaitGroup
	defer loops.Wait()
	defer cancel()
	for _, loop := range [connections]func(context.Context, *pgx.Conn) error{p.accept, p.relay, p.apply} {
		config, err := db.Config(url)
		if err != nil {
			return r, err
		}
		conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
		if err != nil {
			return r, err
		}
		loops.Go(func() {
			defer conn.Close(context.WithoutCancel(ctx))
			ended <- loop(running, conn)
		})
	}
	begin, err := p.after(ctx, ended, pipelineWarmUp)
	if err != nil {
		return r, err
	}
	end, err := p.after(ctx, ended, pipelineMeasured)
	seconds := end.at.Sub(begin.at).Seconds()
	return Rates{float64(end.accepted-begin.accepted) / seconds, float64(end.applied-begin.applied) / seconds}, err
}

func (p *pipeline) openWallets(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := check.RequireDurable(ctx, conn); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `WITH w AS (INSERT INTO wallets (id, currency) SELECT unnest($1::uuid[]), 'EUR' RETURNING id)
		INSERT INTO wallet_sequences SELECT id FROM w`, p.wallets)
	return err
}

type pipelineCount struct {
	at                time.Time
	accepted, applied int64
}

func (p *pipeline) after(ctx context.Context, ended <-chan error, wait time.Duration) (pipelineCount, error) {
	select {
	case <-time.After(wait):
		return pipelineCount{time.Now(), p.accepted.Load(), p.applied.Load()}, nil
	case err := <-ended:
		return pipelineCount{}, fmt.Errorf("database pipeline: %w", err)
	case <-ctx.Done():
		return pipelineCount{}, ctx.Err()
	}
}

// accept commits one batch after the other, as the api's flushes without a lookup.
func (p *pipeline) accept(ctx context.Context, conn *pgx.Conn) error {
	for ctx.Err() == nil {
		wallets := make([]uuid.UUID, p.batch)
		for i := range wallets {
			wallets[i] = p.wallets[rand.IntN(len(p.wallets))]
		}
		last, at, err := lockSequences(ctx, conn, wallets)
		if err != nil {
			return fmt.Errorf("lock sequences: %w", err)
		}
		operations, outbox := deposits(wallets, last, at)
		if err := insert(ctx, conn, operations, outbox, last, at); err != nil {
			return fmt.Errorf("insert: %w", err)
		}
		p.accepted.Add(int64(p.batch))
	}
	return nil
}

// lockSequences begins a transaction and returns the wallets' last sequences and the time.
func lockSequences(ctx context.Context, conn *pgx.Conn, wallets []uuid.UUID) (last map[uuid.UUID]int64, at time.Time, err error) {
	var rows []walletdb.WalletSequence
	tenants := slices.Repeat([]string{db.AllTenants}, len(wallets))
	err = db.Pipeline(ctx, conn, func(q *walletdb.Queries) (err error) {
		if err := q.Begin(ctx); err != nil {
			return err
		}
		if rows, err = q.LockSequences(ctx, walletdb.LockSequencesParams{WalletIds: wallets, Tenants: tenants}); err != nil {
			return err
		}
		at, err = q.ReadClock(ctx)
		return err
	})
	last = map[uuid.UUID]int64{}
	for _, row := range rows {
		last[row.WalletID] = row.LastSeq
	}
	return last, at, err
}

// deposits are one operation for each wallet, with its outbox row. They advance last.
func deposits(wallets []uuid.UUID, last map[uuid.UUID]int64, at time.Time) (operations walletdb.InsertOperationsParams, outbox walletdb.InsertOutboxParams) {
	outbox.Topic, outbox.Headers = pipelineTopic, `{"version":"1"}`
	for _, wallet := range wallets {
		last[wallet]++
		id := uuid.New()
		operations.WalletIds = append(operations.WalletIds, wallet)
		operations.Seqs = append(operations.Seqs, last[wallet])
		operations.Ids = append(operations.Ids, id)
		operations.Types = append(operations.Types, "DEPOSIT")
		operations.Amounts = append(operations.Amounts, 1)
		operations.Refs = append(operations.Refs, "")
		operations.CreatedAts = append(operations.CreatedAts, at)
		outbox.Keys = append(outbox.Keys, wallet.String())
		outbox.Payloads = append(outbox.Payloads, fmt.Appendf(nil,
			`{"walletId":"%s","sequence":%d,"operationId":"%s","type":"DEPOSIT","amount":1,"acceptedAt":"2026-01-01T00:00:00.000000Z"}`, wallet, last[wallet], id))
	}
	return operations, outbox
}

// insert stores a batch and commits it.
func insert(ctx context.Context, conn *pgx.Conn, operations walletdb.InsertOperationsParams, outbox walletdb.InsertOutboxParams, last map[uuid.UUID]int64, at time.Time) error {
	advance := walletdb.AdvanceSequencesParams{}
	for wallet, seq := range last {
		advance.WalletIds, advance.LastSeqs, advance.LastAts = append(advance.WalletIds, wallet), append(advance.LastSeqs, seq), append(advance.LastAts, at)
	}
	return db.Pipeline(ctx, conn, func(q *walletdb.Queries) error {
		if err := q.InsertOperations(ctx, operations); err != nil {
			return err
		}
		if err := q.InsertOutbox(ctx, outbox); err != nil {
			return err
		}
		if err := q.AdvanceSequences(ctx, advance); err != nil {
			return err
		}
		return q.Commit(ctx)
	})
}

// relay reads what became visible, every 20 ms.
func (p *pipeline) relay(ctx context.Context, conn *pgx.Conn) error {
	const noMoreThan = 1_000_000 // so that a window is always read whole
	seen := map[uuid.UUID]int64{}
	for prev := "1:1:"; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		rows, err := walletdb.New(conn).RelayWindow(ctx, walletdb.RelayWindowParams{Prev: prev, MaxRows: noMoreThan, MaxBytes: math.MaxInt64, Others: true}) // of any topic
		if err != nil {
			return fmt.Errorf("read the outbox: %w", err)
		}
		p.mu.Lock()
		for i, row := range rows {
			if i == 0 { // not a row
				prev = row.Cur
				continue
			}
			wallet, err := uuid.Parse(row.Key)
			if err != nil {
				return err
			}
			seen[wallet]++
			p.upTo[wallet] = seen[wallet]
		}
		p.mu.Unlock()
	}
	return nil
}

// apply applies what was read, every 100 ms, as the worker does.
func (p *pipeline) apply(ctx context.Context, conn *pgx.Conn) error {
	const maxRows = 5000
	todo := map[uuid.UUID]int64{}
	for full := false; ctx.Err() == nil; {
		if !full {
			time.Sleep(100 * time.Millisecond)
		}
		p.mu.Lock()
		maps.Copy(todo, p.upTo)
		clear(p.upTo)
		p.mu.Unlock()
		if len(todo) == 0 {
			continue
		}
		targets := walletdb.PendingOperationsParams{MaxRows: maxRows}
		for wallet, seq := range todo {
			targets.Ids, targets.UpTo = append(targets.Ids, wallet), append(targets.UpTo, seq)
		}
		applied, last, err := applyDeposits(ctx, conn, targets)
		if err != nil {
			return fmt.Errorf("apply: %w", err)
		}
		for wallet, seq := range last {
			if seq >= todo[wallet] {
				delete(todo, wallet)
			}
		}
		full = applied == maxRows
		p.applied.Add(int64(applied))
	}
	return nil
}

// applyDeposits is the worker's transaction. It returns how many it applied, and how far wallets are.
func applyDeposits(ctx context.Context, conn *pgx.Conn, targets walletdb.PendingOperationsParams) (applied int, last map[uuid.UUID]int64, err error) {
	var wallets []walletdb.Wallet
	var pending []walletdb.PendingOperationsRow
	outcomes := walletdb.InsertOutcomesParams{}
	err = db.Pipeline(ctx, conn, func(q *walletdb.Queries) (err error) {
		if err := q.Begin(ctx); err != nil {
			return err
		}
		if wallets, err = q.LockWallets(ctx, targets.Ids); err != nil {
			return err
		}
		if pending, err = q.PendingOperations(ctx, targets); err != nil {
			return err
		}
		outcomes.AppliedAt, err = q.ReadClock(ctx)
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	balances := make(map[uuid.UUID]int64, len(wallets))
	for _, w := range wallets {
		balances[w.ID] = w.Balance
	}
	last = map[uuid.UUID]int64{}
	for _, op := range pending {
		balances[op.WalletID] += op.Amount
		last[op.WalletID] = op.Seq
		outcomes.WalletIds = append(outcomes.WalletIds, op.WalletID)
		outcomes.Seqs = append(outcomes.Seqs, op.Seq)
		outcomes.Statuses = append(outcomes.Statuses, "PROCESSED")
		outcomes.FailureReasons = append(outcomes.FailureReasons, "")
		outcomes.BalancesAfter = append(outcomes.BalancesAfter, balances[op.WalletID])
	}
	advance := walletdb.AdvanceWalletsParams{}
	for wallet, seq := range last {
		advance.Ids, advance.Balances, advance.AppliedSeqs = append(advance.Ids, wallet), append(advance.Balances, balances[wallet]), append(advance.AppliedSeqs, seq)
	}
	return len(pending), last, db.Pipeline(ctx, conn, func(q *walletdb.Queries) error {
		if err := q.InsertOutcomes(ctx, outcomes); err != nil {
			return err
		}
		if _, err := q.AdvanceWallets(ctx, advance); err != nil {
			return err
		}
		return q.Commit(ctx)
	})
}
