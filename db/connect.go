// Package db is everything that Postgres forces the services to share: the migrations, the
// queries and their generated Go, how to connect, and how to send several queries in one round trip.
package db

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	neturl "net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"
	"golang.org/x/sys/unix"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// silence is how long a connection's other end may stay silent before the connection counts as lost.
const silence = 10 * time.Second

// session limits what a stopped or unreachable service can hold up: its locks end with its
// connection, and every wait has an end. Settings in the connection string win. Each is sent with the
// connection, so that none of a role or a database counts.
var session = map[string]string{
	"search_path":                         "public",
	"statement_timeout":                   "10s",
	"lock_timeout":                        "3s",
	"idle_in_transaction_session_timeout": "5s",
	"jit":                                 "off",
	"tcp_keepalives_idle":                 "5",
	"tcp_keepalives_interval":             "2",
	"tcp_keepalives_count":                "3",
	"tcp_user_timeout":                    strconv.FormatInt(silence.Milliseconds(), 10),
}

// pinned is what the guarantees rest on: the first value unless the connection string has another of
// these. repeatable read would not see what committed while a statement waited for its lock, and without
// synchronous_commit a commit is on no disk yet when it returns.
var pinned = map[string][]string{
	"synchronous_commit":            {"on", "remote_apply"},
	"default_transaction_isolation": {"read committed"},
	"client_encoding":               {"UTF8"},
}

// Config parses a connection string and adds what every service's connection needs. Connections
// refuse a server that is read-only: on a standby, an open transaction of the primary looks
// finished, and the relay would lose its rows. They refuse a database of another encoding than UTF8,
// which could not store what a client may write.
func Config(url string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url)
	if parse := new(neturl.Error); errors.As(err, &parse) {
		return nil, errors.New("is not a valid URL; a password's special characters are written %XX") // parse would show a part of it
	}
	if err != nil {
		return nil, err
	}
	for name, value := range session {
		if _, given := config.ConnConfig.RuntimeParams[name]; !given {
			config.ConnConfig.RuntimeParams[name] = value
		}
	}
	if err := pin(config.ConnConfig.RuntimeParams); err != nil {
		return nil, err
	}
	if _, given := config.ConnConfig.RuntimeParams["application_name"]; !given {
		config.ConnConfig.RuntimeParams["application_name"] = process()
	}
	config.ConnConfig.ConnectTimeout = 5 * time.Second
	config.ConnConfig.ValidateConnect = validate
	dialer := &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3},
		Control:         limitSilence,
	}
	config.ConnConfig.DialFunc = dialer.DialContext
	config.BeforeConnect = func(_ context.Context, own *pgx.ConnConfig) error { watchOver(own); return nil }
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		pgxuuid.Register(conn.TypeMap())
		if err := settle(ctx, conn); err != nil {
			return err
		}
		return confirmNew(ctx, conn)
	}
	return config, nil
}

// PlanByIndex makes a session's statements go by index, row by row, whatever the statistics say. A prepared statement keeps
// a plan that was made while the tables were small: without this it reads a table that has grown, or joins it, as a
// whole, until the next ANALYZE. A flush, a batch or a poll is a few hundred rows of tables without end.
func PlanByIndex(config *pgx.ConnConfig) {
	for _, whole := range []string{"enable_seqscan", "enable_hashjoin", "enable_mergejoin"} {
		config.RuntimeParams[whole] = "off"
	}
}

// pin sets what is pinned, and refuses another value.
func pin(parameters map[string]string) error {
	for name, allowed := range pinned {
		given, found := parameters[name]
		if !found {
			parameters[name] = allowed[0]
		} else if !slices.ContainsFunc(allowed, func(value string) bool { return strings.EqualFold(value, given) }) {
			return fmt.Errorf("sets %s to %q, and the promises need %s", name, given, strings.Join(allowed, " or "))
		}
	}
	return nil
}

// validate accepts a server that takes writes, and a database that stores all text.
func validate(ctx context.Context, conn *pgconn.PgConn) error {
	if err := pgconn.ValidateConnectTargetSessionAttrsReadWrite(ctx, conn); err != nil {
		return err
	}
	if encoding := conn.ParameterStatus("server_encoding"); encoding != "UTF8" {
		return fmt.Errorf("the database's encoding is %s, and must be UTF8: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0", encoding)
	}
	return nil
}

