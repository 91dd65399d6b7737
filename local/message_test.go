package main

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// What api and relay bring to Kafka is what db/event/message.schema.json promises to any consumer.
func TestMessagesAreWhatTheirSchemaSays(t *testing.T) {
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	schema, err := compiler.Compile("../db/event/message.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1})
	wallet := s.OpenWallets(1)[0]
	first, second := s.Deposit(s.APIURLs[0], wallet), s.Deposit(s.APIURLs[0], wallet)

	client, err := kgo.NewClient(kgo.SeedBrokers(s.Backing.KafkaBrokers), kgo.ConsumeTopics(s.Topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, sent := range []load.Operation{first, second} {
		var records []*kgo.Record
		s.Until("a record is there", 20*time.Second, func() bool {
			// A poll may return without one, as while the topic's leader is not known yet.
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			records = client.PollRecords(ctx, 1).Records()
			return len(records) == 1
		})
		record := records[0]
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(record.Value))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%s: %v", record.Value, err)
		}
		if id := value.(map[string]any)["operationId"]; id != sent.ID.String() {
			t.Errorf("%s is not the operation %s", record.Value, sent.ID)
		}
		if string(record.Key) != wallet.String() {
			t.Errorf("key %s, want %s", record.Key, wallet)
		}
		if len(record.Headers) != 1 || record.Headers[0].Key != "version" || string(record.Headers[0].Value) != "1" {
			t.Errorf("headers %v, want version: 1", record.Headers)
		}
	}
}
