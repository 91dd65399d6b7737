package main

import (
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db/walletid"
)

// webhookNamespace makes the id of a webhook another than that of a wallet with the same key. It never changes.
var webhookNamespace = uuid.MustParse("1d0c9a53-7f0e-4a39-8f0b-6f3e2b9f5d7e")

// keyed is the version of operations' ids that are made from idempotency keys.
const keyed = 5

// operationID is the identity of an operation: of the wallet and the key, so that a retry is the same
// operation, or new without a key.
func operationID(walletID uuid.UUID, key oas.OptString) (uuid.UUID, error) {
	if !key.Set {
		return uuid.NewV7()
	}
	return uuid.NewSHA1(walletID, []byte(key.Value)), nil
}

// itemKey is the key of a batch's operation i: its own, or one made from the batch's.
func itemKey(own, batch oas.OptString, i int) oas.OptString {
	if own.Set || !batch.Set {
		return own
	}
	return oas.NewOptString(batch.Value + ":" + strconv.Itoa(i))
}

// newWalletID is the identity of a wallet in a cell: of who opens it and the key, or new without a key. A tenant's
// key belongs to its client of that tenant; one of all tenants makes what it made before there were tenants.
func newWalletID(cell int, by caller, key oas.OptString) (uuid.UUID, error) {
	if !key.Set {
		return walletid.New(cell)
	}
	name := by.client + "\x00" + key.Value
	if by.tenant != allTenants {
		name = string(by.tenant) + "\x00" + name
	}
	return walletid.Keyed(cell, name), nil
}

// newWebhookID is newWalletID for a webhook.
func newWebhookID(by caller, key oas.OptString) (uuid.UUID, error) {
	id, err := newWalletID(0, by, key)
	if err != nil || !key.Set {
		return id, err
	}
	return uuid.NewSHA1(webhookNamespace, id[:]), nil
}

// plainKey takes the quotes and escapes off the key of a header that openapi.yaml's pattern has let
// through, so that "a" and a are one key.
func plainKey(header oas.OptString) oas.OptString {
	if strings.HasPrefix(header.Value, `"`) {
		header.Value = unescape.Replace(header.Value[1 : len(header.Value)-1])
	}
	return header
}

var unescape = strings.NewReplacer(`\"`, `"`, `\\`, `\`)
