package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// parseHeaders turns a JSON object into headers, ordered by name. A value that is not a string is sent as its JSON.
func parseHeaders(text string) ([]kafka.Header, error) {
	if headers, ok := plainHeaders(text); ok {
		return headers, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		return nil, err
	}
	var headers []kafka.Header
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value := []byte(fields[name])
		var s string
		if json.Unmarshal(value, &s) == nil {
			value = []byte(s)
		}
		headers = append(headers, kafka.Header{Key: name, Value: value})
	}
	return headers, nil
}

// plainHeaders is parseHeaders of strings without escapes, as the headers of operations and events are: those of an
// event are its own, and encoding/json takes eight times as long. It is not ok if encoding/json is to decide.
func plainHeaders(text string) (headers []kafka.Header, ok bool) {
	if !utf8.ValidString(text) {
		return nil, false
	}
	headers = make([]kafka.Header, 0, 9) // room for those of an event
	rest, ok := after(text, '{')
	if !ok {
		return nil, false
	}
	for {
		var h kafka.Header
		var value string
		if h.Key, rest, ok = plainString(rest); !ok {
			return nil, false
		}
		if rest, ok = after(rest, ':'); !ok {
			return nil, false
		}
		if value, rest, ok = plainString(rest); !ok {
			return nil, false
		}
		h.Value = []byte(value)
		headers = append(headers, h)
		if next, ok := after(rest, ','); ok {
			rest = next
			continue
		}
		if rest, ok = after(rest, '}'); !ok || strings.Trim(rest, jsonSpace) != "" {
			return nil, false
		}
		break
	}
	byName := func(a, b kafka.Header) int { return strings.Compare(a.Key, b.Key) }
	slices.SortFunc(headers, byName)
	for i := range headers[1:] {
		if headers[i].Key == headers[i+1].Key {
			return nil, false
		}
	}
	return headers, true
}

const jsonSpace = " \t\r\n"

// after is what follows a character that text begins with, spaces aside.
func after(text string, c byte) (rest string, ok bool) {
	text = strings.TrimLeft(text, jsonSpace)
	if text == "" || text[0] != c {
		return "", false
	}
	return text[1:], true
}

// plainString is the JSON string that text begins with, unless it needs decoding.
func plainString(text string) (s, rest string, ok bool) {
	text, ok = after(text, '"')
	if !ok {
		return "", "", false
	}
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"':
			return text[:i], text[i+1:], true
		case c == '\\' || c < ' ':
			return "", "", false
		}
	}
	return "", "", false
}
