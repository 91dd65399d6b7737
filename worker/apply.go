package main

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// target asks for a wallet's operations up to a sequence.
type target struct {
	walletID uuid.UUID
	upTo     int64
	accepted bool // upTo is known to be accepted, so that an operation that is missing is damage
}

// ledger is where wallets and operations are: Postgres, or a simulation of it.
type ledger interface {
	// transaction applies what the targets ask for, maxOperations at most. messages are those that the targets
	// come from: it needs them for nothing but the traces that they name. After an error it may
	// have happened or not; doing it again is always right.
	transaction(ctx context.Context, targets []target, messages []received) (plan, error)
	// lastSequences returns the last accepted sequence of each wallet that exists.
	lastSequences(ctx context.Context, wallets []uuid.UUID) (map[uuid.UUID]int64, error)
	// lockedWallets returns those of the wallets that somebody else has locked. It waits for none of them.
	lockedWallets(ctx context.Context, wallets []uuid.UUID) ([]uuid.UUID, error)
}

// applier applies targets through the ledger, for the partitions and for the sweeps.
type applier struct {
	ledger    ledger
	committed func(ctx context.Context, done plan, messages []received) // after every transaction
	halted    *halted
}

// apply runs transactions until every target is met or its wallet is found damaged. messages are
// those that the targets come from, if any.
func (a *applier) apply(ctx context.Context, targets []target, messages []received) error {
	for len(targets) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		done, err := a.ledger.transaction(ctx, targets, messages)
		if err != nil {
			return err
		}
		a.committed(ctx, done, messages)
		met, damaged, left := judge(targets, done)
		a.halted.remove(met)
		a.halted.add(damaged)
		if targets = left; len(targets) == 0 || done.full {
			continue
		}
		// Rare: a sequence that the database has not accepted (it was restored to an earlier time),
		// or operations that are missing.
		last, err := a.ledger.lastSequences(ctx, walletIDs(targets))
		if err != nil {
			return err
		}
		targets = owed(targets, done.wallets, last)
	}
	return nil
}

// judge says which wallets have reached their target after a transaction, which cannot because of damage,
// and which targets are left.
func judge(targets []target, done plan) (met []uuid.UUID, damaged []damage, left []target) {
	applied := appliedSequences(done.wallets)
	for _, t := range targets {
		i := slices.IndexFunc(done.damaged, func(d damage) bool { return d.walletID == t.walletID })
		switch {
		case applied[t.walletID] >= t.upTo:
			met = append(met, t.walletID)
		case i >= 0:
			damaged = append(damaged, done.damaged[i])
		case t.accepted && !done.full:
			damaged = append(damaged, damage{walletID: t.walletID, what: missing})
		default:
			left = append(left, t)
		}
	}
	return met, damaged, left
}

// applyEach applies all targets at once, or, if that fails for another reason than the connection, each on its own.
// It tells failed of those that fail then, and goes on without them.
func (a *applier) applyEach(ctx context.Context, targets []target, messages []received, failed func(t target, err error)) error {
	err := a.apply(ctx, targets, messages)
	if err == nil || causeOf(err) == connection {
		return err
	}
	for _, t := range targets {
		if err := a.apply(ctx, []target{t}, messages); err != nil {
			if causeOf(err) == connection {
				return err
			}
			failed(t, err)
		}
	}
	return nil
}

// owed returns the targets that are not met although they, or a part of them, have been accepted.
func owed(targets []target, wallets []walletdb.Wallet, last map[uuid.UUID]int64) []target {
	applied := appliedSequences(wallets)
	var left []target
	for _, t := range targets {
		if upTo := min(t.upTo, last[t.walletID]); applied[t.walletID] < upTo {
			left = append(left, target{t.walletID, upTo, true})
		}
	}
	return left
}

func appliedSequences(wallets []walletdb.Wallet) map[uuid.UUID]int64 {
	applied := make(map[uuid.UUID]int64, len(wallets))
	for _, w := range wallets {
		applied[w.ID] = w.AppliedSeq
	}
	return applied
}

func walletIDs(targets []target) []uuid.UUID {
	ids := make([]uuid.UUID, len(targets))
	for i, t := range targets {
		ids[i] = t.walletID
	}
	return ids
}

// cause is what kind of thing went wrong with the database.
type cause string

const (
	connection cause = "connection" // the server is unreachable, or cannot work at all now: wait for it
	conflict   cause = "conflict"   // with another transaction: try again
	unknown    cause = "unknown"    // needs a person
)

var (
	// errUnexpected marks what this program read but does not understand.
	errUnexpected = errors.New("unexpected")
	// errLocked is why a wallet that somebody else has locked is not applied.
	errLocked = errors.New("another transaction has locked it")
)

func causeOf(err error) cause {
	var connect *pgconn.ConnectError
	var server *pgconn.PgError
	var scan pgx.ScanArgError
	switch {
	case errors.As(err, &connect):
		return connection
	case errors.Is(err, errUnexpected), errors.As(err, &scan):
		return unknown
	case errors.Is(err, errLocked):
		return conflict
	case !errors.As(err, &server):
		return connection // also a COMMIT without an answer, or whose wait for a standby was cut short
	}
	switch server.Code {
	case "40001", "40P01", "55P03", "57014": // serialization, deadlock, lock not available, statement timeout
		return conflict
	case "25006": // read-only: the primary has become a standby
		return connection
	}
	switch server.Code[:2] {
	case "08", "53", "57", "58": // connection, resources (the disk is full), shutdown, system
		return connection
	}
	return unknown
}

// lockTimedOut reports whether a statement has waited for a lock as long as it may.
func lockTimedOut(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && server.Code == "55P03"
}
