package walletcache_test

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

func TestAnOlderVersionNeverReplacesANewerOne(t *testing.T) {
	t.Parallel()
	client, wallet := connect(t), newWallet()
	var all sync.WaitGroup
	for version := range int64(100) {
		all.Go(func() {
			w := wallet
			w.AppliedSeq, w.Balance = version, 10*version
			if err := walletcache.Set(t.Context(), client, []walletdb.Wallet{w}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	wallet.AppliedSeq, wallet.Balance = 99, 990
	expect(t, client, wallet)
}

// A worker that was stopped writes what it had in hand; a reader fills in what it read long ago.
func TestAStaleWriterChangesNothing(t *testing.T) {
	t.Parallel()
	client, wallet := connect(t), newWallet()
	at := func(version int64) walletdb.Wallet {
		w := wallet
		w.AppliedSeq, w.Balance = version, 10*version
		return w
	}
	set := func(w walletdb.Wallet) error { return walletcache.Set(t.Context(), client, []walletdb.Wallet{w}) }
	fill := func(w walletdb.Wallet) error { return walletcache.Fill(t.Context(), client, w) }
	raise := func(w walletdb.Wallet) error {
		return walletcache.Raise(t.Context(), client, walletdb.Wallet{ID: w.ID, AppliedSeq: w.AppliedSeq, Balance: w.Balance})
	}
	for _, step := range []struct {
		fact    string
		write   func(walletdb.Wallet) error
		version int64
		want    int64
	}{
		{"the first version", set, 9, 9},
		{"a newer one, which is less as text", set, 10, 10},
		{"the worker's older one", set, 9, 10},
		{"a reader's older one", fill, 2, 10},
		{"an older state without the wallet's other fields", raise, 3, 10},
		{"an unused wallet", set, 0, 10},
		{"a newer state", raise, 11, 11},
		{"the same version again", set, 11, 11},
		{"the older ones again", fill, 10, 11},
	} {
		if err := step.write(at(step.version)); err != nil {
			t.Fatal(err)
		}
		got, found, err := walletcache.Get(t.Context(), client, wallet.ID)
		if diff := cmp.Diff(at(step.want), got); diff != "" || !found || err != nil {
			t.Fatalf("%s: version %d, want %d; found = %v, %v\n%s", step.fact, got.AppliedSeq, step.want, found, err, diff)
		}
	}
}

func TestRaiseHidesAnOlderStateUntilAReaderFillsIt(t *testing.T) {
	t.Parallel()
	client, wallet := connect(t), newWallet()
	if err := walletcache.Raise(t.Context(), client, walletdb.Wallet{ID: wallet.ID, AppliedSeq: 7, Balance: 70}); err != nil {
		t.Fatal(err)
	}
	if _, found, err := walletcache.Get(t.Context(), client, wallet.ID); err != nil || found {
		t.Fatalf("version and balance alone: found = %v, %v", found, err)
	}
	wallet.AppliedSeq, wallet.Balance = 6, 60
	if err := walletcache.Fill(t.Context(), client, wallet); err != nil {
		t.Fatal(err)
	}
	wallet.AppliedSeq, wallet.Balance = 7, 70
	expect(t, client, wallet)
}

func TestSetAnnouncesVersionsAndFillDoesNot(t *testing.T) {
	t.Parallel()
	client, wallet := connect(t), newWallet()
	subscription := client.Subscribe(t.Context(), walletcache.Channel)
	defer subscription.Close()
	if _, err := subscription.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	wallet.AppliedSeq = 1
	if err := walletcache.Fill(t.Context(), client, wallet); err != nil {
		t.Fatal(err)
	}
	wallet.AppliedSeq = 2
	if err := walletcache.Set(t.Context(), client, []walletdb.Wallet{wallet}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for {
		message, err := subscription.ReceiveMessage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		switch message.Payload {
		case wallet.ID.String() + ":2":
			return
		case wallet.ID.String() + ":1":
			t.Fatal("Fill announced a wallet")
		}
	}
}

// This test has a server of its own: a new generation concerns every wallet of a server.
func TestInvalidateMakesEveryEntryUnreadable(t *testing.T) {
	t.Parallel()
	client, wallet := ownDatabase(t), newWallet()
	wallet.AppliedSeq = 5
	if err := walletcache.Set(t.Context(), client, []walletdb.Wallet{wallet}); err != nil {
		t.Fatal(err)
	}
	if err := walletcache.Invalidate(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if _, found, err := walletcache.Get(t.Context(), client, wallet.ID); err != nil || found {
		t.Fatalf("an entry of an older generation: found = %v, %v", found, err)
	}
	wallet.AppliedSeq = 4
	if err := walletcache.Fill(t.Context(), client, wallet); err != nil {
		t.Fatal(err)
	}
	expect(t, client, wallet)
}

func expect(t *testing.T, client redis.UniversalClient, want walletdb.Wallet) {
	t.Helper()
	got, found, err := walletcache.Get(t.Context(), client, want.ID)
	if err != nil || !found {
		t.Fatalf("found = %v, %v", found, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func newWallet() walletdb.Wallet {
	reference := "invoice:7 €"
	return walletdb.Wallet{
		ID: uuid.New(), Currency: "EUR", Reference: &reference,
		CreatedAt: time.Date(2026, 11, 24, 12, 30, 0, 123456000, time.UTC),
	}
}

func connect(t *testing.T) *redis.Client {
	t.Helper()
	return connectTo(t, 0)
}

// ownDatabase is the server's last database, which no other test uses.
func ownDatabase(t *testing.T) *redis.Client {
	t.Helper()
	return connectTo(t, 15)
}

func connectTo(t *testing.T, database int) *redis.Client {
	t.Helper()
	given := os.Getenv("TEST_REDIS_URL")
	if given == "" {
		t.Fatal("TEST_REDIS_URL is not set: run `make test`, or set it to a Redis server's URL")
	}
	options, err := redis.ParseURL(given)
	if err != nil {
		t.Fatal(err)
	}
	options.DB = database
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}
