package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	// From slow on something is slower than it should be, from standing on it stands still.
	slow     = 2 * time.Second
	standing = 30 * time.Second
	// heldLong is when a transaction has held its locks for too long: those of the services end before.
	heldLong = 10 * time.Second
	// countedRows is up to how many rows are counted: of waiting outbox rows twice as many when some are
	// older than the position.
	countedRows  = 10_000
	shownWallets = 10
	// seenRows is how many of the newest outbox rows, and of those of each age of seenAges, tell which
	// wallets to look at.
	seenRows = 1_000
	// appliedPages is where the outcomes of the last second are looked for: room for some 20,000.
	appliedPages = 200
)

// seenAges are those at which every operation should have been applied.
var seenAges = []time.Duration{standing, 5 * time.Minute, time.Hour}

// partial says which wallets status looks at.
const partial = "of the wallets that the newest outbox rows name, and some that are 30s, 5m and 1h old; ctl verify sees all"

// statusReport is what ctl status tells. Times are in seconds. It costs the same with any number of
// wallets, so that it knows some things only about: numbers of 10,000 and more are Postgres' estimates, and
// pending operations and standing wallets are only those of the wallets that it looks at. A wallet that
// stands still for an hour and gets no new operation is not among them.
type statusReport struct {
	At       time.Time `json:"at"`
	Problems []string  `json:"problems"`

	Wallets           int64   `json:"wallets"`
	WalletsEstimated  bool    `json:"walletsEstimated"`
	Accepted          int64   `json:"acceptedOperations"`
	AcceptedEstimated bool    `json:"acceptedOperationsEstimated"`
	Pending           int64   `json:"pendingOperations"` // at least
	OldestPending     float64 `json:"oldestPendingSeconds"`
	AcceptedPerSecond int64   `json:"acceptedPerSecond"`
	AppliedPerSecond  int64   `json:"appliedPerSecond"`

	Outbox    outboxReport     `json:"outbox"`
	Relays    []relayReport    `json:"relays"`
	Kafka     *kafkaReport     `json:"kafka"` // null without KAFKA_BROKERS
	Cache     *string          `json:"cache"` // null without REDIS_URL; else ok or an error
	Processes map[string]int64 `json:"processes"`
	Standing  []walletReport   `json:"standingWallets"`
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

type kafkaReport struct {
	Group string `json:"group"`
	Lag   int64  `json:"lagMessages"`
	Error string `json:"error,omitempty"`
}

type walletReport struct {
	WalletID string  `json:"walletId"`
	Applied  int64   `json:"appliedSequence"`
	Last     int64   `json:"lastSequence"`
	Age      float64 `json:"oldestPendingSeconds"`
	Halted   bool    `json:"halted"`
}

// status prints how everything is. Rates are those of the last second.
func status(ctx context.Context, c *call) error {
	asJSON := c.flags.Bool("json", false, "print one JSON object; walletsEstimated and acceptedOperationsEstimated: Postgres estimates the number; pendingOperations, oldestPendingSeconds and standingWallets: "+partial)
	watch := c.flags.Bool("watch", false, "look again until interrupted")
	interval := c.flags.Duration("interval", time.Second, "the time between two looks of a watch")
	if _, err := c.parse(); err != nil {
		return err
	}
	if *interval < 100*time.Millisecond {
		return usageError("--interval must be at least 100ms")
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for {
		report, err := c.look(ctx, conn)
		if err != nil {
			return err
		}
		switch {
		case *asJSON:
			err = json.NewEncoder(c.stdout).Encode(report)
		case *watch && c.colours():
			err = report.print(c.stdout, true, "\x1b[H\x1b[2J")
		default:
			err = report.print(c.stdout, c.colours(), "")
		}
		if err != nil || !*watch {
			return err
		}
		select {
		case <-time.After(*interval):
		case <-ctx.Done():
			return nil // Ctrl-C ends a watch
		}
	}
}

// look asks everything once.
func (c *call) look(ctx context.Context, conn *pgx.Conn) (statusReport, error) {
	q := walletdb.New(conn)
	r := statusReport{Problems: []string{}, Relays: []relayReport{}, Standing: []walletReport{}}
	pending, err := db.PendingMigrations(ctx, conn)
	if err != nil {
		return r, err
	}
	if len(pending) > 0 {
		r.problem("migrations are pending: %s; run them (dbmate up): a service that starts waits for them", strings.Join(pending, " "))
	}
	if err := r.addTotals(ctx, q); err != nil {
		return r, err
	}
	if err := r.addWallets(ctx, q, c.text("TOPIC", "wallet-operations")); err != nil {
		return r, err
	}
	if err := r.addRelays(ctx, q); err != nil {
		return r, err
	}
	if err := r.addLockHolders(ctx, q, heldLong); err != nil {
		return r, err
	}
	sessions, err := q.ServiceSessions(ctx)
	if err != nil {
		return r, fmt.Errorf("count sessions: %w", err)
	}
	r.Processes = map[string]int64{"api": sessions.Apis, "relay": sessions.Relays, "worker": sessions.Workers}
	for _, service := range []string{"api", "relay", "worker"} {
		if r.Processes[service] == 0 {
			r.problem("no %s is connected to Postgres", service)
		}
	}
	if c.env["KAFKA_BROKERS"] != "" {
		r.addKafka(ctx, c)
	}
	if c.env["REDIS_URL"] != "" {
		r.addCache(ctx, c)
	}
	return r, nil
}

func (r *statusReport) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// addTotals adds how much there is, and how much came in the last second.
func (r *statusReport) addTotals(ctx context.Context, q *walletdb.Queries) error {
	counted, err := q.CountSome(ctx, countedRows)
	if err != nil {
		return fmt.Errorf("count: %w", err)
	}
	r.At = counted.At
	if r.Wallets, r.WalletsEstimated, err = estimate(ctx, q, "wallets", counted.Wallets); err != nil {
		return err
	}
	if r.Accepted, r.AcceptedEstimated, err = estimate(ctx, q, "operations", counted.Operations); err != nil {
		return err
	}
	edges, err := q.OutboxAge(ctx)
	if err != nil {
		return fmt.Errorf("read outbox: %w", err)
	}
	r.Outbox = outboxReport{edges.FirstID, edges.LastID, edges.FirstSeconds}
	secondAgo, err := r.outboxAt(ctx, q, time.Second)
	if err != nil {
		return err
	}
	r.AcceptedPerSecond = r.Outbox.LastID - secondAgo
	if r.AppliedPerSecond, err = q.AppliedLately(ctx, appliedPages); err != nil {
		return fmt.Errorf("count outcomes: %w", err)
	}
	return nil
}

// estimate returns about how many rows a table has, if they are too many to be counted.
func estimate(ctx context.Context, q *walletdb.Queries, table string, counted int64) (rows int64, estimated bool, err error) {
	if counted < countedRows {
		return counted, false, nil
	}
	if rows, err = q.EstimateRows(ctx, table); err != nil {
		return 0, false, fmt.Errorf("estimate %s: %w", table, err)
	}
	return max(rows, counted), true, nil
}

// outboxAt returns the id of the newest outbox row that is older than an age, searched by halves: nothing
// but id is indexed.
func (r *statusReport) outboxAt(ctx context.Context, q *walletdb.Queries, age time.Duration) (int64, error) {
	if r.Outbox == (outboxReport{}) {
		return 0, nil
	}
	var err error
	younger := sort.Search(int(r.Outbox.LastID-r.Outbox.FirstID)+1, func(n int) bool {
		older, queryErr := q.OutboxOlderThan(ctx, walletdb.OutboxOlderThanParams{ID: r.Outbox.FirstID + int64(n), AgeMs: age.Milliseconds()})
		err = errors.Join(err, queryErr)
		return !older
	})
	if err != nil {
		return 0, fmt.Errorf("search the outbox: %w", err)
	}
	return r.Outbox.FirstID + int64(younger) - 1, nil
}

func (r *statusReport) addWallets(ctx context.Context, q *walletdb.Queries, topic string) error {
	upTo := []int64{r.Outbox.LastID}
	for _, age := range seenAges {
		id, err := r.outboxAt(ctx, q, age)
		if err != nil {
			return err
		}
		upTo = append(upTo, id)
	}
	behind, err := q.BehindWallets(ctx, walletdb.BehindWalletsParams{UpTo: upTo, Topic: topic, MaxRows: seenRows, MaxWallets: shownWallets})
	if err != nil {
		return fmt.Errorf("read wallets that are behind: %w", err)
	}
	halted, standingWallets := 0, 0
	for _, w := range behind {
		r.Pending = w.Pending
		r.OldestPending = max(r.OldestPending, w.AgeSeconds)
		switch {
		case w.Halted:
			halted++
		case w.AgeSeconds > standing.Seconds():
			standingWallets++
		default:
			continue
		}
		r.Standing = append(r.Standing, walletReport{w.ID.String(), w.AppliedSeq, w.LastSeq, w.AgeSeconds, w.Halted})
	}
	if halted > 0 {
		r.problem("%s halted: operations are missing after the last one applied", wallets(halted))
	}
	if standingWallets > 0 {
		r.problem("%s not applied for more than %s", wallets(standingWallets), standing)
	}
	return nil
}

// wallets counts what is shown at most.
func wallets(n int) string {
	switch {
	case n == 1:
		return "1 wallet is"
	case n >= shownWallets:
		return fmt.Sprintf("%d wallets or more are", n)
	}
	return fmt.Sprintf("%d wallets are", n)
}

func (r *statusReport) addRelays(ctx context.Context, q *walletdb.Queries) error {
	states, err := q.RelayStates(ctx)
	if err != nil {
		return fmt.Errorf("read relays: %w", err)
	}
	for _, s := range states {
		backlog, err := q.RelayBacklog(ctx, walletdb.RelayBacklogParams{Relay: s.Relay, MaxRows: countedRows})
		if err != nil {
			return fmt.Errorf("read backlog: %w", err)
		}
		position := s.Prev
		if s.Cur != nil {
			position = fmt.Sprintf("%s → %s, row %d of %d", s.Prev, *s.Cur, s.AfterID, s.LastID)
		}
		r.Relays = append(r.Relays, relayReport{
			Relay: s.Relay, Leader: s.Leader, Position: position, Saved: s.SavedSecondsAgo,
			Waiting: backlog.WaitingRows, OldestWaiting: backlog.OldestSeconds, Paused: s.PausedAt != nil, PauseReason: s.PauseReason,
		})
		switch {
		case s.PausedAt != nil:
			r.problem("%s is paused since %s: %s", s.Relay, s.PausedAt.UTC().Format(time.RFC3339), s.PauseReason)
		case s.Leader == "":
			r.problem("%s has no leader", s.Relay)
		case backlog.OldestSeconds > slow.Seconds():
			r.problem("%s does not keep up: a row has waited for %s; its log says why", s.Relay, seconds(backlog.OldestSeconds))
		}
	}
	if len(states) == 0 {
		r.problem("no relay has ever published")
	}
	fit, err := q.PositionsFit(ctx)
	if err != nil {
		return fmt.Errorf("check positions: %w", err)
	}
	if !fit {
		r.problem("the relays' positions come from another database: ctl relay rebase")
	}
	return nil
}

// addLockHolders names the transactions that others may wait for, and how to end them.
func (r *statusReport) addLockHolders(ctx context.Context, q *walletdb.Queries, openFor time.Duration) error {
	holders, err := q.LockHolders(ctx, openFor.Milliseconds())
	if err != nil {
		return fmt.Errorf("read locks: %w", err)
	}
	for _, h := range holders {
		r.problem("session %d (%s, %q, %s) has held locks of %s for %s; what waits for them goes on after SELECT pg_terminate_backend(%d)",
			h.Pid, h.Login, h.Application, h.State, h.Tables, seconds(h.OpenSeconds), h.Pid)
	}
	return nil
}

func (r *statusReport) addKafka(ctx context.Context, c *call) {
	r.Kafka = &kafkaReport{Group: c.text("KAFKA_GROUP", "wallet-worker")}
	lag, err := c.groupLag(ctx, r.Kafka.Group, c.text("TOPIC", "wallet-operations"))
	if err != nil {
		r.Kafka.Error = err.Error()
		r.problem("kafka: %v", err)
	}
	r.Kafka.Lag = lag
}

// addCache tries every kind of write that the services make: a Redis that answers may refuse them.
func (r *statusReport) addCache(ctx context.Context, c *call) {
	answer := "ok"
	client, err := c.redis()
	if err == nil {
		defer client.Close()
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		err = walletcache.Probe(ctx, client)
	}
	if err != nil {
		answer = err.Error()
		r.problem("redis does not take writes, balances are read from postgres: %s", answer)
	}
	r.Cache = &answer
}

// colours reports whether the output is a terminal whose user has not declined them (no-color.org).
func (c *call) colours() bool {
	file, ok := c.stdout.(*os.File)
	if !ok || c.env["NO_COLOR"] != "" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// paint colours a text, on a terminal.
type paint func(colour, text string) string

func newPaint(colours bool) paint {
	return func(colour, text string) string {
		if !colours {
			return text
		}
		return "\x1b[" + colour + "m" + text + "\x1b[0m"
	}
}

const (
	bold   = "1"
	green  = "32"
	yellow = "33"
	red    = "31"
	dim    = "2"
)

// print writes the screen at once, after what clears the last one.
func (r statusReport) print(out io.Writer, colours bool, first string) error {
	var screen strings.Builder
	paint := newPaint(colours)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&screen, "%s %s\n", paint(dim, fmt.Sprintf("%-11s", name)), fmt.Sprintf(format, args...))
	}
	verdict := paint(bold+";"+green, "HEALTHY")
	if len(r.Problems) > 0 {
		verdict = paint(bold+";"+red, "LOOK HERE")
	}
	fmt.Fprintf(&screen, "%s%s  %s\n", first, verdict, paint(dim, r.At.UTC().Format("2006-01-02 15:04:05 UTC")))
	for _, p := range r.Problems {
		fmt.Fprintf(&screen, "  %s %s\n", paint(red, "●"), p)
	}
	screen.WriteByte('\n')
	total := func(n int64, estimated bool) string {
		if estimated {
			return "about " + count(n)
		}
		return count(n)
	}
	line("wallets", "%s", total(r.Wallets, r.WalletsEstimated))
	line("accepted", "%s operations, %s/s", total(r.Accepted, r.AcceptedEstimated), paint(bold, count(r.AcceptedPerSecond)))
	line("applied", "%s/s", paint(bold, count(r.AppliedPerSecond)))
	wait := func(n int64, oldest float64) string {
		if n == 0 {
			return paint(green, "none")
		}
		return count(n) + ", the oldest for " + paint(age(oldest), seconds(oldest))
	}
	line("pending", "%s", wait(r.Pending, r.OldestPending))
	line("", "%s", paint(dim, partial))
	line("outbox", "rows %s to %s, the oldest %s old", count(r.Outbox.FirstID), count(r.Outbox.LastID), seconds(r.Outbox.Kept))
	for _, relay := range r.Relays {
		leader := paint(red, "no leader")
		if relay.Leader != "" {
			leader = "led by " + relay.Leader
		}
		if relay.Paused {
			leader += ", " + paint(yellow, "PAUSED: "+relay.PauseReason)
		}
		line("relay", "%s, %s", relay.Relay, leader)
		line("", "rows waiting: %s", wait(relay.Waiting, relay.OldestWaiting))
		line("", "position %s, saved %s ago", relay.Position, seconds(relay.Saved))
	}
	if r.Kafka != nil {
		if r.Kafka.Error != "" {
			line("kafka", "%s", paint(red, r.Kafka.Error))
		} else {
			line("kafka", "group %s, messages not committed: %s", r.Kafka.Group, count(r.Kafka.Lag))
		}
	}
	if r.Cache != nil {
		colour := green
		if *r.Cache != "ok" {
			colour = red
		}
		line("redis", "%s", paint(colour, *r.Cache))
	}
	line("processes", "%d api, %d relay, %d worker", r.Processes["api"], r.Processes["relay"], r.Processes["worker"])
	if len(r.Standing) > 0 {
		screen.WriteByte('\n')
		for _, w := range r.Standing {
			what := "pending for " + seconds(w.Age)
			if w.Halted {
				what = fmt.Sprintf("HALTED: operation %d is missing", w.Applied+1)
			}
			line("standing", "%s at %d of %d, %s", w.WalletID, w.Applied, w.Last, paint(red, what))
		}
	}
	_, err := io.WriteString(out, screen.String())
	return err
}

// age is the colour of a time that something waits.
func age(s float64) string {
	switch {
	case s > standing.Seconds():
		return red
	case s > slow.Seconds():
		return yellow
	}
	return green
}

// seconds writes a time as people read it.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < 10*time.Minute:
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

// count writes a number with a comma at each thousand.
func count(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
