package db

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// Trip sends the queries of fn in one round trip. It runs fn twice: first to collect the queries,
// with empty results, then to read what the server answered. So fn must not branch on a result.
//
// The queries run one after the other, each with a snapshot of its own if fn begins a READ COMMITTED
// transaction. The first that fails ends the trip, and the server skips the rest of it, COMMIT
// included; an open transaction is then to be rolled back by the caller.
func Trip(ctx context.Context, conn *pgx.Conn, fn func(q *walletdb.Queries) error) error {
	return trip(ctx, conn, fn, func(results pgx.BatchResults) walletdb.DBTX { return reader{results} })
}

func trip(ctx context.Context, conn *pgx.Conn, fn func(q *walletdb.Queries) error, read func(pgx.BatchResults) walletdb.DBTX) error {
	var collected collector
	if err := fn(walletdb.New(&collected)); err != nil {
		return err
	}
	results := conn.SendBatch(ctx, &collected.batch)
	err := fn(walletdb.New(read(results)))
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	return err
}

// collector is the first pass of a trip: it queues every query and answers nothing.
type collector struct{ batch pgx.Batch }

func (c *collector) Exec(_ context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	c.batch.Queue(sql, args...)
	return pgconn.CommandTag{}, nil
}

func (c *collector) Query(_ context.Context, sql string, args ...any) (pgx.Rows, error) {
	c.batch.Queue(sql, args...)
	return noRows{}, nil
}

func (c *collector) QueryRow(_ context.Context, sql string, args ...any) pgx.Row {
	c.batch.Queue(sql, args...)
	return noRows{}
}

// reader is the second pass: it hands out the answers in the order of the queries.
type reader struct{ results pgx.BatchResults }

func (r reader) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return r.results.Exec()
}

func (r reader) Query(context.Context, string, ...any) (pgx.Rows, error) {
	return r.results.Query()
}

func (r reader) QueryRow(context.Context, string, ...any) pgx.Row {
	return r.results.QueryRow()
}

// noRows is an empty result, and a row that leaves its targets as they are.
type noRows struct{}

func (noRows) Close()                                       {}
func (noRows) Err() error                                   { return nil }
func (noRows) CommandTag() pgconn.CommandTag                { return pgconn.CommandTag{} }
func (noRows) FieldDescriptions() []pgconn.FieldDescription { return nil }
func (noRows) Next() bool                                   { return false }
func (noRows) Scan(...any) error                            { return nil }
func (noRows) Values() ([]any, error)                       { return nil, nil }
func (noRows) RawValues() [][]byte                          { return nil }
func (noRows) Conn() *pgx.Conn                              { return nil }
func (noRows) TypeMap() *pgtype.Map                         { return nil }
