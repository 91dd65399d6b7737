// Package cachetest has what tests of several modules need of the cache.
package cachetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// Put does what an api does that reads the wallet, and goes on running on a machine that does not stall: the entry is
// readable for ten minutes. The client is not of a cluster.
func Put(t testing.TB, client redis.UniversalClient, wallet walletdb.Wallet) {
	t.Helper()
	keep(t, client)
	_, ticket, _, err := walletcache.Read(t.Context(), client, wallet.ID)
	if err == nil {
		err = walletcache.Fill(t.Context(), client, ticket, walletcache.Entry{Wallet: wallet})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// keep lets the generation last ten minutes.
func keep(t testing.TB, client redis.UniversalClient) {
	t.Helper()
	testkit.Until(t, "the generation is kept", func() error {
		settle(t, client)
		kept, err := client.PExpire(t.Context(), "wallet-generation", 10*time.Minute).Result()
		return errors.Join(err, testkit.Unless(kept, "it has ended"))
	})
}

// settle lets a process begin a generation, which is no sooner than a new server has settled, and end.
func settle(t testing.TB, client redis.UniversalClient) {
	ctx, stop := context.WithCancel(t.Context())
	var process sync.WaitGroup
	defer process.Wait()
	defer stop()
	ignore := func(error) {}
	process.Go(func() { walletcache.NewGuard(client, 5*time.Second, ignore, ignore).Run(ctx) })
	testkit.Until(t, "the server has settled", func() error {
		_, ticket, _, err := walletcache.Read(ctx, client, uuid.New())
		return errors.Join(err, testkit.Unless(ticket != "", "it has not"))
	})
}
