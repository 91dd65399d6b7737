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
	publishing = service.Condition{Name: "publishing"}
	paused     = service.Condition{Name: "an operator paused publishing"}
	measuring  = service.Condition{Name: "measuring the backlog"}
	deleting   = service.Condition{Name: "deleting old outbox rows"}
	// stalled: rows wait and are not published, until this relay or an operator does something about it.
	stalled = service.Condition{Name: "the position does not move", NotReady: true}
	// The same of the events. Another relay would do no better, and money moves without them: this one stays ready.
	eventsPublishing = service.Condition{Name: "publishing events"}
	eventsKafka      = service.Condition{Name: "kafka does not take events"}
	eventsStalled    = service.Condition{Name: "the position of the events does not move"}
)

// status is what the relay says of itself.
type status struct {
	log                *slog.Logger
	health             *service.Health
	metrics            metrics
	commits            *db.Commits // nil: nothing is known of standbys
	operations, events *progress
}

// progress is what it says of a lane.
type progress struct {
	log                        *slog.Logger
	health                     *service.Health
	metrics                    laneMetrics
	stalled, publishing, kafka service.Condition

	mu        sync.Mutex
	leading   bool
	isPaused  bool
	unsentErr bool      // failed gets an error next that Kafka did not answer
	succeeded time.Time // the last step that did
	lastErr   error     // the last one since then
}

type metrics struct {
	registry           *prometheus.Registry
	leader, paused     prometheus.Gauge
	deleted            prometheus.Counter
	operations, events laneMetrics
}

type laneMetrics struct {
	stopped, paused            prometheus.Gauge // paused is that of all lanes
	waitingRows, oldestWaiting prometheus.Gauge
	publishedRows, producers   prometheus.Counter
	batchRows                  prometheus.Observer
	waveRows                   prometheus.Observer // the old name of batchRows, for the operations; nil for others
	phaseSeconds               map[string]prometheus.Observer
}

// phases of a publish batch: read the rows, hand them to Kafka's client, wait until all are acknowledged, save
// the position.
var phases = []string{"read", "produce", "ack", "save"}

func newMetrics() metrics {
	registry := service.NewRegistry()
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "wallet_relay_" + name, Help: help})
		registry.MustRegister(g)
		return g
	}
	const position = "position" // operations or events
	gauges := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "wallet_relay_" + name, Help: help}, []string{position})
		registry.MustRegister(g)
		return g
	}
	counters := func(name, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wallet_relay_" + name, Help: help}, []string{position})
		registry.MustRegister(c)
		return c
	}
	histograms := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "wallet_relay_" + name, Help: help, Buckets: buckets}, labels)
		registry.MustRegister(h)
		return h
	}
	rows := []float64{1, 3, 10, 30, 100, 300, 1000, 3000, 5000}
	stopped := gauges("stopped", "1 while publishing waits for an operator; the log says for what.")
	waitingRows := gauges("waiting_rows", "Outbox rows not published yet, among the first 10000 that the position is not past.")
	oldestWaiting := gauges("oldest_waiting_seconds", "How long the oldest of the waiting rows has waited.")
	publishedRows := counters("published_rows_total", "Outbox rows that Kafka has acknowledged, repeated ones included.")
	producers := counters("producers_total", "Kafka producers made: one at the start and one after each error; of events, one after each minute without any.")
	batchRows := histograms("publish_batch_rows", "Rows of a publish batch.", rows, position)
	waveRows := histograms("wave_rows", "The old name of wallet_relay_publish_batch_rows, of operations.", rows).WithLabelValues()
	seconds := histograms("phase_seconds", "Time of a publish batch's phases: read, produce, ack, save.",
		[]float64{.0003, .001, .003, .01, .03, .1, .3, 1, 3, 10}, position, "phase")
	m := metrics{
		registry: registry,
		leader:   gauge("leader", "1 if this process is the one that publishes."),
		paused:   gauge("paused", "1 while an operator pauses publishing."),
	}
	m.deleted = prometheus.NewCounter(prometheus.CounterOpts{Name: "wallet_relay_deleted_rows_total", Help: "Outbox rows deleted after their retention."})
	registry.MustRegister(m.deleted)
	of := func(lane string) laneMetrics {
		l := laneMetrics{
			stopped: stopped.WithLabelValues(lane), paused: m.paused,
			waitingRows: waitingRows.WithLabelValues(lane), oldestWaiting: oldestWaiting.WithLabelValues(lane),
			publishedRows: publishedRows.WithLabelValues(lane), producers: producers.WithLabelValues(lane),
			batchRows: batchRows.WithLabelValues(lane), phaseSeconds: map[string]prometheus.Observer{},
		}
		for _, phase := range phases {
			l.phaseSeconds[phase] = seconds.WithLabelValues(lane, phase)
		}
		return l
	}
	operations, events := lanes("", "")
	m.operations, m.events = of(operations.name), of(events.name)
	m.operations.waveRows = waveRows
	return m
}