// process distinguishes one replica's sessions from another's, in pg_stat_activity and the server's log.
func process() string {
	host, _ := os.Hostname()
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// Connect opens one connection, and confirms what can be seen by it. UUIDs travel as their 16 bytes: pgx,
// which does not know their type, would format and parse each as text.
func Connect(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	conn, err := open(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := confirmNew(ctx, conn); err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

// WaitOn waits for a notification, for d at most. It returns an error as soon as the session is over.
func WaitOn(ctx context.Context, conn *pgx.Conn, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	_, err := conn.WaitForNotification(ctx)
	if ctx.Err() != nil && !conn.IsClosed() {
		return nil
	}
	return err
}

// Disconnect gives the server a second to hear of it.
func Disconnect(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// ConnectUnconfirmed is Connect for what must see a server whose standbys are missing. After the server
// was lost, what it shows may be on its own disk only.
func ConnectUnconfirmed(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	conn, err := open(ctx, config)
	if err == nil {
		connectionOf(conn).confirmed.Store(true)
	}
	return conn, err
}

func open(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	config = config.Copy()
	watchOver(config)
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	pgxuuid.Register(conn.TypeMap())
	if err := settle(ctx, conn); err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

// settleTimeout bounds the wait for a server that takes connections and answers nothing.
const settleTimeout = 5 * time.Second

// settle makes sure that the session has the settings that were sent when it was opened.
func settle(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	given := maps.Clone(conn.Config().RuntimeParams)
	delete(given, "options") // which is no setting, but holds some
	delete(given, "replication")
	names := slices.Collect(maps.Keys(given))
	values := make([]string, len(names))
	for i, name := range names {
		values[i] = given[name]
	}
	session, err := walletdb.New(conn).SettleSession(ctx, walletdb.SettleSessionParams{Names: names, Values: values})
	if err != nil {
		return fmt.Errorf("set the session's parameters: %w", err)
	}
	connectionOf(conn).pid = session.Pid
	return nil
}

// ErrTransactionPooling is a mistake in the set-up: no waiting heals it.
var ErrTransactionPooling = errors.New("DATABASE_URL leads to a pooler that shares sessions between connections (PgBouncer in transaction or statement mode): locks and settings are the session's; use session mode, or no pooler")

// sessionLooks is how often two connections behind a pooler are compared.
const sessionLooks = 50

// CheckSessions returns ErrTransactionPooling if connections are no sessions of their own: then two that take turns
// meet the same session, or one of them changes its own. Without a pooler it looks no further.
func CheckSessions(ctx context.Context, config *pgx.ConnConfig) error {
	config = config.Copy()
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // a pooler may not know prepared statements
	first, err := ConnectUnconfirmed(ctx, config)
	if err != nil {
		return err
	}
	defer first.Close(ctx)
	second, err := ConnectUnconfirmed(ctx, config)
	if err != nil {
		return err
	}
	defer second.Close(ctx)
	for range sessionLooks {
		for _, conn := range []*pgx.Conn{first, second} {
			before := connectionOf(conn).pid
			if before == int32(conn.PgConn().PID()) { // a pooler makes one up
				return nil
			}
			if err := settle(ctx, conn); err != nil {
				return err
			}
			if connectionOf(conn).pid != before || connectionOf(first).pid == connectionOf(second).pid {
				return ErrTransactionPooling
			}
		}
	}
	return nil
}

// Open returns a pool of such connections. It does not wait for the server: queries fail until it is
// there.
func Open(ctx context.Context, config *pgxpool.Config) (*pgxpool.Pool, error) {
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open postgres: %w", err)
	}
	return pool, nil
}

// closeTimeout is how long Close may take.
const closeTimeout = 300 * time.Millisecond

// Close does not wait long for the server: for a silent one the pool would wait 15 s.
func Close(pool *pgxpool.Pool) {
	closed := make(chan struct{})
	go func() { pool.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(closeTimeout):
	}
}

// limitSilence makes the kernel close a connection whose data stays unacknowledged.
func limitSilence(_, _ string, raw syscall.RawConn) error {
	var err error
	if controlErr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, silenceOption, silenceValue)
	}); controlErr != nil {
		return controlErr
	}
	return err
}
