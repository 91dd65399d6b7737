package hook

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
)

const (
	oldKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	newKey = "/wECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
)

func parse(t *testing.T, text string) Keys {
	t.Helper()
	keys, err := ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestASecretIsOpenedByItsKeyForItsEndpointOnly(t *testing.T) {
	before, endpoint, secret := parse(t, "old:"+oldKey), uuid.New(), NewSecret()
	sealed := before.Seal(endpoint, secret)
	if !strings.HasPrefix(sealed, "old:") || strings.Contains(sealed, secret[len(secretPrefix):]) {
		t.Fatalf("sealed: %s", sealed)
	}
	if before.Seal(endpoint, secret) == sealed {
		t.Error("the same secret is encrypted to the same text twice")
	}
	after := parse(t, "new:"+newKey+", old:"+oldKey)
	for name, keys := range map[string]Keys{"its key": before, "a list that still has its key": after} {
		if opened, err := keys.Open(endpoint, sealed); err != nil || opened != secret {
			t.Errorf("%s: %q, %v", name, opened, err)
		}
	}
	if again := after.Seal(endpoint, secret); !strings.HasPrefix(again, "new:") {
		t.Errorf("not the first key encrypts: %s", again)
	}
	tampered := []byte(sealed)
	tampered[len(tampered)-6] ^= 1
	for name, refused := range map[string]struct {
		keys     Keys
		endpoint uuid.UUID
		sealed   string
	}{
		"another endpoint":          {before, uuid.New(), sealed},
		"no such key":               {parse(t, "new:"+newKey), endpoint, sealed},
		"another key of that id":    {parse(t, "old:"+newKey), endpoint, sealed},
		"another text":              {before, endpoint, string(tampered)},
		"a secret in the clear":     {before, endpoint, secret},
		"no text":                   {before, endpoint, "old:"},
		"no base64":                 {before, endpoint, "old:*"},
		"a text that is too short":  {before, endpoint, "old:AAAA"},
		"a secret without any keys": {Keys{}, endpoint, sealed},
	} {
		opened, err := refused.keys.Open(refused.endpoint, refused.sealed)
		if err == nil {
			t.Errorf("%s: opened to %q", name, opened)
		} else if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), oldKey) {
			t.Errorf("%s: the error shows a secret: %v", name, err)
		}
	}
}

// Other programs read what is stored: it is AES-256-GCM with the nonce in front and the endpoint's id as
// additional data.
func TestTheFormOfASealedSecret(t *testing.T) {
	endpoint := uuid.MustParse("7d1c4f0e-5a0b-4c7e-9d53-0f6f5c1b2a3d")
	_, encoded, _ := strings.Cut(parse(t, "a:"+oldKey).Seal(endpoint, "whsec_x"), ":")
	box, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := base64.StdEncoding.DecodeString(oldKey)
	block, err := aes.NewCipher(secret)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := gcm.Open(nil, box[:gcm.NonceSize()], box[gcm.NonceSize():], endpoint[:])
	if err != nil || string(opened) != "whsec_x" {
		t.Errorf("opened to %q, %v", opened, err)
	}
}

func TestKeysThatAreWrongAreRefusedWithoutBeingShown(t *testing.T) {
	for name, text := range map[string]string{
		"no id":               oldKey,
		"an empty id":         ":" + oldKey,
		"an id with spaces":   "a b:" + oldKey,
		"an id of 33":         strings.Repeat("a", 33) + ":" + oldKey,
		"31 bytes":            "a:" + base64.StdEncoding.EncodeToString(make([]byte, 31)),
		"33 bytes":            "a:" + base64.StdEncoding.EncodeToString(make([]byte, 33)),
		"no base64":           "a:" + strings.Repeat("*", 44),
		"hexadecimal digits":  "a:" + strings.Repeat("0f", 32),
		"an id twice":         "a:" + oldKey + ",a:" + newKey,
		"nothing after comma": "a:" + oldKey + ",",
	} {
		keys, err := ParseKeys(text)
		if err == nil {
			t.Errorf("%s: %v", name, keys)
		} else if _, secret, _ := strings.Cut(text, ":"); secret != "" && strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), oldKey) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
	for _, none := range []string{"", " "} {
		if keys, err := ParseKeys(none); err != nil || !keys.None() {
			t.Errorf("%q: %v, %v", none, keys, err)
		}
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	keys := parse(t, "a:"+oldKey+",b:"+newKey)
	asJSON, err := json.Marshal(map[string]Keys{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	for verb, text := range map[string]string{
		"%v": fmt.Sprintf("%v", keys), "%+v": fmt.Sprintf("%+v", keys), "%#v": fmt.Sprintf("%#v", keys), "%s": fmt.Sprintf("%s", keys),
		"in a struct": fmt.Sprintf("%+v", struct{ Keys Keys }{keys}),
	} {
		if !strings.Contains(text, "keys[a b]") || len(text) > len("{Keys:keys[a b]}") {
			t.Errorf("%s prints %s", verb, text)
		}
	}
	if string(asJSON) != `{"keys":{}}` {
		t.Errorf("JSON: %s", asJSON)
	}
}

func TestNewSecretsAreThoseOfStandardWebhooks(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		secret := NewSecret()
		encoded, found := strings.CutPrefix(secret, "whsec_")
		if bytes, err := base64.StdEncoding.DecodeString(encoded); !found || err != nil || len(bytes) != secretSize {
			t.Fatalf("%s: %d bytes, %v", secret, len(bytes), err)
		}
		if seen[secret] {
			t.Fatal("a secret came twice")
		}
		seen[secret] = true
	}
}
