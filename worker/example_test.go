package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Any program may read the topic. Messages may come twice; the sequence tells.
func Example_consumer() {
	brokers, stop := exampleKafka()
	defer stop()

	client, _ := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("wallet-operations"))
	defer client.Close()
	last := map[string]int64{}
	for seen := 0; seen < 3; {
		for record := range client.PollFetches(context.Background()).RecordsAll() {
			var op struct {
				WalletID string
				Sequence int64
				Type     string
				Amount   int64
			}
			if json.Unmarshal(record.Value, &op) != nil || op.Sequence <= last[op.WalletID] {
				continue // not an operation, or seen before
			}
			last[op.WalletID] = op.Sequence
			fmt.Println(op.Sequence, op.Type, op.Amount)
			seen++
		}
	}
	// Output:
	// 1 DEPOSIT 100
	// 2 WITHDRAW 30
	// 3 DEPOSIT 5
}

// A service that knows every wallet's balance from the topic of events. What came before it drops, and what is missing it
// reads from the statement.
func Example_balances() {
	brokers, api, stop := exampleEvents()
	defer stop()

	type operation struct{ Sequence, BalanceAfter int64 }
	type wallet struct{ version, balance int64 }
	wallets := map[string]wallet{}
	client, _ := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("wallet-events"))
	defer client.Close()
	for version := int64(0); version < 6; {
		for record := range client.PollFetches(context.Background()).RecordsAll() {
			var run struct {
				WalletID                       string
				FromSequence, Version, Balance int64
				Operations                     []operation
			}
			if json.Unmarshal(record.Value, &run) != nil {
				continue
			}
			w, known := wallets[run.WalletID]
			if !known { // the first one may begin anywhere
				w.version = run.FromSequence - 1
			}
			if run.FromSequence > w.version+1 {
				var missing struct{ Items []operation }
				_ = getJSON(fmt.Sprintf("%s/api/v1/wallets/%s/operations?after=%d&order=asc", api, run.WalletID, w.version), &missing)
				for _, o := range missing.Items {
					fmt.Println("missing:", o.Sequence, o.BalanceAfter)
					w = wallet{o.Sequence, o.BalanceAfter}
				}
			}
			for _, o := range run.Operations {
				if o.Sequence > w.version {
					fmt.Println("told:", o.Sequence, o.BalanceAfter)
					w = wallet{o.Sequence, o.BalanceAfter}
				}
			}
			wallets[run.WalletID], version = w, w.version
		}
	}
	fmt.Println(wallets["6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9e11"])
	// Output:
	// told: 1 100
	// told: 2 70
	// missing: 3 75
	// missing: 4 80
	// told: 5 85
	// told: 6 90
	// {6 90}
}

func getJSON(url string, value any) error {
	answer, err := http.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return json.NewDecoder(answer.Body).Decode(value)
}

// exampleEvents has the events of one wallet, one of them twice and the one of sequence 3 not at all, and an API that knows
// the first four operations.
func exampleEvents() (brokers []string, api string, stop func()) {
	operation := func(seq, balance int) string {
		return fmt.Sprintf(`{"sequence":%d,"status":"PROCESSED","balanceAfter":%d}`, seq, balance)
	}
	run := func(from, version, balance int, operations ...string) string {
		return fmt.Sprintf(`{"walletId":"6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9e11","fromSequence":%d,"version":%d,"balance":%d,"operations":[%s]}`,
			from, version, balance, strings.Join(operations, ","))
	}
	first := run(1, 2, 70, operation(1, 100), operation(2, 70))
	brokers, stopKafka := exampleTopic("wallet-events", first, first, run(4, 5, 85, operation(4, 80), operation(5, 85)), run(6, 6, 90, operation(6, 90)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"items":[%s,%s],"next":null}`, operation(3, 75), operation(4, 80))
	}))
	return brokers, server.URL, func() { server.Close(); stopKafka() }
}

// exampleKafka has the messages of one wallet, some of them twice.
func exampleKafka() (brokers []string, stop func()) {
	var payloads []string
	for _, m := range []string{"1 DEPOSIT 100", "2 WITHDRAW 30", "1 DEPOSIT 100", "2 WITHDRAW 30", "3 DEPOSIT 5"} {
		part := strings.Fields(m)
		payloads = append(payloads, fmt.Sprintf(`{"walletId":"6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9e11","sequence":%s,"operationId":"0192f5a0-7b1c-7def-8a3b-12345678900%s","type":"%s","amount":%s,"acceptedAt":"2026-11-24T10:15:30.123456Z"}`,
			part[0], part[0], part[1], part[2]))
	}
	return exampleTopic("wallet-operations", payloads...)
}

// exampleTopic has these messages.
func exampleTopic(topic string, payloads ...string) (brokers []string, stop func()) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic))
	if err != nil {
		panic(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		panic(err)
	}
	defer client.Close()
	for _, payload := range payloads {
		if err := client.ProduceSync(context.Background(), &kgo.Record{Topic: topic, Value: []byte(payload)}).FirstErr(); err != nil {
			panic(err)
		}
	}
	return cluster.ListenAddrs(), cluster.Close
}
