package main

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	// timeFormat is how times are written: RFC 3339, UTC, six decimals, which is all that Postgres stores.
	timeFormat = "2006-01-02T15:04:05.000000Z07:00"

	// cacheControl: an answer is one client's, and is asked for again each time.
	cacheControl = "private, no-cache"

	// defaultWait is how long minSequence waits unless the client says otherwise.
	defaultWait = 5 * time.Second
)

var errNotYetApplied = errors.New("wallet is not applied that far")

// wallets answers the requests of openapi.yaml.
type wallets struct {
	pool     *pgxpool.Pool
	cache    *cache
	hooks    webhooks
	queue    *queue
	commits  *db.Commits
	waits    *waits
	streams  *streams
	keys     *keys
	metrics  *metrics
	tracer   *tracer
	status   lastStatus
	topic    string        // of operations
	currency string        // of wallets whose request names none
	cell     int           // whose wallets these are
	full     bool          // no new wallets
	timeout  time.Duration // of a request
}

var (
	_ oas.Handler    = (*wallets)(nil)
	_ oas.RawHandler = (*wallets)(nil)
)

// NewError translates the errors of all handlers.
func (ws *wallets) NewError(ctx context.Context, err error) *oas.ProblemStatusCodeWithHeaders {
	return problemOf(ctx, err)
}

// CreateWallet inserts the wallet and its row of sequences. The wallet's id follows from the
// idempotency key, so the insert may be repeated, by the client or here after a lost answer.
func (ws *wallets) CreateWallet(ctx context.Context, body *oas.WalletRequest, params oas.CreateWalletParams) (oas.CreateWalletRes, error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	id, err := newWalletID(ws.cell, callerOf(ctx), plainKey(params.IdempotencyKey))
	if err != nil {
		return nil, err
	}
	metadata, err := metadataJSON(body.Metadata)
	if err != nil {
		return nil, err
	}
	wanted := walletdb.CreateWalletParams{ID: id, Currency: string(body.Currency.Or(oas.Currency(ws.currency))), Metadata: metadata, Tenant: string(tenantOf(ctx).owner())}
	if body.Reference.Set {
		reference := string(body.Reference.Value)
		wanted.Reference = &reference
	}
	stored, created, err := ws.insertWallet(ctx, wanted)
	if err != nil {
		return nil, err
	}
	if stored.Currency != wanted.Currency || value(stored.Reference) != value(wanted.Reference) || !sameMetadata(stored.Metadata, wanted.Metadata) {
		return nil, errKeyReused
	}
	location := walletPath(id)
	if !created {
		return &oas.WalletReplayedHeaders{Location: location, IdempotencyReplayed: oas.NewOptBool(true), Response: walletBody(stored)}, nil
	}
	return &oas.WalletCreatedHeaders{Location: location, Response: walletBody(stored)}, nil
}

// creation is a wallet that was created, unless there was one with its id.
type creation struct {
	inserted int64 // wallets: 0 or 1
	refused  bool  // the cell is full, and has no wallet with this id
	stored   walletdb.ReadWalletRow
}

// insertWallet returns the wallet as it is stored, and whether this call has created it.
func (ws *wallets) insertWallet(ctx context.Context, wanted walletdb.CreateWalletParams) (_ walletcache.Entry, created bool, err error) {
	reader := tenantOf(ctx)
	made, again, err := commitUntilKnown(ctx, ws, problem{code: outcomeUnknown, walletID: oas.NewOptUUID(wanted.ID)}, func(q *walletdb.Queries, made *creation) (err error) {
		if !ws.full {
			if made.inserted, err = q.CreateWallet(ctx, wanted); err != nil {
				return err
			}
			if err := q.CreateSequence(ctx, walletdb.CreateSequenceParams{WalletID: wanted.ID, Tenant: wanted.Tenant}); err != nil {
				return err
			}
		}
		made.stored, err = q.ReadWallet(ctx, walletdb.ReadWalletParams{ID: wanted.ID, Tenant: string(reader)})
		if made.refused = ws.full && errors.Is(err, pgx.ErrNoRows); made.refused {
			return nil
		}
		return err
	})
	if err == nil && made.refused {
		err = errCellFull
	}
	return walletcache.Entry{Wallet: made.stored.Wallet, Metadata: made.stored.Metadata}, made.inserted == 1 || again && !ws.full, err
}

