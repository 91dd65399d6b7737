package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/status"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// addSchema looks at the clock and the schema that everything else is in.
func (r *statusReport) addSchema(ctx context.Context, q *walletdb.Queries) error {
	now, err := q.DatabaseTime(ctx)
	if err != nil {
		return err
	}
	differs := time.Until(now.At)
	r.At = now.At
	if differs.Abs() > clockDiffers {
		which := "ahead of"
		if differs < 0 {
			which = "behind"
		}
		r.problem(fmt.Sprintf("the database's clock is %s %s this machine's", seconds(differs.Abs().Seconds()), which),
			"set the one that is wrong, by NTP; order and balances do not depend on it, ages and rates here do")
	}
	if !now.HasSchema {
		r.problem(fmt.Sprintf("no schema of search_path (%s) exists", now.SearchPath), "ctl migrate creates it, if the search_path in DATABASE_URL is right")
	}
	return nil
}

func (r *statusReport) addMigrations(ctx context.Context, conn *pgx.Conn) (err error) {
	if r.Migrations, err = db.PendingMigrations(ctx, conn); err != nil {
		return err
	}
	if len(r.Migrations) > 0 {
		r.problem("migrations are pending: "+strings.Join(r.Migrations, " "), "ctl migrate applies them; a service that starts waits for them")
	}
	return nil
}

func (r *statusReport) addProcesses(ctx context.Context, q *walletdb.Queries) error {
	sessions, err := q.ServiceSessions(ctx)
	if err != nil {
		return err
	}
	r.Processes = map[string]int64{"api": sessions.Apis, "relay": sessions.Relays, "worker": sessions.Workers, "hooks": sessions.Hooks}
	var missing []string
	for _, s := range []struct{ service, without string }{{"api", "nothing is accepted"}, {"relay", "nothing is published"}, {"worker", "nothing is applied"}} {
		if r.Processes[s.service] == 0 {
			missing = append(missing, fmt.Sprintf("no %s is connected to Postgres: %s", s.service, s.without))
		}
	}
	if len(missing) > 0 {
		r.problem(strings.Join(missing, "; "), "start it; if it runs, its log says why it cannot connect: a password that was changed, say")
	}
	if !sessions.SeesAll {
		r.problem("this login may not see what the sessions of others do: locks and waiting commits may be missing here", "GRANT pg_monitor TO it, as a superuser")
	}
	return nil
}

func (r *statusReport) addWallets(ctx context.Context, q *walletdb.Queries) error {
	found, err := status.Wallets(ctx, q)
	if err == nil {
		r.Wallets, r.WalletsEstimated = &found.N, found.Estimated
	}
	return err
}

func (r *statusReport) addOperations(ctx context.Context, q *walletdb.Queries) error {
	found, err := status.Operations(ctx, q)
	if err == nil {
		r.Accepted, r.AcceptedEstimated = &found.N, found.Estimated
	}
	return err
}

func (r *statusReport) addOutbox(ctx context.Context, q *walletdb.Queries) error {
	found, err := status.ReadOutbox(ctx, q, r.topic)
	if err != nil {
		return err
	}
	r.rows, r.AcceptedPerSecond = &found, &found.AcceptedLately
	r.Outbox = &outboxReport{found.FirstID, found.LastID, found.FirstSeconds}
	if found.LastSeconds < -1 {
		r.problem(fmt.Sprintf("the newest outbox row is %s in the future: the database's clock was set back", seconds(-found.LastSeconds)),
			"nothing is lost, and order does not depend on it; ages and rates here are wrong until the clock has caught up")
	}
	return nil
}

func (r *statusReport) addApplied(ctx context.Context, q *walletdb.Queries) error {
	applied, err := status.AppliedLately(ctx, q)
	if err == nil {
		r.AppliedPerSecond = &applied
	}
	return err
}

