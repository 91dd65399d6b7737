//go:build e2e

package main

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// The faults of the shared Postgres, Redis and Kafka are left to `make faults`.
func TestAShortCampaignBreaksNoPromise(t *testing.T) {
	const seed = 1
	s := newSystem(t, stack.Config{APIs: 2, Relays: 2, Workers: 2})
	f := &campaign{stack: s.Stack, group: s.Topic, random: rand.New(rand.NewPCG(seed, 0))}
	if err := f.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.disconnect)
	var kinds []kind
	for _, k := range f.kinds() {
		if slices.Contains([]string{"kill -9 of an api", "kill -9 of the leading relay", "kill -9 of a worker", "kill -9 at relay-mid-wave"}, k.name) {
			kinds = append(kinds, k)
		}
	}
	var said strings.Builder
	if err := f.run(t.Context(), kinds, faultsOptions{duration: time.Minute, times: 1}, &faultsReport{Footprints: f.footprints}, &said); err != nil {
		t.Errorf("%v\n%s", err, said.String())
	}
	t.Log(said.String())
}
