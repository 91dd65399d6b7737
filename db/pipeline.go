package db

import (
	"context"
	"reflect"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// Pipeline sends the queries of fn in one pipelined round trip. It runs fn twice: first to collect the
// queries, with empty results, then to read what the server answered. So fn may use a result for nothing
// but to return it: Pipeline panics if the second run asks for another query, or with other arguments.
//
// The queries run one after the other, each with a snapshot of its own if fn begins a READ COMMITTED
// transaction. The first that fails ends the round trip, and the server skips the rest of it, COMMIT
// included; the caller then has to roll back an open transaction.
func Pipeline(ctx context.Context, conn *pgx.Conn, fn func(q *walletdb.Queries) error) error {
	return pipeline(ctx, conn, fn, func(r *reader) walletdb.DBTX { return r })
}

// pipeline reads the answers through what read returns.
func pipeline(ctx context.Context, conn *pgx.Conn, fn func(q *walletdb.Queries) error, read func(*reader) walletdb.DBTX) error {
	var collected collector
	if err := fn(walletdb.New(&collected)); err != nil {
		return err
	}
	r := &reader{results: conn.SendBatch(ctx, &collected.batch), queued: collected.batch.QueuedQueries}
	err := fn(walletdb.New(read(r)))
	if err == nil && len(r.queued) > 0 {
		panic("db: a pipeline did not read the answer to: " + r.queued[0].SQL)
	}
	if closeErr := r.results.Close(); err == nil {
		err = closeErr
	}
	return err
}

// collector is the first run of a pipeline: it queues every query and answers nothing.
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

// reader is the second run: it returns the answers in the order of the queries.
type reader struct {
	results pgx.BatchResults
	queued  []*pgx.QueuedQuery // whose answers are not read yet
}

func (r *reader) Exec(_ context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	r.next(sql, args)
	return r.results.Exec()
}

func (r *reader) Query(_ context.Context, sql string, args ...any) (pgx.Rows, error) {
	r.next(sql, args)
	return r.results.Query()
}

func (r *reader) QueryRow(_ context.Context, sql string, args ...any) pgx.Row {
	r.next(sql, args)
	return r.results.QueryRow()
}

// next panics unless this is the next of the queries that were sent. fn would read the answer to another
// one, or have decided by an empty result what to send.
func (r *reader) next(sql string, args []any) {
	if len(r.queued) == 0 {
		panic("db: a pipeline reads the answer to a query that it has not sent: " + sql)
	}
	sent := r.queued[0]
	r.queued = r.queued[1:]
	if sent.SQL != sql {
		panic("db: the two runs of a pipeline differ: it sent " + sent.SQL + " and reads the answer to " + sql)
	}
	if !slices.EqualFunc(sent.Arguments, args, reflect.DeepEqual) { // quick, as the slices are the same ones
		panic("db: the two runs of a pipeline have other arguments for " + sql)
	}
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
