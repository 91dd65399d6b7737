//go:build e2e

package faults

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/local/faults/kinds"
	"github.com/legendary-wallet/legendary-wallet/local/faults/system"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

// The faults of the shared Postgres, Redis and Kafka are left to `make faults`.
func TestAShortCampaignBreaksNoPromise(t *testing.T) {
	const seed = 1
	s := stacktest.New(t, stack.Config{APIs: 2, Relays: 2, Workers: 2, Hooks: 2})
	f := &system.System{Stack: s.Stack, Group: s.Topic, Random: rand.New(rand.NewPCG(seed, 0))}
	f.Stalls = func() func() time.Duration {
		stall := testdb.WatchStalls(t, s.Backing.DatabaseURL)
		return func() time.Duration { return stall().Sum }
	}
	if err := f.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Disconnect)
	var chosen []system.Fault
	for _, k := range kinds.All(f) {
		if slices.Contains([]string{"kill -9 of an api", "kill -9 of the leading relay", "kill -9 of a worker", "kill -9 at relay-mid-wave", "kill -9 at worker-after-credit-commit", "kill -9 at worker-before-return-commit", "kill -9 of a hooks", "the receiver of webhooks away for 4 s"}, k.Name) {
			chosen = append(chosen, k)
		}
	}
	var said strings.Builder
	if err := newCampaign(f, options{duration: time.Minute, times: 1}, &report{Footprints: f.Footprints}, &said).run(t.Context(), chosen); err != nil {
		t.Errorf("%v\n%s", err, said.String())
	}
	t.Log(said.String())
}
