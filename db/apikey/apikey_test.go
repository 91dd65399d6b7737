package apikey_test

import (
	"bytes"
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
