package main

import (
	"testing"
)

// From messages to balances, on real Postgres, Redis and Kafka.
func TestMessagesBecomeBalances(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	k := newTopic(t, 4)
	first, second := s.wallet(), s.wallet()
	k.produce(s.accept(first, 100, -30, -80)...)
	k.produce(s.accept(second, 5)...)
	w := s.startWorker(k)
	s.waitApplied()
	s.wantBalance(first, 70, 3)
	s.wantBalance(second, 5, 1)
	w.stop()
	s.audit()
}