// addPending looks at the wallets that the outbox tells of.
func (r *statusReport) addPending(ctx context.Context, q *walletdb.Queries) error {
	if r.rows == nil {
		return errors.New(r.why("outbox"))
	}
	found, err := status.Behind(ctx, q, *r.rows, r.topic)
	if err != nil {
		return err
	}
	r.behind, r.Pending, r.OldestPending, r.Standing = &found, &found.Operations, &found.OldestSeconds, []walletReport{}
	halted, standingWallets, strange := 0, 0, ""
	for _, w := range found.Standing {
		if w.Halted {
			halted++
		} else {
			standingWallets++
		}
		r.Standing = append(r.Standing, walletReport{w.ID.String(), w.AppliedSeq, w.LastSeq, w.AgeSeconds, w.NextType, w.Halted})
		if w.NextType != "" && !slices.Contains(operationTypes, w.NextType) {
			strange = w.NextType
		}
	}
	if halted > 0 {
		r.problem(wallets(halted)+" halted: operations are missing after the last one applied", "the database was damaged: ctl verify --wallet ID shows what is gone; take the rows from a backup restored beside it. Other wallets go on")
	}
	if strange != "" {
		r.problem(fmt.Sprintf("operations of type %s wait, which this release does not know", strange), "start workers of the release whose api accepts them; wallets wait at such an operation, and go on by themselves")
	}
	if standingWallets > 0 {
		r.consequence(fmt.Sprintf("%s not applied for more than %s", wallets(standingWallets), status.Standing), "ctl operation ID of one that is pending says where it is; the worker's log says why")
	}
	return nil
}

// addInTransit looks at the same wallets.
func (r *statusReport) addInTransit(ctx context.Context, q *walletdb.Queries) error {
	if r.behind == nil {
		return errors.New(r.why("pending"))
	}
	rows, err := status.InTransit(ctx, q, *r.behind, r.topic)
	if err != nil {
		return err
	}
	r.InTransit = []transitReport{}
	oldest := 0.0
	for _, row := range rows {
		r.InTransit = append(r.InTransit, transitReport{row.Currency, row.Operations, row.Amount, row.OldestSeconds})
		oldest = max(oldest, row.OldestSeconds)
	}
	if oldest > inTransitLong.Seconds() {
		r.consequence(fmt.Sprintf("money has been in transit for %s: it has left a wallet, and is in no other", seconds(oldest)),
			"nothing is lost: it arrives once the wallet that it goes to is applied; ctl operation ID of the transfer says which that is")
	}
	return nil
}

func (r *statusReport) addLateHolds(ctx context.Context, q *walletdb.Queries) error {
	late, err := status.LateHolds(ctx, q)
	if err != nil {
		return err
	}
	r.LateHolds = &lateReport{late.Holds, late.OldestSeconds}
	if late.Holds > 0 {
		r.consequence(fmt.Sprintf("holds that should have expired are open: %s, one since %s", count(late.Holds), seconds(late.OldestSeconds)),
			"a capture of them fails all the same, but their money is not available yet; the workers' logs say why they do not expire")
	}
	return nil
}

// addTenants lists what an operator has disabled: that is no problem.
func (r *statusReport) addTenants(ctx context.Context, q *walletdb.Queries) error {
	disabled, err := q.DisabledTenants(ctx, status.ShownTenants)
	if err == nil {
		r.DisabledTenants = append([]string{}, disabled...)
	}
	return err
}

// addWebhooks counts those that fail and those that are disabled: their clients see it too, and can mend it. That hooks
// delivers nothing is for the operator.
func (r *statusReport) addWebhooks(ctx context.Context, q *walletdb.Queries) error {
	n, err := q.CountWebhooks(ctx)
	if err != nil {
		return err
	}
	r.Webhooks = &webhooksReport{
		Webhooks: n.Webhooks, Failing: n.Failing, Disabled: n.Disabled, DisabledIDs: n.DisabledIds,
		Lag: n.LagSeconds, LagMessages: n.LagMessages, Saved: n.SavedSeconds,
	}
	switch {
	case n.Webhooks == n.Disabled || r.Processes == nil:
	case r.Processes["hooks"] == 0:
		r.problem("no hooks is connected to Postgres: no webhook is delivered", "start it; if it runs, its log says why it cannot connect. Webhooks go on where they were, as long as the topic of events keeps its messages")
	case n.LagMessages > 0 && n.SavedSeconds > status.Standing.Seconds():
		r.consequence(fmt.Sprintf("hooks has saved nothing for %s, and %s messages wait: it delivers nothing", seconds(n.SavedSeconds), count(n.LagMessages)), "its log and /readyz say why; SIGKILL loses nothing, another process takes its webhooks")
	}
	return nil
}

// wallets counts what is shown at most.
func wallets(n int) string {
	switch {
	case n == 1:
		return "1 wallet is"
	case n >= status.ShownWallets:
		return fmt.Sprintf("%d wallets or more are", n)
	}
	return fmt.Sprintf("%d wallets are", n)
}

