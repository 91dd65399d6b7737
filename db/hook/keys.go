// Package hook is what the api and the service hooks share of webhooks: how secrets are kept, which requests
// there are, and what the JSON columns of hook_states hold.
//
// A secret signs the deliveries of one endpoint. It is shown once, and kept encrypted by a key that only the
// processes know: who reads the database, or its backup, can forge no delivery.
package hook

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/google/uuid"
)

// keySize makes it AES-256.
const keySize = 32

// keyID is what a key may be called.
var keyID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,32}$`)

// Keys encrypt and decrypt the secrets of endpoints. The zero value has none. Printed in any way, it names
// the keys and does not show them.
type Keys struct {
	list []key
}

type key struct {
	id   string
	aead cipher.AEAD
}

// ParseKeys reads HOOKS_KEY: id:base64(32 bytes), several with commas between. The first encrypts; the others
// still decrypt what they have encrypted, so that keys can be exchanged. "" is no key. Errors show none.
func ParseKeys(text string) (Keys, error) {
	var keys Keys
	if strings.TrimSpace(text) == "" {
		return keys, nil
	}
	for i, part := range strings.Split(text, ",") {
		id, encoded, found := strings.Cut(strings.TrimSpace(part), ":")
		if !found || !keyID.MatchString(id) {
			return Keys{}, fmt.Errorf("key %d must be id:base64 of 32 bytes, with an id of 1 to 32 letters, digits, dots, hyphens and underscores", i+1)
		}
		if keys.find(id) != nil {
			return Keys{}, fmt.Errorf("the id %s stands there twice", id)
		}
		secret, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if err != nil || len(secret) != keySize {
			return Keys{}, fmt.Errorf("key %s must be the base64 of 32 bytes, as openssl rand -base64 32 prints it", id)
		}
		block, err := aes.NewCipher(secret)
		if err != nil {
			return Keys{}, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return Keys{}, err
		}
		keys.list = append(keys.list, key{id: id, aead: aead})
	}
	return keys, nil
}

// None reports whether there is no key: then there are no webhooks.
func (k Keys) None() bool { return len(k.list) == 0 }

// Seal encrypts an endpoint's secret, as hook_endpoints keeps it: with the id of the key before it. It panics
// without a key.
func (k Keys) Seal(endpointID uuid.UUID, secret string) string {
	first := k.list[0]
	return first.id + ":" + base64.StdEncoding.EncodeToString(first.aead.Seal(nil, nil, []byte(secret), endpointID[:]))
}

// Open decrypts what Seal has made for the same endpoint: what was copied from another one is refused.
func (k Keys) Open(endpointID uuid.UUID, sealed string) (string, error) {
	id, encoded, found := strings.Cut(sealed, ":")
	if !found || !keyID.MatchString(id) {
		return "", errors.New("the secret is not encrypted as it should be")
	}
	by := k.find(id)
	if by == nil {
		return "", fmt.Errorf("the secret is encrypted with key %s, which HOOKS_KEY does not have", id)
	}
	box, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", errors.New("the encrypted secret is not base64")
	}
	secret, err := by.aead.Open(nil, nil, box, endpointID[:])
	if err != nil {
		return "", fmt.Errorf("the secret was not encrypted with this key %s for this endpoint", id)
	}
	return string(secret), nil
}

func (k Keys) find(id string) *key {
	for i := range k.list {
		if k.list[i].id == id {
			return &k.list[i]
		}
	}
	return nil
}

// Format keeps keys out of logs and errors.
func (k Keys) Format(f fmt.State, _ rune) {
	ids := make([]string, len(k.list))
	for i := range k.list {
		ids[i] = k.list[i].id
	}
	_, _ = io.WriteString(f, "keys["+strings.Join(ids, " ")+"]")
}

// secretPrefix and secretSize are those of Standard Webhooks 1.0.0, which takes 24 to 64 bytes.
const (
	secretPrefix = "whsec_"
	secretSize   = 32
)

// NewSecret returns a secret as Standard Webhooks 1.0.0 writes it.
func NewSecret() string {
	secret := make([]byte, secretSize)
	_, _ = rand.Read(secret) // it never fails
	return secretPrefix + base64.StdEncoding.EncodeToString(secret)
}
