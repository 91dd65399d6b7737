package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

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
	// blocksLong is when others have waited for a lock for too long.
	blocksLong = time.Second
	// Each section of the report gets so long, and so long for a lock: one table that is locked, or slow,
	// leaves the others to be seen. patience is for a server that does not answer at all.
	sectionTimeout = 3 * time.Second
	lockTimeout    = 500 * time.Millisecond
	patience       = sectionTimeout + time.Second
	// writesEvery is how many looks of a watch there are to one that tries to write.
	writesEvery = 30
	// clockDiffers is how far the database's clock may be from that of this machine.
	clockDiffers = 5 * time.Second
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
const partial = "of the wallets that the newest outbox rows name, and some of 30s, 5m and 1h ago"

// statusReport is what ctl status tells. Times are in seconds. It costs the same with any number of
// wallets, so that it knows some things only about: numbers of 10,000 and more are Postgres' estimates, and
// pending operations and standing wallets are only those of the wallets that it looks at. A wallet that
// stands still for an hour and gets no new operation is not among them.
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

	topic  string
	writes bool     // whether to try what a full disk refuses
	later  []string // consequences
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
	Halted   bool    `json:"halted"`
}

// status prints how everything is. Rates are those of the last second.
func status(c *call) (task, error) {
	asJSON := c.flags.Bool("json", false, "print one JSON object; what could not be found out is null, and unknown says why; walletsEstimated and acceptedOperationsEstimated: Postgres estimates the number; pendingOperations, oldestPendingSeconds and standingWallets: "+partial)
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
	r := &statusReport{At: time.Now(), Problems: []string{}, Unknown: []unknown{}, topic: c.topic, writes: writes}
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
		"statement_timeout": fmt.Sprint(sectionTimeout.Milliseconds()), "lock_timeout": fmt.Sprint(lockTimeout.Milliseconds()),
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
	if lost == nil && len(r.LockHolders) == 0 && slices.ContainsFunc(r.Unknown, func(u unknown) bool { return u.Error == isLocked }) {
		r.addYoungLockHolders(ctx, walletdb.New(conn))
	}
	r.judgeUnknown(lost)
}

func within(ctx context.Context, q *walletdb.Queries, look func(context.Context, *walletdb.Queries) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return look(ctx, q)
}

const (
	isLocked  = "a table is locked"
	isPending = "a migration is pending"
)

