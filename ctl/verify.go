package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	// cacheSettles is how long the worker may take from its commit to its write to Redis.
	cacheSettles = 2 * time.Second
)

// verify audits a live database and prints what it finds.
func verify(c *call) (task, error) {
	only := c.flags.String("wallet", "", "audit this wallet `ID` and its messages alone")
	asJSON := c.flags.Bool("json", false, "print one JSON object a line: the findings, then a summary")
	overdue := c.flags.Duration("overdue", time.Minute, "an operation that is pending for longer is a finding")
	topic := c.flags.String("topic", "", "another topic of the operations' messages than TOPIC")
	events := c.flags.String("events-topic", "", "another topic of events than EVENTS_TOPIC")
	gaps := c.flags.Bool("event-gaps", false, "that events are missing is no finding: their topic was not registered for a while, or a worker of an older release ran")
	if _, err := c.arguments(); err != nil {
		return nil, err
	}
	var wallet uuid.UUID
	if *only != "" {
		var err error
		if wallet, err = uuid.Parse(*only); err != nil {
			return nil, usageError("--wallet: " + err.Error())
		}
	}
	return func(ctx context.Context) error {
		v := verifier{conn: c.conn, cache: c.cache, pages: pages{1_000, 10_000, rememberedWallets}, overdue: *overdue, total: &summary{}}
		v.topic, v.eventsTopic, v.eventGaps = cmp.Or(*topic, c.topic), cmp.Or(*events, c.eventsTopic), *gaps
		printLine := func(v any) {
			if *asJSON {
				_ = json.NewEncoder(c.stdout).Encode(v)
			} else {
				fmt.Fprintln(c.stdout, v)
			}
		}
		v.report = func(f finding) {
			v.total.Findings++
			printLine(f)
		}
		began := time.Now()
		var err error
		if *only == "" {
			err = v.all(ctx)
		} else {
			err = v.wallet(ctx, wallet)
		}
		if err != nil {
			return err
		}
		v.total.Seconds = time.Since(began).Seconds()
		printLine(*v.total)
		return v.verdict(ctx)
	}, nil
}

// verdict is an error unless something was audited and all of it is as promised. What looks at nothing,
// because it is pointed at another database or topic, must not look like an audit that was passed.
func (v *verifier) verdict(ctx context.Context) error {
	switch {
	case v.total.Findings > 0:
		return fmt.Errorf("%d things are not as promised", v.total.Findings)
	case v.total.Wallets == 0 && v.total.Operations == 0:
		return errors.New("nothing was audited: there is no wallet here; is it the right database, and the right --wallet?")
	case v.total.OutboxRows > 0 || v.total.Operations == 0:
		return nil
	}
	others, err := walletdb.New(v.conn).OutboxTopics(ctx)
	if err != nil {
		return fmt.Errorf("read the outbox's topics: %w", err)
	}
	others = slices.DeleteFunc(others, func(topic string) bool { return topic == v.eventsTopic })
	if len(others) > 0 && !slices.Contains(others, v.topic) {
		return fmt.Errorf("no message was audited: the outbox has none of topic %s, but of %s; is TOPIC right?", v.topic, strings.Join(others, ", "))
	}
	return nil
}

// pages bound the memory of an audit.
type pages struct {
	wallets int // of one snapshot
	rows    int // of one query for operations or messages
	// remembered is of how many wallets the last event is kept in memory.
	remembered uint64
}

// verifier audits a live database, page by page in bounded memory. Each page of wallets is read in
// one snapshot, so that running operations are no findings.
type verifier struct {
	conn  *pgx.Conn
	cache redis.UniversalClient // nil: not audited
	pages pages
	topic string
	// eventsTopic is empty if events are not audited, eventGaps is whether some may be missing.
	eventsTopic string
	eventGaps   bool
	overdue     time.Duration // how long an operation may be pending
	report      func(finding)
	total       *summary

	flows     flows                    // of all wallets; nil: of one
	sequences walletdb.SumSequencesRow // of the wallets, each when it was audited
}

// cacheDoubt is a cache entry that differs from the snapshot, perhaps only because time went on.
type cacheDoubt struct {
	snapshot walletdb.AuditWalletsRow
	entry    walletdb.Wallet
}