// GetWallet reads the cache, else Postgres.
func (ws *wallets) GetWallet(ctx context.Context, params oas.GetWalletParams) (oas.GetWalletRes, error) {
	if params.At.Set {
		return ws.getWalletAt(ctx, params)
	}
	applied, limit := oas.OptString{}, defaultWait
	if wait, asked := preferredWait(params.Prefer.Value); asked && params.MinSequence.Set {
		applied, limit = appliedWait(wait), wait
	}
	wallet, err := ws.readWallet(ctx, params.WalletID)
	if least := params.MinSequence.Value; err == nil && wallet.AppliedSeq < least {
		wallet, err = ws.awaitWallet(ctx, params.WalletID, least, limit)
	}
	if err != nil {
		return nil, err
	}
	etag := etagOf(wallet.AppliedSeq)
	if hasETag(params.IfNoneMatch.Value, etag) {
		return &oas.WalletUnchanged{ETag: etag, CacheControl: cacheControl}, nil
	}
	return &oas.WalletReadHeaders{ETag: etag, CacheControl: cacheControl, PreferenceApplied: applied, Response: walletBody(wallet)}, nil
}

// readWallet reads the cache, else Postgres, which alone says that there is no wallet: it is asked about a
// cached one of another tenant too, or that would be refused faster than one that does not exist.
func (ws *wallets) readWallet(ctx context.Context, id uuid.UUID) (walletcache.Entry, error) {
	wallet, ticket, found := ws.cache.get(id)
	if found && tenantOf(ctx).sees(wallet.Tenant) {
		return wallet, nil
	}
	return ws.loadWallet(ctx, id, ticket)
}

// loadWallet reads Postgres and fills the cache; without a ticket it only raises what is there.
func (ws *wallets) loadWallet(ctx context.Context, id uuid.UUID, ticket walletcache.Ticket) (wallet walletcache.Entry, err error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	stored, err := walletdb.New(ws.pool).ReadWallet(ctx, walletdb.ReadWalletParams{ID: id, Tenant: string(tenantOf(ctx))})
	if errors.Is(err, pgx.ErrNoRows) {
		return wallet, ws.noWallet(id)
	}
	if err != nil {
		return wallet, readError(err)
	}
	wallet = walletcache.Entry{Wallet: stored.Wallet, Metadata: stored.Metadata}
	ws.cache.fill(ctx, ticket, wallet)
	return wallet, nil
}

// awaitWallet waits until the wallet has been applied up to a sequence. It does not wait for a
// sequence that was not given yet.
func (ws *wallets) awaitWallet(ctx context.Context, id uuid.UUID, least int64, limit time.Duration) (walletcache.Entry, error) {
	wallet, err := ws.loadWallet(ctx, id, "") // the cache may be behind
	if err != nil || wallet.AppliedSeq >= least {
		return wallet, err
	}
	lastSeq, err := walletdb.New(ws.pool).LastSequence(ctx, walletdb.LastSequenceParams{WalletID: id, Tenant: string(tenantOf(ctx))})
	if err != nil {
		return wallet, readError(err)
	}
	if least > lastSeq {
		return wallet, errNotYetApplied
	}
	if end, _ := ws.waits.wait(ctx, limit, &waiter{walletID: id, seq: least}); end != applied {
		return wallet, errNotYetApplied
	}
	wallet, err = ws.loadWallet(ctx, id, "")
	if err == nil && wallet.AppliedSeq < least {
		err = errNotYetApplied
	}
	return wallet, err
}

// etagOf says by its first number which fields a body has: one that lacks held was tagged "N" alone.
func etagOf(version int64) string { return `"2-` + strconv.FormatInt(version, 10) + `"` }