func (r *statusReport) addRelays(ctx context.Context, q *walletdb.Queries) error {
	found, err := status.Relays(ctx, q, r.topic)
	if err != nil {
		return err
	}
	r.Relays = []relayReport{}
	for _, s := range found {
		r.Relays = append(r.Relays, relayReport{
			Relay: s.Relay, Leader: s.Leader, Position: s.Position(), Saved: s.SavedSecondsAgo,
			Waiting: s.WaitingRows, OldestWaiting: s.OldestSeconds, Paused: s.PausedAt != nil, PauseReason: s.PauseReason,
		})
		switch {
		case s.Events && (s.PausedAt != nil || s.Leader == ""): // as the relay's own position, which says so
		case s.PausedAt != nil:
			r.problem(fmt.Sprintf("%s is paused since %s: %s", s.Relay, s.PausedAt.UTC().Format(time.RFC3339), s.PauseReason), "ctl relay resume --reason TEXT, when that is over")
		case s.Leader == "":
			r.problem(s.Relay+" has no leader", "start a relay; if the name is no longer used, delete its rows of relay_positions")
		case s.Events && s.OldestSeconds > slow.Seconds():
			r.problem(fmt.Sprintf("the position %s does not move, and an event has waited for %s: consumers of outcomes and webhooks hear nothing; operations are published all the same. No outbox row is deleted meanwhile", s.Relay, seconds(s.OldestSeconds)),
				"/readyz of the leading relay says why: a topic that is missing or may not be written (ctl topic create, an ACL), or a row that Kafka refuses (ctl relay park)")
		case s.OldestSeconds > slow.Seconds():
			r.consequence(fmt.Sprintf("%s does not keep up: a row has waited for %s", s.Relay, seconds(s.OldestSeconds)), "if none of the others here is the cause, its log says what is: Kafka, or a row that Kafka refuses (ctl relay park)")
		}
	}
	if len(found) == 0 {
		r.problem("no relay has ever published", "start a relay")
	}
	fit, err := q.PositionsFit(ctx)
	if err != nil {
		return err
	}
	if !fit {
		r.problem("the relays' positions come from another database: they publish nothing", "ctl relay rebase --reason TEXT")
	}
	return nil
}

// addTopic reads how many partitions the topic must have, and whether outcomes have one.
func (r *statusReport) addTopic(ctx context.Context, q *walletdb.Queries) error {
	partitions, err := status.Partitions(ctx, q, r.topic)
	if err != nil {
		return err
	}
	r.Partitions = &partitions
	if partitions == 0 {
		r.problem(fmt.Sprintf("topic %s is not registered: the relay does not publish to it", r.topic), "ctl topic create, if TOPIC is right; in production with --replication-factor 3 --min-insync-replicas 2")
	}
	if r.events == "" {
		return nil
	}
	switch registered, err := status.Partitions(ctx, q, r.events); {
	case err != nil:
		return err
	case registered == 0:
		r.problem(fmt.Sprintf("topic %s is not registered: consumers of outcomes and webhooks miss what is applied meanwhile", r.events),
			fmt.Sprintf("ctl topic create %s --partitions N, with the number of %s, and its copies (--replication-factor, --min-insync-replicas); or EVENTS_TOPIC= for workers and ctl, if there are to be no events", r.events, r.topic))
	}
	return nil
}

// addWrites finds out whether the disks of the tables are full, which shows nowhere else: it makes a table
// that nobody else sees on each, writes to it, and takes that back.
func (r *statusReport) addWrites(ctx context.Context, conn *pgx.Conn, q *walletdb.Queries) error {
	if !r.writes {
		return nil
	}
	spaces, err := q.Tablespaces(ctx)
	if err != nil {
		return err
	}
	for _, space := range spaces {
		_, err := conn.Exec(ctx, "BEGIN; CREATE TEMPORARY TABLE ctl_status TABLESPACE "+pgx.Identifier{space}.Sanitize()+" AS SELECT 1; ROLLBACK")
		if err != nil {
			_, _ = conn.Exec(ctx, "ROLLBACK") // the next one finds out if that does not work
		}
		if refused := new(pgconn.PgError); errors.As(err, &refused) && strings.HasPrefix(refused.Code, "53") {
			r.problem(fmt.Sprintf("postgres cannot write to tablespace %s: %s", space, refused.Message), fullDisk)
		} // anything else is a right that this login lacks
	}
	return nil
}
