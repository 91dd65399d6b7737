package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legendary-wallet/legendary-wallet/db/status"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	// From slow on something is slower than it should be.
	slow = 2 * time.Second
	// heldLong is when a transaction has held its locks for too long: those of the services end before.
	heldLong = 10 * time.Second
	// blocksLong is when others have waited for a lock for too long.
	blocksLong = time.Second
	// patience is for a server that does not answer at all.
	patience = status.SectionTimeout + time.Second
	// writesEvery is how many looks of a watch there are to one that tries to write.
	writesEvery = 30
	// clockDiffers is how far the database's clock may be from that of this machine.
	clockDiffers = 5 * time.Second
	// inTransitLong is how long money may be on its way from one wallet to another.
	inTransitLong = time.Minute
)

// partial says which wallets status looks at.
const partial = "of the wallets that the newest outbox rows name, and some of 30s, 5m and 1h ago"

// statusReport is what ctl status tells. Times are in seconds. It costs the same with any number of
// wallets, so that it knows some things only about: numbers of 10,000 and more are Postgres' estimates, and
// pending operations and standing wallets are only those of the wallets that it looks at. A wallet that
// has been stalled for an hour and gets no new operation is not among them.
//
// It has sections, and what one of them could not find out is null: Unknown then says why.
type statusReport struct {
	At       time.Time `json:"at"`
	Healthy  bool      `json:"healthy"`
	Problems []string  `json:"problems"` // what is wrong → what to do
	Unknown  []unknown `json:"unknown"`

	LockHolders []lockHolder    `json:"lockHolders"`
	Migrations  []string        `json:"pendingMigrations"`
	Standbys    *standbysReport `json:"standbys"` // null without synchronous_standby_names, too

	Wallets           *int64   `json:"wallets"`
	WalletsEstimated  bool     `json:"walletsEstimated"`
	Accepted          *int64   `json:"acceptedOperations"`
	AcceptedEstimated bool     `json:"acceptedOperationsEstimated"`
	Pending           *int64   `json:"pendingOperations"` // at least
	OldestPending     *float64 `json:"oldestPendingSeconds"`
	AcceptedPerSecond *int64   `json:"acceptedPerSecond"`
	AppliedPerSecond  *int64   `json:"appliedPerSecond"`

	Outbox     *outboxReport    `json:"outbox"`
	Relays     []relayReport    `json:"relays"`
	Partitions *int32           `json:"registeredPartitions"` // of the topic; 0: it is not registered
	Kafka      *kafkaReport     `json:"kafka"`                // null without KAFKA_BROKERS
	Cache      *string          `json:"cache"`                // null without REDIS_URL; else ok or an error
	Processes  map[string]int64 `json:"processes"`
	Standing   []walletReport   `json:"standingWallets"`

	InTransit       []transitReport `json:"inTransit"` // by currency, at least
	LateHolds       *lateReport     `json:"lateHolds"`
	DisabledTenants []string        `json:"disabledTenants"` // up to 10 of them
	Webhooks        *webhooksReport `json:"webhooks"`

	topic  string
	events string          // the topic of events; empty: there are to be none
	rows   *status.Outbox  // nil: not known
	behind *status.Pending // nil: not known
	writes bool            // whether to try what a full disk refuses
	later  []string        // consequences
}

type unknown struct {
	Section string `json:"section"`
	Error   string `json:"error"`
}

type outboxReport struct {
	FirstID int64   `json:"firstId"`
	LastID  int64   `json:"lastId"`
	Kept    float64 `json:"oldestRowSeconds"`
}

type relayReport struct {
	Relay         string  `json:"relay"`
	Leader        string  `json:"leader"` // login, host and process id; empty: none
	Position      string  `json:"position"`
	Saved         float64 `json:"positionSavedSecondsAgo"`
	Waiting       int64   `json:"waitingRows"` // counted up to 10,000
	OldestWaiting float64 `json:"oldestWaitingSeconds"`
	Paused        bool    `json:"paused"`
	PauseReason   string  `json:"pauseReason,omitempty"`
}

type walletReport struct {
	WalletID string  `json:"walletId"`
	Applied  int64   `json:"appliedSequence"`
	Last     int64   `json:"lastSequence"`
	Age      float64 `json:"oldestPendingSeconds"`
	Next     string  `json:"nextType"` // of the operation that is to be applied; empty: it is missing
	Halted   bool    `json:"halted"`
}

// transitReport is money that has left a wallet and is in no other: its RECEIVE or RETURN is pending.
type transitReport struct {
	Currency   string  `json:"currency"`
	Operations int64   `json:"operations"`
	Amount     int64   `json:"amountMinor"`
	Oldest     float64 `json:"oldestSeconds"`
}

// lateReport is about open holds whose time is over.
type lateReport struct {
	Holds  int64   `json:"holds"` // counted up to 10,000
	Oldest float64 `json:"oldestSeconds"`
}

