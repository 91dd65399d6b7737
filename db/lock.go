package db

import (
	"context"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// Lock is what one session at a time may do. Its number and the hash of a name are classid and objid of
// pg_locks.
type Lock int32

const (
	RelayLock   Lock = 7304518 // publish, as the relay of a name
	MigrateLock Lock = 7304519 // run migrations
	SweepLock   Lock = 7304520 // sweep
	HookLock    Lock = 7304521 // deliver to an endpoint
	HooksLock   Lock = 7304522 // be one of the processes that share the endpoints; not exclusive
)

// EventsPosition names the second position of a relay, that of all topics but the operations'.
func EventsPosition(relay string) string { return relay + "/events" }

// HoldLock takes the lock for as long as the session lives, or reports false. It never waits in the database:
// a statement that waits has a snapshot, which CREATE INDEX CONCURRENTLY waits for in turn.
func HoldLock(ctx context.Context, conn walletdb.DBTX, lock Lock, name string) (bool, error) {
	return walletdb.New(conn).TryLock(ctx, walletdb.TryLockParams{Lock: int32(lock), Name: name})
}
