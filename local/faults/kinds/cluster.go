package kinds

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/legendary-wallet/legendary-wallet/local/faults/system"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
)

// clusterFaults take brokers away of which there are three.
func clusterFaults(f *system.System) []system.Fault {
	if f.Stack.Backing.Brokers != servers.ClusterBrokers {
		return nil
	}
	return []system.Fault{
		{Name: "the leader of the hot wallet's partition killed under a publish batch", Within: system.OfCluster, Throw: func(ctx context.Context) error {
			leader, err := leaderOf(ctx, f, f.Stack.Topic, hotPartition(ctx, f))
			if err != nil {
				return err
			}
			leader.KillStopped(ctx)
			return nil
		}},
		{Name: "the coordinator of the workers' group killed", Within: system.OfCluster, Throw: func(ctx context.Context) error {
			coordinator, err := leaderOf(ctx, f, "__consumer_offsets", 0)
			if err != nil {
				return err
			}
			coordinator.Signal(syscall.SIGKILL)
			return nil
		}},
		{Name: "the active controller killed", Within: system.OfCluster, Throw: func(ctx context.Context) error {
			controller, err := controller(ctx, f)
			if err != nil {
				return err
			}
			controller.Signal(syscall.SIGKILL)
			return nil
		}},
		twoBrokersGone(f),
		rollingBrokers(f),
	}
}

// twoBrokersGone leaves one of three, which may acknowledge nothing on its own: publishing waits until
// another is back, and accepting does not.
func twoBrokersGone(f *system.System) system.Fault {
	var gone []*proc.Process
	var accepted int64
	return system.Fault{
		Name: "two of three brokers gone for 10 s", Holds: 10 * time.Second, Within: system.OfCluster,
		Throw: func(context.Context) error {
			brokers := f.Stack.Replicas("kafka")
			stays := f.Random.IntN(len(brokers))
			gone = slices.Delete(brokers, stays, stays+1)
			accepted = f.Load.Accepted.Load()
			proc.KillAll(gone)
			return nil
		},
		Heal: func(ctx context.Context) error {
			if took := f.Load.Accepted.Load() - accepted; took < 10*system.RatePerSecond/2 {
				f.Watch.Violate("with two of three brokers gone %d operations were accepted in 10 s", took)
			}
			if waited := f.Watch.Latest().Oldest; waited < 5*time.Second {
				f.Watch.Violate("with two of three brokers gone something was published: no operation waits for longer than %s", waited)
			}
			return proc.StartAll(ctx, gone)
		},
	}
}

// rollingBrokers restarts one broker after the other, as an upgrade does: the next one when all partitions
// are on all brokers again. No request may fail.
func rollingBrokers(f *system.System) system.Fault {
	return system.Fault{Name: "rolling restart of all brokers", Within: system.OfCluster, Throw: func(ctx context.Context) error {
		refused, failures := f.Load.Refused.Load(), f.Load.Failures.Load()
		for _, p := range f.Stack.Replicas("kafka") {
			if err := p.Restart(ctx, syscall.SIGTERM); err != nil {
				return err
			}
			if err := servers.AwaitInSync(ctx, f.Log.Kafka(), system.OfCluster, f.Stack.Topic, "__consumer_offsets"); err != nil {
				return err
			}
		}
		if refused, failures = f.Load.Refused.Load()-refused, f.Load.Failures.Load()-failures; refused+failures > 0 {
			f.Watch.Violate("while brokers were restarted %d requests were refused and %d operations not acknowledged", refused, failures)
		}
		return nil
	}}
}

// hotPartition is where the messages of the hot wallet go.
func hotPartition(ctx context.Context, f *system.System) (partition int32) {
	proc.Await(ctx, 10*time.Second, func() bool {
		log := f.Log.Of(f.Wallets[:1])
		if len(log) > 0 {
			partition = log[0].Partition
		}
		return len(log) > 0
	})
	return partition
}

// leaderOf is the broker that leads a partition.
func leaderOf(ctx context.Context, f *system.System, topic string, partition int32) (*proc.Process, error) {
	node, err := servers.PartitionLeader(ctx, f.Log.Kafka(), topic, partition)
	if err != nil {
		return nil, err
	}
	return f.Stack.Broker(node)
}

// controller is the broker whose controller is the active one.
func controller(ctx context.Context, f *system.System) (*proc.Process, error) {
	// The log's client keeps to old versions, which do not know this request.
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(f.Stack.Backing.KafkaBrokers, ",")...))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	request := kmsg.NewPtrDescribeQuorumRequest()
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic = "__cluster_metadata"
	topic.Partitions = append(topic.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(ctx, client)
	if err == nil {
		err = kerr.ErrorForCode(response.ErrorCode)
	}
	if err == nil && (len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 1) {
		err = errors.New("the answer has no partition")
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the active controller: %w", err)
	}
	return f.Stack.Broker(response.Topics[0].Partitions[0].LeaderID)
}
