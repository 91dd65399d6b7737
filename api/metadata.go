package main

import (
	"encoding/json"
	"maps"
	"strings"
	"unicode/utf8"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
)

// Limits of metadata that ogen does not check: of a key in characters, of all of it as compact JSON in bytes.
const (
	maxMetadataKey   = 40
	maxMetadataBytes = 2048
)

// metadataJSON is a request's metadata as it is stored: nil if it has none. An empty object is none.
func metadataJSON(given oas.OptMetadata) ([]byte, error) {
	if len(given.Value) == 0 {
		return nil, nil
	}
	size := len("{}") - len(",")
	for key, value := range given.Value {
		if n := utf8.RuneCountInString(key); n < 1 || n > maxMetadataKey || hasControl(key) || hasControl(value) {
			return nil, invalid("metadata", rules["metadata"])
		}
		size += jsonSize(key) + len(":") + jsonSize(value) + len(",")
	}
	if size > maxMetadataBytes {
		return nil, invalid("metadata", rules["metadata"])
	}
	return json.Marshal(given.Value)
}

// jsonSize is how many bytes a string has as compact JSON, if it has no control characters.
func jsonSize(s string) int {
	return len(s) + len(`""`) + strings.Count(s, `"`) + strings.Count(s, `\`)
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == '\x7f' })
}

// sameMetadata compares metadata as it is stored: the order of its keys says nothing.
func sameMetadata(a, b []byte) bool { return maps.Equal(metadataMap(a), metadataMap(b)) }

// metadataMap is empty for metadata that is null.
func metadataMap(stored []byte) (m oas.Metadata) {
	if len(stored) > 0 {
		_ = json.Unmarshal(stored, &m) // Postgres keeps only JSON, and metadataJSON makes only this kind
	}
	return m
}

func optMetadata(stored []byte) (opt oas.OptMetadata) {
	if m := metadataMap(stored); len(m) > 0 {
		opt.SetTo(m)
	}
	return opt
}
