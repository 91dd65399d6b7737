package main

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service"
)

// commitUntilKnown commits what run does and returns what it has read. It tries again until it knows: run must do nothing
// the second time, and it uses a result for nothing but to return it (db.Pipeline). again is whether an attempt
// before the last one may have been committed. run returns pgx.ErrNoRows or a problem if what it asks for is not
// so. An outcome that is not known in time is the problem unknown, and so is a refusal after an attempt that may have been
// committed: that may be why.
//
// It always confirms: what was there before may be on this server's disk only.
func commitUntilKnown[T any](ctx context.Context, ws *wallets, unknown problem, run func(q *walletdb.Queries, result *T) error) (result T, again bool, err error) {
	for ; ; service.Sleep(ctx, retryPause) {
		attempt := new(T) // a new one: a COMMIT that was abandoned may still write to its own
		sent, err := ws.commits.SendFrom(ctx, ws.pool, func(q *walletdb.Queries) error {
			if err := q.Begin(ctx); err != nil {
				return err
			}
			if err := run(q, attempt); err != nil {
				return err
			}
			if err := q.Confirm(ctx); err != nil {
				return err
			}
			return q.Commit(ctx)
		})
		var refused *pgconn.PgError
		var p problem
		notSo := errors.Is(err, pgx.ErrNoRows) || errors.As(err, &p)
		switch {
		case err == nil:
			return *attempt, again, nil
		case notSo && !again:
			return result, again, err
		case errors.As(err, &refused) && refused.SeverityUnlocalized == "ERROR" && !again:
			return result, again, readError(err)
		case !sent && !again:
			return result, again, errOverloaded // there was no connection
		case notSo, ctx.Err() != nil:
			return result, again, unknown
		}
		again = again || sent
	}
}
