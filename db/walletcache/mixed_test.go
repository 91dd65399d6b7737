package walletcache_test

import (
	_ "embed"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// The scripts of programs that do not know what is held: those of v0.1.0, and those between that and this.
var (
	//go:embed testdata/v0.1.0/set.lua
	setOfV010 string
	//go:embed history.lua
	history string
	//go:embed testdata/before_holds/read.lua
	readBeforeHolds string
	//go:embed testdata/before_holds/raise.lua
	raiseBeforeHolds string
)

// older is a program that does not know what is held. Its read returns an empty version if it has to ask
// Postgres; its fill is what it then does.
type older struct {
	read func(id uuid.UUID) (version, balance string)
	fill func(w walletcache.Entry)
	set  func(w walletcache.Entry) // its worker
}

func olderPrograms(t *testing.T, client *redis.Client) map[string]older {
	t.Helper()
	keys := func(id uuid.UUID) []string { return []string{"wallet-generation", "wallet:" + id.String()} }
	run := func(source string, id uuid.UUID, arguments ...any) any {
		t.Helper()
		answer, err := redis.NewScript(source).Run(t.Context(), client, keys(id), arguments...).Result()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	created := func(w walletcache.Entry) string { return w.CreatedAt.UTC().Format(time.RFC3339Nano) }

	set := func(w walletcache.Entry, channel string) {
		t.Helper()
		run(setOfV010, w.ID, w.AppliedSeq, w.Balance, w.Currency, created(w), *w.Reference, 300_000, channel, w.ID.String())
	}
	v010 := older{
		read: func(id uuid.UUID) (string, string) {
			t.Helper()
			pipe := client.Pipeline()
			generation := pipe.Get(t.Context(), "wallet-generation")
			fields := pipe.HMGet(t.Context(), keys(id)[1], "generation", "version", "balance", "currency")
			if _, err := pipe.Exec(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := fields.Val()
			if got[0] != generation.Val() || got[3] == nil {
				return "", ""
			}
			return got[1].(string), got[2].(string)
		},
		fill: func(w walletcache.Entry) { t.Helper(); set(w, "") },
		set:  func(w walletcache.Entry) { t.Helper(); set(w, walletcache.Channel) },
	}

	read := func(id uuid.UUID) any { t.Helper(); return run(history+readBeforeHolds, id, uuid.NewString(), 30_000) }
	raise := func(w walletcache.Entry, ticket, channel string) {
		t.Helper()
		run(raiseBeforeHolds, w.ID, w.AppliedSeq, w.Balance, 300_000, ticket, w.Currency, created(w), *w.Reference, channel, w.ID.String())
	}
	return map[string]older{"v0.1.0": v010, "before holds": {
		read: func(id uuid.UUID) (string, string) {
			t.Helper()
			fields, found := read(id).([]any)
			if !found {
				return "", ""
			}
			return fields[0].(string), fields[1].(string)
		},
		fill: func(w walletcache.Entry) {
			t.Helper()
			ticket, _ := read(w.ID).(string)
			raise(w, ticket, "")
		},
		set: func(w walletcache.Entry) { t.Helper(); raise(w, "", walletcache.Channel) },
	}}
}

// In a rolling upgrade programs of both kinds use the same entries. The older ones read what the newer ones
// write, at once; the newer ones read nothing of which a part is missing or of another version.
func TestOlderProgramsUseTheSameEntries(t *testing.T) {
	t.Parallel()
	client := connect(t)
	for name, old := range olderPrograms(t, client) {
		for _, begins := range []string{"old", "new"} {
			t.Run(name+", "+begins+" fills", func(t *testing.T) {
				wallet := newWallet()
				at := func(version, held int64, state walletdb.WalletState) walletcache.Entry {
					w := wallet
					w.AppliedSeq, w.Balance, w.Held, w.State = version, 10*version, held, state
					return w
				}
				set := func(w walletcache.Entry) {
					if err := walletcache.Set(t.Context(), client, []walletdb.Wallet{w.Wallet}); err != nil {
						t.Fatal(err)
					}
				}
				oldReads := func(fact string, want int64) {
					t.Helper()
					version, balance := old.read(wallet.ID)
					if version != strconv.FormatInt(want, 10) || balance != strconv.FormatInt(10*want, 10) {
						t.Fatalf("%s: an older reader finds version %q, balance %q, want version %d", fact, version, balance, want)
					}
				}
				newReads := func(fact string, want walletcache.Entry) {
					t.Helper()
					got, _, found, err := walletcache.Read(t.Context(), client, wallet.ID)
					if diff := cmp.Diff(want, got); !found || err != nil || diff != "" {
						t.Fatalf("%s: found = %v, %v\n%s", fact, found, err, diff)
					}
				}
				newMisses := func(fact string) walletcache.Ticket {
					t.Helper()
					got, ticket, found, err := walletcache.Read(t.Context(), client, wallet.ID)
					if found || ticket == "" || err != nil {
						t.Fatalf("%s: found = %v, %+v, ticket %q, %v", fact, found, got, ticket, err)
					}
					if got, found, err := walletcache.Get(t.Context(), client, wallet.ID); found || err != nil {
						t.Fatalf("%s: a look finds %+v, %v", fact, got, err)
					}
					return ticket
				}
				newFills := func(w walletcache.Entry, ticket walletcache.Ticket) {
					if err := walletcache.Fill(t.Context(), client, ticket, w); err != nil {
						t.Fatal(err)
					}
				}

				miss(t, client, wallet.ID)
				if begins == "old" {
					old.fill(at(1, 0, ""))
					oldReads("what it filled", 1)
					set(at(2, 0, "ACTIVE"))
					oldReads("what a newer worker wrote", 2)
					newFills(at(2, 0, "ACTIVE"), newMisses("an entry without metadata"))
				} else {
					newFills(at(2, 0, "ACTIVE"), newMisses("no entry"))
				}
				newReads("what a newer reader filled", at(2, 0, "ACTIVE"))
				oldReads("what a newer reader filled", 2)

				set(at(3, 5, "FROZEN"))
				newReads("a newer worker's version", at(3, 5, "FROZEN"))
				oldReads("a newer worker's version", 3)

				old.set(at(4, 0, ""))
				oldReads("its worker's version", 4)
				newFills(at(3, 5, "FROZEN"), newMisses("an older worker's version"))
				newMisses("what was read from Postgres before it")
				oldReads("its worker's version, after a stale reader", 4)
				newFills(at(4, 6, "CLOSED"), newMisses("an older worker's version still"))
				newReads("the same version with what was missing", at(4, 6, "CLOSED"))

				old.set(at(5, 0, ""))
				set(at(5, 7, "ACTIVE"))
				newReads("a newer worker's same version", at(5, 7, "ACTIVE"))
				oldReads("a newer worker's same version", 5)
				old.set(at(5, 0, ""))
				old.set(at(4, 0, ""))
				old.fill(at(4, 0, ""))
				newReads("after older programs' older versions", at(5, 7, "ACTIVE"))
				oldReads("after its older versions", 5)
			})
		}
	}
}

// An entry that v0.1.0 has made in this generation has no ticket. A reader leaves one, and does not delete the entry:
// what comes late to v0.1.0 would then count as new.
func TestATicketLeavesAnOlderProgramsEntryAsItIs(t *testing.T) {
	t.Parallel()
	client, wallet := connect(t), newWallet()
	old := olderPrograms(t, client)["v0.1.0"]
	miss(t, client, uuid.New()) // a generation has begun that stays
	wallet.AppliedSeq, wallet.Balance = 7, 70
	old.fill(wallet)
	if _, _, found, err := walletcache.Read(t.Context(), client, wallet.ID); found || err != nil {
		t.Fatalf("found = %v, %v", found, err)
	}
	late := wallet
	late.AppliedSeq, late.Balance = 6, 60
	old.fill(late)
	if version, balance := old.read(wallet.ID); version != "7" || balance != "70" {
		t.Errorf("the older program reads version %q, balance %q", version, balance)
	}
}