// wallet audits one wallet, and its messages.
func (v *verifier) wallet(ctx context.Context, id uuid.UUID) error {
	if _, err := v.page(ctx, id, id); err != nil {
		return err
	}
	if err := v.outbox(ctx, id.String()); err != nil {
		return err
	}
	return v.events(ctx, id.String())
}

// all audits every wallet and the outbox.
func (v *verifier) all(ctx context.Context) error {
	v.flows = flows{}
	for from := uuid.Nil; ; {
		end, err := v.page(ctx, from, uuid.Max)
		if err != nil {
			return err
		}
		if end == uuid.Max {
			break
		}
		from = following(end)
	}
	if err := v.outbox(ctx, ""); err != nil {
		return err
	}
	if err := v.events(ctx, ""); err != nil {
		return err
	}
	return v.conserve(ctx)
}

// following returns the next id after one that is not the last.
func following(id uuid.UUID) uuid.UUID {
	for i := len(id) - 1; i >= 0; i-- {
		if id[i]++; id[i] != 0 {
			break
		}
	}
	return id
}

// page audits the next wallets from one id on, up to another, in one snapshot, with all operations and
// outcomes in that range of ids. It returns the end of the range that it finished.
func (v *verifier) page(ctx context.Context, from, upTo uuid.UUID) (uuid.UUID, error) {
	var doubts []cacheDoubt
	end := upTo
	err := pgx.BeginTxFunc(ctx, v.conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		queries := walletdb.New(tx)
		wallets, err := queries.AuditWallets(ctx, walletdb.AuditWalletsParams{FromID: from, UpTo: upTo, MaxRows: int32(v.pages.wallets)})
		if err != nil {
			return fmt.Errorf("read wallets: %w", err)
		}
		if len(wallets) == v.pages.wallets {
			end = wallets[len(wallets)-1].ID
		}
		v.total.Wallets += len(wallets)
		if err := v.history(ctx, queries, wallets, from, end); err != nil {
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
func (v *verifier) history(ctx context.Context, queries *walletdb.Queries, wallets []walletdb.AuditWalletsRow, from, end uuid.UUID) error {
	var current *audit
	for e, err := range merge(walletEntries(wallets), v.operations(ctx, queries, from, end), v.openHolds(ctx, queries, from, end)) {
		if err != nil {
			return err
		}
		if current == nil || current.wallet.ID != e.walletID {
			current.end()
			current = newAudit(e.walletID, v)
		}
		switch {
		case e.wallet != nil:
			current.wallet, current.known = *e.wallet, true
			v.flows.addBalance(*e.wallet)
			v.sequences.LastSeq += max(e.wallet.LastSeq, 0)
			v.sequences.AppliedSeq += e.wallet.AppliedSeq
		case e.hold != nil:
			current.hold(*e.hold)
		default:
			v.total.Operations++
			current.next(e.operation)
		}
	}
	current.end()
	return nil
}

// entry is a wallet, or one of its operations or of its open holds.
type entry struct {
	walletID  uuid.UUID
	wallet    *walletdb.AuditWalletsRow
	operation operationRow
	hold      *walletdb.AuditOpenHoldsRow
}

func walletEntries(wallets []walletdb.AuditWalletsRow) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		for i := range wallets {
			if !yield(entry{walletID: wallets[i].ID, wallet: &wallets[i]}, nil) {
				return
			}
		}
	}
}

// merge joins streams that are each in order of the wallets' ids: of one wallet those of an earlier stream
// come first. It ends at the first error.
func merge(streams ...iter.Seq2[entry, error]) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		heads := make([]entry, len(streams))
		pulls := make([]func() (entry, error, bool), len(streams)) // nil: it has ended
		pull := func(i int) (err error) {
			var more bool
			if heads[i], err, more = pulls[i](); !more {
				pulls[i] = nil
			}
			return err
		}
		for i, stream := range streams {
			next, stop := iter.Pull2(stream)
			defer stop()
			pulls[i] = next
			if err := pull(i); err != nil {
				yield(entry{}, err)
				return
			}
		}
		for {
			least := -1
			for i := range heads {
				if pulls[i] != nil && (least < 0 || compare(heads[i].walletID, heads[least].walletID) < 0) {
					least = i
				}
			}
			if least < 0 || !yield(heads[least], nil) {
				return
			}
			if err := pull(least); err != nil {
				yield(entry{}, err)
				return
			}
		}
	}
}

