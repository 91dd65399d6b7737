package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// brokerFaults are about Apache Kafka and the group of the workers.
func (f *campaign) brokerFaults() []kind {
	empty := kind{name: "Kafka's log removed, an empty broker in its place", throw: f.emptyBroker, within: ofSweep, losesLog: true}
	if f.stack.Backing.Brokers == servers.ClusterBrokers {
		empty.notPossible = "what one broker loses, two others have"
	}
	return []kind{
		empty,
		f.emptyGroup("committed offsets expired while the workers were stopped", f.deleteGroup),
		f.emptyGroup("committed offsets rolled back while the workers were stopped", f.rollBackOffsets),
		f.twin(),
		{name: "workers 2, 4, 1, 2", throw: f.scaleWorkers, within: ofSession},
		{name: "a partition added, and kill -9 of the leading relay", within: ofService, throw: func(ctx context.Context) error {
			if err := f.addPartition(ctx); err != nil {
				return err
			}
			f.pick("relay").Signal(syscall.SIGKILL)
			return nil
		}},
	}
}

// emptyBroker takes away all that Kafka has acknowledged, as an operator may who has lost a disk.
func (f *campaign) emptyBroker(ctx context.Context) error {
	p := f.stack.Process("kafka")
	p.Signal(syscall.SIGKILL) // and not in order
	p.Stop()
	dir := filepath.Join(f.stack.State.Dir, "apache")
	if err := os.RemoveAll(filepath.Join(dir, "data")); err != nil {
		return err
	}
	java := p.Argv[:len(p.Argv)-2] // what is run, and with which properties
	if err := servers.FormatKafka(ctx, java, dir, uuid.New(), "--standalone"); err != nil {
		return err
	}
	if err := p.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	if err := f.stack.CreateTopic(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	return f.log.reopen()
}

// emptyGroup stops the workers until their sessions have ended, and changes what their group has
// committed.
func (f *campaign) emptyGroup(name string, change func(context.Context) error) kind {
	signal := func(signal syscall.Signal) {
		for _, p := range f.stack.Replicas("worker") {
			p.Signal(signal)
		}
	}
	return kind{name: name, within: ofSession, throw: func(ctx context.Context) error {
		defer signal(syscall.SIGCONT)
		signal(syscall.SIGSTOP)
		var err error
		changed := func() bool { err = change(ctx); return err == nil }
		if !proc.Await(ctx, 25*time.Second, changed) {
			return fmt.Errorf("the group of stopped workers does not come to its end: %w", err)
		}
		return nil
	}}
}

func (f *campaign) deleteGroup(ctx context.Context) error {
	// What came before this round need not come again.
	if err := f.deleteRecords(ctx, f.offsets); err != nil {
		return err
	}
	request := kmsg.NewPtrDeleteGroupsRequest()
	request.Groups = []string{f.group}
	response, err := request.RequestWith(ctx, f.log.kafka())
	if err != nil {
		return err
	}
	for _, g := range response.Groups {
		// One that is gone was deleted by a request whose answer did not come.
		if code := kerr.ErrorForCode(g.ErrorCode); !errors.Is(code, kerr.GroupIDNotFound) {
			err = errors.Join(err, code)
		}
	}
	return err
}

func (f *campaign) rollBackOffsets(ctx context.Context) error {
	request := kmsg.NewPtrOffsetCommitRequest()
	request.Group = f.group
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic = f.stack.Topic
	for partition, offset := range f.offsets {
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset = partition, max(0, offset)
		topic.Partitions = append(topic.Partitions, p)
	}
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(ctx, f.log.kafka())
	if err != nil {
		return err
	}
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			err = errors.Join(err, kerr.ErrorForCode(p.ErrorCode))
		}
	}
	return err
}

// twin starts a worker under the name of another one in the group: they fence each other.
func (f *campaign) twin() kind {
	var twin *proc.Process
	return kind{
		name: "two workers with one group.instance.id for 4 s", holds: 4 * time.Second, within: ofSession,
		throw: func(context.Context) (err error) {
			twin, err = f.stack.Service("worker", 0, "")
			if err != nil {
				return err
			}
			twin.Name, twin.Log = "worker-twin", f.stack.State.Log("worker-twin")
			twin.Changed = func(string) {}
			return twin.Begin()
		},
		heal: func(context.Context) error { twin.Stop(); return nil },
	}
}

// scaleWorkers lets partitions wander.
func (f *campaign) scaleWorkers(ctx context.Context) error {
	const moment = 2 * time.Second
	var more []*proc.Process
	for i := range 2 {
		p, err := f.stack.Service("worker", 2+i, "")
		if err != nil {
			return err
		}
		p.Changed = func(string) {}
		if err := p.Begin(); err != nil {
			return err
		}
		defer p.Stop()
		more = append(more, p)
	}
	proc.Pause(ctx, moment)
	leaving := append(more, f.stack.Process("worker-2"))
	proc.StopAll(leaving)
	proc.Pause(ctx, moment)
	return f.stack.Process("worker-2").Start(context.WithoutCancel(ctx))
}

