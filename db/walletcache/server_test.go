//go:build e2e

package walletcache_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// server is a real Redis of a test's own, and a client.
type server struct {
	t *testing.T
	*testkit.Redis
	*redis.Client
}

func newServer(t *testing.T) *server {
	t.Helper()
	walletcache.Silence()
	s := &server{t: t, Redis: testkit.StartRedis(t)}
	client, err := walletcache.Open("redis://" + s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	s.Client = client.(*redis.Client)
	return s
}

func (s *server) do(command string) {
	s.t.Helper()
	var words []any
	for word := range strings.FieldsSeq(command) {
		words = append(words, word)
	}
	if err := s.Do(s.t.Context(), words...).Err(); err != nil {
		s.t.Fatalf("%s: %v", command, err)
	}
}

// Where Redis refuses a write, nobody reads, not even what is there.
func TestNothingIsReadWhereAWriteIsRefused(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct{ make, heal, told string }{
		"a replica":        {make: "REPLICAOF 127.0.0.1 1", heal: "REPLICAOF NO ONE", told: "READONLY"},
		"memory full":      {make: "CONFIG SET maxmemory 1", heal: "CONFIG SET maxmemory 0", told: "OOM"},
		"too few replicas": {make: "CONFIG SET min-replicas-to-write 1", heal: "CONFIG SET min-replicas-to-write 0", told: "NOREPLICAS"},
		"no right to INFO": {make: "ACL SETUSER default -info", heal: "ACL SETUSER default +info", told: "NOPERM"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, wallet := newServer(t), newWallet()
			leased(t, s.Client)
			fill(t, s, wallet)
			s.do(fault.make)
			if _, _, found, err := walletcache.Read(t.Context(), s, wallet.ID); found || err == nil {
				t.Errorf("found = %v, %v", found, err)
			}
			for what, err := range map[string]error{
				"probe": walletcache.Probe(t.Context(), s), "touch": walletcache.Touch(t.Context(), s), "renew": walletcache.Renew(t.Context(), s),
			} {
				if err == nil || !strings.Contains(err.Error(), fault.told) && fault.told != "NOPERM" {
					t.Errorf("%s: %v, want %s", what, err, fault.told)
				}
			}
			s.do(fault.heal)
			if w, _, found, err := walletcache.Read(t.Context(), s, wallet.ID); err != nil {
				t.Errorf("afterwards: found = %v, %+v, %v", found, w, err)
			}
		})
	}
}

// What another history of writes has left is not read: it may lack writes that were confirmed. Nobody has
// to notice the change for that.
func TestNothingIsReadOfAnotherHistory(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(s *server){
		"a restart from a dump": func(s *server) {
			s.do("SAVE")
			s.Kill()
			s.Start()
		},
		"a replica for a moment": func(s *server) {
			s.do("REPLICAOF 127.0.0.1 1")
			s.do("REPLICAOF NO ONE")
		},
		"another server promoted": func(s *server) {
			other := newServer(s.t)
			host, port, _ := net.SplitHostPort(s.Addr)
			other.do("REPLICAOF " + host + " " + port)
			testkit.Until(s.t, "the other has copied it", func() error {
				text, err := other.Info(s.t.Context(), "replication").Result()
				return errors.Join(err, testkit.Unless(strings.Contains(text, "master_link_status:up"), "%s", text))
			})
			other.do("REPLICAOF NO ONE")
			s.Client = other.Client
		},
		"the lease over": func(s *server) {
			testkit.Within(s.t, lease+5*time.Second, "the generation that nobody renews ends", func() error {
				return testkit.Unless(s.Exists(s.t.Context(), "wallet-generation").Val() == 0, "there still is one")
			})
		},
		"FLUSHALL": func(s *server) { s.do("FLUSHALL") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, wallet := newServer(t), newWallet()
			end := leased(t, s.Client)
			fill(t, s, wallet)
			end()
			if _, _, found, err := walletcache.Read(t.Context(), s, wallet.ID); !found || err != nil {
				t.Fatalf("found = %v, %v", found, err)
			}
			change(s)
			if w, found, err := walletcache.Get(t.Context(), s, wallet.ID); found || err != nil {
				t.Errorf("ctl: found = %v, %+v, %v", found, w, err)
			}
			if w, _, found, err := walletcache.Read(t.Context(), s, wallet.ID); found || err != nil {
				t.Errorf("found = %v, %+v, %v", found, w, err)
			}
			leased(t, s.Client)
			fill(t, s, wallet)
			expect(t, s, wallet)
		})
	}
}

