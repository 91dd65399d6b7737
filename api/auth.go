package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/singleflight"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db/apikey"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// keyLifetime is how long a key that was found in Postgres counts without another look: so long a revoked
// key still works, and one of a tenant that was disabled. A new key works at once, because the absence of
// a key is not remembered.
const keyLifetime = 30 * time.Second

// findTimeout bounds one look for a key.
const findTimeout = 5 * time.Second

// keys authenticates requests by their API key. While Postgres is unreachable, known keys count until
// their lifetime is over; then the answer is 503.
type keys struct {
	db       walletdb.DBTX
	off      bool // every request may do everything
	cell     int
	perSec   int // requests of one key a second, in this process; 0: any number
	lifetime time.Duration

	asking singleflight.Group // one look at Postgres for all requests of a key that come meanwhile

	mu    sync.Mutex
	known map[[sha256.Size]byte]*key
}

// key is an API key that Postgres knows, and what is left of its rate.
type key struct {
	caller
	scopes  []string
	checked time.Time

	tokens   float64
	refilled time.Time
}

// credentials are what a stream has its key looked up by again, and counted.
type credentials struct {
	oas.BearerAuth
	hash [sha256.Size]byte
}

type credentialsKey struct{}

// scopesKey is what the context of a request for its own key has the key's scopes under.
type scopesKey struct{}

// HandleBearerAuth lets a request in that this cell is to answer.
func (k *keys) HandleBearerAuth(ctx context.Context, operation oas.OperationName, bearer oas.BearerAuth) (context.Context, error) {
	ctx, err := k.authenticate(ctx, operation, bearer)
	if err == nil {
		err = mustAnswer(ctx, k.cell)
	}
	return ctx, err
}

// authenticate answers 401, 403 or 429, or lets the request in. The scopes that it needs are
// openapi.yaml's.
func (k *keys) authenticate(ctx context.Context, operation oas.OperationName, bearer oas.BearerAuth) (context.Context, error) {
	if k.off {
		if operation == oas.GetKeyOperation {
			ctx = context.WithValue(ctx, scopesKey{}, apikey.Scopes)
		}
		return context.WithValue(ctx, callerKey{}, caller{tenant: allTenants}), nil
	}
	found, hash, err := k.admit(ctx, bearer)
	if err != nil {
		return nil, err
	}
	if wait := k.take(hash, time.Now()); wait > 0 {
		return nil, problem{code: rateLimited, retryAfter: wait}
	}
	switch operation {
	case oas.FollowWalletOperation:
		ctx = context.WithValue(ctx, credentialsKey{}, credentials{bearer, hash})
	case oas.GetKeyOperation:
		ctx = context.WithValue(ctx, scopesKey{}, found.scopes)
	}
	return context.WithValue(ctx, callerKey{}, found.caller), nil
}

// admit returns the key that a request has, if it is valid and has the scopes that the request needs.
func (k *keys) admit(ctx context.Context, bearer oas.BearerAuth) (found key, hash [sha256.Size]byte, err error) {
	hash, plausible := apikey.Hash(bearer.Token)
	if !plausible {
		return found, hash, problem{code: unauthorized, challenge: `Bearer error="invalid_token"`}
	}
	if found, err = k.find(ctx, hash, bearer.Token); err != nil {
		return found, hash, err
	}
	for _, scope := range bearer.Roles {
		if !slices.Contains(found.scopes, scope) {
			return found, hash, problem{code: forbidden, challenge: `Bearer error="insufficient_scope", scope="` + strings.Join(bearer.Roles, " ") + `"`}
		}
	}
	return found, hash, nil
}

// stillAdmits returns an error if a request that was let in would not be any more, whatever its key's rate.
func (k *keys) stillAdmits(ctx context.Context) error {
	c, with := ctx.Value(credentialsKey{}).(credentials)
	if !with {
		return nil
	}
	_, _, err := k.admit(ctx, c.BearerAuth)
	return err
}

// find returns the key as Postgres has it, or had it within the lifetime.
func (k *keys) find(ctx context.Context, hash [sha256.Size]byte, token string) (key, error) {
	k.mu.Lock()
	if known := k.known[hash]; known != nil && time.Since(known.checked) < k.lifetime {
		defer k.mu.Unlock()
		return *known, nil
	}
	k.mu.Unlock()

	found, err, _ := k.asking.Do(string(hash[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), findTimeout) // the others wait for it too
		defer cancel()
		return k.ask(ctx, hash, token)
	})
	if err != nil {
		return key{}, err
	}
	return found.(key), nil
}

// ask looks the key up in Postgres.
func (k *keys) ask(ctx context.Context, hash [sha256.Size]byte, token string) (key, error) {
	tenantHash := apikey.TenantHash(token)
	row, err := walletdb.New(k.db).FindKey(ctx, walletdb.FindKeyParams{Hash: hash[:], TenantHash: tenantHash[:]})
	k.mu.Lock()
	defer k.mu.Unlock()
	if errors.Is(err, pgx.ErrNoRows) {
		delete(k.known, hash)
		return key{}, problem{code: unauthorized, challenge: `Bearer error="invalid_token"`}
	}
	if err != nil {
		return key{}, readError(err)
	}
	known := k.known[hash]
	if known == nil {
		known = &key{tokens: float64(k.perSec), refilled: time.Now()}
		k.known[hash] = known
	}
	known.caller, known.scopes, known.checked = caller{client: row.Client, tenant: tenant(value(row.Tenant))}, row.Scopes, time.Now()
	if row.AllTenants {
		known.tenant = allTenants
	}
	return *known, nil
}

// GetKey says what the request's key may do.
func (ws *wallets) GetKey(ctx context.Context) (*oas.KeyReadHeaders, error) {
	by := callerOf(ctx)
	scopes, _ := ctx.Value(scopesKey{}).([]string)
	key := oas.Key{Client: by.client, AllTenants: by.tenant == allTenants, Scopes: append([]string{}, scopes...)}
	if !key.AllTenants {
		key.Tenant.SetTo(string(by.tenant))
	}
	return &oas.KeyReadHeaders{CacheControl: cacheControl, Response: key}, nil
}

// take takes one request from the key's rate. If there is none it returns after how long to ask again.
// A key that was idle may send a second's worth at once.
func (k *keys) take(hash [sha256.Size]byte, now time.Time) (wait time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known := k.known[hash]
	if k.perSec == 0 || known == nil {
		return 0
	}
	rate := float64(k.perSec)
	known.tokens = min(rate, known.tokens+rate*now.Sub(known.refilled).Seconds())
	known.refilled = now
	if known.tokens < 1 {
		return time.Duration(math.Ceil((1 - known.tokens) / rate * float64(time.Second)))
	}
	known.tokens--
	return 0
}

// withoutKeys gives requests what ogen asks for, when keys are off.
func withoutKeys(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", "Bearer none")
		next.ServeHTTP(w, r)
	})
}
