package main

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// problems counts the problems that clients get, also for single operations of a batch. Every code is
// there from the start, because Prometheus sees no increase when a series begins.
var problems = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "wallet_api_problems_total", Help: "Problems that clients were told, by their code.",
}, []string{"code"})

// timesSetBack counts the only operations whose created_at is below that of the one before.
var timesSetBack = prometheus.NewCounter(prometheus.CounterOpts{
	Name: "wallet_api_times_set_back_total",
	Help: "Times that an operation of a wallet was accepted at an earlier time than the one before, because the clock of Postgres had been set back by more than 5 s.",
})

func init() {
	for code := range kinds {
		problems.WithLabelValues(string(code))
	}
}

// metrics are the numbers that matter for accepting.
type metrics struct {
	requests  *prometheus.CounterVec
	accepts   prometheus.Histogram
	flushSize prometheus.Histogram
	flushTime prometheus.Histogram
}

func newMetrics(registry prometheus.Registerer, q *queue, waiting func() int) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wallet_api_requests_total", Help: "Requests answered, by HTTP status.",
		}, []string{"status"}),
		accepts: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "wallet_api_accept_seconds", Help: "From a request for an operation to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
		flushSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "wallet_api_flush_operations", Help: "Operations of a flush.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		flushTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "wallet_api_flush_seconds", Help: "Time of a flush.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
	}
	registry.MustRegister(m.requests, problems, timesSetBack, m.accepts, m.flushSize, m.flushTime,
		gauge("wallet_api_queue_operations", "Operations that wait for their answer.", q.depth),
		gauge("wallet_api_queue_limit_operations", "Operations that may wait.", func() int { return q.limits.operations }),
		gauge("wallet_api_waiters", "Requests that wait for an outcome.", waiting))
	return m
}

// gauge is a number that is read when it is asked for.
func gauge(name, help string, value func() int) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) })
}

func (m *metrics) flushed(size int, took time.Duration) {
	m.flushSize.Observe(float64(size))
	m.flushTime.Observe(took.Seconds())
}

// measure counts the answers. The counters of all usual ones are at hand, so that none is looked up.
func (m *metrics) measure(next http.Handler) http.Handler {
	answered := map[int]prometheus.Counter{}
	for _, status := range []int{http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNotModified} {
		answered[status] = m.requests.WithLabelValues(strconv.Itoa(status))
	}
	for _, kind := range kinds {
		answered[kind.status] = m.requests.WithLabelValues(strconv.Itoa(kind.status))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(recorder, r)
		if counter, usual := answered[recorder.status]; usual {
			counter.Inc()
		} else {
			m.requests.WithLabelValues(strconv.Itoa(recorder.status)).Inc()
		}
	})
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	exposeHeaders(r.Header())
	r.ResponseWriter.WriteHeader(status)
}

func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
