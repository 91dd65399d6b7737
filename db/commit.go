package db

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// A COMMIT that has returned is on the disks that synchronous_standby_names asks for, unless the wait for
// these was cut short: Postgres then says so in a WARNING, and leaves the transaction committed on one
// disk, where every session sees it. A promoted standby does not have it. So:
//
//	D1  Nothing of ours cuts a COMMIT's wait short. No connection sends a cancel request once it is
//	    confirmed, a WARNING after COMMIT means that its outcome is unknown, and so does no answer in time.
//	D2  Nothing is acknowledged, published or shown to a reader before a COMMIT of ours that wrote to the
//	    log after it was visible has returned (query Confirm).
//
// A COMMIT that waits keeps its locks and its backend, also if the client has gone. So a process leaves
// few of them behind, and writes nothing while it has as many.

const (
	// maxAbandoned is how many COMMITs a process may leave without their answer at one time.
	maxAbandoned = 2

	// confirmTimeout bounds the confirmation of a new connection.
	confirmTimeout = 30 * time.Second

	// explainedAgain is how often Send checks, after the limit, whether a COMMIT can be abandoned now.
	explainedAgain = time.Second
)

var (
	// ErrUnanswered is the error of a COMMIT that is left behind. Its connection is not the caller's any
	// more.
	ErrUnanswered = errors.New("postgres does not answer the COMMIT: outcome unknown")

	// ErrRefusing is the error when no COMMIT may be sent: too many have not been answered.
	ErrRefusing = errors.New("no write is sent: commits wait for a standby, or are not answered")
)

// connection is what belongs to one connection.
type connection struct {
	dial      pgconn.DialFunc
	confirmed atomic.Bool // what it can see is on the standbys

	// warning is what Postgres has said since the last query of a commit; only the goroutine that uses the
	// connection reads it.
	warning *pgconn.Notice
	server  time.Time // when its server was started
	pid     int32     // of its backend
}

const connectionKey = "wallet connection"

// watchOver gives a connection that is about to be opened what belongs to it alone. pgx sends a cancel
// request when it abandons a query, and when it closes a connection that waits for an answer; it has no
// option against that. For the request pgx dials by the configuration of the connection: so this dialer
// refuses once the connection is confirmed. Before that a cancel does no harm, and leaves no backend behind.
func watchOver(config *pgx.ConnConfig) {
	c := &connection{dial: config.DialFunc}
	config.DialFunc = c.dialUntilConfirmed
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
		if notice.SeverityUnlocalized == "WARNING" {
			c.warning = notice
		}
	}
	config.Config.AfterConnect = func(_ context.Context, conn *pgconn.PgConn) error {
		conn.CustomData()[connectionKey] = c
		return nil
	}
}

func (c *connection) dialUntilConfirmed(ctx context.Context, network, addr string) (net.Conn, error) {
	if c.confirmed.Load() {
		return nil, errors.New("a COMMIT is not cancelled")
	}
	return c.dial(ctx, network, addr)
}

func connectionOf(conn *pgx.Conn) *connection {
	c, _ := conn.PgConn().CustomData()[connectionKey].(*connection)
	if c == nil {
		panic("db: a connection that was not opened here")
	}
	return c
}

// confirmNew makes sure, before a new connection is used, that the standbys have all that it can see: after a
// crash, Postgres shows transactions whose wait for a standby the crash has ended.
func confirmNew(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	c := connectionOf(conn)
	err := commit(ctx, conn, func(q *walletdb.Queries) (err error) {
		if err := q.Begin(ctx); err != nil {
			return err
		}
		if c.server, err = q.ServerStarted(ctx); err != nil {
			return err
		}
		if err := q.CommitSynchronously(ctx); err != nil {
			return err
		}
		if err := q.Confirm(ctx); err != nil {
			return err
		}
		return q.Commit(ctx)
	})
	if err != nil {
		return fmt.Errorf("confirm a new connection (is a standby of synchronous_standby_names missing?): %w", err)
	}
	c.confirmed.Store(true)
	return nil
}

// Confirm commits a transaction of nothing but query Confirm: what was visible before is then on the
// standbys too.
func Confirm(ctx context.Context, conn *pgx.Conn) error {
	return commit(ctx, conn, func(q *walletdb.Queries) error {
		if err := q.Begin(ctx); err != nil {
			return err
		}
		if err := q.CommitSynchronously(ctx); err != nil {
			return err
		}
		if err := q.Confirm(ctx); err != nil {
			return err
		}
		return q.Commit(ctx)
	})
}

// Write runs fn in a transaction. An error that says that the wait for the standbys was cut short comes
// after the commit: what fn did is there, and may be lost.
func Write(ctx context.Context, conn *pgx.Conn, fn func(q *walletdb.Queries) error) error {
	c := connectionOf(conn)
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	if err := fn(walletdb.New(tx)); err != nil {
		_ = tx.Rollback(ctx)
		return err
	}
	c.warning = nil
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	return c.cut()
}

// commit is a Pipeline whose last query is COMMIT.
func commit(ctx context.Context, conn *pgx.Conn, fn func(q *walletdb.Queries) error) error {
	c := connectionOf(conn)
	err := pipeline(ctx, conn, fn, func(r *reader) walletdb.DBTX { return commitReader{r, c} })
	if err == nil {
		err = c.cut()
	}
	return err
}

// cut is an error if Postgres has ended the wait for its standbys: 01000 after a cancel, 57P01 after a
// terminate. It is not a Postgres error, which would mean that the transaction is aborted.
func (c *connection) cut() error {
	if c.warning == nil {
		return nil
	}
	return fmt.Errorf("committed, and perhaps on one disk only: postgres says %s (%s)", c.warning.Message, c.warning.Code)
}

