package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service"
)

// metrics are the numbers that matter.
type metrics struct {
	registry        *prometheus.Registry
	lag             *prometheus.GaugeVec
	batchMessages   prometheus.Histogram
	batchSeconds    prometheus.Histogram
	appliedSeconds  prometheus.Histogram
	outcomes        *prometheus.CounterVec
	accepted        *prometheus.CounterVec
	timesBack       prometheus.Counter
	unparseable     prometheus.Counter
	forked          prometheus.Counter
	gapsHealed      prometheus.Counter
	swept           prometheus.Counter
	sweptWallets    prometheus.Counter
	inTransit       prometheus.Gauge
	still           prometheus.Gauge
	unassigned      prometheus.Gauge
	databaseErrors  *prometheus.CounterVec
	cacheErrors     prometheus.Counter
	events          prometheus.Counter
	truncatedEvents prometheus.Counter
	eventsMissing   prometheus.Gauge
}

func newMetrics() *metrics {
	m := &metrics{
		registry:        service.NewRegistry(),
		lag:             prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "wallet_worker_lag_messages", Help: "Messages of an assigned partition that are not applied, as of the last look."}, []string{"partition"}),
		batchMessages:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wallet_worker_batch_messages", Help: "Messages of a batch.", Buckets: prometheus.ExponentialBuckets(1, 4, 7)}),
		batchSeconds:    prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wallet_worker_batch_seconds", Help: "Time to apply a batch, retries included.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}),
		appliedSeconds:  prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wallet_worker_accepted_to_applied_seconds", Help: "Time from accepting an operation to committing its outcome.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 16)}),
		outcomes:        prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wallet_worker_outcomes_total", Help: "Operations applied."}, []string{"type", "status", "reason"}),
		accepted:        prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wallet_worker_accepted_total", Help: "Operations that the worker has accepted: RECEIVE, RETURN and EXPIRE."}, []string{"type"}),
		timesBack:       prometheus.NewCounter(prometheus.CounterOpts{Name: "wallet_worker_times_set_back_total", Help: "Times that the worker accepted an operation of a wallet at an earlier time than the one before, because the clock of Postgres had been set back by more than 5 s."}),
		unparseable:     prometheus.NewCounter(prometheus.CounterOpts{Name: "wallet_worker_unparseable_messages_total", Help: "Messages passed over because they are not operations."}),
		forked:          prometheus.NewCounter(prometheus.CounterOpts{Name: "wallet_worker_forked_messages_total", Help: "Messages that name another operation than the database has at their sequence."}),
		gapsHealed:      prometheus.NewCounter(prometheus.CounterOpts{Name: "wallet_worker_gaps_healed_total", Help: "Operations applied by a later message than their own."}),
		swept:           prometheus.NewCounter(prometheus.CounterOpts{Name: "wallet_worker_swept_operations_total", Help: "Operations applied by a sweep, without a message."}),
		sweptWallets:    prometheus.NewCounter(prometheus.CounterOpts{Name: "wallet_worker_swept_wallets_total", Help: "Wallets that a sweep brought up to date, counted each time."}),
		inTransit:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "wallet_worker_in_transit_seconds", Help: "How long the oldest money has been on its way to a wallet that the sweeps of this worker found behind: it has left another one."}),
		still:           prometheus.NewGauge(prometheus.GaugeOpts{Name: "wallet_worker_lag_standstill_seconds", Help: "How long a partition has had messages to apply and applied none: the longest of all."}),
		unassigned:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "wallet_worker_unassigned_partitions", Help: "Partitions of the topic that no worker of the group had at the last two looks."}),
		databaseErrors:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wallet_worker_database_errors_total", Help: "Transactions that were tried again, by cause: connection, conflict or unknown."}, []string{"cause"}),
		cacheErrors:     prometheus.NewCounter(prometheus.CounterOpts{Name: "wallet_worker_cache_errors_total", Help: "Writes and looks that Redis did not answer."}),
		events:          prometheus.NewCounter(prometheus.CounterOpts{Name: "wallet_worker_events_total", Help: "Events written to the outbox: runs of a wallet's operations."}),
		truncatedEvents: prometheus.NewCounter(prometheus.CounterOpts{Name: "wallet_worker_truncated_events_total", Help: "Events without their operation's metadata, which was too large."}),
		eventsMissing:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "wallet_worker_events_missing", Help: "1 while the worker writes no events although EVENTS_TOPIC names a topic: it is not registered."}),
	}
	for _, cause := range []cause{connection, conflict, unknown} {
		m.databaseErrors.WithLabelValues(string(cause)) // Prometheus sees no increase when a series begins
	}
	for _, kind := range []walletdb.OperationType{receive, giveBack, expire} {
		m.accepted.WithLabelValues(string(kind))
	}
	m.registry.MustRegister(m.lag, m.still, m.unassigned, m.batchMessages, m.batchSeconds, m.appliedSeconds, m.outcomes, m.accepted, m.timesBack, m.unparseable,
		m.forked, m.gapsHealed, m.swept, m.sweptWallets, m.inTransit, m.databaseErrors, m.cacheErrors,
		m.events, m.truncatedEvents, m.eventsMissing)
	return m
}

// gauge registers a number that is read when it is asked for.
func (m *metrics) gauge(name, help string, value func() int) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) }))
}
