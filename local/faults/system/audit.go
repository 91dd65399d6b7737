package system

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/receiver"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// CheckRound holds what the clients were told, the tables, the log and the cache against each other,
// for the round's wallets.
func (f *System) CheckRound(ctx context.Context, kinds []Fault, told []load.Operation) (broken []string, receipt check.Receipt, err error) {
	broken = f.awaitIdle(ctx)
	invariants, err := f.checkTables(ctx, kinds, told)
	if err != nil {
		return nil, receipt, err
	}
	outcomes, receipt, err := f.checkOutcomes(ctx, kinds)
	if err != nil {
		return nil, receipt, err
	}
	invariants = append(invariants, outcomes...)
	for _, i := range invariants {
		broken = append(broken, i.Broken...)
	}
	chains, err := f.BrokenChains(ctx)
	if err != nil {
		return nil, receipt, fmt.Errorf("follow the balances: %w", err)
	}
	// The worker writes to Redis after its commit, and a process notices within a moment that what it
	// missed is back.
	var entries, complaints []string
	proc.Await(ctx, 10*time.Second, func() bool {
		entries, complaints = f.wrongEntries(ctx), f.unwell(ctx)
		return len(entries)+len(complaints) == 0
	})
	f.Watch.Stop() // it reads the log
	if f.Watch.cacheLooks.Load() == 0 || f.Watch.offsetLooks.Load() == 0 {
		broken = append(broken, "the watch has not once seen a cached wallet, or the committed offsets")
	}
	f.Log.forget()
	return slices.Concat(broken, chains, entries, complaints, f.checkFootprints(ctx)), receipt, nil
}

// awaitIdle waits until nothing is pending and every process is ready, and returns what is not.
func (f *System) awaitIdle(ctx context.Context) (broken []string) {
	ended := time.Now()
	quiet := func() bool {
		if p := f.Watch.Latest(); p.at.Before(ended) || p.err != nil || p.backlog > 0 {
			return false
		}
		totals, err := f.totals(ctx) // a fault may have brought wallets of its own
		return err == nil && totals.Outcomes == totals.Operations && totals.Expiring == 0
	}
	if !proc.Await(ctx, min(time.Minute, f.Patience), quiet) {
		broken = append(broken, "something is pending long after the last operation")
	}
	for _, p := range slices.Concat(f.Stack.Services, f.Stack.Backing.Processes) {
		if err := p.AwaitReady(ctx, false); err != nil {
			broken = append(broken, p.Name+" "+err.Error())
		}
	}
	return broken
}

// checkTables checks the invariants that the faults of the round leave in force.
func (f *System) checkTables(ctx context.Context, kinds []Fault, told []load.Operation) ([]check.Invariant, error) {
	totals, err := f.totals(ctx)
	if err != nil {
		return nil, fmt.Errorf("read totals: %w", err)
	}
	stored, err := walletdb.New(f.Pool).StoredOperations(ctx, walletdb.StoredOperationsParams{Wallets: f.Wallets})
	if err != nil {
		return nil, fmt.Errorf("read operations: %w", err)
	}
	invariants := []check.Invariant{check.Totals(totals), check.Settled(stored), check.Clients(told, stored), check.Order(told, stored), check.History(told, stored)}
	if !slices.ContainsFunc(kinds, func(k Fault) bool { return k.LosesLog }) {
		var log check.Invariant
		proc.Await(ctx, min(15*time.Second, f.Patience), func() bool {
			log = check.Log(f.Log.Of(f.Wallets), stored)
			return len(log.Broken) == 0
		})
		invariants = append(invariants, log)
	}
	if !slices.ContainsFunc(kinds, func(k Fault) bool { return k.MovesClock }) {
		invariants = append(invariants, check.Times(stored))
	}
	return invariants, nil
}

// checkOutcomes holds what was told of outcomes against them: by events, and by webhooks, which may be tried again.
func (f *System) checkOutcomes(ctx context.Context, kinds []Fault) (invariants []check.Invariant, receipt check.Receipt, err error) {
	lost := slices.ContainsFunc(kinds, func(k Fault) bool { return k.LosesEvents })
	if f.Events == nil {
		return nil, receipt, nil
	}
	finished, err := walletdb.New(f.Pool).FinishedOperations(ctx, walletdb.FinishedOperationsParams{Wallets: f.Wallets})
	if err != nil {
		return nil, receipt, fmt.Errorf("read outcomes: %w", err)
	}
	var events, webhooks check.Invariant
	proc.Await(ctx, min(15*time.Second, f.Patience), func() bool {
		events = check.Events(f.Events.Of(f.Wallets), finished)
		return lost || len(events.Broken) == 0
	})
	f.Events.forget()
	if f.Receiver == nil {
		return []check.Invariant{events}, receipt, nil
	}
	told := func(r *receiver.Recorder) (webhooks check.Invariant, receipt check.Receipt) {
		proc.Await(ctx, min(OfWebhooks, f.Patience), func() bool {
			webhooks, receipt = check.Webhooks(r.Got(f.Wallets), finished)
			return lost || receipt.Missed == 0
		})
		webhooks.Broken = append(webhooks.Broken, r.Forget()...)
		return webhooks, receipt
	}
	webhooks, receipt = told(f.Receiver)
	bystander, _ := told(f.Bystander)
	for _, broken := range bystander.Broken {
		webhooks.Broken = append(webhooks.Broken, "the receiver that never fails: "+broken)
	}
	if lost {
		return nil, check.Receipt{}, nil
	}
	return []check.Invariant{events, webhooks}, receipt, nil
}

