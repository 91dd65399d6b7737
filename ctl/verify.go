package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
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
	var wallets []walletdb.AuditWalletsRow
	end := upTo
	err := pgx.BeginTxFunc(ctx, v.conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		queries := walletdb.New(tx)
		var err error
		wallets, err = queries.AuditWallets(ctx, walletdb.AuditWalletsParams{FromID: from, UpTo: upTo, MaxRows: int32(v.pages.wallets)})
		if err != nil {
			return fmt.Errorf("read wallets: %w", err)
		}
		if len(wallets) == v.pages.wallets {
			end = wallets[len(wallets)-1].ID
		}
		v.total.Wallets += len(wallets)
		orphans, err := queries.AuditOrphans(ctx, walletdb.AuditOrphansParams{FromID: from, UpTo: end, MaxRows: int32(v.pages.wallets)})
		if err != nil {
			return fmt.Errorf("read sequences: %w", err)
		}
		for _, o := range orphans {
			v.report(finding{"wallet-missing", &o.WalletID, o.LastSeq, "a sequence is kept of a wallet that does not exist, and has no operation"})
		}
		return v.history(ctx, queries, wallets, from, end)
	})
	if err != nil {
		return end, err
	}
	return end, v.compareCache(ctx, wallets)
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
	Money []*flow `json:"money,omitempty"`
	// NotAdded is why there is no Money although all was audited.
	NotAdded string  `json:"moneyNotAdded,omitempty"`
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
	if s.NotAdded != "" {
		fmt.Fprintf(&text, "; the money of all was not added up: %s", s.NotAdded)
	}
	return text.String()
}