// webhooksReport is about where clients are told of outcomes, as hooks has saved it.
type webhooksReport struct {
	Webhooks    int64       `json:"webhooks"`
	Failing     int64       `json:"failing"` // deliveries are refused, and tried again
	Disabled    int64       `json:"disabled"`
	DisabledIDs []uuid.UUID `json:"disabledIds"` // the last 10
	Lag         float64     `json:"lagSeconds"`  // of that which is furthest behind
	LagMessages int64       `json:"lagMessages"` // of all
	Saved       float64     `json:"savedSecondsAgo"`
}

// showStatus prints how everything is. Rates are those of the last second.
func showStatus(c *call) (task, error) {
	asJSON := c.flags.Bool("json", false, "print one JSON object; what could not be found out is null, and unknown says why; walletsEstimated and acceptedOperationsEstimated: Postgres estimates the number; pendingOperations, oldestPendingSeconds, standingWallets and inTransit: "+partial)
	watch := c.flags.Bool("watch", false, "look again until interrupted")
	interval := c.flags.Duration("interval", time.Second, "the time between two looks of a watch")
	if _, err := c.arguments(); err != nil {
		return nil, err
	}
	if *interval < 100*time.Millisecond {
		return nil, usageError("--interval must be at least 100ms")
	}
	return func(ctx context.Context) error {
		if c.databaseURL == "" {
			return errNoDatabase
		}
		for n := 0; ; n++ {
			r, err := c.look(ctx, n%writesEvery == 0)
			if err != nil {
				return err
			}
			if *watch && ctx.Err() != nil {
				return nil // Ctrl-C ends a watch
			}
			if *asJSON {
				err = json.NewEncoder(c.stdout).Encode(r)
			} else {
				err = r.print(c.stdout, c.terminal(), *watch)
			}
			switch {
			case err != nil:
				return err
			case !*watch && !r.Healthy:
				return errUnwell
			case !*watch:
				return nil
			}
			select {
			case <-time.After(*interval):
			case <-ctx.Done():
				return nil
			}
		}
	}, nil
}

// look asks everything once: Postgres, section by section, and Kafka and Redis meanwhile. Its error is a
// mistake in the settings.
func (c *call) look(ctx context.Context, writes bool) (*statusReport, error) {
	r := &statusReport{At: time.Now(), Problems: []string{}, Unknown: []unknown{}, topic: c.topic, events: c.eventsTopic, writes: writes}
	var others sync.WaitGroup
	if c.kafkaBrokers != "" {
		others.Go(func() { r.Kafka = c.groupState(ctx, c.group, c.topic) })
	}
	if c.redisURL != "" {
		others.Go(func() { r.Cache = c.cacheState(ctx) })
	}
	err := c.lookAtPostgres(ctx, r)
	others.Wait()
	r.judgeKafka()
	r.judgeCache()
	r.Problems = append(r.Problems, r.later...)
	r.Healthy = len(r.Problems) == 0
	return r, err
}

// lookAtPostgres asks by one connection, which a section may lose: then the others are unknown.
func (c *call) lookAtPostgres(ctx context.Context, r *statusReport) error {
	conn, err := c.connect(ctx, map[string]string{
		"statement_timeout": fmt.Sprint(status.SectionTimeout.Milliseconds()), "lock_timeout": fmt.Sprint(status.LockTimeout.Milliseconds()),
	})
	if usage := usageError(""); errors.As(err, &usage) {
		return err
	}
	if err != nil {
		err = errors.New(oneLine(err.Error()))
		r.problem(err.Error(), connectAdvice(err))
	} else {
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = conn.Close(ctx)
		}()
	}
	r.lookAt(ctx, conn, err)
	return nil
}

// lookAt asks each section in turn. Who holds locks comes first: it answers whatever is locked.
func (r *statusReport) lookAt(ctx context.Context, conn *pgx.Conn, lost error) {
	for _, section := range []struct {
		name string
		look func(context.Context, *walletdb.Queries) error
	}{
		{"locks", func(ctx context.Context, q *walletdb.Queries) error { return r.addLockHolders(ctx, q, heldLong, "") }},
		{"schema", r.addSchema},
		{"migrations", func(ctx context.Context, _ *walletdb.Queries) error { return r.addMigrations(ctx, conn) }},
		{"standbys", r.addStandbys},
		{"processes", r.addProcesses},
		{"wallets", r.addWallets},
		{"operations", r.addOperations},
		{"outbox", r.addOutbox},
		{"applied", r.addApplied},
		{"pending", r.addPending},
		{"transit", r.addInTransit},
		{"holds", r.addLateHolds},
		{"tenants", r.addTenants},
		{"webhooks", r.addWebhooks},
		{"relays", r.addRelays},
		{"topic", r.addTopic},
		{"writes", func(ctx context.Context, q *walletdb.Queries) error { return r.addWrites(ctx, conn, q) }},
	} {
		err := lost
		if err == nil {
			err = within(ctx, walletdb.New(conn), section.look)
		}
		if err == nil {
			continue
		}
		r.Unknown = append(r.Unknown, unknown{section.name, r.reason(err)})
		if lost == nil && conn.IsClosed() {
			lost = err
			r.problem("postgres does not answer any more: "+r.reason(err), connectAdvice(err))
		}
	}
	if lost == nil && len(r.LockHolders) == 0 && slices.ContainsFunc(r.Unknown, func(u unknown) bool { return u.Error == status.Locked }) {
		r.addYoungLockHolders(ctx, walletdb.New(conn))
	}
	r.judgeUnknown(lost)
}

