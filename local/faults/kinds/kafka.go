package kinds

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
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/legendary-wallet/legendary-wallet/local/faults/system"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// kafkaFaults are about Apache Kafka and the group of the workers.
func kafkaFaults(f *system.System) []system.Fault {
	empty := system.Fault{Name: "Kafka's log removed, an empty broker in its place", Throw: func(ctx context.Context) error { return emptyBroker(ctx, f) }, Within: system.OfSweep, LosesLog: true, LosesEvents: true}
	if f.Stack.Backing.Brokers == servers.ClusterBrokers {
		empty.NotPossible = "what one broker loses, two others have"
	}
	return []system.Fault{
		empty,
		{Name: "the topic of operations deleted and created again", Throw: func(ctx context.Context) error { return recreateTopic(ctx, f) }, Within: system.OfSweep + system.OfService, LosesLog: true},
		emptyGroup(f, "committed offsets expired while the workers were stopped", func(ctx context.Context) error { return deleteGroup(ctx, f) }),
		emptyGroup(f, "committed offsets rolled back while the workers were stopped", func(ctx context.Context) error { return rollBackOffsets(ctx, f) }),
		twin(f),
		{Name: "workers 2, 4, 1, 2", Throw: func(ctx context.Context) error { return scaleWorkers(ctx, f) }, Within: system.OfSession},
		{Name: "kill -9 of a worker that has given partitions up, before they are another's", Throw: func(ctx context.Context) error { return dieYielding(ctx, f) }, Within: system.OfSession + system.OfService},
		{Name: "a partition added, and kill -9 of the leading relay", Within: system.OfService, Throw: func(ctx context.Context) error {
			if err := addPartition(ctx, f); err != nil {
				return err
			}
			pick(f, "relay").Signal(syscall.SIGKILL)
			return nil
		}},
	}
}

// emptyBroker takes away all that Kafka has acknowledged, as an operator may who has lost a disk.
func emptyBroker(ctx context.Context, f *system.System) error {
	p := f.Stack.Process("kafka")
	p.Signal(syscall.SIGKILL) // and not in order
	p.Stop()
	dir := filepath.Join(f.Stack.State.Dir, "apache")
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
	if err := f.Stack.CreateTopic(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	if f.Events != nil {
		if err := f.Events.Reopen(); err != nil {
			return err
		}
	}
	return f.Log.Reopen()
}

// recreateTopic takes away what was not applied yet, and may leave the group with offsets of the topic before.
func recreateTopic(ctx context.Context, f *system.System) error {
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.TopicNames = []string{f.Stack.Topic}
	request.Topics = append(request.Topics, kmsg.DeleteTopicsRequestTopic{Topic: &f.Stack.Topic})
	request.TimeoutMillis = 5000
	response, err := request.RequestWith(ctx, f.Log.Kafka())
	if err == nil {
		err = kerr.ErrorForCode(response.Topics[0].ErrorCode)
	}
	// One that is gone was deleted by a request whose answer did not come.
	if err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
		return err
	}
	f.Recreated.Store(true)
	ctx = context.WithoutCancel(ctx)
	if !proc.Await(ctx, 10*time.Second, func() bool { err = f.Stack.CreateTopic(ctx); return err == nil }) { // it goes away in a moment
		return err
	}
	return f.Log.Reopen()
}