// commitReader is the second run of a commit. Warnings that come before the answer to its last query
// are not about the wait for standbys.
type commitReader struct {
	*reader
	connection *connection
}

func (r commitReader) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	r.connection.warning = nil
	return r.reader.Exec(ctx, sql, args...)
}

// Commits are the COMMITs of a process that Postgres has not answered. A nil Commits has none.
type Commits struct {
	config  *pgx.ConnConfig
	changed func(missing string)

	mu        sync.Mutex
	waiting   map[*sent]struct{}
	places    int           // of maxAbandoned: COMMITs that are abandoned, or may come to be
	abandoned int           // COMMITs whose caller waits no longer
	missing   string        // the standbys that commits wait for, as synchronous_standby_names has them
	moved     chan struct{} // closed, and another one made, when something of this has changed
}

// sent is a COMMIT on its way.
type sent struct {
	conn   net.Conn
	server time.Time
	pid    int32
	since  time.Time

	asked bool // the watch has asked for it; guarded by Commits, as these:

	reserved, abandoned, ended bool
}

// NewCommits makes the Commits of a process; Watch has to run. It calls changed when commits begin to wait
// for standbys, and with an empty string when they no longer do.
func NewCommits(config *pgx.ConnConfig, changed func(missing string)) *Commits {
	return &Commits{config: config, changed: changed, waiting: map[*sent]struct{}{}, moved: make(chan struct{})}
}

// Send runs a Pipeline whose last query is COMMIT, and waits for its answer. A COMMIT that is not answered
// within limit, for another reason than a missing standby, is left behind with its connection if there is
// a place for it: the error is ErrUnanswered, and left is called when it has ended. The end of ctx leaves it
// behind in any case. fn may then still run: what it has read must not be used.
func (c *Commits) Send(ctx context.Context, conn *pgx.Conn, limit time.Duration, fn func(q *walletdb.Queries) error, left func()) error {
	return c.send(ctx, conn, limit, &sent{}, fn, left)
}

// SendFrom is Send on a connection of a pool, for a client that waits as long as ctx lasts. It takes the
// place of a COMMIT that is left behind first. It reports whether COMMIT was sent.
func (c *Commits) SendFrom(ctx context.Context, pool *pgxpool.Pool, fn func(q *walletdb.Queries) error) (wasSent bool, err error) {
	if err := c.reserve(ctx); err != nil {
		return false, err
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		c.leave(&sent{reserved: true})
		return false, err
	}
	err = c.send(ctx, conn.Conn(), 0, &sent{reserved: true}, fn, conn.Release)
	if !errors.Is(err, ErrUnanswered) {
		conn.Release()
	}
	return true, err
}

// send waits without a limit if limit is 0.
func (c *Commits) send(ctx context.Context, conn *pgx.Conn, limit time.Duration, s *sent, fn func(q *walletdb.Queries) error, left func()) error {
	s.conn, s.server = conn.PgConn().Conn(), connectionOf(conn).server
	s.pid, s.since = connectionOf(conn).pid, time.Now()
	c.mu.Lock()
	c.waiting[s] = struct{}{}
	c.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		err := commit(context.WithoutCancel(ctx), conn, fn)
		if c.leave(s) {
			left()
		}
		done <- err
	}()
	var late <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		late = timer.C
	}
	for {
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
		case <-late:
			late = time.After(explainedAgain)
		}
		if c.abandon(s, ctx.Err() != nil) {
			return ErrUnanswered
		}
		if ctx.Err() != nil {
			return <-done // it has ended just now
		}
	}
}

// abandon leaves a COMMIT behind, if that is possible.
func (c *Commits) abandon(s *sent, must bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.ended || !must && (c.missing != "" || c.places == maxAbandoned) {
		return false
	}
	if !s.reserved {
		s.reserved = true
		c.places++
	}
	s.abandoned = true
	c.abandoned++
	c.move()
	return true
}

// leave notes the end of a COMMIT, and reports whether it was abandoned.
func (c *Commits) leave(s *sent) (abandoned bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, s)
	s.ended = true
	if s.reserved {
		c.places--
		c.move()
	}
	if s.abandoned {
		c.abandoned--
	}
	return s.abandoned
}

// move wakes the goroutines that wait for a change. The caller has locked mu.
func (c *Commits) move() {
	close(c.moved)
	c.moved = make(chan struct{})
}

// reserve takes a place, at once or not long after: each COMMIT that has one is answered soon, or makes
// the process refuse.
func (c *Commits) reserve(ctx context.Context) error {
	for {
		c.mu.Lock()
		if c.refusing() {
			c.mu.Unlock()
			return ErrRefusing
		}
		if c.places < maxAbandoned {
			c.places++
			c.mu.Unlock()
			return nil
		}
		moved := c.moved
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}

// Await returns when a COMMIT may be sent, or when ctx ends.
func (c *Commits) Await(ctx context.Context) error {
	for {
		c.mu.Lock()
		refusing, moved := c.refusing(), c.moved
		c.mu.Unlock()
		if !refusing {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}

func (c *Commits) refusing() bool { return c.missing != "" || c.abandoned >= maxAbandoned }

// Refusing reports whether no COMMIT is to be sent now.
func (c *Commits) Refusing() bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refusing()
}

// Abandoned is how many COMMITs were left behind and have not ended.
func (c *Commits) Abandoned() int {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.abandoned
}

// Missing is synchronous_standby_names while commits wait for these standbys, else empty.
func (c *Commits) Missing() string {
	if c == nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.missing
}
