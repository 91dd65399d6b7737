package walletcache_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

func TestAnOlderVersionNeverReplacesANewerOne(t *testing.T) {
	t.Parallel()
	client, wallet := connect(t), newWallet()
	fill(t, client, wallet)
	var all sync.WaitGroup
	for version := range int64(100) {
		all.Go(func() {
			w := wallet
			w.AppliedSeq, w.Balance = version, 10*version
			if err := walletcache.Set(t.Context(), client, []walletdb.Wallet{w.Wallet}); err != nil {
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
	ticket := miss(t, client, wallet.ID)
	at := func(version int64) walletcache.Entry {
		w := wallet
		w.AppliedSeq, w.Balance, w.Held = version, 10*version, version
		if version%2 == 0 {
			w.State = walletdb.WalletStateFROZEN
		}
		return w
	}
	set := func(w walletcache.Entry) error {
		return walletcache.Set(t.Context(), client, []walletdb.Wallet{w.Wallet})
	}
	fill := func(w walletcache.Entry) error { return walletcache.Fill(t.Context(), client, ticket, w) }
	raise := func(w walletcache.Entry) error {
		return walletcache.Raise(t.Context(), client, walletdb.Wallet{ID: w.ID, AppliedSeq: w.AppliedSeq, Balance: w.Balance, Held: w.Held, State: w.State})
	}
	for _, step := range []struct {
		fact    string
		write   func(walletcache.Entry) error
		version int64
		want    int64
	}{
		{fact: "the first version", write: fill, version: 9, want: 9},
		{fact: "a newer one, which is less as text", write: set, version: 10, want: 10},
		{fact: "the worker's older one", write: set, version: 9, want: 10},
		{fact: "a reader's older one", write: fill, version: 2, want: 10},
		{fact: "an older state without the wallet's other fields", write: raise, version: 3, want: 10},
		{fact: "an unused wallet", write: set, version: 0, want: 10},
		{fact: "a newer state", write: raise, version: 11, want: 11},
		{fact: "the same version again", write: set, version: 11, want: 11},
		{fact: "the older ones again", write: fill, version: 10, want: 11},
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
	ticket := miss(t, client, wallet.ID)
	if err := walletcache.Raise(t.Context(), client, walletdb.Wallet{ID: wallet.ID, AppliedSeq: 7, Balance: 70, State: walletdb.WalletStateACTIVE}); err != nil {
		t.Fatal(err)
	}
	if again := miss(t, client, wallet.ID); again != ticket {
		t.Errorf("the second reader's ticket is %q, not the first one's %q", again, ticket)
	}
	wallet.AppliedSeq, wallet.Balance = 6, 60
	if err := walletcache.Fill(t.Context(), client, ticket, wallet); err != nil {
		t.Fatal(err)
	}
	wallet.AppliedSeq, wallet.Balance = 7, 70
	expect(t, client, wallet)
}

// A reader has read Postgres and is slow; meanwhile others have seen a newer version, and the entry with
// it was lost. What the reader brings is not read.
func TestWhatWasReadBeforeAnEntryWasGoneDoesNotComeBack(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(client *redis.Client, id uuid.UUID) error{
		"an eviction": func(client *redis.Client, id uuid.UUID) error {
			return client.Del(t.Context(), "wallet:"+id.String()).Err()
		},
		"another generation": func(client *redis.Client, _ uuid.UUID) error { return walletcache.Invalidate(t.Context(), client) },
		"FLUSHDB":            func(client *redis.Client, _ uuid.UUID) error { return client.FlushDB(t.Context()).Err() },
	} {
		client, wallet := ownDatabase(t, 14), newWallet()
		ticket := miss(t, client, wallet.ID)
		if err := lose(client, wallet.ID); err != nil {
			t.Fatal(err)
		}
		late := func(w walletcache.Entry) {
			t.Helper()
			for _, write := range []func() error{
				func() error { return walletcache.Fill(t.Context(), client, ticket, w) },
				func() error { return walletcache.Set(t.Context(), client, []walletdb.Wallet{w.Wallet}) },
				func() error { return walletcache.Raise(t.Context(), client, w.Wallet) },
			} {
				if err := write(); err != nil {
					t.Fatal(err)
				}
			}
		}
		wallet.AppliedSeq, wallet.Balance = 1, 10
		late(wallet)
		next := miss(t, client, wallet.ID) // "there is no entry" is what it says, and who reads Postgres now gets at least 2
		if next == ticket {
			t.Errorf("%s: the ticket is the one of before", name)
		}
		late(wallet)
		if again := miss(t, client, wallet.ID); again != next {
			t.Errorf("%s: the ticket was lost", name)
		}
		wallet.AppliedSeq, wallet.Balance = 2, 20
		if err := walletcache.Fill(t.Context(), client, next, wallet); err != nil {
			t.Fatal(err)
		}
		expect(t, client, wallet)
	}
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
	fill(t, client, wallet)
	wallet.AppliedSeq = 2
	if err := walletcache.Set(t.Context(), client, []walletdb.Wallet{wallet.Wallet}); err != nil {
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

// This test has a database of its own: a new generation concerns every wallet.
func TestInvalidateMakesEveryEntryUnreadable(t *testing.T) {
	t.Parallel()
	client, wallet := ownDatabase(t, 15), newWallet()
	wallet.AppliedSeq = 5
	fill(t, client, wallet)
	if err := walletcache.Touch(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	expect(t, client, wallet)
	if err := walletcache.Invalidate(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if _, found, err := walletcache.Get(t.Context(), client, wallet.ID); err != nil || found {
		t.Fatalf("an entry of an older generation: found = %v, %v", found, err)
	}
	wallet.AppliedSeq = 4
	fill(t, client, wallet)
	expect(t, client, wallet)
}

func TestEveryFormOfURLIsOpened(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"redis://user:p%40ss@host:6380/2":                                       "*redis.Client host:6380 user p@ss 2 tls false",
		"rediss://:pass@host/0":                                                 "*redis.Client host:6379  pass 0 tls true",
		"redis://user:pass@host:6379?addr=two:6379&addr=three:6379":             "*redis.ClusterClient host:6379,two:6379,three:6379 user pass tls false",
		"rediss://user:pass@host:6379?addr=host:6379":                           "*redis.ClusterClient host:6379,host:6379 user pass tls true",
		"redis://host:26379/1?master_name=m&addr=b:26379&username=u&password=p": "*redis.Client FailoverClient u p 1 tls false",
		"rediss://s:t@host:26379/0?master_name=m&username=u&password=p":         "*redis.Client FailoverClient u p 0 tls true",
		"http://host":                                  "begins with \"http://\", and must with redis:// or, with TLS, rediss://; a cluster is redis://...?addr=..., Sentinels are redis://...?master_name=...",
		"redis://host:6379/3?addr=two:6379":            "a cluster has no database /3",
		"redis://host?addr=two:6379&read_only=true":    "replica_only, read_only and route_… cannot be used: a replica is behind",
		"redis://host?master_name=m&replica_only=true": "replica_only, read_only and route_… cannot be used: a replica is behind",
		"redis://:secret%zz@host":                      "is not a valid URL; a password's special characters are written %XX",
		"redis://host?master_name=m&addr=nonsense":     "redis: unable to parse addr param: nonsense",
	} {
		client, err := walletcache.Open(url)
		got := ""
		switch client := client.(type) {
		case nil:
			got = err.Error()
		case *redis.Client:
			o := client.Options()
			got = fmt.Sprintf("%T %s %s %s %d tls %t", client, o.Addr, o.Username, o.Password, o.DB, o.TLSConfig != nil)
		case *redis.ClusterClient:
			o := client.Options()
			got = fmt.Sprintf("%T %s %s %s tls %t", client, strings.Join(o.Addrs, ","), o.Username, o.Password, o.TLSConfig != nil)
		}
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", url, got, want)
		}
		if client != nil {
			_ = client.Close()
		}
	}
}

// miss reads an entry that is not there, as soon as there may be one.
func miss(t *testing.T, client redis.UniversalClient, id uuid.UUID) (ticket walletcache.Ticket) {
	t.Helper()
	testkit.Until(t, "an entry may be made", func() error {
		w, given, found, err := walletcache.Read(t.Context(), client, id)
		if err != nil || found {
			t.Fatalf("found = %v, %+v, ticket %q, %v", found, w, given, err)
		}
		ticket = given
		return testkit.Unless(ticket != "", "there is no ticket")
	})
	return ticket
}

// fill is what a reader does who finds that wallet in Postgres.
func fill(t *testing.T, client redis.UniversalClient, stored walletcache.Entry) {
	t.Helper()
	if err := walletcache.Fill(t.Context(), client, miss(t, client, stored.ID), stored); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, client redis.UniversalClient, want walletcache.Entry) {
	t.Helper()
	got, found, err := walletcache.Get(t.Context(), client, want.ID)
	if err != nil || !found {
		t.Fatalf("found = %v, %v", found, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got, _, found, err = walletcache.Read(t.Context(), client, want.ID)
	if diff := cmp.Diff(want, got); diff != "" || !found || err != nil {
		t.Errorf("a reader: found = %v, %v\n%s", found, err, diff)
	}
}

func newWallet() walletcache.Entry {
	reference := "invoice:7 €"
	return walletcache.Entry{
		Wallet: walletdb.Wallet{
			ID: uuid.New(), Currency: "EUR", Reference: &reference, State: walletdb.WalletStateACTIVE, Tenant: "acme",
			CreatedAt: time.Date(2026, 11, 24, 12, 30, 0, 123456000, time.UTC),
		},
		Metadata: []byte(`{"größe": "\"7\""}`),
	}
}

func connect(t *testing.T) *redis.Client {
	t.Helper()
	client := connectTo(t, 9) // others renew the generation of database 0
	leased(t, client)
	return client
}

// ownDatabase is one that no other test uses.
func ownDatabase(t *testing.T, number int) *redis.Client {
	t.Helper()
	client := connectTo(t, number)
	leased(t, client)
	return client
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

// leased keeps a generation as a running process does, until the test or the function ends it.
func leased(t *testing.T, client redis.UniversalClient) (end func()) {
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			_ = walletcache.Touch(ctx, client)
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	end = func() { stop(); done.Wait() }
	t.Cleanup(end)
	return end
}