// emptyGroup stops the workers until their sessions have ended, and changes what their group has
// committed.
func emptyGroup(f *system.System, name string, change func(context.Context) error) system.Fault {
	signal := func(signal syscall.Signal) {
		for _, p := range f.Stack.Replicas("worker") {
			p.Signal(signal)
		}
	}
	return system.Fault{Name: name, Within: system.OfSession, Throw: func(ctx context.Context) error {
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

func deleteGroup(ctx context.Context, f *system.System) error {
	// What came before this round need not come again.
	if err := servers.DeleteRecords(ctx, f.Log.Kafka(), f.Stack.Topic, stack.TopicPartitions, f.Offsets); err != nil {
		return err
	}
	request := kmsg.NewPtrDeleteGroupsRequest()
	request.Groups = []string{f.Group}
	response, err := request.RequestWith(ctx, f.Log.Kafka())
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

func rollBackOffsets(ctx context.Context, f *system.System) error {
	request := kmsg.NewPtrOffsetCommitRequest()
	request.Group = f.Group
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic = f.Stack.Topic
	for partition, offset := range f.Offsets {
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset = partition, max(0, offset)
		topic.Partitions = append(topic.Partitions, p)
	}
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(ctx, f.Log.Kafka())
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
func twin(f *system.System) system.Fault {
	var twin *proc.Process
	return system.Fault{
		Name: "two workers with one group.instance.id for 4 s", Holds: 4 * time.Second, Within: system.OfSession,
		Throw: func(context.Context) (err error) {
			twin, err = f.Stack.Service("worker", 0, "")
			if err != nil {
				return err
			}
			twin.Name, twin.Log = "worker-twin", f.Stack.State.Log("worker-twin")
			twin.Changed = func(string) {}
			return twin.Begin()
		},
		Heal: func(context.Context) error { twin.Stop(); return nil },
	}
}

// scaleWorkers lets partitions wander.
func scaleWorkers(ctx context.Context, f *system.System) error {
	const moment = 2 * time.Second
	var more []*proc.Process
	for i := range 2 {
		p, err := f.Stack.Service("worker", 2+i, "")
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
	leaving := append(more, f.Stack.Process("worker-2"))
	proc.StopAll(leaving)
	proc.Pause(ctx, moment)
	return f.Stack.Process("worker-2").Start(context.WithoutCancel(ctx))
}

// dieYielding kills the one worker of the group once it has given partitions up to another one that has come, and before
// it joins the group again. It comes back to what it had last, under its name.
func dieYielding(ctx context.Context, f *system.System) error {
	yielding, coming := f.Stack.Process("worker"), f.Stack.Process("worker-2")
	before := yielding.CurrentPID()
	yielding.NextStartWith("FAILPOINT=worker-after-revoke")
	yielding.Signal(syscall.SIGKILL)
	if err := yielding.StartedSince(ctx, before); err != nil {
		return err
	}
	armed := yielding.CurrentPID()
	coming.Stop()
	var err error
	alone := func() bool { err = servers.OneHasAll(ctx, f.Log.Kafka(), f.Group); return err == nil }
	if !proc.Await(ctx, system.OfSession, alone) {
		err = fmt.Errorf("no worker has all partitions: %w", err)
	}
	if err := errors.Join(err, coming.Start(context.WithoutCancel(ctx))); err != nil {
		return err
	}
	if !proc.Await(ctx, system.OfSession, func() bool { now := yielding.CurrentPID(); return now != 0 && now != armed }) {
		return errors.New("worker gives no partition up")
	}
	return nil
}

// addPartition gives the topic one more partition than it was registered with.
func addPartition(ctx context.Context, f *system.System) error {
	metadata := kmsg.NewPtrMetadataRequest()
	metadata.Topics = append(metadata.Topics, kmsg.MetadataRequestTopic{Topic: &f.Stack.Topic})
	known, err := metadata.RequestWith(ctx, f.Log.Kafka())
	if err != nil {
		return err
	}
	request := kmsg.NewPtrCreatePartitionsRequest()
	topic := kmsg.NewCreatePartitionsRequestTopic()
	topic.Topic, topic.Count = f.Stack.Topic, int32(len(known.Topics[0].Partitions)+1)
	request.Topics = append(request.Topics, topic)
	request.TimeoutMillis = 5000
	response, err := request.RequestWith(ctx, f.Log.Kafka())
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(response.Topics[0].ErrorCode)
}

// somePartitions chooses from those that the relay writes to.
func somePartitions(f *system.System, count int) (chosen []int32) {
	for _, p := range f.Random.Perm(stack.TopicPartitions)[:count] {
		chosen = append(chosen, int32(p))
	}
	return chosen
}
