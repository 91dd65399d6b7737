// Package apikey makes API keys and recognises them. A key is 256 random bits with a prefix, by which
// scanners for leaked secrets find it, and a checksum, so that garbage is refused without a look at
// the database. The database holds only a hash of the key.
package apikey

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"strings"
)

const (
	prefix     = "lw_"
	secretSize = 32
)

// Scopes are what a key may be allowed to do.
var Scopes = append(UsualScopes[:len(UsualScopes):len(UsualScopes)], "wallets:control", "hooks:write", StatusScope)

// StatusScope lets a key read how the whole system is. It counts with a key of all tenants only.
const StatusScope = "status:read"

// UsualScopes are those of a key for which nobody has asked for others.
var UsualScopes = []string{"wallets:read", "wallets:write", "operations:write"}

// New returns a key, which is to be shown once, and its hash, which is to be stored if the key has all
// tenants.
func New() (key string, hash []byte) {
	secret := make([]byte, secretSize, secretSize+crc32.Size)
	_, _ = rand.Read(secret) // it never fails
	key = prefix + hex.EncodeToString(binary.BigEndian.AppendUint32(secret, crc32.ChecksumIEEE(secret)))
	sum := sha256.Sum256([]byte(key))
	return key, sum[:]
}

// Hash returns the hash of a key, or false for what cannot be one.
func Hash(key string) (hash [sha256.Size]byte, ok bool) {
	text, found := strings.CutPrefix(key, prefix)
	bytes, err := hex.DecodeString(text)
	if !found || err != nil || len(bytes) != secretSize+crc32.Size || strings.ToLower(text) != text {
		return hash, false
	}
	if crc32.ChecksumIEEE(bytes[:secretSize]) != binary.BigEndian.Uint32(bytes[secretSize:]) {
		return hash, false
	}
	return sha256.Sum256([]byte(key)), true
}

// TenantHash returns the hash under which a key is stored that has one tenant. An api that knows no
// tenants looks for the other hash: it refuses such a key, and does not take it for one that has all.
func TenantHash(key string) [sha256.Size]byte {
	return sha256.Sum256([]byte("tenant\x00" + key))
}
