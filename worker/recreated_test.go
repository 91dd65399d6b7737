//go:build e2e

package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
)

// A topic is grown, and later deleted and created again with as many partitions as at first. Members of a
// group go on to own the others, which are nowhere, and nobody takes them away.
func TestATopicCreatedAgainWithFewerPartitions(t *testing.T) {
	t.Parallel()
	for name, instance := range map[string]string{"members that come and go": "", "members with a name": "GROUP_INSTANCE_ID="} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, k := newStore(t), newTopic(t, 8)
			var workers []*running
			for i := range 2 {
				var settings []string
				if instance != "" {
					settings = append(settings, fmt.Sprint(instance, i))
				}
				workers = append(workers, s.startWorker(k, settings...))
			}
			for _, w := range workers {
				w.waitForPartitions()
			}
			k.grow(12)
			testkit.Within(t, time.Minute, "somebody has partition 11", func() error {
				has := slices.ContainsFunc(workers, func(w *running) bool { return assignedLast.MatchString(w.log.String()) })
				return testkit.Unless(has, "nobody does")
			})
			k.delete()
			k.create(8)
			created := time.Now()

			// Each is well for longer than it takes to notice that it is not.
			var well time.Time
			testkit.Within(t, time.Minute, "the workers stay well", func() error {
				for i, w := range workers {
					if err := w.admin.Is(testkit.State.Well)(); err != nil {
						well = time.Time{}
						return fmt.Errorf("worker %d: %w", i, err)
					}
				}
				if well.IsZero() {
					well = time.Now()
				}
				return testkit.Unless(time.Since(well) >= 3*watchInterval, "they are, but not for long")
			})
			t.Logf("well %.1f s after the topic was created again", well.Sub(created).Seconds())
			for range 20 {
				k.produce(s.accept(s.wallet(), 5, -3)...)
			}
			s.waitApplied()
			s.waitCommitted(k, 40)
			s.audit()
		})
	}
}

// A topic is deleted and created again. What was committed before is past what is in the new one: Kafka forgets it, and the
// client of a worker that runs does not; or such a client has committed it once more, and the worker is gone.
func TestTheGroupFollowsATopicThatIsCreatedAgain(t *testing.T) {
	t.Parallel()
	for name, runs := range map[string]bool{"while a worker runs": true, "while none does": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, k := newStore(t), newTopic(t, 1)
			wallet := s.wallet()
			w := s.startWorker(k)
			k.produce(s.accept(wallet, 5, -1, -1, -1, -1)...)
			s.waitApplied()
			s.waitCommitted(k, 5)
			if !runs {
				w.stop()
			}
			k.delete()
			k.create(1)
			k.client.PurgeTopicsFromClient(k.name) // it keeps the id of the topic before
			if !runs {
				k.commit(0, 5)
				w = s.startWorker(k)
			}
			k.produce(s.accept(wallet, 2, -1)...)
			s.waitApplied()
			s.waitCommitted(k, 2)
			k.produce(s.accept(wallet, 1)...)
			s.waitCommitted(k, 3)
			w.stop()
			s.audit()
		})
	}
}

// Kafka's client goes on asking the leader that a partition had before its topic was created again if that one's term was
// a later one (librdkafka #4898): only a new process helps.
func TestAWorkerEndsThatDoesNotFindATopicCreatedAgain(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(3))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	s, k := newStore(t), newTopicAt(t, strings.Join(cluster.ListenAddrs(), ","), 1)
	wallet := s.wallet()
	lead := func(node int32, times int) {
		for range times { // a term each
			if err := cluster.MoveTopicPartition(k.name, 0, node); err != nil {
				t.Fatal(err)
			}
		}
	}
	lead(0, 5)
	w := s.startWorker(k)
	k.produce(s.accept(wallet, 5, -1, -1, -1, -1)...)
	s.waitApplied()
	s.waitCommitted(k, 5)
	k.delete()
	k.create(1)
	lead(1, 1)
	k.client.PurgeTopicsFromClient(k.name) // it keeps the id of the topic before
	k.produce(s.accept(wallet, 2, -1)...)
	select {
	case <-w.done:
	case <-time.After(silent + time.Minute):
		t.Fatalf("it goes on without messages: %s", w.log)
	}
	if w.code == 0 {
		t.Error("it ended well")
	}
	w.waitForLog("partition 0 has messages from offset 0 on, and none came for 30s")
	k.produce(s.accept(wallet, 1)...)
	s.startWorker(k)
	s.waitApplied()
	s.waitCommitted(k, 3)
	s.audit()
}

// commit commits an offset for the group, which has no members.
func (k *topic) commit(partition int32, offset int64) {
	k.Helper()
	request := kmsg.NewPtrOffsetCommitRequest()
	request.Group = k.name
	topic, place := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
	place.Partition, place.Offset = partition, offset
	topic.Topic, topic.Partitions = k.name, append(topic.Partitions, place)
	request.Topics = append(request.Topics, topic)
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(k.brokers, ",")...), kgo.MaxVersions(kversion.V3_9_0())) // later ones know a topic by its id alone
	if err != nil {
		k.Fatal(err)
	}
	defer client.Close()
	testkit.Until(k, "the offset is committed", func() error { // a broker may not know the topic yet
		response, err := request.RequestWith(k.Context(), client)
		if err == nil {
			err = kerr.ErrorForCode(response.Topics[0].Partitions[0].ErrorCode)
		}
		return err
	})
}

var assignedLast = regexp.MustCompile(`"partitions assigned","partitions":\[[^\]]*\b11\b`)

func (k *topic) grow(partitions int32) {
	k.Helper()
	request := kmsg.NewPtrCreatePartitionsRequest()
	topic := kmsg.NewCreatePartitionsRequestTopic()
	topic.Topic, topic.Count = k.name, partitions
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(k.Context(), k.client)
	if err == nil {
		err = kerr.ErrorForCode(response.Topics[0].ErrorCode)
	}
	if err != nil {
		k.Fatal(err)
	}
}

func (k *topic) delete() {
	k.Helper()
	remove := kmsg.NewPtrDeleteTopicsRequest()
	remove.TopicNames = []string{k.name}
	remove.Topics = append(remove.Topics, kmsg.DeleteTopicsRequestTopic{Topic: &k.name})
	response, err := remove.RequestWith(k.Context(), k.client)
	if err == nil {
		err = kerr.ErrorForCode(response.Topics[0].ErrorCode)
	}
	if err != nil {
		k.Fatal(err)
	}
}

func (k *topic) create(partitions int32) {
	k.Helper()
	create := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = k.name, partitions, 1
	create.Topics = append(create.Topics, topic)
	testkit.Until(k, "the topic is created", func() error {
		response, err := create.RequestWith(k.Context(), k.client)
		if err == nil {
			err = kerr.ErrorForCode(response.Topics[0].ErrorCode)
		}
		return err
	})
}
