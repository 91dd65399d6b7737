package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/service"
)

// standstill is how long a leader may go without a step that succeeds before it is not ready. A step
// without rows succeeds too.
const standstill = 5 * time.Second

// What may be wrong with a relay, besides the conditions of every service.
var (
	// stalled: rows wait and are not published, until this relay or an operator does something about it.
	stalled    = service.Condition{Name: "the position does not move", NotReady: true}
	publishing = service.Condition{Name: "publishing"}
	paused     = service.Condition{Name: "an operator paused publishing"}
	measuring  = service.Condition{Name: "measuring the backlog"}
	deleting   = service.Condition{Name: "deleting old outbox rows"}
)

// status is what the relay says of itself.
type status struct {
	log     *slog.Logger
	health  *service.Health
	metrics metrics
	commits *db.Commits // nil: nothing is known of standbys

	mu        sync.Mutex
	leading   bool
	paused    bool
	unsentErr bool      // failed gets an error next that Kafka did not answer
	succeeded time.Time // the last step that did
	lastErr   error     // the last one since then
}

type metrics struct {
	registry                          *prometheus.Registry
	leader, stopped, paused           prometheus.Gauge
	waitingRows, oldestWaiting        prometheus.Gauge
	publishedRows, producers, deleted prometheus.Counter
	batchRows, waveRows               prometheus.Histogram // the second is the old name of the first
	phaseSeconds                      map[string]prometheus.Observer
}

// phases of a publish batch: read the rows, hand them to Kafka's client, wait until all are acknowledged, save
// the position.
var phases = []string{"read", "produce", "ack", "save"}

func newMetrics() metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "wallet_relay_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "wallet_relay_" + name, Help: help})
	}
	rows := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wallet_relay_" + name, Help: help, Buckets: []float64{1, 3, 10, 30, 100, 300, 1000, 3000, 5000}})
	}
	m := metrics{
		registry:      service.NewRegistry(),
		leader:        gauge("leader", "1 if this process is the one that publishes."),
		stopped:       gauge("stopped", "1 while publishing waits for an operator; the log says for what."),
		paused:        gauge("paused", "1 while an operator pauses publishing."),
		waitingRows:   gauge("waiting_rows", "Outbox rows not published yet, counted up to 10000."),
		oldestWaiting: gauge("oldest_waiting_seconds", "How long the oldest of the waiting rows has waited."),
		publishedRows: counter("published_rows_total", "Outbox rows that Kafka has acknowledged, repeated ones included."),
		producers:     counter("producers_total", "Kafka producers made: one at the start and one after each error."),
		deleted:       counter("deleted_rows_total", "Outbox rows deleted after their retention."),
		batchRows:     rows("publish_batch_rows", "Rows of a publish batch."),
		waveRows:      rows("wave_rows", "The old name of wallet_relay_publish_batch_rows."),
		phaseSeconds:  map[string]prometheus.Observer{},
	}
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "wallet_relay_phase_seconds", Help: "Time of a publish batch's phases: read, produce, ack, save.",
		Buckets: []float64{.0003, .001, .003, .01, .03, .1, .3, 1, 3, 10},
	}, []string{"phase"})
	for _, phase := range phases {
		m.phaseSeconds[phase] = seconds.WithLabelValues(phase)
	}
	m.registry.MustRegister(m.leader, m.stopped, m.paused, m.waitingRows, m.oldestWaiting, m.publishedRows, m.producers, m.deleted, m.batchRows, m.waveRows, seconds)
	return m
}

func newStatus(log *slog.Logger) *status {
	s := &status{log: log, metrics: newMetrics(), succeeded: time.Now()}
	s.health = service.NewHealth(log, s.metrics.registry, "postgres", "kafka")
	s.health.SetRole("standby")
	return s
}

// lead notes the begin or the end of leading.
func (s *status) lead(leading bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leading, s.succeeded, s.lastErr, s.paused, s.unsentErr = leading, time.Now(), nil, false, false
	s.metrics.leader.Set(number(leading))
	s.metrics.stopped.Set(0)
	s.metrics.paused.Set(0)
	s.health.SetRole(map[bool]string{true: "leader", false: "standby"}[leading])
	for _, condition := range []service.Condition{stalled, publishing, service.Kafka, paused} {
		s.health.Set(condition, nil)
	}
	s.log.Info("leadership", "leading", leading)
}

func (s *status) isLeading() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leading
}

// unsent notes why Kafka did not take a publish batch. Kafka counts as lost until the next step that
// succeeds, unless it has answered with a refusal. A relay without anything to publish does not notice.
func (s *status) unsent(err error) {
	var rejected *rejectedError
	var stopped *stoppedError
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unsentErr = !errors.As(err, &rejected) && !errors.As(err, &stopped); s.unsentErr {
		s.health.Set(service.Kafka, err)
	} else {
		s.health.Set(service.Kafka, nil)
	}
}

// failed notes why a step did not succeed.
func (s *status) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var stopped *stoppedError
	isStopped := errors.As(err, &stopped)
	s.metrics.stopped.Set(number(isStopped))
	s.lastErr = err
	switch {
	case isStopped:
		s.health.Set(stalled, err)
		s.health.Set(publishing, nil)
	case !s.unsentErr:
		s.health.Set(publishing, err)
	}
	s.unsentErr = false
}

// stepped notes a step that succeeded.
func (s *status) stepped(published int, isPaused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lastErr != nil {
		for _, condition := range []service.Condition{stalled, publishing, service.Kafka} {
			s.health.Set(condition, nil)
		}
		s.metrics.stopped.Set(0)
	}
	s.succeeded, s.lastErr, s.unsentErr = time.Now(), nil, false
	if s.paused != isPaused {
		s.paused = isPaused
		s.metrics.paused.Set(number(isPaused))
		s.health.Set(paused, errIf(isPaused, "ctl relay resume goes on"))
	}
	if published > 0 {
		s.metrics.publishedRows.Add(float64(published))
		s.metrics.batchRows.Observe(float64(published))
		s.metrics.waveRows.Observe(float64(published))
	}
}

func errIf(is bool, text string) error {
	if is {
		return errors.New(text)
	}
	return nil
}

// watch judges the relay once a second until ctx ends.
func (s *status) watch(ctx context.Context) {
	for service.Sleep(ctx, time.Second) {
		s.judge(time.Now(), s.commits != nil && s.commits.Missing() != "")
	}
}

// judge reports a leader as stalled if no step has succeeded for standstill. While commits wait for a
// standby it does not: the relay publishes nothing that the standby does not have.
func (s *status) judge(now time.Time, standbyMissing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if standbyMissing {
		s.succeeded = now
	}
	var stopped *stoppedError
	switch {
	case errors.As(s.lastErr, &stopped):
	case s.leading && now.Sub(s.succeeded) > standstill:
		s.health.Set(stalled, cmp.Or(s.lastErr, fmt.Errorf("no step has succeeded for %v", standstill)))
	default:
		s.health.Set(stalled, nil)
	}
}

// took notes how long a phase of a publish batch took.
func (s *status) took(phase string, d time.Duration) {
	s.metrics.phaseSeconds[phase].Observe(d.Seconds())
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
