package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	walletsPerSnapshot = 1000
	rowsPerPage        = 10_000
	// cacheSettles is how long the worker may take from its commit to its write to Redis.
	cacheSettles = 2 * time.Second
)

// verify audits a live database and prints what it finds.
func verify(ctx context.Context, c *call) error {
	only := c.flags.String("wallet", "", "audit this wallet `ID` alone")
	asJSON := c.flags.Bool("json", false, "print one JSON object a line: the findings, then a summary")
	overdue := c.flags.Duration("overdue", time.Minute, "an operation that is pending for longer is a finding")
	topic := c.flags.String("topic", "wallet-operations", "the topic of the operations' messages")
	if _, err := c.parse(); err != nil {
		return err
	}
	wallet := uuid.Nil
	if *only != "" {
		var err error
		if wallet, err = uuid.Parse(*only); err != nil {
			return usageError("--wallet: " + err.Error())
		}
	}
	printLine := func(v any) {
		if *asJSON {
			_ = json.NewEncoder(c.stdout).Encode(v)
		} else {
			fmt.Fprintln(c.stdout, v)
		}
	}
	total := summary{}
	v := verifier{topic: *topic, overdue: *overdue, total: &total, report: func(f finding) {
		total.Findings++
		printLine(f)
	}}
	if url := c.env["REDIS_URL"]; url != "" {
		options, err := redis.ParseURL(url)
		if err != nil {
			return usageError("REDIS_URL: " + err.Error())
		}
		v.cache = redis.NewClient(options)
		defer v.cache.Close()
	}
	var err error
	if v.conn, err = c.connect(ctx); err != nil {
		return err
	}
	defer v.conn.Close(context.WithoutCancel(ctx))

	began := time.Now()
	if wallet == uuid.Nil {
		err = v.all(ctx)
	} else {
		err = v.wallet(ctx, wallet)
	}
	if err != nil {
		return err
	}
	total.Seconds = time.Since(began).Seconds()
	printLine(total)
	if total.Findings > 0 {
		return fmt.Errorf("%d things are not as promised", total.Findings)
	}
	return nil
}

// verifier audits a live database, page by page in bounded memory. Each page of wallets is read in
// one snapshot, so that running operations are no findings.
type verifier struct {
	conn    *pgx.Conn
	cache   *redis.Client // nil: not audited
	topic   string
	overdue time.Duration // how long an operation may be pending
	report  func(finding)
	total   *summary
}

// cacheDoubt is a cache entry that differs from the snapshot, perhaps only because time went on.
type cacheDoubt struct {
	snapshot walletdb.AuditWalletsRow
	entry    walletdb.Wallet
}

// wallet audits one wallet.
func (v *verifier) wallet(ctx context.Context, id uuid.UUID) error {
	before := id
	for i := len(before) - 1; i >= 0; i-- {
		if before[i]--; before[i] != 0xff {
			break
		}
	}
	_, err := v.page(ctx, before, id)
	return err
}

// all audits every wallet and the outbox.
func (v *verifier) all(ctx context.Context) error {
	after, more := uuid.Nil, true
	for more {
		last, err := v.page(ctx, after, uuid.Max)
		if err != nil {
			return err
		}
		more, after = last != uuid.Max, last
	}
	return v.outbox(ctx)
}

// page audits the next wallets after one id, up to another, in one snapshot, with all operations and
// outcomes in that range of ids. It returns the end of the range that it finished.
func (v *verifier) page(ctx context.Context, after, upTo uuid.UUID) (uuid.UUID, error) {
	var doubts []cacheDoubt
	end := upTo
	err := pgx.BeginTxFunc(ctx, v.conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		queries := walletdb.New(tx)
		wallets, err := queries.AuditWallets(ctx, walletdb.AuditWalletsParams{After: after, UpTo: upTo, MaxRows: walletsPerSnapshot})
		if err != nil {
			return fmt.Errorf("read wallets: %w", err)
		}
		if len(wallets) == walletsPerSnapshot {
			end = wallets[len(wallets)-1].ID
		}
		v.total.Wallets += len(wallets)
		if err := v.history(ctx, queries, wallets, after, end); err != nil {
			return err
		}
		doubts, err = v.compareCache(ctx, wallets)
		return err
	})
	if err != nil {
		return end, err
	}
	return end, v.settleDoubts(ctx, doubts)
}

// history replays every operation in a range of wallet ids. A wallet without one is audited too, and
// so are operations without a wallet.
func (v *verifier) history(ctx context.Context, queries *walletdb.Queries, wallets []walletdb.AuditWalletsRow, after, end uuid.UUID) error {
	start := func(id uuid.UUID) *audit {
		a := &audit{wallet: walletdb.AuditWalletsRow{ID: id}, overdue: time.Now().Add(-v.overdue), report: v.report}
		if len(wallets) > 0 && wallets[0].ID == id {
			a.wallet, a.known, wallets = wallets[0], true, wallets[1:]
		}
		return a
	}
	// skipTo audits the wallets without operations that come before an id.
	skipTo := func(id uuid.UUID) {
		for len(wallets) > 0 && compare(wallets[0].ID, id) < 0 {
			start(wallets[0].ID).end()
		}
	}
	var current *audit
	cursor := walletdb.AuditOperationsParams{AfterWallet: after, AfterSeq: 1<<63 - 1, UpTo: end, MaxRows: rowsPerPage}
	for {
		rows, err := queries.AuditOperations(ctx, cursor)
		if err != nil {
			return fmt.Errorf("read operations: %w", err)
		}
		for _, row := range rows {
			if current == nil || current.wallet.ID != row.WalletID {
				if current != nil {
					current.end()
				}
				skipTo(row.WalletID)
				current = start(row.WalletID)
			}
			current.next(row)
		}
		v.total.Operations += len(rows)
		if len(rows) < rowsPerPage {
			break
		}
		cursor.AfterWallet, cursor.AfterSeq = rows[len(rows)-1].WalletID, rows[len(rows)-1].Seq
	}
	if current != nil {
		current.end()
	}
	for len(wallets) > 0 {
		start(wallets[0].ID).end()
	}
	return nil
}

