package main

import (
	"context"
	"encoding/json"
	"fmt"
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

// exampleKafka has the messages of one wallet, some of them twice.
func exampleKafka() (brokers []string, stop func()) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "wallet-operations"))
	if err != nil {
		panic(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		panic(err)
	}
	defer client.Close()
	for _, m := range []string{"1 DEPOSIT 100", "2 WITHDRAW 30", "1 DEPOSIT 100", "2 WITHDRAW 30", "3 DEPOSIT 5"} {
		part := strings.Fields(m)
		payload := fmt.Sprintf(`{"walletId":"6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9e11","sequence":%s,"operationId":"0192f5a0-7b1c-7def-8a3b-12345678900%s","type":"%s","amount":%s,"acceptedAt":"2026-11-24T10:15:30.123456Z"}`,
			part[0], part[0], part[1], part[2])
		if err := client.ProduceSync(context.Background(), &kgo.Record{Topic: "wallet-operations", Value: []byte(payload)}).FirstErr(); err != nil {
			panic(err)
		}
	}
	return cluster.ListenAddrs(), cluster.Close
}
