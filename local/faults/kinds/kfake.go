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

type lie = kfake.Fault

// lies are what kfake can do that Apache Kafka does not on demand.
func lies(f *system.System) []system.Fault {
	produce := func(name string, fault func() lie) system.Fault {
		var told interface{ Remove() }
		return system.Fault{
			Name: name, Holds: 2 * time.Second, Within: system.OfService,
			Throw: func(context.Context) error { told = f.Lying.Fault(fault()); return nil },
			Heal:  func(context.Context) error { told.Remove(); return nil },
		}
	}
	one := func(name string, err *kerr.Error, count int) system.Fault {
		return system.Fault{Name: name, Within: system.OfService, Throw: func(context.Context) error {
			f.Lying.Fault(lie{Keys: []kmsg.Key{kmsg.Produce}, Topic: f.Stack.Topic, Partitions: somePartitions(f, 1), Err: err, Count: count})
			return nil
		}}
	}
	hole := func(name string, key kmsg.Key, holds, within time.Duration, handle func() (kmsg.Response, error, bool)) system.Fault {
		var closed chan struct{}
		return system.Fault{
			Name: name, Holds: holds, Within: within,
			Throw: func(context.Context) error {
				over := make(chan struct{})
				closed = over
				f.Lying.ControlKey(key.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
					select {
					case <-over:
						f.Lying.DropControl()
						return nil, nil, false
					default:
						f.Lying.KeepControl()
						return handle()
					}
				})
				return nil
			},
			Heal: func(context.Context) error { close(closed); return nil },
		}
	}
	swallowed := func() (kmsg.Response, error, bool) { return nil, nil, true }
	cutOff := func() (kmsg.Response, error, bool) { return nil, errors.New("cut"), true }
	return []system.Fault{
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
			return lie{Keys: []kmsg.Key{kmsg.Produce}, Topic: f.Stack.Topic, Partitions: somePartitions(f, 3), Err: kerr.NotLeaderForPartition, Count: -1}
		}),
		{Name: "a partition without its leader, and kill -9 of the relay", Within: system.OfService, Throw: func(ctx context.Context) error {
			told := f.Lying.Fault(lie{Keys: []kmsg.Key{kmsg.Produce}, Topic: f.Stack.Topic, Partitions: somePartitions(f, 1), Err: kerr.NotLeaderForPartition, Count: -1})
			defer told.Remove()
			proc.Pause(ctx, 500*time.Millisecond)
			pick(f, "relay").Signal(syscall.SIGKILL)
			return nil
		}},
		{Name: "leaders moved in mid-wave", Within: system.OfService, Throw: func(ctx context.Context) error {
			for range 10 {
				f.Lying.ShufflePartitionLeaders()
				proc.Pause(ctx, 50*time.Millisecond)
			}
			return nil
		}},
		{Name: "coordinator moved", Within: system.OfSession, Throw: func(context.Context) error { f.Lying.RehashCoordinators(); return nil }},
		hole("OffsetCommit swallowed for 4 s", kmsg.OffsetCommit, 4*time.Second, system.OfSession, swallowed),
		hole("Produce swallowed for 4 s", kmsg.Produce, 4*time.Second, system.OfSession, swallowed),
		hole("Heartbeat swallowed for 4 s", kmsg.Heartbeat, 4*time.Second, system.OfSession, swallowed),
		hole("connections cut at Produce for 2 s", kmsg.Produce, 2*time.Second, system.OfService, cutOff),
		hole("connections cut at Fetch for 2 s", kmsg.Fetch, 2*time.Second, system.OfService, cutOff),
		deletedRecords(f),
		emptyGroup(f, "committed offsets expired while the workers were stopped", func(ctx context.Context) error { return deleteGroup(ctx, f) }),
	}
}
