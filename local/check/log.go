package check

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/legendary-wallet/legendary-wallet/db/event"
)

// Message is an operation in Kafka's log.
type Message struct {
	event.Message
	Partition int32
	Offset    int64
}

// ParseMessage is about what is no operation too, as an error.
func ParseMessage(record *kgo.Record) (Message, error) {
	m, err := event.Decode(record.Value)
	return Message{m, record.Partition, record.Offset}, err
}

// TopicLog is where the log is, for clients of its own.
type TopicLog struct {
	Options    []kgo.Opt
	Topic      string
	Partitions int
}

// readLog reads the topic from its beginning to its end, which must not grow meanwhile. Within a partition the order is the
// log's; across partitions it does not matter.
func readLog[T any](ctx context.Context, l TopicLog, parse func(*kgo.Record) (T, error)) (log []T, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client, err := kgo.NewClient(append(slices.Clone(l.Options), kgo.ConsumeTopics(l.Topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	left, err := l.lengthBy(ctx, client)
	if err != nil {
		return nil, err
	}
	byPartition := map[int32][]T{}
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		for record := range fetches.RecordsAll() {
			m, err := parse(record)
			if err != nil {
				return nil, fmt.Errorf("partition %d, offset %d: %w", record.Partition, record.Offset, err)
			}
			byPartition[record.Partition] = append(byPartition[record.Partition], m)
			left--
		}
	}
	for _, partition := range slices.Sorted(maps.Keys(byPartition)) {
		log = append(log, byPartition[partition]...)
	}
	return log, nil
}

// Length returns a function that counts the messages in the log.
func (l TopicLog) Length() (length func(context.Context) (int64, error), closeClient func(), err error) {
	client, err := kgo.NewClient(l.Options...)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context) (int64, error) { return l.lengthBy(ctx, client) }, client.Close, nil
}

func (l TopicLog) lengthBy(ctx context.Context, client *kgo.Client) (length int64, err error) {
	ends, err := l.Ends(ctx, client)
	for _, end := range ends {
		length += end
	}
	return length, err
}

// Ends returns where each partition ends.
func (l TopicLog) Ends(ctx context.Context, client *kgo.Client) (map[int32]int64, error) {
	request := kmsg.NewPtrListOffsetsRequest()
	requested := kmsg.NewListOffsetsRequestTopic()
	requested.Topic = l.Topic
	for partition := range int32(l.Partitions) {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = partition, -1 // the end
		requested.Partitions = append(requested.Partitions, p)
	}
	request.Topics = append(request.Topics, requested)
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	ends := map[int32]int64{}
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, err
			}
			ends[p.Partition] = p.Offset
		}
	}
	return ends, nil
}
