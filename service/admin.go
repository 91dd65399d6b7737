package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/legendary-wallet/legendary-wallet/db"
)

const (
	// adminTimeout bounds an answer of the admin port.
	adminTimeout = 2 * time.Second

	// migrationsInterval is how often a process that waits for migrations asks for them, and
	// migrationsTimeout how long Postgres may take to answer.
	migrationsInterval = 250 * time.Millisecond
	migrationsTimeout  = 2 * time.Second
)

// NewRegistry has the metrics of Go and of the process.
func NewRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// Admin is the admin port: /livez, /readyz and /metrics.
type Admin struct {
	Addr string // where it listens
	http.Server
}

// ListenAdmin serves until Close. It says whether the process is alive from here on.
func ListenAdmin(addr string, health *Health, metrics prometheus.Gatherer, log *slog.Logger) (*Admin, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("ADMIN_ADDR: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		state := health.State()
		w.Header().Set("Content-Type", "application/json")
		if !state.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(state)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	admin := &Admin{
		Addr:   listener.Addr().String(),
		Server: http.Server{Handler: http.TimeoutHandler(mux, adminTimeout, ""), ReadTimeout: 5 * time.Second, IdleTimeout: time.Minute},
	}
	go func() {
		if err := admin.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the admin port is closed", "error", err)
		}
	}()
	return admin, nil
}

// AwaitMigrations returns when the database has all migrations that this program knows, or ctx ends. Its
// error is one that waiting does not heal.
func AwaitMigrations(ctx context.Context, pool *pgxpool.Pool, health *Health) error {
	for checked := false; ; Sleep(ctx, migrationsInterval) {
		pending, err := pendingMigrations(ctx, pool, &checked)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, db.ErrTransactionPooling) {
			return err
		}
		health.Set(Postgres, err)
		if err == nil {
			health.setPending(pending)
			if len(pending) == 0 {
				return nil
			}
		}
	}
}

// pendingMigrations looks at the sessions first, until they have been seen once.
func pendingMigrations(ctx context.Context, pool *pgxpool.Pool, checked *bool) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, migrationsTimeout)
	defer cancel()
	if !*checked {
		if err := db.CheckSessions(ctx, pool.Config().ConnConfig); err != nil {
			return nil, err
		}
		*checked = true
	}
	return db.PendingMigrations(ctx, pool)
}

// WatchCommits returns the process' commits, and says of them, until ctx ends, whether they wait for standbys.
func WatchCommits(ctx context.Context, config *pgx.ConnConfig, health *Health, registry prometheus.Registerer) *db.Commits {
	commits := db.NewCommits(config, func(missing string) {
		if missing == "" {
			health.Set(standby, nil)
			return
		}
		health.Set(standby, fmt.Errorf("commits wait for %s (synchronous_standby_names)", missing))
	})
	registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "wallet_standby_missing", Help: "1 while commits wait for standbys of synchronous_standby_names.",
		}, func() float64 { return number(commits.Missing() != "") }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "wallet_commits_abandoned",
			Help: "Commits that Postgres has not answered and nobody waits for; with 2 of them the process writes nothing.",
		}, func() float64 { return float64(commits.Abandoned()) }))
	go commits.Watch(ctx)
	return commits
}
