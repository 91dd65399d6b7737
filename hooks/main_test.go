package main

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
)

// newBroker is an empty Kafka of the test's own.
func newBroker(t testing.TB) *kfake.Cluster {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}

func TestHooksStartAndEnd(t *testing.T) {
	t.Parallel()
	database, broker := testdb.New(t), newBroker(t)
	admin := testkit.Admin(testkit.FreeAddr(t).String())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int)
	go func() {
		ended <- program.Start(ctx, []string{
			"DATABASE_URL=" + database.As(testdb.Hooks), "KAFKA_BROKERS=" + broker.ListenAddrs()[0], "ADMIN_ADDR=" + string(admin),
		}, os.Stderr)
	}()
	admin.UntilWell(t)
	cancel()
	select {
	case code := <-ended:
		if code != 0 {
			t.Errorf("hooks ended with %d", code)
		}
	case <-time.After(5 * time.Second):
		t.Error("hooks does not end within 5 s")
	}
}
