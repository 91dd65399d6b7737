package kinds

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/legendary-wallet/legendary-wallet/local/faults/system"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// brokerFaults are what a broker may do that Apache Kafka does not on demand: kfake does.
func brokerFaults(f *system.System) []system.Fault {
	return []system.Fault{
		produceFails(f, "acknowledgements lost after the append for 2 s", func() kfake.Fault {
			return kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut, Count: -1}
		}),
		produceFails(f, "not enough replicas after the append for 2 s", func() kfake.Fault {
			return kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend, Count: -1}
		}),
		oneFails(f, "one acknowledgement lost after the append", kerr.RequestTimedOut),
		oneFails(f, "one batch refused for good", kerr.InvalidRecord),
		oneFails(f, "one batch refused by the cluster's policy", kerr.PolicyViolation),
		oneFails(f, "one batch out of sequence", kerr.OutOfOrderSequenceNumber),
		oneFails(f, "the producer is not known", kerr.UnknownProducerID),
		produceFails(f, "some partitions without their leader for 2 s", func() kfake.Fault {
			return kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: f.Stack.Topic, Partitions: somePartitions(f, 3), Err: kerr.NotLeaderForPartition, Count: -1}
		}),
		{Name: "a partition without its leader, and kill -9 of the relay", Within: system.OfService, Throw: func(ctx context.Context) error {
			failing := f.Kfake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: f.Stack.Topic, Partitions: somePartitions(f, 1), Err: kerr.NotLeaderForPartition, Count: -1})
			defer failing.Remove()
			proc.Pause(ctx, 500*time.Millisecond)
			pick(f, "relay").Signal(syscall.SIGKILL)
			return nil
		}},
		{Name: "leaders moved in mid-wave", Within: system.OfService, Throw: func(ctx context.Context) error {
			for range 10 {
				f.Kfake.ShufflePartitionLeaders()
				proc.Pause(ctx, 50*time.Millisecond)
			}
			return nil
		}},
		{Name: "coordinator moved", Within: system.OfSession, Throw: func(context.Context) error { f.Kfake.RehashCoordinators(); return nil }},
		handled(f, "OffsetCommit swallowed for 4 s", kmsg.OffsetCommit, 4*time.Second, system.OfSession, swallowed),
		handled(f, "Produce swallowed for 4 s", kmsg.Produce, 4*time.Second, system.OfSession, swallowed),
		handled(f, "Heartbeat swallowed for 4 s", kmsg.Heartbeat, 4*time.Second, system.OfSession, swallowed),
		handled(f, "connections cut at Produce for 2 s", kmsg.Produce, 2*time.Second, system.OfService, cutOff),
		handled(f, "connections cut at Fetch for 2 s", kmsg.Fetch, 2*time.Second, system.OfService, cutOff),
		deletedRecords(f),
		emptyGroup(f, "committed offsets expired while the workers were stopped", func(ctx context.Context) error { return deleteGroup(ctx, f) }),
	}
}

// produceFails lets requests to produce fail for 2 s.
func produceFails(f *system.System, name string, fault func() kfake.Fault) system.Fault {
	var failing interface{ Remove() }
	return system.Fault{
		Name: name, Holds: 2 * time.Second, Within: system.OfService,
		Throw: func(context.Context) error { failing = f.Kfake.Fault(fault()); return nil },
		Heal:  func(context.Context) error { failing.Remove(); return nil },
	}
}

// oneFails lets one batch of one partition fail.
func oneFails(f *system.System, name string, err *kerr.Error) system.Fault {
	return system.Fault{Name: name, Within: system.OfService, Throw: func(context.Context) error {
		f.Kfake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: f.Stack.Topic, Partitions: somePartitions(f, 1), Err: err, Count: 1})
		return nil
	}}
}

// handled answers requests of one kind otherwise than the broker would.
func handled(f *system.System, name string, key kmsg.Key, holds, within time.Duration, handle func() (kmsg.Response, error, bool)) system.Fault {
	var closed chan struct{}
	return system.Fault{
		Name: name, Holds: holds, Within: within,
		Throw: func(context.Context) error {
			over := make(chan struct{})
			closed = over
			f.Kfake.ControlKey(key.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
				select {
				case <-over:
					f.Kfake.DropControl()
					return nil, nil, false
				default:
					f.Kfake.KeepControl()
					return handle()
				}
			})
			return nil
		},
		Heal: func(context.Context) error { close(closed); return nil },
	}
}

func swallowed() (kmsg.Response, error, bool) { return nil, nil, true }
func cutOff() (kmsg.Response, error, bool)    { return nil, errors.New("cut"), true }
