package main

import (
	"context"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db"
)

// tenant is whose wallets a request sees and moves: those of the tenant with this name, or, with
// allTenants, everybody's. Another tenant's wallet does not exist for it. The zero value is nobody: a
// request that has lost its tenant sees nothing.
type tenant string

const (
	allTenants    tenant = db.AllTenants
	defaultTenant tenant = db.DefaultTenant
)

// sees reports whether a wallet exists for the tenant; owner is whose it is.
func (t tenant) sees(owner string) bool { return t == allTenants || string(t) == owner && owner != "" }

// owner is the tenant of the wallets that it opens.
func (t tenant) owner() tenant {
	if t == allTenants {
		return defaultTenant
	}
	return t
}

// walletRef is a wallet as a request names it. Whether there is one, and whether the tenant has it, is not
// known before Postgres says so: so requests that name another tenant's wallet share nothing with its own.
type walletRef struct {
	tenant   tenant
	walletID uuid.UUID
}

// caller is who sent a request.
type caller struct {
	client string // that the key belongs to; empty without keys
	tenant tenant
}

type callerKey struct{}

// callerOf is who sent the request.
func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

func tenantOf(ctx context.Context) tenant { return callerOf(ctx).tenant }
