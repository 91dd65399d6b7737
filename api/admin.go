package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// health is what /readyz tells. A lost dependency does not make the process unready: all replicas
// would leave at once. It is named as degraded, and the process recovers by itself.
type health struct {
	pool  *pgxpool.Pool
	cache *cache
	queue *queue

	commits *db.Commits

	started      atomic.Bool
	draining     atomic.Bool
	postgresLost atomic.Bool
	pending      atomic.Pointer[[]string] // migrations
}

func (h *health) reasons() []string {
	reasons := []string{}
	if !h.started.Load() {
		reasons = append(reasons, "starting")
	}
	if pending := h.migrationsPending(); len(pending) > 0 {
		reasons = append(reasons, "migrations are pending: "+strings.Join(pending, " "))
	}
	if h.draining.Load() {
		reasons = append(reasons, "draining")
	}
	return reasons
}

func (h *health) migrationsPending() []string {
	if pending := h.pending.Load(); pending != nil {
		return *pending
	}
	return nil
}

func (h *health) degraded() []string {
	degraded := []string{}
	missing := h.commits.Missing()
	if h.postgresLost.Load() && missing == "" {
		degraded = append(degraded, "postgres")
	}
	if missing != "" {
		degraded = append(degraded, "standby: commits wait for "+missing+" (synchronous_standby_names)")
	}
	if err := h.cache.guard.Err(); h.cache.guard.Refused() {
		degraded = append(degraded, "redis refuses: "+err.Error())
	} else if err != nil {
		degraded = append(degraded, "redis")
	}
	if h.queue.depth() >= h.queue.limits.operations*9/10 {
		degraded = append(degraded, "queue")
	}
	return degraded
}

// waitForDatabase returns when Postgres answers and has all migrations, or nil is too late.
func (h *health) waitForDatabase(ctx context.Context) error {
	said := ""
	for {
		waiting := h.missing(ctx)
		if waiting == "" {
			return nil
		}
		if waiting != said {
			said = waiting
			slog.Warn("waiting for postgres", "reason", waiting)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// missing says what keeps the api from starting.
func (h *health) missing(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	pending, err := db.PendingMigrations(ctx, h.pool)
	h.postgresLost.Store(err != nil)
	h.pending.Store(&pending)
	switch {
	case err != nil:
		return err.Error()
	case len(pending) > 0:
		return "migrations are pending: " + strings.Join(pending, " ")
	default:
		return ""
	}
}

// watchPostgres says once when Postgres is lost, and once when it is back.
func (h *health) watchPostgres(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		pingCtx, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := h.canAccept(pingCtx)
		cancel()
		if lost := err != nil; ctx.Err() == nil && lost != h.postgresLost.Swap(lost) {
			if lost {
				slog.Error("postgres is lost", "error", err)
			} else {
				slog.Info("postgres is back")
			}
		}
	}
}

// sayMissing says once that commits wait for standbys, and once that they do no longer.
func sayMissing(missing string) {
	if missing != "" {
		slog.Error("commits wait for a standby that is missing, nothing is accepted", "synchronous_standby_names", missing)
	} else {
		slog.Info("commits no longer wait for a standby")
	}
}

// canAccept returns why Postgres commits nothing. A standby, or a server that somebody has set to be
// read-only, still answers on the connections that are open.
func (h *health) canAccept(ctx context.Context) error {
	writes, err := walletdb.New(h.pool).TakesWrites(ctx)
	if err == nil && !writes {
		err = errors.New("it is read-only: a standby, or default_transaction_read_only")
	}
	return err
}

// sayGoodbye tells clients that keep their connection, while the process drains, to open another one:
// the answer is the last on this one, and no request can meet its end.
func (h *health) sayGoodbye(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

func newAdminHandler(h *health, m *metrics) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		reasons := h.reasons()
		w.Header().Set("Content-Type", "application/json")
		if len(reasons) > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"ready": len(reasons) == 0, "reasons": reasons, "degraded": h.degraded()})
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	return mux
}
