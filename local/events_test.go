package main

import (
	"strings"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/stack"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

// An upgraded system lacks the topic of events: it goes on, says what is missing, and tells of what happens once the topic
// is there.
func TestAnUpgradedSystemGoesOnWithoutTheTopicOfEvents(t *testing.T) {
	t.Parallel()
	s := &system{stacktest.NewWithoutEvents(t, stack.Config{APIs: 1, Relays: 1, Workers: 1, Hooks: 1})}
	wallet := s.OpenWallets(1)[0]
	s.Deposit(s.APIURLs[0], wallet)
	s.Until("the deposit is applied", time.Minute, func() bool { return s.Outcomes() == 1 })
	for _, name := range []string{"worker", "hooks"} {
		s.Until(name+" is ready and names the topic", 10*time.Second, func() bool {
			state, err := stack.AskReady(t.Context(), s.Process(name))
			return err == nil && state.Ready && strings.Contains(strings.Join(state.Degraded, "\n"), s.EventsTopic)
		})
	}
	s.Until("the relay lacks nothing", time.Minute, func() bool {
		state, err := stack.AskReady(t.Context(), s.Process("relay"))
		return err == nil && state.Ready && len(state.Degraded) == 0
	})
	var events int
	if err := s.Conn.QueryRow(t.Context(), "SELECT count(*) FROM outbox WHERE topic <> $1", s.Topic).Scan(&events); err != nil || events > 0 {
		t.Errorf("%d events are written without a topic, %v", events, err)
	}

	if err := s.CreateTopic(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"worker", "hooks"} {
		s.Until(name+" lacks nothing", time.Minute, func() bool {
			state, err := stack.AskReady(t.Context(), s.Process(name))
			return err == nil && state.Ready && len(state.Degraded) == 0
		})
	}
	s.Deposit(s.APIURLs[0], wallet)
	s.UntilEvents()
}
