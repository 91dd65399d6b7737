package main

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// standstill is how long a leader may go without a step that succeeds before it is not ready. A step
// succeeds if no row waits, too.
const standstill = 5 * time.Second

// status is what the relay tells of itself.
type status struct {
	log     *slog.Logger
	metrics metrics

	mu        sync.Mutex
	lost      bool // Postgres
	kafkaLost bool
	missing   string   // the standbys that commits wait for
	pending   []string // migrations
	draining  bool
	leading   bool
	paused    bool
	succeeded time.Time // the last step that did
	trouble   error     // the last one since then
}

type metrics struct {
	registry                          *prometheus.Registry
	leader, stopped, paused           prometheus.Gauge
	waitingRows, oldestWaiting        prometheus.Gauge
	publishedRows, producers, deleted prometheus.Counter
	waveRows                          prometheus.Histogram
	phaseSeconds                      map[string]prometheus.Observer
}

// phases of a wave: read the rows, hand them to Kafka's client, wait until all are acknowledged, save
// the position.
var phases = []string{"read", "produce", "ack", "save"}

func newMetrics() metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "wallet_relay_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "wallet_relay_" + name, Help: help})
	}
	m := metrics{
		registry:      prometheus.NewRegistry(),
		leader:        gauge("leader", "1 if this process is the one that publishes."),
		stopped:       gauge("stopped", "1 while publishing waits for an operator; the log says for what."),
		paused:        gauge("paused", "1 while an operator pauses publishing."),
		waitingRows:   gauge("waiting_rows", "Outbox rows not published yet, counted up to 10000."),
		oldestWaiting: gauge("oldest_waiting_seconds", "How long the oldest of the waiting rows has waited."),
		publishedRows: counter("published_rows_total", "Outbox rows that Kafka has acknowledged, repeated ones included."),
		producers:     counter("producers_total", "Kafka producers made: one at the start and one after each error."),
		deleted:       counter("deleted_rows_total", "Outbox rows deleted after their retention."),
		waveRows: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "wallet_relay_wave_rows", Help: "Rows published together.", Buckets: []float64{1, 3, 10, 30, 100, 300, 1000, 3000, 5000},
		}),
		phaseSeconds: map[string]prometheus.Observer{},
	}
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "wallet_relay_phase_seconds", Help: "Time of a wave's phases: read, produce, ack, save.",
		Buckets: []float64{.0003, .001, .003, .01, .03, .1, .3, 1, 3, 10},
	}, []string{"phase"})
	for _, phase := range phases {
		m.phaseSeconds[phase] = seconds.WithLabelValues(phase)
	}
	m.registry.MustRegister(m.leader, m.stopped, m.paused, m.waitingRows, m.oldestWaiting, m.publishedRows, m.producers, m.deleted, m.waveRows, seconds,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func newStatus(log *slog.Logger) *status {
	s := &status{log: log, metrics: newMetrics(), succeeded: time.Now()}
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) {
		s.metrics.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value))
	}
	gauge("wallet_ready", "1 if /readyz says so.", nil, func() float64 { return number(s.readiness(time.Now()).Ready) })
	gauge("wallet_migrations_pending", "Migrations that this program needs and the database lacks.", nil, func() float64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return float64(len(s.pending))
	})
	gauge("wallet_standby_missing", "1 while commits wait for standbys of synchronous_standby_names.", nil, func() float64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return number(s.missing != "")
	})
	for dependency, lost := range map[string]*bool{"postgres": &s.lost, "kafka": &s.kafkaLost} {
		gauge("wallet_dependency_up", "0 while the service has to do without.", prometheus.Labels{"dependency": dependency}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return number(!*lost)
		})
	}
	return s
}

// drain notes that the relay was told to end.
func (s *status) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
}

// migrations notes which ones the database lacks. The relay waits for them.
func (s *status) migrations(pending []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(pending) > 0 && len(s.pending) == 0 {
		s.log.Warn("the relay waits for migrations", "pending", pending)
	}
	s.pending = pending
}

// lead notes the begin or the end of leading.
func (s *status) lead(leading bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leading, s.succeeded, s.trouble, s.paused, s.kafkaLost = leading, time.Now(), nil, false, false
	s.metrics.leader.Set(number(leading))
	s.metrics.stopped.Set(0)
	s.metrics.paused.Set(0)
	s.log.Info("leadership", "leading", leading)
}

