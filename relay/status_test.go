package main

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestReadinessTellsTheTruth(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		set  func(s *status)
		code int
		body string
	}{
		{"a standby is ready", func(*status) {}, 200, `{"ready":true,"role":"standby","degraded":[],"reasons":[]}`},
		{
			"a standby without Postgres is not", func(s *status) { s.reached(errors.New("gone")) }, 503,
			`{"ready":false,"role":"standby","degraded":[],"reasons":["postgres is lost"]}`,
		},
		{
			"one that waits for migrations is not", func(s *status) { s.migrations([]string{"1_first.sql", "2_second.sql"}) }, 503,
			`{"ready":false,"role":"standby","degraded":[],"reasons":["migrations are pending: 1_first.sql 2_second.sql"]}`,
		},
		{
			"one without Postgres' standby is: that is told", func(s *status) { s.standbyMissing("a"); s.reached(errors.New("unconfirmed")) }, 200,
			`{"ready":true,"role":"standby","degraded":["standby: commits wait for a (synchronous_standby_names)"],"reasons":[]}`,
		},
		{"one that ends is not", func(s *status) { s.drain() }, 503, `{"ready":false,"role":"standby","degraded":[],"reasons":["draining"]}`},
		{"a leader is ready", func(s *status) { s.lead(true) }, 200, `{"ready":true,"role":"leader","degraded":[],"reasons":[]}`},
		{
			"one error does not matter", func(s *status) { s.lead(true); s.failed(errors.New("e")) }, 200,
			`{"ready":true,"role":"leader","degraded":["e"],"reasons":[]}`,
		},
		{"a leader that stands still is not", func(s *status) {
			s.lead(true)
			s.failed(errors.New("e"))
			s.succeeded = time.Now().Add(-2 * standstill)
		}, 503, `{"ready":false,"role":"leader","degraded":["e"],"reasons":["the position does not move"]}`},
		{
			"a leader that waits for an operator is not", func(s *status) { s.lead(true); s.failed(&stoppedError{"stopped"}) }, 503,
			`{"ready":false,"role":"leader","degraded":["stopped"],"reasons":["the position does not move"]}`,
		},
		{
			"a step that succeeds ends that", func(s *status) { s.lead(true); s.failed(&stoppedError{"stopped"}); s.stepped(1, false) }, 200,
			`{"ready":true,"role":"leader","degraded":[],"reasons":[]}`,
		},
		{
			"a paused leader is ready", func(s *status) { s.lead(true); s.stepped(0, true) }, 200,
			`{"ready":true,"role":"leader","degraded":["an operator paused publishing"],"reasons":[]}`,
		},
	} {
		s := newStatus(slog.New(slog.DiscardHandler))
		test.set(s)
		recorder := httptest.NewRecorder()
		s.handler().ServeHTTP(recorder, httptest.NewRequest("GET", "/readyz", nil))
		if body := strings.TrimSpace(recorder.Body.String()); recorder.Code != test.code || body != test.body {
			t.Errorf("%s: %d %s, want %d %s", test.name, recorder.Code, body, test.code, test.body)
		}
	}
}

func TestAnOutageIsLoggedOnce(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	s := newStatus(slog.New(slog.NewTextHandler(&text, nil)))
	s.lead(true)
	for range 3 {
		s.failed(errors.New("e"))
		s.reached(errors.New("gone"))
	}
	s.reached(nil)
	s.stepped(1, false)
	s.stepped(1, false)
	if lines := strings.Count(text.String(), "\n"); lines != 5 {
		t.Errorf("%d lines:\n%s", lines, &text)
	}
}

func TestMetricsAreServed(t *testing.T) {
	t.Parallel()
	s := newStatus(slog.New(slog.DiscardHandler))
	s.lead(true)
	s.stepped(7, false)
	s.migrations([]string{"1_first.sql"})
	recorder := httptest.NewRecorder()
	s.handler().ServeHTTP(recorder, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{"wallet_relay_leader 1", "wallet_relay_published_rows_total 7", "wallet_relay_wave_rows_count 1", "wallet_relay_oldest_waiting_seconds 0", "wallet_ready 0", "wallet_migrations_pending 1", `wallet_dependency_up{dependency="postgres"} 1`, `wallet_dependency_up{dependency="kafka"} 1`} {
		if !strings.Contains(recorder.Body.String(), want+"\n") {
			t.Errorf("no %q", want)
		}
	}
}