// addPartition gives the topic one more partition than it was registered with.
func (f *campaign) addPartition(ctx context.Context) error {
	metadata := kmsg.NewPtrMetadataRequest()
	metadata.Topics = append(metadata.Topics, kmsg.MetadataRequestTopic{Topic: &f.stack.Topic})
	known, err := metadata.RequestWith(ctx, f.log.kafka())
	if err != nil {
		return err
	}
	request := kmsg.NewPtrCreatePartitionsRequest()
	topic := kmsg.NewCreatePartitionsRequestTopic()
	topic.Topic, topic.Count = f.stack.Topic, int32(len(known.Topics[0].Partitions)+1)
	request.Topics = append(request.Topics, topic)
	request.TimeoutMillis = 5000
	response, err := request.RequestWith(ctx, f.log.kafka())
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(response.Topics[0].ErrorCode)
}

type lie = kfake.Fault

// lies are what kfake can do that Apache Kafka does not on demand.
func (f *campaign) lies() []kind {
	produce := func(name string, fault func() lie) kind {
		var told interface{ Remove() }
		return kind{
			name: name, holds: 2 * time.Second, within: ofService,
			throw: func(context.Context) error { told = f.lying.Fault(fault()); return nil },
			heal:  func(context.Context) error { told.Remove(); return nil },
		}
	}
	one := func(name string, err *kerr.Error, count int) kind {
		return kind{name: name, within: ofService, throw: func(context.Context) error {
			f.lying.Fault(lie{Keys: []kmsg.Key{kmsg.Produce}, Topic: f.stack.Topic, Partitions: f.somePartitions(1), Err: err, Count: count})
			return nil
		}}
	}
	hole := func(name string, key kmsg.Key, holds, within time.Duration, handle func() (kmsg.Response, error, bool)) kind {
		var closed chan struct{}
		return kind{
			name: name, holds: holds, within: within,
			throw: func(context.Context) error {
				over := make(chan struct{})
				closed = over
				f.lying.ControlKey(key.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
					select {
					case <-over:
						f.lying.DropControl()
						return nil, nil, false
					default:
						f.lying.KeepControl()
						return handle()
					}
				})
				return nil
			},
			heal: func(context.Context) error { close(closed); return nil },
		}
	}
	swallowed := func() (kmsg.Response, error, bool) { return nil, nil, true }
	cutOff := func() (kmsg.Response, error, bool) { return nil, errors.New("cut"), true }
	return []kind{
		produce("acknowledgements lost after the append for 2 s", func() lie {
			return lie{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut, Count: -1}
		}),
		produce("not enough replicas after the append for 2 s", func() lie {
			return lie{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend, Count: -1}
		}),
		one("one acknowledgement lost after the append", kerr.RequestTimedOut, 1),
		one("one batch refused for good", kerr.InvalidRecord, 1),
		one("one batch refused by the cluster's policy", kerr.PolicyViolation, 1),
		one("one batch out of sequence", kerr.OutOfOrderSequenceNumber, 1),
		one("the producer is not known", kerr.UnknownProducerID, 1),
		produce("some partitions without their leader for 2 s", func() lie {
			return lie{Keys: []kmsg.Key{kmsg.Produce}, Topic: f.stack.Topic, Partitions: f.somePartitions(3), Err: kerr.NotLeaderForPartition, Count: -1}
		}),
		{name: "a partition without its leader, and kill -9 of the relay", within: ofService, throw: func(ctx context.Context) error {
			told := f.lying.Fault(lie{Keys: []kmsg.Key{kmsg.Produce}, Topic: f.stack.Topic, Partitions: f.somePartitions(1), Err: kerr.NotLeaderForPartition, Count: -1})
			defer told.Remove()
			proc.Pause(ctx, 500*time.Millisecond)
			f.pick("relay").Signal(syscall.SIGKILL)
			return nil
		}},
		{name: "leaders moved in mid-wave", within: ofService, throw: func(ctx context.Context) error {
			for range 10 {
				f.lying.ShufflePartitionLeaders()
				proc.Pause(ctx, 50*time.Millisecond)
			}
			return nil
		}},
		{name: "coordinator moved", within: ofSession, throw: func(context.Context) error { f.lying.RehashCoordinators(); return nil }},
		hole("OffsetCommit swallowed for 4 s", kmsg.OffsetCommit, 4*time.Second, ofSession, swallowed),
		hole("Produce swallowed for 4 s", kmsg.Produce, 4*time.Second, ofSession, swallowed),
		hole("Heartbeat swallowed for 4 s", kmsg.Heartbeat, 4*time.Second, ofSession, swallowed),
		hole("connections cut at Produce for 2 s", kmsg.Produce, 2*time.Second, ofService, cutOff),
		hole("connections cut at Fetch for 2 s", kmsg.Fetch, 2*time.Second, ofService, cutOff),
		f.deletedRecords(),
		f.emptyGroup("committed offsets expired while the workers were stopped", f.deleteGroup),
	}
}

// somePartitions chooses from those that the relay writes to.
func (f *campaign) somePartitions(count int) (chosen []int32) {
	for _, p := range f.random.Perm(stack.TopicPartitions)[:count] {
		chosen = append(chosen, int32(p))
	}
	return chosen
}
