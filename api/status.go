package main

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/singleflight"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db/apikey"
	"github.com/legendary-wallet/legendary-wallet/db/status"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// statusLifetime is how long a status is shown again: finding it out takes some 100 queries.
const statusLifetime = time.Second

// lastStatus is the last status that was found out.
type lastStatus struct {
	asking singleflight.Group // one look for all requests that come meanwhile

	mu    sync.Mutex
	begun time.Time // when it was looked for
	found oas.Status
}

// GetStatus says how the whole system is. A key of one tenant may not know: it would see the volumes of others.
func (ws *wallets) GetStatus(ctx context.Context) (*oas.StatusReadHeaders, error) {
	if tenantOf(ctx) != allTenants {
		return nil, problem{
			code: forbidden, detail: "Only a key of all tenants may read the status.",
			challenge: `Bearer error="insufficient_scope", scope="` + apikey.StatusScope + `"`,
		}
	}
	found, err := ws.readStatus(ctx)
	if err != nil {
		return nil, readError(err)
	}
	return &oas.StatusReadHeaders{CacheControl: cacheControl, Response: found}, nil
}

// readStatus returns what was found out within the lifetime, or looks.
func (ws *wallets) readStatus(ctx context.Context) (oas.Status, error) {
	last := &ws.status
	last.mu.Lock()
	if time.Since(last.begun) < statusLifetime {
		defer last.mu.Unlock()
		return last.found, nil
	}
	last.mu.Unlock()
	found, err, _ := last.asking.Do("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ws.timeout) // the others wait for it too
		defer cancel()
		begun := time.Now()
		found, err := ws.lookAtStatus(ctx)
		if err == nil {
			last.mu.Lock()
			defer last.mu.Unlock()
			last.begun, last.found = begun, found
		}
		return found, err
	})
	return found.(oas.Status), err
}

// lookAtStatus asks Postgres, section by section: what one of them cannot find out is left out, and unknown says
// why. An error says that Postgres does not answer at all.
func (ws *wallets) lookAtStatus(ctx context.Context) (oas.Status, error) {
	l := look{topic: ws.topic, Status: oas.Status{Unknown: []oas.UnknownSection{}}}
	if err := ws.section(ctx, l.clock); err != nil {
		return l.Status, err
	}
	for _, section := range []struct {
		name string
		look func(context.Context, *walletdb.Queries) error
	}{
		{"processes", l.processes},
		{"wallets", l.wallets},
		{"operations", l.operations},
		{"outbox", l.outbox},
		{"applied", l.applied},
		{"pending", l.pending},
		{"transit", l.inTransit},
		{"holds", l.lateHolds},
		{"tenants", l.disabledTenants},
		{"webhooks", l.webhooks},
		{"relays", l.relays},
		{"topic", l.partitions},
	} {
		if err := ws.section(ctx, section.look); err != nil {
			l.Unknown = append(l.Unknown, oas.UnknownSection{Section: section.name, Error: unknownBecause(err)})
		}
	}
	return l.Status, nil
}

// section looks at one part, in a transaction of its own, which ends soon whatever is locked.
func (ws *wallets) section(ctx context.Context, look func(context.Context, *walletdb.Queries) error) error {
	ctx, cancel := context.WithTimeout(ctx, status.SectionTimeout+time.Second)
	defer cancel()
	return pgx.BeginTxFunc(ctx, ws.pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		q := walletdb.New(tx)
		err := q.LimitSection(ctx, walletdb.LimitSectionParams{LockMs: milliseconds(status.LockTimeout), StatementMs: milliseconds(status.SectionTimeout)})
		if err != nil {
			return err
		}
		return look(ctx, q)
	})
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// errNotBefore is why a section is not known that needs another one.
var errNotBefore = errors.New("another section is not known")

// unknownBecause says why a section is not known, without the names of hosts and logins that an error may have.
func unknownBecause(err error) string {
	var refused *pgconn.PgError
	var unconnected *pgconn.ConnectError
	switch why := status.Reason(err); {
	case why != "":
		return why
	case errors.Is(err, errNotBefore):
		return err.Error()
	case errors.As(err, &refused) && !errors.As(err, &unconnected):
		return "postgres refuses it: SQLSTATE " + refused.Code
	}
	return "postgres does not answer"
}

// look is one look at everything.
type look struct {
	topic string // of operations
	oas.Status
	rows   *status.Outbox  // nil: not known
	behind *status.Pending // nil: not known
}

func (l *look) clock(ctx context.Context, q *walletdb.Queries) error {
	now, err := q.DatabaseTime(ctx)
	l.At = oas.Time(now.At.UTC())
	return err
}

func (l *look) processes(ctx context.Context, q *walletdb.Queries) error {
	found, err := q.ServiceSessions(ctx)
	if err == nil {
		l.Processes.SetTo(oas.StatusProcesses{"api": found.Apis, "relay": found.Relays, "worker": found.Workers, "hooks": found.Hooks})
	}
	return err
}

