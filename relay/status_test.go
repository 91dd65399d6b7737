package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legendary-wallet/legendary-wallet/service"
)

func TestReadinessTellsTheTruth(t *testing.T) {
	t.Parallel()
	none := []string{}
	still := func(s *status) { s.operations.succeeded = time.Now().Add(-2 * standstill) }
	for _, test := range []struct {
		name           string
		set            func(s *status)
		standbyMissing bool
		want           service.State
	}{
		{name: "a standby is ready", set: func(*status) {}, want: service.State{Ready: true, Role: "standby", Degraded: none, Reasons: none}},
		{name: "a leader is ready", set: func(s *status) { s.lead(true) }, want: service.State{Ready: true, Role: "leader", Degraded: none, Reasons: none}},
		{
			name: "one error does not matter", set: func(s *status) { s.lead(true); s.operations.failed(errors.New("e")) },
			want: service.State{Ready: true, Role: "leader", Degraded: []string{"publishing: e"}, Reasons: none},
		},
		{
			name: "nor does one of Kafka", set: func(s *status) {
				s.lead(true)
				s.operations.unsent(errors.New("e"))
				s.operations.failed(errors.New("e"))
			},
			want: service.State{Ready: true, Role: "leader", Degraded: []string{"kafka: e"}, Reasons: none},
		},
		{
			name: "Kafka that refuses is there", set: func(s *status) {
				s.lead(true)
				s.operations.unsent(errors.New("e"))
				s.operations.failed(errors.New("e"))
				s.operations.unsent(&rejectedError{errors.New("too large")})
				s.operations.failed(&stoppedError{"stopped"})
			},
			want: service.State{Role: "leader", Degraded: none, Reasons: []string{"the position does not move: stopped"}},
		},
		{
			name: "an error of Postgres after one of Kafka is not Kafka's", set: func(s *status) {
				s.lead(true)
				s.operations.unsent(errors.New("e"))
				s.operations.failed(errors.New("e"))
				s.operations.failed(errors.New("no outbox"))
			},
			want: service.State{Ready: true, Role: "leader", Degraded: []string{"kafka: e", "publishing: no outbox"}, Reasons: none},
		},
		{
			name: "a leader that stands still is not", set: func(s *status) { s.lead(true); s.operations.failed(errors.New("e")); still(s) },
			want: service.State{Role: "leader", Degraded: []string{"publishing: e"}, Reasons: []string{"the position does not move: e"}},
		},
		{
			name: "not even without an error", set: func(s *status) { s.lead(true); still(s) },
			want: service.State{Role: "leader", Degraded: none, Reasons: []string{"the position does not move: no step has succeeded for 5s"}},
		},
		{
			name: "while a standby is missing it is", set: func(s *status) { s.lead(true); still(s) }, standbyMissing: true,
			want: service.State{Ready: true, Role: "leader", Degraded: none, Reasons: none},
		},
		{
			name: "a leader that waits for an operator is not", set: func(s *status) { s.lead(true); s.operations.failed(&stoppedError{"stopped"}) },
			want: service.State{Role: "leader", Degraded: none, Reasons: []string{"the position does not move: stopped"}},
		},
		{
			name: "a step that succeeds ends that", set: func(s *status) {
				s.lead(true)
				s.operations.failed(&stoppedError{"stopped"})
				s.operations.stepped(1, false)
			},
			want: service.State{Ready: true, Role: "leader", Degraded: none, Reasons: none},
		},
		{
			name: "a paused leader is ready", set: func(s *status) { s.lead(true); s.operations.stepped(0, true) },
			want: service.State{Ready: true, Role: "leader", Degraded: []string{"an operator paused publishing: ctl relay resume goes on"}, Reasons: none},
		},
		{
			name: "events that are not published do not take a leader out of service", set: func(s *status) {
				s.lead(true)
				s.events.failed(&stoppedError{"stopped"})
			},
			want: service.State{Ready: true, Role: "leader", Degraded: []string{"the position of the events does not move: stopped"}, Reasons: none},
		},
		{
			name: "nor do events that stand still", set: func(s *status) {
				s.lead(true)
				s.events.unsent(errors.New("e"))
				s.events.failed(errors.New("e"))
				s.events.succeeded = time.Now().Add(-2 * standstill)
			},
			want: service.State{Ready: true, Role: "leader", Degraded: []string{"kafka does not take events: e", "the position of the events does not move: e"}, Reasons: none},
		},
		{
			name: "one lane's success is not the other's", set: func(s *status) {
				s.lead(true)
				s.events.failed(&stoppedError{"stopped"})
				s.operations.failed(errors.New("e"))
				s.operations.stepped(1, false)
			},
			want: service.State{Ready: true, Role: "leader", Degraded: []string{"the position of the events does not move: stopped"}, Reasons: none},
		},
		{
			name: "a leader that leads no more has no problems of one", set: func(s *status) { s.lead(true); s.operations.failed(&stoppedError{"stopped"}); s.lead(false) },
			want: service.State{Ready: true, Role: "standby", Degraded: none, Reasons: none},
		},
	} {
		s := newStatus(slog.New(slog.DiscardHandler))
		s.health.Started()
		test.set(s)
		s.judge(time.Now(), test.standbyMissing)
		if diff := cmp.Diff(test.want, s.health.State()); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

func TestAnOutageIsLoggedOnce(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	s := newStatus(slog.New(slog.NewTextHandler(&text, nil)))
	s.lead(true)
	for range 3 {
		s.operations.failed(errors.New("e"))
	}
	s.operations.stepped(1, false)
	s.operations.stepped(1, false)
	if lines := strings.Count(text.String(), "\n"); lines != 3 {
		t.Errorf("%d lines:\n%s", lines, &text)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newStatus(slog.New(slog.DiscardHandler))
	s.lead(true)
	s.operations.stepped(7, false)
	families, err := s.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if labels := metric.GetLabel(); len(labels) == 0 || labels[0].GetValue() == "operations" {
				got[family.GetName()] = metric.GetGauge().GetValue() + metric.GetCounter().GetValue() + float64(metric.GetHistogram().GetSampleCount())
			}
		}
	}
	for name, want := range map[string]float64{"wallet_relay_leader": 1, "wallet_relay_published_rows_total": 7, "wallet_relay_wave_rows": 1, "wallet_relay_publish_batch_rows": 1, "wallet_relay_stopped": 0} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}
