// Hooks delivers what happened to wallets, as the topic of events says it, to the endpoints that clients
// registered.
package main

import (
	"context"
	"log/slog"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/service"
	"github.com/legendary-wallet/legendary-wallet/service/tracing"
)

var program = service.Program[config]{
	Name:   "hooks",
	About:  "Hooks sends what happened to wallets to the endpoints that clients registered, signed, each wallet's in order.",
	Config: parseConfig,
	Run:    run,
}

func main() { program.Main() }

// run works until ctx ends.
func run(ctx context.Context, c config, log *slog.Logger) error {
	registry := service.NewRegistry()
	health := service.NewHealth(log, registry, "postgres", "kafka")
	context.AfterFunc(ctx, health.Drain)
	admin, err := service.ListenAdmin(c.adminAddr, health, registry, log)
	if err != nil {
		return err
	}
	defer admin.Close()
	pool, err := db.Open(ctx, c.database)
	if err != nil {
		return err
	}
	defer db.Close(pool)
	spans, err := tracing.New(ctx, "wallet-hooks", c.tracing, log)
	if err != nil {
		return err
	}
	defer spans.End()
	if err := service.AwaitMigrations(ctx, pool, health); err != nil {
		return err
	}
	health.Started()
	log.Info("hooks started", "admin", admin.Addr)
	<-ctx.Done()
	return nil
}
