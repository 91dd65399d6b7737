package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/legendary-wallet/legendary-wallet/service"
)

// metrics are the numbers that matter. None is of one endpoint: the api shows these to their owners.
type metrics struct {
	registry    *prometheus.Registry
	attempts    *prometheus.CounterVec
	operations  prometheus.Counter
	runs        prometheus.Histogram
	seconds     prometheus.Histogram
	behind      prometheus.Histogram
	endpoints   *prometheus.GaugeVec
	lagMessages prometheus.Gauge
	lagSeconds  prometheus.Gauge
	flying      prometheus.Gauge
	missed      prometheus.Counter
	disabled    prometheus.Counter
	unparseable prometheus.Counter
	turns       prometheus.Counter
	lost        prometheus.Counter
}

// The states of an endpoint.
const (
	stateDelivering = "delivering"
	stateFailing    = "failing"
	stateStalled    = "stalled"
	stateDisabled   = "disabled"
)

func newMetrics() *metrics {
	m := &metrics{
		registry:    service.NewRegistry(),
		attempts:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wallet_hooks_attempts_total", Help: "Attempts to deliver, by result: delivered, unreachable, refused, gone or unready."}, []string{"result"}),
		operations:  prometheus.NewCounter(prometheus.CounterOpts{Name: "wallet_hooks_operations_total", Help: "Operations that were delivered, counted at each endpoint."}),
		runs:        prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wallet_hooks_delivery_messages", Help: "Messages of the topic that a delivery had.", Buckets: prometheus.ExponentialBuckets(1, 2, 9)}),
		seconds:     prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wallet_hooks_attempt_seconds", Help: "Time that an attempt took.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 15)}),
		behind:      prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wallet_hooks_applied_to_delivered_seconds", Help: "Time from applying an operation to its delivery, of deliveries at their first attempt.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 16)}),
		endpoints:   prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "wallet_hooks_endpoints", Help: "Endpoints of this process, by state: delivering, failing (none is reached), stalled (a run is refused) or disabled (its tenant, too)."}, []string{"state"}),
		lagMessages: prometheus.NewGauge(prometheus.GaugeOpts{Name: "wallet_hooks_lag_messages", Help: "Messages that the endpoint furthest behind has to come, of those that take deliveries."}),
		lagSeconds:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "wallet_hooks_lag_seconds", Help: "How long the oldest message waits that is not delivered, of the endpoints that take deliveries."}),
		flying:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "wallet_hooks_attempts_under_way", Help: "Attempts that have no answer yet."}),
		missed:      prometheus.NewCounter(prometheus.CounterOpts{Name: "wallet_hooks_missed_total", Help: "Ranges of messages that were not in the log any more when an endpoint came to them."}),
		disabled:    prometheus.NewCounter(prometheus.CounterOpts{Name: "wallet_hooks_disabled_total", Help: "Endpoints that were disabled because of their receiver."}),
		unparseable: prometheus.NewCounter(prometheus.CounterOpts{Name: "wallet_hooks_unparseable_messages_total", Help: "Messages passed over because they are not runs of operations."}),
		turns:       prometheus.NewCounter(prometheus.CounterOpts{Name: "wallet_hooks_catch_up_turns_total", Help: "Times that the log was read for one endpoint that is behind."}),
		lost:        prometheus.NewCounter(prometheus.CounterOpts{Name: "wallet_hooks_endpoints_lost_total", Help: "Endpoints that another process has taken before this one gave them back."}),
	}
	for _, result := range verdicts { // Prometheus sees no increase when a series begins
		m.attempts.WithLabelValues(result)
	}
	for _, state := range []string{stateDelivering, stateFailing, stateStalled, stateDisabled} {
		m.endpoints.WithLabelValues(state)
	}
	m.registry.MustRegister(m.attempts, m.operations, m.runs, m.seconds, m.behind, m.endpoints, m.lagMessages, m.lagSeconds, m.flying,
		m.missed, m.disabled, m.unparseable, m.turns, m.lost)
	return m
}

// verdicts are the results' names.
var verdicts = map[verdict]string{delivered: "delivered", unreachable: "unreachable", refused: "refused", gone: "gone", unready: "unready"}