func (v *verifier) compareCache(ctx context.Context, wallets []walletdb.AuditWalletsRow) ([]cacheDoubt, error) {
	if v.cache == nil {
		return nil, nil
	}
	var doubts []cacheDoubt
	for _, wallet := range wallets {
		entry, found, err := walletcache.Get(ctx, v.cache, wallet.ID)
		if err != nil {
			return nil, fmt.Errorf("read the cache: %w", err)
		}
		if !found {
			continue
		}
		v.total.CachedWallets++
		if entry.AppliedSeq != wallet.AppliedSeq || entry.Balance != wallet.Balance {
			doubts = append(doubts, cacheDoubt{wallet, entry})
		}
	}
	return doubts, nil
}

// settleDoubts looks again after the time that the worker has to write: an entry that is still older
// than the snapshot is stale, and a newer one must agree with the outcome of its version.
func (v *verifier) settleDoubts(ctx context.Context, doubts []cacheDoubt) error {
	if len(doubts) == 0 {
		return nil
	}
	select {
	case <-time.After(cacheSettles):
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, doubt := range doubts {
		id := doubt.snapshot.ID
		entry, found, err := walletcache.Get(ctx, v.cache, id)
		if err != nil {
			return fmt.Errorf("read the cache: %w", err)
		}
		if !found {
			continue
		}
		if entry.AppliedSeq < doubt.snapshot.AppliedSeq {
			v.report(finding{"cache-stale", &id, entry.AppliedSeq, fmt.Sprintf("the cache is at version %d, the wallet was at %d already", entry.AppliedSeq, doubt.snapshot.AppliedSeq)})
			continue
		}
		truth, err := v.balanceAt(ctx, id, entry.AppliedSeq)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			v.report(finding{"cache-ahead", &id, entry.AppliedSeq, "the cache holds a version that was never reached"})
		case err != nil:
			return fmt.Errorf("read an outcome: %w", err)
		case truth != entry.Balance:
			v.report(finding{"cache-wrong", &id, entry.AppliedSeq, fmt.Sprintf("the cache says %d, the outcome %d", entry.Balance, truth)})
		}
	}
	return nil
}

func (v *verifier) balanceAt(ctx context.Context, id uuid.UUID, version int64) (int64, error) {
	if version == 0 {
		return 0, nil
	}
	outcome, err := walletdb.New(v.conn).GetOutcome(ctx, walletdb.GetOutcomeParams{WalletID: id, Seq: version})
	return outcome.BalanceAfter, err
}

// outbox compares every message that is still kept with its operation.
func (v *verifier) outbox(ctx context.Context) error {
	queries := walletdb.New(v.conn)
	var after int64
	for {
		rows, err := queries.AuditOutbox(ctx, walletdb.AuditOutboxParams{After: after, Topic: v.topic, MaxRows: rowsPerPage})
		if err != nil {
			return fmt.Errorf("read the outbox: %w", err)
		}
		if len(rows) == 0 {
			return nil
		}
		if err := v.compareMessages(ctx, queries, rows); err != nil {
			return err
		}
		v.total.OutboxRows += len(rows)
		after = rows[len(rows)-1].ID
	}
}

// message is what the outbox says of an operation.
type message struct {
	WalletID    uuid.UUID `json:"walletId"`
	Sequence    int64     `json:"sequence"`
	OperationID uuid.UUID `json:"operationId"`
	Type        string    `json:"type"`
	Amount      int64     `json:"amount"`
}

func (v *verifier) compareMessages(ctx context.Context, queries *walletdb.Queries, rows []walletdb.AuditOutboxRow) error {
	messages := make([]message, len(rows))
	ids := make([]uuid.UUID, len(rows))
	for i, row := range rows {
		if err := json.Unmarshal(row.Payload, &messages[i]); err != nil {
			v.report(finding{"message-unreadable", nil, 0, fmt.Sprintf("outbox row %d: %v", row.ID, err)})
		}
		ids[i] = messages[i].OperationID
	}
	operations, err := queries.AcceptedOperations(ctx, ids)
	if err != nil {
		return fmt.Errorf("read operations: %w", err)
	}
	accepted := make(map[uuid.UUID]message, len(operations))
	for _, o := range operations {
		accepted[o.ID] = message{o.WalletID, o.Seq, o.ID, string(o.Type), o.Amount}
	}
	for i, m := range messages {
		if m != (message{}) && (accepted[m.OperationID] != m || rows[i].Key != m.WalletID.String()) {
			v.report(finding{"message-wrong", &m.WalletID, m.Sequence, fmt.Sprintf("outbox row %d says %+v with key %s, accepted was %+v", rows[i].ID, m, rows[i].Key, accepted[m.OperationID])})
		}
	}
	return nil
}

// summary says how much was audited. Without REDIS_URL no cache entry was.
type summary struct {
	Wallets       int     `json:"wallets"`
	Operations    int     `json:"operations"`
	OutboxRows    int     `json:"outboxRows"`
	CachedWallets int     `json:"cachedWallets"`
	Findings      int     `json:"findings"`
	Seconds       float64 `json:"seconds"`
}

func (s summary) String() string {
	return fmt.Sprintf("audited %d wallets, %d operations, %d outbox rows and %d cache entries in %.1f s: %d findings",
		s.Wallets, s.Operations, s.OutboxRows, s.CachedWallets, s.Seconds, s.Findings)
}

func compare(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }
