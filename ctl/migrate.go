package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"time"

	"github.com/amacneil/dbmate/v2/pkg/dbmate"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// migrateInterval is how often what has to be waited for is tried again.
const migrateInterval = 200 * time.Millisecond

// migrate applies the migrations that are missing, one at a time and each in its transaction, as `dbmate
// up` does, and notes them in the same table. Any number of them may be started at once: one has the lock
// and works, the others wait for it and then find nothing to do.
//
// The lock is that of the connection which the migrations run on, so that nobody has it while a migration
// of another runs. If this dies in the middle of one, the server ends its statement within a second
// (client_connection_check_interval), its transaction is undone and the next run goes on there. dbmate's
// own library cannot do that: it opens a connection for each step.
func migrate(c *call) (task, error) {
	wait := c.flags.Duration("wait", time.Minute, "how long to wait for the server, for a migration that runs already, and for locks; what is applied may take as long as it takes")
	if _, err := c.arguments(); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		m := migrator{call: c, files: db.Migrations, wait: *wait, until: time.Now().Add(*wait)}
		return m.run(ctx)
	}, nil
}

type migrator struct {
	*call
	files fs.FS // has a folder migrations/
	wait  time.Duration
	until time.Time // nothing is waited for after this
	told  string    // what is waited for, as it was printed last
}

func (m *migrator) run(ctx context.Context) error {
	conn, err := m.open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := m.lock(ctx, conn); err != nil {
		return err
	}
	if err := m.makeTable(ctx, conn); err != nil {
		return err
	}
	pending, err := db.PendingOf(ctx, conn, m.files)
	if err != nil {
		return err
	}
	for _, file := range pending {
		if err := m.apply(ctx, conn, file); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	if len(pending) == 0 {
		fmt.Fprintln(m.stdout, "nothing to do: all migrations are applied")
	} else {
		fmt.Fprintf(m.stdout, "done: %d migrations applied\n", len(pending))
	}
	return nil
}

// pause says what is waited for, when that is something new, and reports false when the time is over.
func (m *migrator) pause(ctx context.Context, what string) bool {
	if m.told != what {
		m.told = what
		fmt.Fprintf(m.stdout, "waiting for up to %s: %s\n", time.Until(m.until).Round(time.Second), what)
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(min(migrateInterval, time.Until(m.until))):
		return time.Now().Before(m.until)
	}
}

// open connects, and creates the database if the server has none of this name.
func (m *migrator) open(ctx context.Context) (*pgx.Conn, error) {
	for {
		conn, err := m.connect(ctx, map[string]string{
			"statement_timeout": "0", "idle_in_transaction_session_timeout": "0", "client_connection_check_interval": "1s", "application_name": "ctl migrate",
		})
		var refused *pgconn.PgError
		switch usage := usageError(""); {
		case err == nil, errors.As(err, &usage):
			return conn, err
		case errors.As(err, &refused) && refused.Code == "3D000":
			if err = m.createDatabase(ctx); err == nil {
				continue
			}
			// 55P03, 55006: others create databases from the same template right now.
			if refused = nil; !errors.As(err, &refused) || refused.Code != "55P03" && refused.Code != "55006" {
				return nil, fmt.Errorf("create the database: %w", err)
			}
		case errors.As(err, &refused) && strings.HasPrefix(refused.Code, "28"): // a wrong password does not get right
			return nil, err
		}
		if !m.pause(ctx, "postgres: "+oneLine(err.Error())) {
			return nil, cmp.Or(ctx.Err(), err)
		}
	}
}

// createDatabase is content if another run has created it meanwhile.
func (m *migrator) createDatabase(ctx context.Context) error {
	config, err := db.Config(m.databaseURL)
	if err != nil {
		return err
	}
	name := config.ConnConfig.Database
	config.ConnConfig.Database = "postgres"
	conn, err := db.ConnectUnconfirmed(ctx, config.ConnConfig)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	if refused := new(pgconn.PgError); errors.As(err, &refused) && (refused.Code == "42P04" || refused.Code == "23505") {
		return nil
	}
	if err == nil {
		fmt.Fprintf(m.stdout, "created database %s\n", name)
	}
	return err
}

// lock returns when no other run is at work.
func (m *migrator) lock(ctx context.Context, conn *pgx.Conn) error {
	q := walletdb.New(conn)
	for {
		mine, err := db.HoldLock(ctx, conn, db.MigrateLock, "")
		if err != nil || mine {
			return err
		}
		other, err := q.Migrator(ctx, int32(db.MigrateLock))
		if err != nil {
			return err
		}
		if other.Pid != 0 && !m.pause(ctx, fmt.Sprintf("session %d migrates already", other.Pid)) {
			return cmp.Or(ctx.Err(), fmt.Errorf("session %d still migrates after %s: wait longer (--wait), or look at what it waits for (ctl status)", other.Pid, m.wait))
		}
	}
}

// makeTable makes schema_migrations, and the schema that the tables are to be in.
func (m *migrator) makeTable(ctx context.Context, conn *pgx.Conn) error {
	q := walletdb.New(conn)
	now, err := q.DatabaseTime(ctx)
	if err != nil {
		return err
	}
	if !now.HasSchema {
		first, _, _ := strings.Cut(now.SearchPath, ",")
		name := strings.Trim(strings.TrimSpace(first), `"`)
		if _, err := conn.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+pgx.Identifier{name}.Sanitize()); err != nil {
			return fmt.Errorf("create schema %s: %w", name, err)
		}
		fmt.Fprintf(m.stdout, "created schema %s\n", name)
	}
	return q.MakeMigrationsTable(ctx)
}

// apply applies one migration. One that gave up because of a lock is tried again while there is time: it
// waits for each for 3 s only, since everybody else waits behind it.
func (m *migrator) apply(ctx context.Context, conn *pgx.Conn, file string) error {
	migration := dbmate.Migration{FileName: file, FilePath: "migrations/" + file, FS: m.files}
	parsed, err := migration.Parse()
	if err != nil {
		return err
	}
	version, _, _ := strings.Cut(file, "_")
	fmt.Fprintf(m.stdout, "applying %s\n", file)
	for {
		began := time.Now()
		if parsed.UpOptions.Transaction() {
			err = db.Write(ctx, conn, func(q *walletdb.Queries) error {
				if err := holdsLock(ctx, q); err != nil {
					return err
				}
				if _, err := conn.Exec(ctx, parsed.Up); err != nil {
					return err
				}
				return q.NoteMigration(ctx, version)
			})
		} else {
			err = m.applyAlone(ctx, conn, parsed.Up, version)
		}
		if err == nil {
			fmt.Fprintf(m.stdout, "applied %s in %s\n", file, time.Since(began).Round(time.Millisecond))
			return nil
		}
		refused := new(pgconn.PgError)
		if !errors.As(err, &refused) {
			return err
		}
		if m.isApplied(ctx, conn, file) { // by dbmate up, which knows no lock
			fmt.Fprintf(m.stdout, "%s was applied by another meanwhile\n", file)
			return nil
		}
		// 40P01: CREATE INDEX CONCURRENTLY waits for whoever looks at the table, a dbmate up that builds the same index among them.
		if (refused.Code == "55P03" || refused.Code == "40P01") && m.pause(ctx, file+" needs a lock that another session has"+m.holders(ctx, conn)) {
			continue
		}
		return &dbmate.QueryError{Err: err, Query: parsed.Up, Position: int(refused.Position)}
	}
}

// holdsLock makes sure that the lock is of the session that will apply something.
func holdsLock(ctx context.Context, q *walletdb.Queries) error {
	holder, err := q.Migrator(ctx, int32(db.MigrateLock))
	if err == nil && !holder.Mine {
		err = errors.New("the lock is not this session's: DATABASE_URL must lead to Postgres itself, or to PgBouncer in session mode")
	}
	return err
}

// concurrentIndex finds the name of the index that a migration without a transaction creates.
var concurrentIndex = regexp.MustCompile(`(?i)CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+IF\s+NOT\s+EXISTS\s+(\w+)`)

// applyAlone runs a migration that has to be outside of a transaction: CREATE INDEX CONCURRENTLY. If that
// is cut short it leaves an invalid index, which IF NOT EXISTS would take for the finished one.
func (m *migrator) applyAlone(ctx context.Context, conn *pgx.Conn, up, version string) error {
	q := walletdb.New(conn)
	if err := holdsLock(ctx, q); err != nil {
		return err
	}
	for {
		name := concurrentIndex.FindStringSubmatch(up)
		if name != nil {
			if err := m.dropUnfinished(ctx, conn, name[1]); err != nil {
				return err
			}
		}
		// It waits for every transaction that is older, and nobody waits behind it.
		if _, err := conn.Exec(ctx, "SET lock_timeout = 0"); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, up); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, "RESET lock_timeout"); err != nil {
			return err
		}
		if name != nil {
			index, err := q.UnfinishedIndex(ctx, name[1])
			if err != nil {
				return err
			}
			if index.Unfinished { // IF NOT EXISTS has found that of a dbmate up which has begun meanwhile
				continue
			}
		}
		return q.NoteMigration(ctx, version)
	}
}

// dropUnfinished drops an index that a run which was cut short has left. It waits as long as another session makes the
// index: a dbmate up, which knows no lock.
func (m *migrator) dropUnfinished(ctx context.Context, conn *pgx.Conn, name string) error {
	for {
		index, err := walletdb.New(conn).UnfinishedIndex(ctx, name)
		if err != nil || !index.Unfinished {
			return err
		}
		if index.Builder == 0 {
			fmt.Fprintf(m.stdout, "index %s is left unfinished by an earlier run: it is dropped, and made again\n", name)
			_, err := conn.Exec(ctx, "DROP INDEX CONCURRENTLY "+pgx.Identifier{name}.Sanitize())
			if refused := new(pgconn.PgError); errors.As(err, &refused) && refused.Code == "XX000" {
				continue // "tuple concurrently updated": whoever made it was no longer seen at work, and has just finished it
			}
			return err
		}
		making := fmt.Sprintf("session %d makes index %s", index.Builder, name)
		if !m.pause(ctx, making) {
			return cmp.Or(ctx.Err(), fmt.Errorf("%s, and has not finished after %s: wait longer (--wait)", making, m.wait))
		}
	}
}

func (m *migrator) isApplied(ctx context.Context, conn *pgx.Conn, file string) bool {
	pending, err := db.PendingOf(ctx, conn, m.files)
	if err != nil {
		return false
	}
	for _, p := range pending {
		if p == file {
			return false
		}
	}
	return true
}

// holders says which sessions hold locks, as far as that can be found out.
func (m *migrator) holders(ctx context.Context, conn *pgx.Conn) string {
	rows, err := walletdb.New(conn).LockHolders(ctx, walletdb.LockHoldersParams{})
	if err != nil {
		return ""
	}
	text := ""
	for _, row := range rows {
		text += fmt.Sprintf("; session %d (%s, %q) holds %s", row.Pid, row.Login, row.Application, cmp.Or(strings.Join(row.Tables, ", "), "locks"))
	}
	return text
}