// The runbook says which rights a user needs: these are enough.
func TestTheRightsInTheRunbookAreEnough(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rights, _ := strings.Cut(string(text), "`ACL SETUSER wallet on >password ")
	rights, _, found := strings.Cut(rights, "`")
	if !found {
		t.Fatal("the runbook has no rights")
	}
	s := newServer(t)
	s.do("ACL SETUSER wallet on >password " + rights)
	client, err := walletcache.Open("redis://wallet:password@" + s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	subscription := client.Subscribe(t.Context(), walletcache.Channel)
	defer subscription.Close()
	if _, err := subscription.Receive(t.Context()); err != nil {
		t.Error(err)
	}
	leased(t, client)
	wallet := newWallet()
	fill(t, client, wallet)
	wallet.AppliedSeq = 1
	for what, err := range map[string]error{
		"touch": walletcache.Touch(t.Context(), client), "probe": walletcache.Probe(t.Context(), client),
		"set": walletcache.Set(t.Context(), client, []walletdb.Wallet{wallet.Wallet}),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	expect(t, client, wallet)
	if err := walletcache.Invalidate(t.Context(), client); err != nil {
		t.Error(err)
	}
	s.do("ACL SETUSER wallet -eval -evalsha")
	if err := walletcache.Invalidate(t.Context(), client); err != nil {
		t.Errorf("where only DEL is left: %v", err)
	}
}

// Memory that is full, and rights that are gone, leave DEL: what is told needs no lease to be over.
func TestWithoutAnyWriteButDELNothingIsReadAtOnce(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"CONFIG SET maxmemory 1", "ACL SETUSER default -eval -evalsha -set"} {
		s, wallet := newServer(t), newWallet()
		leased(t, s.Client)
		ignore := func(error) {}
		guard := walletcache.NewGuard(s, useTimeout, ignore, ignore)
		fill(t, s, wallet)
		s.do(fault)
		wallet.AppliedSeq = 1
		began := time.Now()
		_, ticket, _ := guard.Read(wallet.ID)
		guard.Fill(context.Background(), ticket, wallet)
		if took := time.Since(began); took > lease {
			t.Errorf("%s: it was told after %v", fault, took)
		}
		if n := s.Exists(t.Context(), "wallet-generation").Val(); n > 0 || !guard.Refused() {
			t.Errorf("%s: %d generations, %v", fault, n, guard.Err())
		}
	}
}

// A process finds a new server before another one does: nothing is cached until the other is there too.
func TestInANewServerNothingIsCachedForAWhile(t *testing.T) {
	t.Parallel()
	s, wallet := newServer(t), newWallet()
	began := time.Now()
	leased(t, s.Client)
	miss(t, s, wallet.ID)
	if took := time.Since(began); took < settling {
		t.Errorf("an entry may be made after %v", took)
	}
	s.do("REPLICAOF 127.0.0.1 1")
	promoted := time.Now()
	s.do("REPLICAOF NO ONE")
	for range 3 { // a process that missed something renews the generation, and waits as long
		if err := walletcache.Renew(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	miss(t, s, wallet.ID)
	if took := time.Since(promoted); took < settling {
		t.Errorf("an entry may be made %v after a promotion", took)
	}
	// In the same history another generation is for everybody, at once.
	if err := walletcache.Renew(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if _, ticket, _, err := walletcache.Read(t.Context(), s, wallet.ID); ticket == "" || err != nil {
		t.Errorf("ticket %q, %v", ticket, err)
	}
}
