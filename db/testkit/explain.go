package testkit

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Explainer stands in for a connection of walletdb's: it explains running each query that it is given,
// and returns no rows. A query is prepared when it comes first, and so its plan may be of that time.
type Explainer struct {
	Last Plan // of the last query

	conn     *pgx.Conn
	prepared []string
}

// Plan is what EXPLAIN (ANALYZE, BUFFERS) says.
type Plan struct {
	Node `json:"Plan"`
	Time float64 `json:"Execution Time"` // ms
}

// Node is a step of a plan. Its buffers are those of its children too.
type Node struct {
	Type     string `json:"Node Type"`
	Relation string `json:"Relation Name"`
	Index    string `json:"Index Name"`
	Hit      int    `json:"Shared Hit Blocks"`
	Read     int    `json:"Shared Read Blocks"`
	Plans    []Node `json:"Plans"`
}

// Buffers is how many buffers were read, found in memory or not.
func (n Node) Buffers() int { return n.Hit + n.Read }

// Explain returns an explainer of queries on a connection.
func Explain(conn *pgx.Conn) *Explainer { return &Explainer{conn: conn} }

// Query explains.
func (e *Explainer) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := e.explain(ctx, sql, args); err != nil {
		return nil, err
	}
	return e.conn.Query(ctx, "SELECT WHERE false")
}

// Exec explains.
func (e *Explainer) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, e.explain(ctx, sql, args)
}

// QueryRow explains, and returns a row that leaves its targets as they are.
func (e *Explainer) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return Row{e.explain(ctx, sql, args)}
}

// Row is a row without values, or an error in place of one.
type Row struct{ Err error }

// Scan returns the error.
func (r Row) Scan(...any) error { return r.Err }

func (e *Explainer) explain(ctx context.Context, sql string, args []any) error {
	n := slices.Index(e.prepared, sql)
	if n < 0 {
		n = len(e.prepared)
		if _, err := e.conn.Exec(ctx, fmt.Sprintf("PREPARE explained%d AS %s", n, sql)); err != nil {
			return err
		}
		e.prepared = append(e.prepared, sql)
	}
	explain := fmt.Sprintf("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE explained%d", n)
	if len(args) > 0 {
		literals := make([]string, len(args))
		for i, arg := range args {
			literals[i] = "'" + literal(arg) + "'"
		}
		explain += "(" + strings.Join(literals, ", ") + ")"
	}
	var text []byte
	if err := e.conn.QueryRow(ctx, explain, pgx.QueryExecModeSimpleProtocol).Scan(&text); err != nil {
		return err
	}
	var plans []Plan
	if err := json.Unmarshal(text, &plans); err != nil {
		return err
	}
	e.Last = plans[0]
	return nil
}

// literal writes numbers, times, texts without quotes, and slices of these, as Postgres reads them.
func literal(arg any) string {
	if at, ok := arg.(time.Time); ok {
		return at.Format(time.RFC3339Nano)
	}
	value := reflect.ValueOf(arg)
	if value.Kind() != reflect.Slice {
		return fmt.Sprint(arg)
	}
	items := make([]string, value.Len())
	for i := range items {
		items[i] = fmt.Sprint(value.Index(i))
	}
	return "{" + strings.Join(items, ",") + "}"
}