// operations reads those of a range of wallet ids, by wallet and sequence, page by page.
func (v *verifier) operations(ctx context.Context, queries *walletdb.Queries, from, end uuid.UUID) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		cursor := walletdb.AuditOperationsParams{AfterWallet: from, AfterSeq: math.MinInt64, UpTo: end, MaxRows: int64(v.pages.rows)}
		for more := true; more; {
			rows, err := queries.AuditOperations(ctx, cursor)
			if err != nil {
				yield(entry{}, fmt.Errorf("read operations: %w", err))
				return
			}
			if more = len(rows) == v.pages.rows; more {
				rows = withoutLastKey(rows)
				cursor.AfterWallet, cursor.AfterSeq = rows[len(rows)-1].WalletID, rows[len(rows)-1].Seq
			}
			links, err := readLinks(ctx, queries, rows)
			if err != nil {
				yield(entry{}, err)
				return
			}
			for i := range rows {
				if !yield(entry{walletID: rows[i].WalletID, operation: operationRow{&rows[i], links}}, nil) {
					return
				}
			}
		}
	}
}

// withoutLastKey leaves the rows of the last sequence to the next page: there may be more of them, and
// two operations with one sequence are what an audit is to find.
func withoutLastKey(rows []walletdb.AuditOperationsRow) []walletdb.AuditOperationsRow {
	last := rows[len(rows)-1]
	for n := len(rows); n > 0; n-- {
		if rows[n-1].WalletID != last.WalletID || rows[n-1].Seq != last.Seq {
			return rows[:n]
		}
	}
	return rows
}

// openHolds reads those of a range of wallet ids, by wallet and sequence, page by page.
func (v *verifier) openHolds(ctx context.Context, queries *walletdb.Queries, from, end uuid.UUID) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		cursor := walletdb.AuditOpenHoldsParams{AfterWallet: from, AfterSeq: math.MinInt64, UpTo: end, MaxRows: int64(v.pages.rows)}
		for {
			rows, err := queries.AuditOpenHolds(ctx, cursor)
			if err != nil {
				yield(entry{}, fmt.Errorf("read open holds: %w", err))
				return
			}
			for i := range rows {
				if !yield(entry{walletID: rows[i].WalletID, hold: &rows[i]}, nil) {
					return
				}
			}
			if len(rows) < v.pages.rows {
				return
			}
			cursor.AfterWallet, cursor.AfterSeq = rows[len(rows)-1].WalletID, rows[len(rows)-1].Seq
		}
	}
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
		if entry.AppliedSeq != wallet.AppliedSeq || moneyOf(entry.Wallet) != (money{wallet.Balance, wallet.Held, wallet.State}) {
			doubts = append(doubts, cacheDoubt{wallet, entry.Wallet})
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
		truth, err := v.moneyAt(ctx, id, entry.AppliedSeq)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			v.report(finding{"cache-ahead", &id, entry.AppliedSeq, "the cache holds a version that was never reached"})
		case err != nil:
			return fmt.Errorf("read an outcome: %w", err)
		case truth != moneyOf(entry.Wallet):
			v.report(finding{"cache-wrong", &id, entry.AppliedSeq, fmt.Sprintf("the cache says %s, the outcome %s", moneyOf(entry.Wallet), truth)})
		}
	}
	return nil
}

func moneyOf(entry walletdb.Wallet) money {
	return money{entry.Balance, entry.Held, string(entry.State)}
}

func (v *verifier) moneyAt(ctx context.Context, id uuid.UUID, version int64) (money, error) {
	m := money{state: "ACTIVE"}
	if version == 0 {
		return m, nil
	}
	outcome, err := walletdb.New(v.conn).GetOutcome(ctx, walletdb.GetOutcomeParams{WalletID: id, Seq: version})
	m.balance = outcome.BalanceAfter
	if outcome.HeldAfter != nil {
		m.held = *outcome.HeldAfter
	}
	if outcome.StateAfter != nil {
		m.state = string(*outcome.StateAfter)
	}
	return m, err
}

