package main

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

	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
)

// ofCluster is what recovery may take of a cluster that has lost brokers. The controller misses one after
// broker.session.timeout.ms (9 s): only then others lead in its place, and only then may it come back itself.
const ofCluster = 10*time.Second + ofServer

// clusterFaults take brokers away of which there are three.
func (f *campaign) clusterFaults() []kind {
	if f.stack.Backing.Brokers != servers.ClusterBrokers {
		return nil
	}
	return []kind{
		{name: "the leader of the hot wallet's partition killed under a publish batch", within: ofCluster, throw: func(ctx context.Context) error {
			leader, err := f.leaderOf(ctx, f.stack.Topic, f.hotPartition(ctx))
			if err != nil {
				return err
			}
			leader.KillStopped(ctx)
			return nil
		}},
		{name: "the coordinator of the workers' group killed", within: ofCluster, throw: func(ctx context.Context) error {
			coordinator, err := f.leaderOf(ctx, "__consumer_offsets", 0)
			if err != nil {
				return err
			}
			coordinator.Signal(syscall.SIGKILL)
			return nil
		}},
		{name: "the active controller killed", within: ofCluster, throw: func(ctx context.Context) error {
			controller, err := f.controller(ctx)
			if err != nil {
				return err
			}
			controller.Signal(syscall.SIGKILL)
			return nil
		}},
		f.twoBrokersGone(),
		f.rollingBrokers(),
	}
}

// twoBrokersGone leaves one of three, which may acknowledge nothing on its own: publishing waits until
// another is back, and accepting does not.
func (f *campaign) twoBrokersGone() kind {
	var gone []*proc.Process
	var accepted int64
	return kind{
		name: "two of three brokers gone for 10 s", holds: 10 * time.Second, within: ofCluster,
		throw: func(context.Context) error {
			brokers := f.stack.Replicas("kafka")
			stays := f.random.IntN(len(brokers))
			gone = slices.Delete(brokers, stays, stays+1)
			accepted = f.load.Accepted.Load()
			proc.KillAll(gone)
			return nil
		},
		heal: func(ctx context.Context) error {
			if took := f.load.Accepted.Load() - accepted; took < 10*faultsRatePerSecond/2 {
				f.watch.violate("with two of three brokers gone %d operations were accepted in 10 s", took)
			}
			if waited := f.watch.latest().oldest; waited < 5*time.Second {
				f.watch.violate("with two of three brokers gone something was published: no operation waits for longer than %s", waited)
			}
			return proc.StartAll(ctx, gone)
		},
	}
}

// rollingBrokers restarts one broker after the other, as an upgrade does: the next one when all partitions
// are on all brokers again. No request may fail.
func (f *campaign) rollingBrokers() kind {
	return kind{name: "rolling restart of all brokers", within: ofCluster, throw: func(ctx context.Context) error {
		refused, failures := f.load.Refused.Load(), f.load.Failures.Load()
		for _, p := range f.stack.Replicas("kafka") {
			if err := p.Restart(ctx, syscall.SIGTERM); err != nil {
				return err
			}
			if err := servers.AwaitInSync(ctx, f.log.kafka(), ofCluster, f.stack.Topic, "__consumer_offsets"); err != nil {
				return err
			}
		}
		if refused, failures = f.load.Refused.Load()-refused, f.load.Failures.Load()-failures; refused+failures > 0 {
			f.watch.violate("while brokers were restarted %d requests were refused and %d operations not acknowledged", refused, failures)
		}
		return nil
	}}
}

// hotPartition is where the messages of the hot wallet go.
func (f *campaign) hotPartition(ctx context.Context) (partition int32) {
	proc.Await(ctx, 10*time.Second, func() bool {
		log := f.log.of(f.wallets[:1])
		if len(log) > 0 {
			partition = log[0].Partition
		}
		return len(log) > 0
	})
	return partition
}

// leaderOf is the broker that leads a partition.
func (f *campaign) leaderOf(ctx context.Context, topic string, partition int32) (*proc.Process, error) {
	node, err := servers.PartitionLeader(ctx, f.log.kafka(), topic, partition)
	if err != nil {
		return nil, err
	}
	return f.stack.Broker(node)
}

// controller is the broker whose controller is the active one.
func (f *campaign) controller(ctx context.Context) (*proc.Process, error) {
	// The log's client keeps to old versions, which do not know this request.
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(f.stack.Backing.KafkaBrokers, ",")...))
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
	return f.stack.Broker(response.Topics[0].Partitions[0].LeaderID)
}
