// Package walletid makes the ids of wallets, and tells by an id which cell its wallet is in: so a proxy can
// send a request there without asking anybody.
//
// Cell 0 makes what was made before there were cells: a UUIDv7, or a UUIDv5 of an idempotency key. Any other
// cell makes UUIDv8 (RFC 9562, section 5.8):
//
//	48 bits  milliseconds since 1970, or the key's hash
//	 4 bits  the version, 8
//	12 bits  the cell
//	 2 bits  the variant
//	62 bits  random, or the key's hash
//
// Version 8 alone says a cell. In other versions these 12 bits are anything: google/uuid fills those of a UUIDv7
// with a part of the time.
package walletid

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/google/uuid"
)

const (
	// MaxCell is the last cell there can be.
	MaxCell = 1<<12 - 1

	// Buckets is how many buckets idempotency keys fall into. It never changes.
	Buckets = 1 << 12
)

// version is that of the ids of all cells but 0.
const version = 8

// keyNamespace is where ids are made from idempotency keys. It never changes: a retry would create a second wallet.
var keyNamespace = uuid.MustParse("5f6c4e0b-2f39-4d5c-9e64-3a4b6d0f7c11")

// New is the id of a new wallet in a cell. Ids of other cells than 0 are in order by the millisecond only.
func New(cell int) (uuid.UUID, error) {
	if cell == 0 {
		return uuid.NewV7()
	}
	return newAt(cell, time.Now())
}

func newAt(cell int, now time.Time) (uuid.UUID, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return uuid.Nil, err
	}
	var milliseconds [8]byte
	binary.BigEndian.PutUint64(milliseconds[:], uint64(now.UnixMilli()))
	copy(id[:6], milliseconds[2:])
	return inCell(id, cell), nil
}

// Keyed is the id of the wallet in a cell that a key makes, the same each time. The name says whose key it is.
func Keyed(cell int, name string) uuid.UUID {
	if cell == 0 {
		return uuid.NewSHA1(keyNamespace, []byte(name))
	}
	return inCell(uuid.NewHash(sha256.New(), keyNamespace, []byte(name), version), cell)
}

// inCell writes the cell and its version into an id.
func inCell(id uuid.UUID, cell int) uuid.UUID {
	binary.BigEndian.PutUint16(id[6:8], version<<12|uint16(cell)&MaxCell)
	return id
}

// Cell is the cell that a wallet's id names, 0 for every id that names none.
func Cell(id uuid.UUID) int {
	if id.Version() != version {
		return 0
	}
	return int(binary.BigEndian.Uint16(id[6:8]) & MaxCell)
}

// Bucket is the bucket that an idempotency key falls into, which proxies assign to a cell: the last 12 bits of its
// CRC-32 (that of zip and Ethernet). The key is without the quotes and escapes that it may have in a header.
func Bucket(key string) int { return int(crc32.ChecksumIEEE([]byte(key)) % Buckets) }
