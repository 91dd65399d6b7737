package main

import (
	"strings"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
)

// walletNamespace is where wallets' ids are made from idempotency keys. It never changes: a retry
// would create a second wallet.
var walletNamespace = uuid.MustParse("5f6c4e0b-2f39-4d5c-9e64-3a4b6d0f7c11")

// operationID is the identity of an operation: of the wallet and the key, so that a retry is the same
// operation, or new without a key.
func operationID(walletID uuid.UUID, key oas.OptString) (uuid.UUID, error) {
	if !key.Set {
		return uuid.NewV7()
	}
	return uuid.NewSHA1(walletID, []byte(plainKey(key.Value))), nil
}

// newWalletID is the identity of a wallet: of the client and the key, or new without a key.
func newWalletID(client string, key oas.OptString) (uuid.UUID, error) {
	if !key.Set {
		return uuid.NewV7()
	}
	return uuid.NewSHA1(walletNamespace, []byte(client+"\x00"+plainKey(key.Value))), nil
}

// plainKey takes the quotes and escapes off a key that openapi.yaml's pattern has let through, so
// that "a" and a are one key.
func plainKey(key string) string {
	if !strings.HasPrefix(key, `"`) {
		return key
	}
	return unescape.Replace(key[1 : len(key)-1])
}

var unescape = strings.NewReplacer(`\"`, `"`, `\\`, `\`)
