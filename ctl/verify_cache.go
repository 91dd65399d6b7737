package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	// cacheSettles is how long the worker may take from its commit to its write to Redis.
	cacheSettles = 2 * time.Second
)

// cacheDoubt is a cache entry that differs from the snapshot, perhaps only because time went on.
type cacheDoubt struct {
	snapshot walletdb.AuditWalletsRow
	entry    walletdb.Wallet
}

// compareCache holds the entries of wallets against what was read of them.
func (v *verifier) compareCache(ctx context.Context, wallets []walletdb.AuditWalletsRow) error {
	if v.cache == nil {
		return nil
	}
	var doubts []cacheDoubt
	for _, wallet := range wallets {
		entry, found, err := walletcache.Get(ctx, v.cache, wallet.ID)
		if err != nil {
			return fmt.Errorf("read the cache: %w", err)
		}
		if !found {
			continue
		}
		v.total.CachedWallets++
		if entry.Tenant != wallet.Tenant || entry.Currency != wallet.Currency {
			v.report(finding{"cache-wrong", &wallet.ID, entry.AppliedSeq, fmt.Sprintf("the cache says %s of tenant %s, the wallet %s of tenant %s", entry.Currency, entry.Tenant, wallet.Currency, wallet.Tenant)})
		}
		if entry.AppliedSeq != wallet.AppliedSeq || moneyOf(entry.Wallet) != (money{wallet.Balance, wallet.Held, wallet.State}) {
			doubts = append(doubts, cacheDoubt{wallet, entry.Wallet})
		}
	}
	return v.settleDoubts(ctx, doubts)
}

// settleDoubts looks again after the time that the worker has to write: an entry that is still older
// than the snapshot is stale, and a newer one must agree with the outcome of its version.
func (v *verifier) settleDoubts(ctx context.Context, doubts []cacheDoubt) error {
	if len(doubts) == 0 {
		return nil
	}
	select {
	case <-time.After(cacheSettles):
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, doubt := range doubts {
		id := doubt.snapshot.ID
		entry, found, err := walletcache.Get(ctx, v.cache, id)
		if err != nil {
			return fmt.Errorf("read the cache: %w", err)
		}
		if !found {
			continue
		}
		if entry.AppliedSeq < doubt.snapshot.AppliedSeq {
			v.report(finding{"cache-stale", &id, entry.AppliedSeq, fmt.Sprintf("the cache is at version %d, the wallet was at %d already", entry.AppliedSeq, doubt.snapshot.AppliedSeq)})
			continue
		}
		truth, err := v.moneyAt(ctx, id, entry.AppliedSeq)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			v.report(finding{"cache-ahead", &id, entry.AppliedSeq, "the cache holds a version that was never reached"})
		case err != nil:
			return fmt.Errorf("read an outcome: %w", err)
		case truth != moneyOf(entry.Wallet):
			v.report(finding{"cache-wrong", &id, entry.AppliedSeq, fmt.Sprintf("the cache says %s, the outcome %s", moneyOf(entry.Wallet), truth)})
		}
	}
	return nil
}

func moneyOf(entry walletdb.Wallet) money {
	return money{entry.Balance, entry.Held, string(entry.State)}
}

func (v *verifier) moneyAt(ctx context.Context, id uuid.UUID, version int64) (money, error) {
	m := money{state: "ACTIVE"}
	if version == 0 {
		return m, nil
	}
	outcome, err := walletdb.New(v.conn).GetOutcome(ctx, walletdb.GetOutcomeParams{WalletID: id, Seq: version})
	m.balance = outcome.BalanceAfter
	if outcome.HeldAfter != nil {
		m.held = *outcome.HeldAfter
	}
	if outcome.StateAfter != nil {
		m.state = string(*outcome.StateAfter)
	}
	return m, err
}
