package main

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// getWalletAt reads a wallet as it was after the last operation accepted at or before a time. What is being
// accepted meanwhile may still get a time of the last few seconds.
func (ws *wallets) getWalletAt(ctx context.Context, params oas.GetWalletParams) (oas.GetWalletRes, error) {
	if params.MinSequence.Set || params.IfNoneMatch.Set {
		return nil, invalid("at", "goes with neither minSequence nor If-None-Match")
	}
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	q := walletdb.New(ws.pool)
	now, err := q.WalletNow(ctx, walletdb.WalletNowParams{ID: params.WalletID, Tenant: string(tenantOf(ctx))})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ws.noWallet(params.WalletID)
	}
	if err != nil {
		return nil, readError(err)
	}
	at := time.Time(params.At.Value)
	if at.After(now.Clock) {
		return nil, invalid("at", rules["at"])
	}
	if at.Before(now.Wallet.CreatedAt) {
		return nil, errWalletNotFound
	}
	seq, err := lastAccepted(ctx, q, now, at)
	if err != nil {
		return nil, readError(err)
	}
	then := walletcache.Entry{Wallet: now.Wallet, Metadata: now.Metadata}
	then.AppliedSeq, then.Balance, then.Held, then.State = seq, 0, 0, walletdb.WalletStateACTIVE
	if seq > 0 {
		outcomes, err := q.OutcomesAt(ctx, walletdb.OutcomesAtParams{WalletID: params.WalletID, Seqs: []int64{seq}})
		if err != nil {
			return nil, readError(err)
		}
		if len(outcomes) == 0 {
			return nil, problem{code: notYetApplied, detail: "An operation that was accepted by then is still pending."}
		}
		after := outcomes[0]
		then.Balance = after.BalanceAfter
		if after.HeldAfter != nil {
			then.Held = *after.HeldAfter
		}
		if after.StateAfter != nil {
			then.State = *after.StateAfter
		}
	}
	ws.cache.raiseWallets(ctx, then.Wallet)
	return &oas.WalletReadHeaders{ETag: etagOf(seq), CacheControl: cacheControl, Response: walletBody(then)}, nil
}

// lastAccepted returns the last sequence of a wallet that was accepted at or before a time, or 0. After what
// halving finds it looks at a minute of operations, or maxLooked of them: times may be out of order.
func lastAccepted(ctx context.Context, q *walletdb.Queries, now walletdb.WalletNowRow, at time.Time) (int64, error) {
	after := at.Add(time.Microsecond) // Postgres knows no time between
	seq, err := q.LastBefore(ctx, walletdb.LastBeforeParams{WalletID: now.Wallet.ID, LastSeq: now.LastSeq, Time: after})
	if err != nil {
		return 0, err
	}
	upTo, err := q.LastBefore(ctx, walletdb.LastBeforeParams{WalletID: now.Wallet.ID, LastSeq: now.LastSeq, Time: after.Add(timesOff)})
	if err != nil {
		return 0, err
	}
	later, err := q.LastAcceptedBefore(ctx, walletdb.LastAcceptedBeforeParams{
		WalletID: now.Wallet.ID, After: seq, Before: min(upTo, seq+maxLooked) + 1, Time: after,
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return seq, nil
	}
	return later, err
}