func newStatus(log *slog.Logger) *status {
	s := &status{log: log, metrics: newMetrics()}
	s.health = service.NewHealth(log, s.metrics.registry, "postgres", "kafka")
	s.health.SetRole("standby")
	s.operations = &progress{
		log: log, health: s.health, metrics: s.metrics.operations, succeeded: time.Now(),
		stalled: stalled, publishing: publishing, kafka: service.Kafka,
	}
	s.events = &progress{
		log: log, health: s.health, metrics: s.metrics.events, succeeded: time.Now(),
		stalled: eventsStalled, publishing: eventsPublishing, kafka: eventsKafka,
	}
	return s
}

// lead notes the begin or the end of leading.
func (s *status) lead(leading bool) {
	for _, p := range []*progress{s.operations, s.events} {
		p.lead(leading)
	}
	s.metrics.leader.Set(number(leading))
	s.health.SetRole(map[bool]string{true: "leader", false: "standby"}[leading])
	s.log.Info("leadership", "leading", leading)
}

func (p *progress) lead(leading bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leading, p.succeeded, p.lastErr, p.isPaused, p.unsentErr = leading, time.Now(), nil, false, false
	p.metrics.stopped.Set(0)
	p.metrics.paused.Set(0)
	for _, condition := range []service.Condition{p.stalled, p.publishing, p.kafka, paused} {
		p.health.Set(condition, nil)
	}
}

func (s *status) isLeading() bool {
	s.operations.mu.Lock()
	defer s.operations.mu.Unlock()
	return s.operations.leading
}

// unsent notes why Kafka did not take a publish batch. Kafka counts as lost until the next step that
// succeeds, unless it has answered with a refusal. A relay without anything to publish does not notice.
func (p *progress) unsent(err error) {
	var rejected *rejectedError
	var stopped *stoppedError
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unsentErr = !errors.As(err, &rejected) && !errors.As(err, &stopped); p.unsentErr {
		p.health.Set(p.kafka, err)
	} else {
		p.health.Set(p.kafka, nil)
	}
}

// failed notes why a step did not succeed.
func (p *progress) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var stopped *stoppedError
	isStopped := errors.As(err, &stopped)
	p.metrics.stopped.Set(number(isStopped))
	p.lastErr = err
	switch {
	case isStopped:
		p.health.Set(p.stalled, err)
		p.health.Set(p.publishing, nil)
	case !p.unsentErr:
		p.health.Set(p.publishing, err)
	}
	p.unsentErr = false
}

// stepped notes a step that succeeded.
func (p *progress) stepped(published int, isPaused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lastErr != nil {
		for _, condition := range []service.Condition{p.stalled, p.publishing, p.kafka} {
			p.health.Set(condition, nil)
		}
		p.metrics.stopped.Set(0)
	}
	p.succeeded, p.lastErr, p.unsentErr = time.Now(), nil, false
	if p.isPaused != isPaused {
		p.isPaused = isPaused
		p.metrics.paused.Set(number(isPaused))
		p.health.Set(paused, errIf(isPaused, "ctl relay resume goes on"))
	}
	if published > 0 {
		p.metrics.publishedRows.Add(float64(published))
		p.metrics.batchRows.Observe(float64(published))
		if p.metrics.waveRows != nil {
			p.metrics.waveRows.Observe(float64(published))
		}
	}
}

func errIf(is bool, text string) error {
	if is {
		return errors.New(text)
	}
	return nil
}

// watch judges the lanes once a second until ctx ends.
func (s *status) watch(ctx context.Context) {
	for service.Sleep(ctx, time.Second) {
		s.judge(time.Now(), s.commits != nil && s.commits.Missing() != "")
	}
}

// judge reports a leader's lane as stalled if no step has succeeded for standstill. While commits wait for a
// standby it does not: the relay publishes nothing that the standby does not have.
func (s *status) judge(now time.Time, standbyMissing bool) {
	for _, p := range []*progress{s.operations, s.events} {
		p.judge(now, standbyMissing)
	}
}

func (p *progress) judge(now time.Time, standbyMissing bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if standbyMissing {
		p.succeeded = now
	}
	var stopped *stoppedError
	switch {
	case errors.As(p.lastErr, &stopped):
	case p.leading && now.Sub(p.succeeded) > standstill:
		p.health.Set(p.stalled, cmp.Or(p.lastErr, fmt.Errorf("no step has succeeded for %v", standstill)))
	default:
		p.health.Set(p.stalled, nil)
	}
}

// took notes how long a phase of a publish batch took.
func (p *progress) took(phase string, d time.Duration) {
	p.metrics.phaseSeconds[phase].Observe(d.Seconds())
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
