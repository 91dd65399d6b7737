// Package db holds everything that Postgres forces the services to share: the migrations, the
// queries and their generated Go, how to connect, and how to send several queries in one round trip.
package db

import (
	"context"
	"errors"
	"fmt"
	"net"
	neturl "net/url"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"
	"golang.org/x/sys/unix"
)

// silence is how long a connection's other end may stay silent before the connection counts as lost.
const silence = 10 * time.Second

// session limits what a stopped or unreachable service can hold up: its locks end with its
// connection, and every wait has an end. Settings in the connection string win.
var session = map[string]string{
	"synchronous_commit":                  "on",
	"statement_timeout":                   "10s",
	"lock_timeout":                        "3s",
	"idle_in_transaction_session_timeout": "5s",
	"jit":                                 "off",
	"tcp_keepalives_idle":                 "5",
	"tcp_keepalives_interval":             "2",
	"tcp_keepalives_count":                "3",
	"tcp_user_timeout":                    strconv.FormatInt(silence.Milliseconds(), 10),
}

// Config parses a connection string and adds what every service's connection needs. Connections
// refuse a server that is read-only: on a standby, an open transaction of the primary looks
// finished, and the relay would lose its rows.
func Config(url string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url)
	if parse := new(neturl.Error); errors.As(err, &parse) {
		return nil, errors.New("is not a valid URL; a password's special characters are written %XX") // parse would tell a part of it
	}
	if err != nil {
		return nil, err
	}
	for name, value := range session {
		if _, given := config.ConnConfig.RuntimeParams[name]; !given {
			config.ConnConfig.RuntimeParams[name] = value
		}
	}
	if _, given := config.ConnConfig.RuntimeParams["application_name"]; !given {
		config.ConnConfig.RuntimeParams["application_name"] = process()
	}
	config.ConnConfig.ConnectTimeout = 5 * time.Second
	config.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	dialer := &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3},
		Control:         limitSilence,
	}
	config.ConnConfig.DialFunc = dialer.DialContext
	config.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		pgxuuid.Register(conn.TypeMap())
		return nil
	}
	return config, nil
}

// process tells one replica's sessions from another's, in pg_stat_activity and the server's log.
func process() string {
	host, _ := os.Hostname()
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// Connect opens one connection. UUIDs travel as their 16 bytes: pgx, which does not know their type,
// would format and parse each as text.
func Connect(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	pgxuuid.Register(conn.TypeMap())
	return conn, nil
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

// goodbye is how long Close may take.
const goodbye = 300 * time.Millisecond

// Close says goodbye, but not for long: from a silent server it would wait for 15 s.
func Close(pool *pgxpool.Pool) {
	closed := make(chan struct{})
	go func() { pool.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(goodbye):
	}
}

// limitSilence lets the kernel give a connection up when what it sent stays unacknowledged.
func limitSilence(_, _ string, raw syscall.RawConn) error {
	var err error
	if controlErr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, silenceOption, silenceValue)
	}); controlErr != nil {
		return controlErr
	}
	return err
}