func (l *look) wallets(ctx context.Context, q *walletdb.Queries) error {
	found, err := status.Wallets(ctx, q)
	if err == nil {
		l.Wallets.SetTo(found.N)
		l.WalletsEstimated.SetTo(found.Estimated)
	}
	return err
}

func (l *look) operations(ctx context.Context, q *walletdb.Queries) error {
	found, err := status.Operations(ctx, q)
	if err == nil {
		l.AcceptedOperations.SetTo(found.N)
		l.AcceptedOperationsEstimated.SetTo(found.Estimated)
	}
	return err
}

func (l *look) outbox(ctx context.Context, q *walletdb.Queries) error {
	found, err := status.ReadOutbox(ctx, q, l.topic)
	if err == nil {
		l.rows = &found
		l.Outbox.SetTo(oas.OutboxStatus{FirstID: found.FirstID, LastID: found.LastID, OldestRowSeconds: found.FirstSeconds})
		l.AcceptedPerSecond.SetTo(found.AcceptedLately)
	}
	return err
}

func (l *look) applied(ctx context.Context, q *walletdb.Queries) error {
	found, err := status.AppliedLately(ctx, q)
	if err == nil {
		l.AppliedPerSecond.SetTo(found)
	}
	return err
}

func (l *look) pending(ctx context.Context, q *walletdb.Queries) error {
	if l.rows == nil {
		return errNotBefore
	}
	found, err := status.Behind(ctx, q, *l.rows, l.topic)
	if err != nil {
		return err
	}
	l.behind = &found
	l.PendingOperations.SetTo(found.Operations)
	l.OldestPendingSeconds.SetTo(found.OldestSeconds)
	l.StandingWallets = []oas.StandingWallet{}
	for _, w := range found.Standing {
		l.StandingWallets = append(l.StandingWallets, oas.StandingWallet{
			WalletID: w.ID, AppliedSequence: w.AppliedSeq, LastSequence: w.LastSeq, OldestPendingSeconds: w.AgeSeconds, NextType: w.NextType, Halted: w.Halted,
		})
	}
	return nil
}

func (l *look) inTransit(ctx context.Context, q *walletdb.Queries) error {
	if l.behind == nil {
		return errNotBefore
	}
	found, err := status.InTransit(ctx, q, *l.behind, l.topic)
	if err != nil {
		return err
	}
	l.InTransit = []oas.InTransit{}
	for _, t := range found {
		l.InTransit = append(l.InTransit, oas.InTransit{Currency: oas.Currency(t.Currency), Operations: t.Operations, AmountMinor: t.Amount, OldestSeconds: t.OldestSeconds})
	}
	return nil
}

func (l *look) lateHolds(ctx context.Context, q *walletdb.Queries) error {
	found, err := status.LateHolds(ctx, q)
	if err == nil {
		l.LateHolds.SetTo(oas.LateHolds{Holds: found.Holds, OldestSeconds: found.OldestSeconds})
	}
	return err
}

func (l *look) disabledTenants(ctx context.Context, q *walletdb.Queries) error {
	found, err := q.DisabledTenants(ctx, status.ShownTenants)
	if err == nil {
		l.DisabledTenants = append([]string{}, found...)
	}
	return err
}

func (l *look) webhooks(ctx context.Context, q *walletdb.Queries) error {
	found, err := q.CountWebhooks(ctx)
	if err == nil {
		l.Webhooks.SetTo(oas.WebhooksStatus{
			Webhooks: found.Webhooks, Failing: found.Failing, Disabled: found.Disabled, DisabledIds: found.DisabledIds,
			LagMessages: found.LagMessages, LagSeconds: found.LagSeconds, SavedSecondsAgo: found.SavedSeconds,
		})
	}
	return err
}

func (l *look) relays(ctx context.Context, q *walletdb.Queries) error {
	found, err := status.Relays(ctx, q, l.topic)
	if err != nil {
		return err
	}
	l.Relays = []oas.RelayStatus{}
	for _, r := range found {
		shown := oas.RelayStatus{
			Relay: r.Relay, Leading: r.Leader != "", Position: r.Position(), PositionSavedSecondsAgo: r.SavedSecondsAgo,
			WaitingRows: r.WaitingRows, OldestWaitingSeconds: r.OldestSeconds, Paused: r.PausedAt != nil,
		}
		if shown.Paused {
			shown.PauseReason.SetTo(r.PauseReason)
		}
		l.Relays = append(l.Relays, shown)
	}
	return nil
}

func (l *look) partitions(ctx context.Context, q *walletdb.Queries) error {
	found, err := status.Partitions(ctx, q, l.topic)
	if err == nil {
		l.RegisteredPartitions.SetTo(found)
	}
	return err
}
