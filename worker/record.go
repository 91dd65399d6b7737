package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/failpoint"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/service"
)

// recorder reports what a transaction has done: to Redis, the metrics and the log.
type recorder struct {
	cache   *walletcache.Guard
	metrics *metrics
	tracer  *tracer
	log     *service.Repeats
}

// batch records a transaction for messages.
func (r *recorder) batch(_ context.Context, done plan, messages []received) {
	committed := time.Now()
	r.transaction(done, committed)
	r.tracer.applied(done, messages, committed, time.Now())
	if len(messages) == 0 { // a wallet that was stuck is tried again: its messages came, and are held no longer
		return
	}
	unnamed, forked := compare(messages, done.applied)
	r.metrics.gapsHealed.Add(float64(unnamed))
	r.metrics.forked.Add(float64(len(forked)))
	for _, m := range forked {
		r.log.Log(slog.LevelError, "forked history: the message names another operation than the database has",
			"wallet", m.WalletID, "sequence", m.Sequence, "operation", m.OperationID, "offset", m.offset)
	}
}

// sweep records a transaction for no message, but perhaps for outbox rows that have a trace.
func (r *recorder) sweep(_ context.Context, done plan, traced []received) {
	committed := time.Now()
	r.transaction(done, committed)
	r.tracer.applied(done, traced, committed, time.Now())
	r.metrics.swept.Add(float64(len(done.applied)))
	r.metrics.sweptWallets.Add(float64(len(done.advances.Ids)))
	if len(done.applied) > 0 {
		r.log.Log(slog.LevelWarn, "sweeping operations that Kafka did not bring in time", "operations", len(done.applied), "wallet", done.advances.Ids[0])
	}
}

// expiry records a transaction for expired holds.
func (r *recorder) expiry(_ context.Context, done plan, _ []received) {
	r.transaction(done, time.Now())
}

func (r *recorder) transaction(done plan, committed time.Time) {
	r.cache.Set(done.wallets)
	failpoint.Reach("worker-after-redis")
	r.metrics.timesBack.Add(float64(done.timesBack))
	if done.events != nil {
		r.metrics.events.Add(float64(len(done.events.Keys)))
		r.metrics.truncatedEvents.Add(float64(done.events.Truncated))
	}
	for _, f := range done.following {
		r.metrics.accepted.WithLabelValues(string(f.kind)).Inc()
	}
	for i, op := range done.applied {
		age := done.outcomes.AppliedAt.Sub(op.CreatedAt) + committed.Sub(done.readAt)
		r.metrics.appliedSeconds.Observe(age.Seconds())
		r.metrics.outcomes.WithLabelValues(string(op.Type), done.outcomes.Statuses[i], done.outcomes.FailureReasons[i]).Inc()
	}
}

// compare compares messages with the operations applied for them. It counts the operations that no
// message named, and returns the messages that name another operation than the one of their
// sequence: a sign that the database was restored and gave the sequence once more.
func compare(messages []received, applied []operation) (unnamed int, forked []received) {
	first := make(map[uuid.UUID]int) // where a wallet's operations, which are contiguous, begin
	for i, op := range applied {
		if i == 0 || applied[i-1].WalletID != op.WalletID {
			first[op.WalletID] = i
		}
	}
	named := make([]bool, len(applied))
	for _, m := range messages {
		i, ok := first[m.WalletID]
		if !ok {
			continue
		}
		distance := m.Sequence - applied[i].Seq
		if distance < 0 || distance >= int64(len(applied)-i) || applied[i+int(distance)].WalletID != m.WalletID {
			continue
		}
		i += int(distance)
		named[i] = true
		if applied[i].ID != m.OperationID {
			forked = append(forked, m)
		}
	}
	for _, ok := range named {
		if !ok {
			unnamed++
		}
	}
	return unnamed, forked
}
