package db

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	// watchInterval is how often Watch checks the standbys, by a commit that writes nothing.
	watchInterval = 2 * time.Second

	// waitsWithin is how long a commit may go unanswered before Watch looks for the reason.
	waitsWithin = time.Second

	// lookTimeout bounds one look.
	lookTimeout = 5 * time.Second
)

// Watch finds out, until ctx ends, whether commits wait for standbys, also when the process writes nothing.
// While one waits, another connection asks whether its server is still the one that takes writes: a COMMIT on
// a server that was replaced would wait for ever, so Watch breaks its connection.
func (c *Commits) Watch(ctx context.Context) {
	for ; ctx.Err() == nil; pause(ctx, watchInterval) {
		conn, err := ConnectUnconfirmed(ctx, c.config)
		if err != nil {
			continue // the service's own health reports that Postgres is lost
		}
		c.follow(ctx, conn)
		c.report("")
	}
}

// follow watches by one connection until that is lost.
func (c *Commits) follow(ctx context.Context, conn *pgx.Conn) {
	defer conn.PgConn().Conn().Close() // pgx could wait for an answer
	server, err := serverOf(ctx, conn)
	if err != nil {
		return
	}
	for ctx.Err() == nil {
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = Confirm(context.WithoutCancel(ctx), conn) // however it ends, it waits no longer
		}()
		c.awaitConfirmed(ctx, conn, server, done)
		if ctx.Err() != nil || conn.IsClosed() {
			return
		}
		// A COMMIT may wait on another server, or on none: a proxy can keep its connection alive.
		if pids := c.waitingLong(); len(pids) > 0 {
			if now, err := c.look(ctx, pids); err == nil {
				c.breakStale(now)
			}
		}
		pause(ctx, watchInterval)
	}
}

func serverOf(ctx context.Context, conn *pgx.Conn) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	return walletdb.New(conn).ServerStarted(ctx)
}

// awaitConfirmed returns when the watch's own commit has ended.
func (c *Commits) awaitConfirmed(ctx context.Context, conn *pgx.Conn, server time.Time, done <-chan struct{}) {
	own := connectionOf(conn).pid
	for next := waitsWithin; ; next = watchInterval {
		select {
		case <-ctx.Done():
			return
		case <-done:
			c.report("")
			return
		case <-time.After(next):
		}
		now, err := c.look(ctx, append(c.waitingLong(), own))
		if err != nil {
			continue // it is not known now
		}
		c.breakStale(now)
		if !now.ServerStarted.Equal(server) || !slices.Contains(now.Alive, own) {
			_ = conn.PgConn().Conn().Close()
		}
		if slices.Contains(now.Waiting, own) {
			c.report(now.Names)
		} else {
			c.report("")
		}
	}
}

// look asks on a new connection, which leads to the server that takes writes now.
func (c *Commits) look(ctx context.Context, pids []int32) (walletdb.StandbysRow, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	conn, err := ConnectUnconfirmed(ctx, c.config)
	if err != nil {
		return walletdb.StandbysRow{}, err
	}
	defer conn.Close(ctx)
	return walletdb.New(conn).Standbys(ctx, pids)
}

// waitingLong are the backends of COMMITs that have waited for a while.
func (c *Commits) waitingLong() (pids []int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.waiting {
		if time.Since(s.since) > watchInterval {
			s.asked = true
			pids = append(pids, s.pid)
		}
	}
	return pids
}

// breakStale breaks the connections of COMMITs that wait on another server than the one that takes writes,
// or have no backend any more.
func (c *Commits) breakStale(now walletdb.StandbysRow) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.waiting {
		if s.asked && (!s.server.Equal(now.ServerStarted) || !slices.Contains(now.Alive, s.pid)) {
			go s.conn.Close()
		}
	}
}

// report notes the standbys that commits wait for.
func (c *Commits) report(missing string) {
	c.mu.Lock()
	same := c.missing == missing
	c.missing = missing
	if !same {
		c.move()
	}
	c.mu.Unlock()
	if !same && c.changed != nil {
		c.changed(missing)
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
