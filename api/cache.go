package main

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service"
)

// cacheTimeout is how long Redis may take before a request continues without. One that shares a reading waits for that
// before it, too.
const cacheTimeout = 50 * time.Millisecond

// cache is Redis while it answers and takes writes. No client gets a version of which readers could find
// an older one afterwards, by way of any api: see walletcache.Guard.
type cache struct{ guard *walletcache.Guard }

func newCache(client redis.UniversalClient, health *service.Health, registry prometheus.Registerer) *cache {
	errors := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "wallet_api_cache_errors_total", Help: "Reads, writes and repairs that Redis did not answer, or refused. While it is lost, only repairs are tried.",
	})
	registry.MustRegister(errors)
	return &cache{guard: service.NewCache(client, cacheTimeout, errors, health, registry)}
}

// get reports false if the caller has to read Postgres, and then to pass the ticket to fill.
func (c *cache) get(id uuid.UUID) (wallet walletcache.Entry, ticket walletcache.Ticket, found bool) {
	return c.guard.Read(id)
}

// fill puts in what was read from Postgres, before a client sees it.
func (c *cache) fill(ctx context.Context, ticket walletcache.Ticket, wallet walletcache.Entry) {
	c.guard.Fill(ctx, ticket, wallet)
}

// raiseWallets is fill for wallets that the caller did not look up in the cache before.
func (c *cache) raiseWallets(ctx context.Context, wallets ...walletdb.Wallet) {
	if len(wallets) > 0 {
		c.guard.Raise(ctx, wallets...)
	}
}

// raise puts in the wallets' states after finished operations, before a client sees them: the next
// balance that is read is not older. A pending operation says nothing about a balance, and of each
// wallet only the newest counts: hundreds that waited for one wallet cost one write.
func (c *cache) raise(ctx context.Context, operations ...walletdb.OperationState) {
	newest := map[uuid.UUID]walletdb.Wallet{}
	for _, o := range operations {
		if o.BalanceAfter != nil && o.Seq > newest[o.WalletID].AppliedSeq {
			newest[o.WalletID] = walletAfter(o)
		}
	}
	c.raiseWallets(ctx, slices.Collect(maps.Values(newest))...)
}

// walletAfter is what an operation's outcome says of its wallet.
func walletAfter(o walletdb.OperationState) walletdb.Wallet {
	w := walletdb.Wallet{ID: o.WalletID, AppliedSeq: o.Seq, Balance: *o.BalanceAfter, State: walletdb.WalletStateACTIVE}
	if o.HeldAfter != nil {
		w.Held = *o.HeldAfter
	}
	if o.StateAfter != nil {
		w.State = *o.StateAfter
	}
	return w
}
