package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	// queryTimeout is longer than the server's own statement_timeout: it ends the wait for a server that
	// does not answer at all.
	queryTimeout = 12 * time.Second
	// patience is enough to look at a billion rows that wait, or at 300 million dead tuples.
	patience = 10 * time.Minute
)

// postgres is the outbox.
type postgres struct {
	conn  *pgx.Conn
	relay string
	lane  lane
	woken atomic.Bool // rows were announced after the last look at the outbox began
}

func openPostgres(ctx context.Context, config *pgx.ConnConfig, relay string, lane lane) (outbox, error) {
	config = config.Copy()
	// Only positions are written here. One that is lost costs duplicates.
	config.RuntimeParams["synchronous_commit"] = "off"
	p := &postgres{relay: relay, lane: lane}
	config.OnNotification = func(*pgconn.PgConn, *pgconn.Notification) { p.woken.Store(true) }
	var err error
	if p.conn, err = db.Connect(ctx, config); err != nil {
		return nil, fmt.Errorf("connect to postgres: %w", err)
	}
	if lane.others { // An api announces operations.
		return p, nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if err := walletdb.New(p.conn).ListenForRows(ctx); err != nil {
		p.close()
		return nil, fmt.Errorf("listen for rows: %w", err)
	}
	return p, nil
}

func (p *postgres) await(ctx context.Context, d time.Duration) error {
	if p.woken.Load() {
		return nil
	}
	if err := db.WaitOn(ctx, p.conn, d); err != nil {
		return fmt.Errorf("wait for rows: %w", err)
	}
	return nil
}

func (p *postgres) position(ctx context.Context) (position, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	q := walletdb.New(p.conn)
	if err := q.CreatePosition(ctx, p.relay); err != nil {
		return position{}, fmt.Errorf("create position: %w", err)
	}
	// Before either position moves, whichever lane is first.
	if err := q.CreateEventsPosition(ctx, walletdb.CreateEventsPositionParams{Events: db.EventsPosition(p.relay), Relay: p.relay}); err != nil {
		return position{}, fmt.Errorf("create position of the events: %w", err)
	}
	saved, err := q.LoadPosition(ctx, p.lane.position)
	if err != nil {
		return position{}, fmt.Errorf("load position: %w", err)
	}
	if !saved.SameDatabase || !saved.WithinHorizon {
		return position{}, &stoppedError{"publishing has stopped: the relay's position comes from another database, as after restoring a dump; to publish again everything that is in the outbox: ctl relay rebase"}
	}
	at := position{prev: saved.Prev}
	if saved.Cur != nil {
		at.window = window{*saved.Cur, saved.AfterID, saved.LastID}
	}
	return at, nil
}

func (p *postgres) save(ctx context.Context, at position) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	params := walletdb.SavePositionParams{Relay: p.lane.position, Prev: at.prev, AfterID: at.window.after, LastID: at.window.last}
	if at.within() {
		params.Cur = &at.window.cur
	}
	if err := walletdb.New(p.conn).SavePosition(ctx, params); err != nil {
		return fmt.Errorf("save position: %w", err)
	}
	return nil
}

func (p *postgres) topics(ctx context.Context) (map[string]int32, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	topics, err := walletdb.New(p.conn).Topics(ctx)
	if err != nil {
		return nil, fmt.Errorf("read topics: %w", err)
	}
	partitions := make(map[string]int32, len(topics))
	for _, t := range topics {
		partitions[t.Topic] = t.Partitions
	}
	return partitions, nil
}

func (p *postgres) controls(ctx context.Context) (controls, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	found, err := walletdb.New(p.conn).RelayControls(ctx, p.relay)
	if err != nil {
		return controls{}, fmt.Errorf("read controls: %w", err)
	}
	parked := make(map[int64]bool, len(found.Parked))
	for _, id := range found.Parked {
		parked[id] = true
	}
	return controls{found.Paused, parked}, nil
}

func (p *postgres) window(ctx context.Context, prev string, limits limits) (found, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	p.woken.Store(false)
	all, err := walletdb.New(p.conn).RelayWindow(ctx, walletdb.RelayWindowParams{
		Prev: prev, MaxRows: int64(limits.rows), MaxBytes: int64(limits.bytes), Topic: p.lane.topic, Others: p.lane.others,
	})
	if err != nil {
		return found{}, fmt.Errorf("read window: %w", err)
	}
	if len(all) == 0 {
		return found{}, nil
	}
	head, all := all[0], all[1:]
	// Or the relay would publish what is on this server's disk only: after a commit whose wait for a standby
	// was cut short, a promoted standby does not have the rows.
	if head.Synchronous && (len(all) > 0 || head.TooMany) {
		if err := db.Confirm(ctx, p.conn); err != nil {
			return found{}, fmt.Errorf("confirm window (is a standby of synchronous_standby_names missing?): %w", err)
		}
	}
	f := found{rows: make([]row, len(all)), cur: head.Cur, tooMany: head.TooMany, foreign: head.Found > int64(len(all))}
	for i, r := range all {
		f.rows[i] = row{ID: r.ID, Topic: r.Topic, Key: r.Key, Payload: r.Payload, Headers: r.Headers}
	}
	return f, nil
}

func (p *postgres) extent(ctx context.Context, prev, cur string) (first, last int64, err error) {
	err = patiently(ctx, p.conn, func(q *walletdb.Queries) error {
		extent, err := q.RelayExtent(ctx, walletdb.RelayExtentParams{Prev: prev, Cur: cur})
		first, last = extent.FirstID, extent.LastID
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("measure window: %w", err)
	}
	return first, last, nil
}

// transactor is a connection or a pool of them.
type transactor interface {
	walletdb.DBTX
	Begin(ctx context.Context) (pgx.Tx, error)
}

// patiently runs fn in a transaction whose statements may take longer than others.
func patiently(ctx context.Context, conn transactor, fn func(q *walletdb.Queries) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		q := walletdb.New(tx)
		if err := q.SetStatementTimeout(ctx, fmt.Sprint(patience.Milliseconds())); err != nil {
			return err
		}
		return fn(q)
	})
}

func (p *postgres) page(ctx context.Context, at position, upTo int64, maxBytes int) ([]row, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := walletdb.New(p.conn).RelayPage(ctx, walletdb.RelayPageParams{
		After: at.window.after, UpTo: upTo, MaxBytes: int64(maxBytes), Prev: at.prev, Cur: at.window.cur, Topic: p.lane.topic, Others: p.lane.others,
	})
	if err != nil {
		return nil, fmt.Errorf("read page: %w", err)
	}
	return rows, nil
}

func (p *postgres) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = p.conn.Close(ctx)
}