func within(ctx context.Context, q *walletdb.Queries, look func(context.Context, *walletdb.Queries) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return look(ctx, q)
}

// isPending is why a section is not known before a migration is applied.
const isPending = "a migration is pending"

// reason says in words why a section is not known.
func (r *statusReport) reason(err error) string {
	if why := status.Reason(err); why != "" {
		return why
	}
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return oneLine(err.Error())
	}
	switch refused.Code {
	case "42P01", "42703", "42883", "42704": // a table, a column, a function, a role
		if len(r.Migrations) > 0 {
			return isPending
		}
	}
	return refused.Message
}

// judgeUnknown names what is not known, unless that follows from what is named already: a migration that
// is pending, or Postgres that is lost.
func (r *statusReport) judgeUnknown(lost error) {
	named := isPending
	if lost != nil {
		named = r.reason(lost)
	}
	sections := map[string][]string{}
	for _, u := range r.Unknown {
		sections[u.Error] = append(sections[u.Error], u.Section)
	}
	for _, u := range r.Unknown {
		names := sections[u.Error]
		delete(sections, u.Error)
		if names == nil || u.Error == named {
			continue
		}
		do := "the server's log may say more"
		if u.Error == status.Locked && len(r.LockHolders) > 0 {
			do = "they are known again when the lock is gone"
		} else if u.Error == status.Locked {
			do = "look again: who held it may be gone already"
		}
		r.consequence(fmt.Sprintf("not known, because %s: %s", u.Error, strings.Join(names, ", ")), do)
	}
}

// problem adds what is wrong, and what to do about it.
func (r *statusReport) problem(what, do string) {
	r.Problems = append(r.Problems, what+arrow+do)
}

// consequence is a problem that another may be the cause of: it comes after all of these.
func (r *statusReport) consequence(what, do string) {
	r.later = append(r.later, what+arrow+do)
}

// arrow is between what is wrong and what to do.
const arrow = " → "

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

const fullDisk = "make room on its disk: old logs and backups first, never pg_wal; everything goes on by itself then"

// connectAdvice says what to do about a Postgres that does not let ctl in.
func connectAdvice(err error) string {
	for _, advice := range []struct{ sign, do string }{
		{"28P01", "the password in DATABASE_URL is not the login's: was it changed? The services that have the old one cannot connect any more either"},
		{"28000", "DATABASE_URL names a login that may not connect"},
		{"3D000", "ctl migrate creates the database, if DATABASE_URL is right"},
		{"53100", fullDisk},
		{"53300", "all connections are taken: look at pg_stat_activity, and at max_connections"},
		{"read-only", "DATABASE_URL has to name the primary"},
		{"encoding", "make another database"},
	} {
		if strings.Contains(err.Error(), advice.sign) {
			return advice.do
		}
	}
	return "is it running, and does DATABASE_URL name it? Nothing is accepted or applied meanwhile; the services come back by themselves"
}

// why says why a section is not known, or nothing.
func (r *statusReport) why(section string) string {
	if i := slices.IndexFunc(r.Unknown, func(u unknown) bool { return u.Section == section }); i >= 0 {
		return r.Unknown[i].Error
	}
	return ""
}

// cacheState tries every kind of write that the services make: a Redis that answers may refuse them.
func (c *call) cacheState(ctx context.Context) *string {
	answer := "ok"
	client, err := walletcache.Open(c.redisURL)
	if err == nil {
		defer client.Close()
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		err = walletcache.Probe(ctx, client)
	}
	if err != nil {
		answer, _, _ = strings.Cut(err.Error(), " script: ") // which one is of no use
	}
	return &answer
}

func (r *statusReport) judgeCache() {
	if r.Cache == nil || *r.Cache == "ok" {
		return
	}
	do := "is it running, and does REDIS_URL name it?"
	for sign, does := range map[string]string{
		"READONLY":  "REDIS_URL has to name the primary: this one is a replica.",
		"NOPERM":    "give its user the rights that docs/operations.md lists.",
		"OOM":       "its memory is full: maxmemory-policy volatile-lru makes room.",
		"NOAUTH":    "REDIS_URL lacks the password.",
		"WRONGPASS": "the password in REDIS_URL is not the right one: was it changed?",
	} {
		if strings.Contains(*r.Cache, sign) {
			do = does
		}
	}
	r.problem("redis does not take writes, balances are read from postgres: "+*r.Cache, do+" Nothing is lost meanwhile")
}
