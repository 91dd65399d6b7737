package servers

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// PartitionLeader is the node that leads a partition.
func PartitionLeader(ctx context.Context, client *kgo.Client, topic string, partition int32) (int32, error) {
	partitions, err := describePartitions(ctx, client, topic)
	if err != nil {
		return 0, err
	}
	for _, p := range partitions {
		if p.Partition == partition && p.Leader >= 0 {
			return p.Leader, nil
		}
	}
	return 0, fmt.Errorf("partition %d of %s has no leader", partition, topic)
}

// AwaitInSync waits until every partition of the topics is on all brokers of a cluster.
func AwaitInSync(ctx context.Context, client *kgo.Client, within time.Duration, topics ...string) (err error) {
	inSync := func() bool {
		for _, topic := range topics {
			var partitions []kmsg.MetadataResponseTopicPartition
			if partitions, err = describePartitions(ctx, client, topic); err != nil {
				return false
			}
			for _, p := range partitions {
				if len(p.ISR) < ClusterBrokers {
					err = fmt.Errorf("partition %d of %s is on brokers %d alone", p.Partition, topic, p.ISR)
					return false
				}
			}
		}
		return true
	}
	if proc.Await(ctx, within, inSync) {
		return nil
	}
	return err
}

func describePartitions(ctx context.Context, client *kgo.Client, topic string) ([]kmsg.MetadataResponseTopicPartition, error) {
	request := kmsg.NewPtrMetadataRequest()
	request.Topics = append(request.Topics, kmsg.MetadataRequestTopic{Topic: &topic})
	response, err := request.RequestWith(ctx, client)
	if err == nil && len(response.Topics) != 1 {
		err = fmt.Errorf("%d topics are described", len(response.Topics))
	}
	if err == nil {
		err = kerr.ErrorForCode(response.Topics[0].ErrorCode)
	}
	if err != nil {
		return nil, fmt.Errorf("describe topic %s: %w", topic, err)
	}
	return response.Topics[0].Partitions, nil
}

// DeleteRecords deletes what is below the offsets, or everything without any.
func DeleteRecords(ctx context.Context, client *kgo.Client, name string, partitions int32, below map[int32]int64) error {
	request := kmsg.NewPtrDeleteRecordsRequest()
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic = name
	for partition := range partitions {
		p := kmsg.NewDeleteRecordsRequestTopicPartition()
		p.Partition, p.Offset = partition, -1 // up to the end
		if offset, given := below[partition]; given {
			p.Offset = max(0, offset)
		}
		topic.Partitions = append(topic.Partitions, p)
	}
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("delete the records of partition %d: %w", p.Partition, err)
			}
		}
	}
	return nil
}

// OneHasAll returns why no member of a group alone has all partitions.
func OneHasAll(ctx context.Context, client *kgo.Client, name string) error {
	request := kmsg.NewPtrDescribeGroupsRequest()
	request.Groups = []string{name}
	response, err := request.RequestWith(ctx, client)
	if err == nil {
		err = kerr.ErrorForCode(response.Groups[0].ErrorCode)
	}
	if err != nil {
		return err
	}
	if group := response.Groups[0]; group.State != "Stable" || len(group.Members) != 1 {
		return fmt.Errorf("the group is %s, of %d members", group.State, len(group.Members))
	}
	return nil
}