// unwell is what processes still report in their /readyz.
func (f *System) unwell(ctx context.Context) (complaints []string) {
	for _, p := range f.Stack.Services {
		r, err := stack.AskReady(ctx, p)
		if err != nil {
			complaints = append(complaints, fmt.Sprintf("/readyz of %s: %v", p.Name, err))
		} else if !r.Ready || len(r.Degraded) > 0 {
			complaints = append(complaints, fmt.Sprintf("%s is not as it was: ready %t, %q, %q", p.Name, r.Ready, r.Reasons, r.Degraded))
		}
	}
	return complaints
}

func (f *System) totals(ctx context.Context) (walletdb.TotalsRow, error) {
	return walletdb.New(f.Pool).Totals(ctx, f.Wallets)
}

// BrokenChains finds what is applied and does not follow from the one before.
func (f *System) BrokenChains(ctx context.Context) ([]string, error) {
	rows, err := f.Pool.Query(ctx, `
		SELECT format('wallet %s: sequence %s does not follow from the one before', wallet_id, seq) FROM (
		  SELECT s.wallet_id, s.seq, s.status, s.type, s.subject_id, coalesce(s.applied_amount, s.amount) AS amount,
		         s.seq - lag(s.seq, 1, 0::bigint) OVER w AS step, s.balance_after - lag(s.balance_after, 1, 0::bigint) OVER w AS change
		  FROM operation_states s JOIN wallets ON wallets.id = s.wallet_id AND s.seq <= wallets.applied_seq
		  WHERE s.wallet_id = ANY ($1) WINDOW w AS (PARTITION BY s.wallet_id ORDER BY s.seq)) s
		WHERE step <> 1 OR change IS DISTINCT FROM CASE WHEN status <> 'PROCESSED' THEN 0
		  WHEN type IN ('DEPOSIT', 'RECEIVE', 'RETURN') THEN amount
		  WHEN type IN ('WITHDRAW', 'TRANSFER', 'CAPTURE') THEN -amount
		  WHEN type = 'REVERSE' THEN CASE WHEN (SELECT o.type FROM operations o WHERE o.id = s.subject_id) = 'DEPOSIT' THEN -amount ELSE amount END
		  ELSE 0 END`, f.Wallets)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// wrongEntries finds the wallets whose entry in Redis is another than Postgres's. No entry is fine.
func (f *System) wrongEntries(ctx context.Context) (wrong []string) {
	wallets, err := f.storedWallets(ctx)
	if err != nil {
		return []string{"read wallets: " + err.Error()}
	}
	for _, w := range wallets {
		entry, found, err := walletcache.Get(ctx, f.Cache, w.ID)
		if err != nil {
			return append(wrong, "read the cache: "+err.Error())
		}
		if found && (entry.AppliedSeq != w.AppliedSeq || entry.Balance != w.Balance || entry.Held != w.Held || entry.State != w.State) {
			wrong = append(wrong, fmt.Sprintf("the cache says %d, %d held, %s at version %d of wallet %s, stored is %d, %d held, %s at %d",
				entry.Balance, entry.Held, entry.State, entry.AppliedSeq, w.ID, w.Balance, w.Held, w.State, w.AppliedSeq))
		}
	}
	return wrong
}

func (f *System) storedWallets(ctx context.Context) ([]walletdb.Wallet, error) {
	rows, err := f.Pool.Query(ctx, "SELECT id, applied_seq, balance, held, state FROM wallets WHERE id = ANY ($1)", f.Wallets)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (w walletdb.Wallet, err error) {
		return w, row.Scan(&w.ID, &w.AppliedSeq, &w.Balance, &w.Held, &w.State)
	})
}

// relayPosition is a row of relay_positions.
type relayPosition struct {
	Relay, Prev string
	Cur         *string
	After, Last int64
}

func (f *System) relayPositions(ctx context.Context) ([]relayPosition, error) {
	rows, err := f.Pool.Query(ctx, "SELECT relay, prev::text, cur::text, after_id, last_id FROM relay_positions")
	if err != nil {
		return nil, fmt.Errorf("read the relay's positions: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[relayPosition])
}