// hasETag reports whether an If-None-Match (RFC 9110) names the etag; weak or strong is the same here.
func hasETag(ifNoneMatch, etag string) bool {
	for candidate := range strings.SplitSeq(ifNoneMatch, ",") {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" || strings.TrimPrefix(candidate, "W/") == etag {
			return true
		}
	}
	return false
}

// ListWallets reads one wallet more than the page, to know whether there is a next one.
func (ws *wallets) ListWallets(ctx context.Context, params oas.ListWalletsParams) (*oas.WalletListHeaders, error) {
	ctx, cancel := context.WithTimeout(ctx, ws.timeout)
	defer cancel()
	limit := int(params.Limit.Value)
	found, err := ws.findWallets(ctx, params, int32(limit+1))
	if err != nil {
		return nil, readError(err)
	}
	page := oas.WalletPage{Items: []oas.Wallet{}, Next: oas.NilUUID{Null: true}}
	if len(found) > limit {
		found = found[:limit]
		page.Next = oas.NilUUID{Value: found[limit-1].ID}
	}
	states := make([]walletdb.Wallet, len(found))
	for i, wallet := range found {
		states[i] = wallet.Wallet
		page.Items = append(page.Items, walletBody(wallet))
	}
	ws.cache.raiseWallets(ctx, states...)
	return &oas.WalletListHeaders{CacheControl: cacheControl, Response: page}, nil
}

// findWallets reads a page of the tenant's wallets, each kind of page by an index of its own.
func (ws *wallets) findWallets(ctx context.Context, params oas.ListWalletsParams, most int32) ([]walletcache.Entry, error) {
	q, of := walletdb.New(ws.pool), tenantOf(ctx)
	reference, after := string(params.Reference.Value), params.After.Value
	switch {
	case of == allTenants && params.Reference.Set:
		return entries(q.ListWalletsByReference(ctx, walletdb.ListWalletsByReferenceParams{Reference: reference, After: after, MaxRows: most}))
	case of == allTenants:
		return entries(q.ListWallets(ctx, walletdb.ListWalletsParams{After: after, MaxRows: most}))
	case params.Reference.Set:
		return entries(q.ListTenantWalletsByReference(ctx, walletdb.ListTenantWalletsByReferenceParams{Tenant: string(of), Reference: reference, After: after, MaxRows: most}))
	default:
		return entries(q.ListTenantWallets(ctx, walletdb.ListTenantWalletsParams{Tenant: string(of), After: after, MaxRows: most}))
	}
}

// entries are rows of any of these queries.
func entries[R walletdb.ListWalletsRow | walletdb.ListWalletsByReferenceRow | walletdb.ListTenantWalletsRow | walletdb.ListTenantWalletsByReferenceRow](rows []R, err error) ([]walletcache.Entry, error) {
	found := make([]walletcache.Entry, len(rows))
	for i := range rows {
		row := walletdb.ListWalletsRow(rows[i])
		found[i] = walletcache.Entry{Wallet: row.Wallet, Metadata: row.Metadata}
	}
	return found, err
}

// readError marks errors that will pass, after which the client may simply try again. All others are ours.
func readError(err error) error {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.SeverityUnlocalized != "ERROR" || refused.Code == "57014" || refused.Code == "55P03" {
		return errors.Join(errOverloaded, err)
	}
	return err
}

func walletBody(w walletcache.Entry) oas.Wallet {
	return oas.Wallet{
		WalletID: w.ID, Currency: oas.Currency(w.Currency), Balance: oas.Balance(w.Balance),
		Held: w.Held, Available: w.Balance - w.Held, State: string(w.State), Tenant: w.Tenant, Version: w.AppliedSeq,
		Reference: optReference(w.Reference), Metadata: optMetadata(w.Metadata), CreatedAt: oas.Time(w.CreatedAt.UTC()),
	}
}

func optReference(reference *string) (opt oas.OptReference) {
	if reference != nil {
		opt.SetTo(oas.Reference(*reference))
	}
	return opt
}

func walletPath(id uuid.UUID) string { return "/api/v1/wallets/" + id.String() }