// reason says in words why a section is not known.
func (r *statusReport) reason(err error) string {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return oneLine(err.Error())
	}
	switch refused.Code {
	case "55P03":
		return isLocked
	case "57014":
		return fmt.Sprintf("it took longer than %s", sectionTimeout)
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
		if u.Error == isLocked && len(r.LockHolders) > 0 {
			do = "they are known again when the lock is gone"
		} else if u.Error == isLocked {
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

// connectAdvice says what to do about a Postgres that does not let ctl in.
func connectAdvice(err error) string {
	for _, advice := range []struct{ sign, do string }{
		{"28P01", "the password in DATABASE_URL is not the login's: was it changed? The services that have the old one cannot connect any more either"},
		{"28000", "DATABASE_URL names a login that may not connect"},
		{"3D000", "ctl migrate creates the database, if DATABASE_URL is right"},
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
	r.Processes = map[string]int64{"api": sessions.Apis, "relay": sessions.Relays, "worker": sessions.Workers}
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
	counted, err := q.CountWallets(ctx, countedRows)
	if err == nil {
		r.Wallets, r.WalletsEstimated, err = estimate(ctx, q, "wallets", counted)
	}
	return err
}

func (r *statusReport) addOperations(ctx context.Context, q *walletdb.Queries) error {
	counted, err := q.CountOperations(ctx, countedRows)
	if err == nil {
		r.Accepted, r.AcceptedEstimated, err = estimate(ctx, q, "operations", counted)
	}
	return err
}

// estimate returns about how many rows a table has, if they are too many to be counted.
func estimate(ctx context.Context, q *walletdb.Queries, table string, counted int64) (rows *int64, estimated bool, err error) {
	if counted < countedRows {
		return &counted, false, nil
	}
	about, err := q.EstimateRows(ctx, table)
	if err != nil {
		return nil, false, err
	}
	about = max(about, counted)
	return &about, true, nil
}

func (r *statusReport) addOutbox(ctx context.Context, q *walletdb.Queries) error {
	edges, err := q.OutboxAge(ctx)
	if err != nil {
		return err
	}
	r.Outbox = &outboxReport{edges.FirstID, edges.LastID, edges.FirstSeconds}
	if edges.LastSeconds < -1 {
		r.problem(fmt.Sprintf("the newest outbox row is %s in the future: the database's clock was set back", seconds(-edges.LastSeconds)),
			"nothing is lost, and order does not depend on it; ages and rates here are wrong until the clock has caught up")
	}
	secondAgo, err := r.outboxAt(ctx, q, time.Second)
	if err != nil {
		return err
	}
	accepted := edges.LastID - secondAgo
	r.AcceptedPerSecond = &accepted
	return nil
}

func (r *statusReport) addApplied(ctx context.Context, q *walletdb.Queries) error {
	applied, err := q.AppliedLately(ctx, appliedPages)
	if err == nil {
		r.AppliedPerSecond = &applied
	}
	return err
}

// outboxAt returns the id of the newest outbox row that is older than an age, by binary search: nothing
// but id is indexed.
func (r *statusReport) outboxAt(ctx context.Context, q *walletdb.Queries, age time.Duration) (int64, error) {
	if *r.Outbox == (outboxReport{}) {
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

// addPending looks at the wallets that the outbox tells of.
func (r *statusReport) addPending(ctx context.Context, q *walletdb.Queries) error {
	if r.Outbox == nil {
		return errors.New(r.why("outbox"))
	}
	upTo := []int64{r.Outbox.LastID}
	for _, age := range seenAges {
		id, err := r.outboxAt(ctx, q, age)
		if err != nil {
			return err
		}
		upTo = append(upTo, id)
	}
	behind, err := q.BehindWallets(ctx, walletdb.BehindWalletsParams{UpTo: upTo, Topic: r.topic, MaxRows: seenRows, MaxWallets: shownWallets})
	if err != nil {
		return err
	}
	r.Pending, r.OldestPending, r.Standing = new(int64), new(float64), []walletReport{}
	halted, standingWallets := 0, 0
	for _, w := range behind {
		*r.Pending = w.Pending
		*r.OldestPending = max(*r.OldestPending, w.AgeSeconds)
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
		r.problem(wallets(halted)+" halted: operations are missing after the last one applied", "the database was damaged: ctl verify --wallet ID shows what is gone; restore it from a backup. Other wallets go on")
	}
	if standingWallets > 0 {
		r.consequence(fmt.Sprintf("%s not applied for more than %s", wallets(standingWallets), standing), "ctl operation ID of one that is pending says where it is; the worker's log says why")
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
		return err
	}
	relays := []relayReport{}
	for _, s := range states {
		backlog, err := q.RelayBacklog(ctx, walletdb.RelayBacklogParams{Relay: s.Relay, MaxRows: countedRows})
		if err != nil {
			return err
		}
		position := s.Prev
		if s.Cur != nil {
			position = fmt.Sprintf("%s → %s, row %d of %d", s.Prev, *s.Cur, s.AfterID, s.LastID)
		}
		relays = append(relays, relayReport{
			Relay: s.Relay, Leader: s.Leader, Position: position, Saved: s.SavedSecondsAgo,
			Waiting: backlog.WaitingRows, OldestWaiting: backlog.OldestSeconds, Paused: s.PausedAt != nil, PauseReason: s.PauseReason,
		})
		switch {
		case s.PausedAt != nil:
			r.problem(fmt.Sprintf("%s is paused since %s: %s", s.Relay, s.PausedAt.UTC().Format(time.RFC3339), s.PauseReason), "ctl relay resume --reason TEXT, when that is over")
		case s.Leader == "":
			r.problem(s.Relay+" has no leader", "start a relay; if the name is no longer used, delete its row of relay_positions")
		case backlog.OldestSeconds > slow.Seconds():
			r.consequence(fmt.Sprintf("%s does not keep up: a row has waited for %s", s.Relay, seconds(backlog.OldestSeconds)), "if none of the others here is the cause, its log says what is: Kafka, or a row that Kafka refuses (ctl relay park)")
		}
	}
	r.Relays = relays
	if len(states) == 0 {
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

// addTopic reads how many partitions the topic must have.
func (r *statusReport) addTopic(ctx context.Context, q *walletdb.Queries) error {
	partitions, err := q.TopicPartitions(ctx, r.topic)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	r.Partitions = &partitions
	if partitions == 0 {
		r.problem(fmt.Sprintf("topic %s is not registered: the relay does not publish to it", r.topic), "ctl topic create, if TOPIC is right")
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
			r.problem(fmt.Sprintf("postgres cannot write to tablespace %s: %s", space, refused.Message), "make room on its disk: old logs and backups first, never pg_wal; everything goes on by itself then")
		} // anything else is a right that this login lacks
	}
	return nil
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