func (s *status) isLeading() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leading
}

// reached notes whether Postgres was, and logs its loss once and its return once.
func (s *status) reached(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil && !s.lost:
		s.log.Warn("postgres is lost; the relay waits for it", "error", err)
	case err == nil && s.lost:
		s.log.Info("postgres is back")
	}
	s.lost = err != nil
}

// standbyMissing notes the standbys that commits wait for. What is not on them is not published.
func (s *status) standbyMissing(missing string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.missing, s.succeeded = missing, time.Now()
	if missing != "" {
		s.log.Warn("commits wait for a standby that is missing", "synchronous_standby_names", missing)
	} else {
		s.log.Info("commits no longer wait for a standby")
	}
}

// unsent notes why Kafka did not take a wave. It counts as lost until the next step that succeeds, unless
// it has answered with a refusal. A relay without anything to publish does not miss it.
func (s *status) unsent(err error) {
	var rejected *rejectedError
	var stopped *stoppedError
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kafkaLost = !errors.As(err, &rejected) && !errors.As(err, &stopped)
}

// failed notes an error, and logs it unless it is only the last one's sequel.
func (s *status) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var stopped *stoppedError
	isStopped := errors.As(err, &stopped)
	s.metrics.stopped.Set(number(isStopped))
	switch {
	case isStopped && (s.trouble == nil || s.trouble.Error() != err.Error()):
		s.log.Error(err.Error())
	case !isStopped && s.trouble == nil:
		s.log.Warn("publishing is interrupted, and tried again until it succeeds", "error", err)
	}
	s.trouble = err
}

// stepped notes a step that succeeded.
func (s *status) stepped(published int, paused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble != nil {
		s.log.Info("publishing goes on")
		s.metrics.stopped.Set(0)
	}
	s.succeeded, s.trouble, s.kafkaLost = time.Now(), nil, false
	if s.paused != paused {
		s.paused = paused
		s.metrics.paused.Set(number(paused))
		s.log.Info("an operator paused or resumed publishing", "paused", paused)
	}
	if published > 0 {
		s.metrics.publishedRows.Add(float64(published))
		s.metrics.waveRows.Observe(float64(published))
	}
}

// took notes how long a phase of a wave took.
func (s *status) took(phase string, d time.Duration) {
	s.metrics.phaseSeconds[phase].Observe(d.Seconds())
}

// readiness is the answer of /readyz.
type readiness struct {
	Ready    bool     `json:"ready"`
	Role     string   `json:"role"`
	Degraded []string `json:"degraded"`
	Reasons  []string `json:"reasons"`
}

// readiness: a standby is ready to take over; a leader is ready while its position can move.
func (s *status) readiness(now time.Time) readiness {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := readiness{Role: "standby", Degraded: []string{}, Reasons: []string{}}
	if s.lost && s.missing == "" {
		r.Reasons = append(r.Reasons, "postgres is lost")
	}
	if len(s.pending) > 0 {
		r.Reasons = append(r.Reasons, "migrations are pending: "+strings.Join(s.pending, " "))
	}
	if s.leading {
		r.Role = "leader"
		var stopped *stoppedError
		if errors.As(s.trouble, &stopped) || now.Sub(s.succeeded) > standstill && s.missing == "" {
			r.Reasons = append(r.Reasons, "the position does not move")
		}
	}
	if s.draining {
		r.Reasons = append(r.Reasons, "draining")
	}
	r.Ready = len(r.Reasons) == 0
	if s.missing != "" {
		r.Degraded = append(r.Degraded, "standby: commits wait for "+s.missing+" (synchronous_standby_names)")
	}
	if s.trouble != nil {
		r.Degraded = append(r.Degraded, s.trouble.Error())
	}
	if s.paused {
		r.Degraded = append(r.Degraded, "an operator paused publishing")
	}
	return r
}

// handler serves the admin port.
func (s *status) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		ready := s.readiness(time.Now())
		w.Header().Set("Content-Type", "application/json")
		if !ready.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(ready)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))
	return mux
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
