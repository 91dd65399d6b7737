package main

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metrics are the numbers that matter for accepting.
type metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec
	accepts   prometheus.Histogram
	flushSize prometheus.Histogram
	flushTime prometheus.Histogram
}

func newMetrics(q *queue, h *health, waiting func() int) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
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
	depth := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "wallet_api_queue_operations", Help: "Operations that wait for their answer.",
	}, func() float64 { return float64(q.depth()) })
	waiters := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "wallet_api_waiters", Help: "Requests that wait for an outcome.",
	}, func() float64 { return float64(waiting()) })
	degraded := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "wallet_api_degraded", Help: "How many of postgres, redis and room in the queue are missing.",
	}, func() float64 { return float64(len(h.degraded())) })
	m.registry.MustRegister(m.requests, m.accepts, m.flushSize, m.flushTime, depth, waiters, degraded,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) flushed(size int, took time.Duration) {
	m.flushSize.Observe(float64(size))
	m.flushTime.Observe(took.Seconds())
}

// measure counts the answers.
func (m *metrics) measure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(recorder, r)
		m.requests.WithLabelValues(strconv.Itoa(recorder.status)).Inc()
	})
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
