package apikey_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db/apikey"
)

func TestANewKeyIsRecognisedAndNothingLikeItIs(t *testing.T) {
	t.Parallel()
	key, stored := apikey.New()
	hash, ok := apikey.Hash(key)
	if !ok || !bytes.Equal(hash[:], stored) {
		t.Errorf("a new key is not recognised: %v", ok)
	}
	if other, _ := apikey.New(); other == key {
		t.Error("two keys are equal")
	}
	for i := range key {
		broken := []byte(key)
		broken[i] ^= 1
		if _, ok := apikey.Hash(string(broken)); ok {
			t.Errorf("a key with character %d changed is recognised", i)
		}
	}
	for _, garbage := range []string{"", "lw_", key[3:], key + "0", key[:len(key)-1], strings.ToUpper(key), " " + key} {
		if _, ok := apikey.Hash(garbage); ok {
			t.Errorf("%q is recognised", garbage)
		}
	}
}

// Stored hashes are there for ever: another way to make them would lock every client out.
func TestStoredHashesCount(t *testing.T) {
	t.Parallel()
	const key = "lw_0000000000000000000000000000000000000000000000000000000000000000190a55ad"
	hash, ok := apikey.Hash(key)
	if got := hex.EncodeToString(hash[:]); !ok || got != "36eb170aab9588e2fdaa37fcc40284a417000c56a9fe4c61f7cc096a026c36e0" {
		t.Errorf("a key of all tenants: %s, %v", got, ok)
	}
	tenantHash := apikey.TenantHash(key)
	if got := hex.EncodeToString(tenantHash[:]); got != "cd58e43069fe2a956d5fae08a56e0ffdabf126e1a433a8ee02672b5d3fe7bbd8" {
		t.Errorf("a key of one tenant: %s", got)
	}
}
