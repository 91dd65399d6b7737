package main

import (
	"slices"
	"testing"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
)

// A worker with a name is killed after it was told to give a partition up, and before it has joined the group again, which is
// what gives the partition to another one. It comes back to what it had last, and the partition is nobody's; kfake
// gives it out by itself, so it is Apache Kafka on which this says something.
func TestAPartitionThatIsNobodysIsTaken(t *testing.T) {
	t.Parallel()
	s, k := newStore(t), newTopic(t, 2)
	locker := &store{TB: t, Database: s.Database, conn: s.Database.Conn(t)}
	settings := []string{
		"DATABASE_URL=" + s.As(testdb.Worker) + "&lock_timeout=20000&statement_timeout=20000",
		"SWEEP_AFTER=1h", "RDKAFKA_SESSION_TIMEOUT_MS=60000", "GROUP_INSTANCE_ID=worker-0",
	}
	var messages [][]byte
	for range 20 { // of both partitions
		messages = append(messages, s.accept(s.wallet(), 1)...)
	}
	locker.exec("BEGIN")
	locker.exec("SELECT FROM wallets FOR UPDATE")
	killed := s.startProcess(k, settings...)
	k.produce(messages...)
	s.waitForLocks(2) // whichever of the two is taken away
	other := s.startWorker(k, append(settings, "GROUP_INSTANCE_ID=worker-1")...)
	(&running{TB: t, log: killed.log}).waitForLog("partitions revoked")
	killed.kill()
	locker.exec("COMMIT")
	back := s.startWorker(k, settings...)
	s.waitApplied()
	other.waitForPartitions()
	back.waitForPartitions()
	s.waitCommitted(k, 20)
	back.admin.UntilWell(t)
	other.stop()
	back.stop()
	s.audit()
}

// stable is a group whose members have these partitions of the topic "operations".
func stable(members ...[]int32) kafka.ConsumerGroupDescription {
	topic, other := "operations", "other"
	group := kafka.ConsumerGroupDescription{State: kafka.ConsumerGroupStateStable}
	for _, numbers := range members {
		places := []kafka.TopicPartition{{Topic: &other, Partition: 1}}
		for _, number := range numbers {
			places = append(places, kafka.TopicPartition{Topic: &topic, Partition: number})
		}
		group.Members = append(group.Members, kafka.MemberDescription{Assignment: kafka.MemberAssignment{TopicPartitions: places}})
	}
	return group
}

func TestPartitionsOfNobodyAreThoseOfNoMember(t *testing.T) {
	t.Parallel()
	moving := stable([]int32{0})
	moving.State = kafka.ConsumerGroupStatePreparingRebalance
	for _, c := range []struct {
		group   kafka.ConsumerGroupDescription
		nobodys []int32
		fewest  int
	}{
		{stable([]int32{0, 1, 2, 3}), nil, 4},
		{stable([]int32{0, 3}, []int32{1, 2}, nil), nil, 0},
		{stable([]int32{2, 3}, nil), []int32{0, 1}, 0},
		{stable([]int32{2}, []int32{0, 9, 8}), []int32{1, 3}, 1}, // the topic was created again, with fewer
		{moving, nil, 0},
	} {
		nobodys, fewest := unassigned(c.group, "operations", 4)
		if !slices.Equal(nobodys, c.nobodys) || fewest != c.fewest {
			t.Errorf("%v: nobody has %v, and the fewest are %d", c, nobodys, fewest)
		}
	}
}

// Only what is nobody's at two looks in a row counts, and only the worker with the fewest leaves.
func TestTheWorkerWithTheFewestLeaves(t *testing.T) {
	t.Parallel()
	for _, has := range []int{1, 2} {
		c := &consumer{health: testHealth(), metrics: newMetrics(), partitions: map[int32]*assignedPartition{}}
		for number := range has {
			c.partitions[int32(number)] = numbered(int32(number))
		}
		for i, look := range []struct {
			nobodys []int32
			still   int
		}{
			{[]int32{4}, 0},
			{nil, 0},
			{[]int32{4, 5}, 0},
			{[]int32{5, 6}, 1},
			{[]int32{5, 6}, 2},
			{[]int32{7}, 0},
			{nil, 0},
		} {
			c.judgeUnassigned(look.nobodys, 1)
			leaves := look.still > 0 && has == 1
			if got := c.leaving.Swap(false); got != leaves {
				t.Errorf("with %d partitions, look %d: leaves = %v, want %v", has, i, got, leaves)
			}
			if degraded := len(c.health.State().Degraded); degraded != min(look.still, 1) || testutil.ToFloat64(c.metrics.unassigned) != float64(look.still) {
				t.Errorf("with %d partitions, look %d: degraded is %q, the metric %v", has, i, c.health.State().Degraded, testutil.ToFloat64(c.metrics.unassigned))
			}
		}
	}
}
