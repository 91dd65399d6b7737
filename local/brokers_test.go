//go:build e2e

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

// brokersMissedFor is what recovery may take: the controller misses a broker after 9 s, and the services
// have 30 s after that.
const brokersMissedFor = 40 * time.Second

// brokersLoad is what a machine carries, in operations a second, on which brokers start beside it.
const brokersLoad = 300

// Three brokers of which every partition is on all. One that dies with a publish batch unanswered holds
// publishing up until another leads, two that die until one is back; accepting goes on, no request is refused,
// and every promise holds.
func TestThreeBrokersAreMissedForAMoment(t *testing.T) {
	s := newSystemOnOwn(t, &servers.Backing{Kafka: "apache", Brokers: servers.ClusterBrokers}, stack.Config{APIs: 2, Relays: 2, Workers: 2})
	s.Begin()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(s.Backing.KafkaBrokers, ",")...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	l := s.LoadOf(brokersLoad, load.Mix{}, s.OpenWallets(20))
	s.UntilApplied(time.Minute)

	// Any partition has messages under way all the time.
	node, err := servers.PartitionLeader(t.Context(), client, s.Topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	leader, err := s.Broker(node)
	if err != nil {
		t.Fatal(err)
	}
	leader.KillStopped(t.Context())
	t.Logf("%s led partition 0 and died: everything was published and applied again after %.1f s", leader.Name, s.untilCaughtUp(l).Seconds())
	if err := servers.AwaitInSync(t.Context(), client, 3*brokersMissedFor, s.Topic, "__consumer_offsets"); err != nil {
		t.Fatal(err)
	}

	gone := []*proc.Process{s.Process("kafka"), s.Process("kafka-3")}
	before, outcomes := l.Accepted.Load(), s.Outcomes()
	proc.KillAll(gone)
	s.Until("operations are accepted with two brokers gone", time.Minute, func() bool { return l.Accepted.Load()-before > 4*brokersLoad })
	if n := s.Outcomes() - outcomes; n > brokersLoad*3/2 {
		t.Errorf("%d operations were applied with two brokers gone: was something acknowledged by one broker alone?", n)
	}
	if err := proc.StartAll(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	t.Logf("two of three died and came back: everything was published and applied again after %.1f s", s.untilCaughtUp(l).Seconds())
	s.keepWithoutRetries(l)
}

// untilCaughtUp waits until what was accepted up to now is applied, and few operations wait.
func (s *system) untilCaughtUp(l *stacktest.RunningLoad) time.Duration {
	s.T.Helper()
	accepted := l.Accepted.Load()
	stall := testdb.WatchStalls(s.T, s.Backing.DatabaseURL)
	took := s.Until("what was accepted is applied", 3*brokersMissedFor, func() bool {
		applied := s.Outcomes()
		return applied >= accepted && l.Accepted.Load()-applied < brokersLoad
	})
	if allowed := brokersMissedFor + stall().Sum; took > allowed {
		s.T.Errorf("what was accepted was applied after %s, %s are allowed", took, allowed)
	}
	return took
}
