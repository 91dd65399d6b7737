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
		s.Until("a record is there", time.Minute, func() bool {
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

// What comes on both topics is what asyncapi.yaml says, with operations of every type, and nothing that it does not say.
func TestBothTopicsAreWhatAsyncAPISays(t *testing.T) {
	t.Parallel()
	const enough = 1500
	a := readAsyncAPI(t)
	s := newSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1})
	l := s.MixedLoad(load.EveryType, s.OpenWallets(3))
	s.Until("some hundred operations are applied", time.Minute, func() bool { return s.Outcomes() > enough })
	s.Keep(l)

	client, err := kgo.NewClient(kgo.SeedBrokers(s.Backing.KafkaBrokers), kgo.ConsumeTopics(s.Topic, s.EventsTopic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	totals := s.Totals()
	accepted, told := int64(0), map[string]bool{}
	types := map[string]int{}
	s.Until("everything is read", time.Minute, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for record := range client.PollFetches(ctx).RecordsAll() {
			value, err := jsonschema.UnmarshalJSON(bytes.NewReader(record.Value))
			if err != nil {
				t.Fatal(err)
			}
			headers := map[string]any{}
			for _, h := range record.Headers {
				headers[h.Key] = string(h.Value)
			}
			if key := value.(map[string]any)["walletId"]; string(record.Key) != key {
				t.Errorf("key %s of wallet %s", record.Key, key)
			}
			if record.Topic == s.Topic {
				a.validate(t, "AcceptedHeaders", headers)
				a.validate(t, "AcceptedOperation", value)
				accepted++
				continue
			}
			a.validate(t, "EventHeaders", headers)
			a.validate(t, "Run", value)
			for _, operation := range value.(map[string]any)["operations"].([]any) {
				o := operation.(map[string]any)
				told[o["operationId"].(string)] = true
				types[o["operationType"].(string)]++
			}
		}
		return accepted >= totals.Operations && int64(len(told)) >= totals.Outcomes
	})
	if len(types) < 8 {
		t.Errorf("only operations of these types were told: %v", types)
	}
}