// outbox compares every message that is still kept, or those with one key, with its operation.
func (v *verifier) outbox(ctx context.Context, key string) error {
	queries := walletdb.New(v.conn)
	edges, err := queries.OutboxAge(ctx)
	if err != nil {
		return fmt.Errorf("find the outbox's ends: %w", err)
	}
	for after := edges.FirstID - 1; after < edges.LastID; after += int64(v.pages.rows) {
		rows, err := queries.AuditOutbox(ctx, walletdb.AuditOutboxParams{After: after, UpTo: after + int64(v.pages.rows), Topic: v.topic, OnlyKey: key})
		if err != nil {
			return fmt.Errorf("read the outbox: %w", err)
		}
		if err := v.compareMessages(ctx, queries, rows); err != nil {
			return err
		}
		v.total.OutboxRows += len(rows)
	}
	return nil
}

func (v *verifier) compareMessages(ctx context.Context, queries *walletdb.Queries, rows []walletdb.AuditOutboxRow) error {
	messages := make([]event.Message, len(rows))
	ids := make([]uuid.UUID, len(rows))
	for i, row := range rows {
		var err error
		if messages[i], err = event.Decode(row.Payload); err != nil {
			v.report(finding{"message-unreadable", nil, 0, fmt.Sprintf("outbox row %d: %v", row.ID, err)})
		}
		messages[i].AcceptedAt = time.Time{} // not compared
		ids[i] = messages[i].OperationID
	}
	operations, err := queries.AcceptedOperations(ctx, ids)
	if err != nil {
		return fmt.Errorf("read operations: %w", err)
	}
	accepted := make(map[uuid.UUID]event.Message, len(operations))
	for _, o := range operations {
		accepted[o.ID] = event.Message{WalletID: o.WalletID, Sequence: o.Seq, OperationID: o.ID, Type: string(o.Type), Amount: o.Amount}
	}
	for i, m := range messages {
		if m != (event.Message{}) && (accepted[m.OperationID] != m || rows[i].Key != m.WalletID.String()) {
			v.report(finding{"message-wrong", &m.WalletID, m.Sequence, fmt.Sprintf("outbox row %d says %+v with key %s, accepted was %+v", rows[i].ID, m, rows[i].Key, accepted[m.OperationID])})
		}
	}
	return nil
}

// summary says how much was audited. Without REDIS_URL no cache entry was.
type summary struct {
	Wallets       int `json:"wallets"`
	Operations    int `json:"operations"`
	OpenHolds     int `json:"openHolds"`
	OutboxRows    int `json:"outboxRows"`
	EventRows     int `json:"eventRows"`
	CachedWallets int `json:"cachedWallets"`
	// TimesBack counts operations that were accepted or applied at an earlier time than the one before
	// in their wallet. That is no finding: the clock may have been set back, and releases before 0.2 did not
	// prevent it. The order is the sequence's in any case.
	TimesBack int `json:"timesBack"`
	// Money is what came in, went out and is there, by tenant and currency: only if all was audited, and
	// nothing was accepted or applied meanwhile.
	Money    []*flow `json:"money,omitempty"`
	Findings int     `json:"findings"`
	Seconds  float64 `json:"seconds"`
}

func (s summary) String() string {
	var text strings.Builder
	for _, f := range s.Money {
		fmt.Fprintln(&text, f)
	}
	fmt.Fprintf(&text, "audited %d wallets, %d operations, %d open holds, %d outbox rows, %d events and %d cache entries in %.1f s: %d findings",
		s.Wallets, s.Operations, s.OpenHolds, s.OutboxRows, s.EventRows, s.CachedWallets, s.Seconds, s.Findings)
	if s.TimesBack > 0 {
		fmt.Fprintf(&text, "; %d operations have an earlier time than the one before: the clock was set back, or they are of an old release", s.TimesBack)
	}
	return text.String()
}

func compare(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }
