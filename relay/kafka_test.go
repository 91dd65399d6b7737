package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/service"
)

// newLiar starts a broker that the test can make lie, with a registered topic of 3 partitions.
func newLiar(t testing.TB, database testdb.Database, options ...kfake.Opt) (cluster *kfake.Cluster, topic string) {
	t.Helper()
	topic = "relay-test-" + uuid.NewString()
	cluster, err := kfake.NewCluster(append(options, kfake.SeedTopics(3, topic))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	register(t, database, topic, 3)
	return cluster, topic
}

// Whatever the broker answers, everything arrives, and in order.
func TestBrokerFaultsLoseNothing(t *testing.T) {
	t.Parallel()
	produce := []kmsg.Key{kmsg.Produce}
	answer := func(err *kerr.Error, count int) func(*kfake.Cluster, string) {
		return func(c *kfake.Cluster, _ string) { c.Fault(kfake.Fault{Keys: produce, Err: err, Count: count}) }
	}
	for _, test := range []struct {
		name   string
		inject func(c *kfake.Cluster, topic string)
	}{
		{"the acknowledgement is lost", answer(kerr.RequestTimedOut, 5)},
		{"too few replicas after the append", answer(kerr.NotEnoughReplicasAfterAppend, 5)},
		{"a batch is refused for good", answer(kerr.MessageTooLarge, 1)},
		{"three batches are refused for good", answer(kerr.InvalidRecord, 3)},
		{"the producer is unknown", answer(kerr.UnknownProducerID, 2)},
		{"the sequence is out of order", answer(kerr.OutOfOrderSequenceNumber, 1)},
		{"the server fails", answer(kerr.UnknownServerError, 2)},
		{"the leader moves in mid-wave", func(c *kfake.Cluster, topic string) {
			var requests atomic.Int32
			c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				if n := requests.Add(1); n < 20 {
					go c.MoveTopicPartition(topic, n%3, n%2)
				}
				return nil, nil, false
			})
		}},
		{"requests vanish", func(c *kfake.Cluster, _ string) {
			var requests atomic.Int32
			c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				return nil, nil, requests.Add(1) <= 3
			})
		}},
		{"connections are cut", func(c *kfake.Cluster, _ string) {
			var requests atomic.Int32
			c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				n := requests.Add(1)
				return nil, errors.New("cut"), n < 30 && n%4 == 0
			})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			database := testdb.New(t)
			cluster, topic := newLiar(t, database, kfake.NumBrokers(2))
			addr := cluster.ListenAddrs()[0]
			conn := database.Conn(t)
			// Small batches: a wave has many, and the first may fail while others wait behind it.
			start(t, environ(database, addr, "TOPIC="+topic, "WAVE_TIMEOUT=1s", "RDKAFKA_BATCH_NUM_MESSAGES=7"), testkit.NewLog(t, "the relay"))
			want := map[string]int{}
			write := func(transactions int) (total int) {
				for range transactions {
					for _, key := range []string{"a", "b", "c", "d"} {
						put(t, conn, topic, key, want[key]+1, 50)
						want[key] += 50
					}
				}
				return 4 * want["a"]
			}
			consume(t, addr, topic, 3, distinct(write(2)))
			test.inject(cluster, topic)
			all := consume(t, addr, topic, 3, distinct(write(8)))
			t.Logf("%d duplicates", checkOrder(t, all, want))
		})
	}
}

// The third of many batches is refused, and the relay is slow to hear of it and to drop the producer:
// the batches that wait behind must not get in.
func TestNothingIsSentBehindAGap(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.SeedTopics(1, "topic"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	addr, requests := cluster.ListenAddrs()[0], 0
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidRecord, When: func(kmsg.Request) bool {
		requests++
		return requests == 3
	}})
	p, err := newKafkaProducer(producerConfig(service.NewEnv(nil), addr, map[string]string{"batch.num.messages": "7"}), slog.New(slog.DiscardHandler), func(string, time.Duration) {})
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	messages := make([]message, 500)
	for i := range messages {
		messages[i] = message{row: row{ID: int64(i), Topic: "topic", Key: "a", Payload: []byte(fmt.Sprint(i + 1)), Headers: "{}"}, partitions: 1}
	}
	if err := p.publish(t.Context(), messages); err == nil {
		t.Fatal("published, although a batch was refused")
	}
	// librdkafka has done with every message, or keeps one that it never sends: close purges it.
	for until := time.Now().Add(3 * time.Second); p.producer.Len() > 0 && time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		for len(p.producer.Events()) > 0 {
			<-p.producer.Events()
		}
	}
	n := int(endOffsets(t, addr, "topic", 1))
	if n == 0 {
		t.Fatal("the first batches did not arrive")
	}
	checkOrder(t, consume(t, addr, "topic", 1, distinct(n)), map[string]int{"a": n})
}

func TestAWaveIsPublishedWhenAllOfItIsAcknowledged(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.SeedTopics(1, "topic"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	ctx, cancel := context.WithTimeout(t.Context(), silence)
	defer cancel()
	// Requests of one message; the answer to the last one never comes.
	requests := 0
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if requests++; requests == 10 {
			time.AfterFunc(300*time.Millisecond, cancel)
		}
		return nil, nil, requests == 10
	})
	p, err := newKafkaProducer(producerConfig(service.NewEnv(nil), cluster.ListenAddrs()[0], map[string]string{"batch.num.messages": "1"}), slog.New(slog.DiscardHandler), func(string, time.Duration) {})
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	messages := make([]message, 10)
	for i := range messages {
		messages[i] = message{row: row{ID: int64(i), Topic: "topic", Headers: "{}"}, partitions: 1}
	}
	if err := p.publish(ctx, messages); err == nil || !strings.Contains(err.Error(), " of 10 messages") {
		t.Errorf("got %v", err)
	}
}

func TestARowThatKafkaRejectsStopsPublishingUntilParked(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	topic := newTopic(t, database, brokers(t), 1, "max.message.bytes=5000")
	conn := database.Conn(t)
	put(t, conn, topic, "a", 1, 20)
	if _, err := conn.Exec(t.Context(), "INSERT INTO outbox (topic, key, payload) VALUES ($1, 'a', convert_to(repeat('x', 10000), 'UTF8'))", topic); err != nil {
		t.Fatal(err)
	}
	put(t, conn, topic, "a", 21, 20)
	log := testkit.NewLog(t, "the relay")
	admin, setting := newAdmin(t)
	start(t, environ(database, brokers(t), "TOPIC="+topic, setting), log)
	testkit.Until(t, "the relay stops at row 21", admin.Says("ctl relay park 21 "))
	checkOrder(t, consume(t, brokers(t), topic, 1, distinct(20)), map[string]int{"a": 20})

	if _, err := conn.Exec(t.Context(), "INSERT INTO parked_rows (outbox_id, actor, reason) VALUES (21, 'test', 'too large')"); err != nil {
		t.Fatal(err)
	}
	checkOrder(t, consume(t, brokers(t), topic, 1, distinct(40)), map[string]int{"a": 40})
	if n := log.Count("publishing has stopped"); n != 1 {
		t.Errorf("told of %d times", n)
	}
}

func TestKafkaCountsAsLostWhileItDoesNotAnswer(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	cluster, topic := newLiar(t, database)
	addr := cluster.ListenAddrs()[0]
	admin, setting := newAdmin(t)
	conn := database.Conn(t)
	var answers atomic.Bool
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		return nil, nil, !answers.Load()
	})
	start(t, environ(database, addr, "TOPIC="+topic, setting, "WAVE_TIMEOUT=1s"), testkit.NewLog(t, "the relay"))
	up, lost := admin.Counts(`wallet_dependency_up{dependency="kafka"}`, "1"), admin.Counts(`wallet_dependency_up{dependency="kafka"}`, "0")
	testkit.Until(t, "a relay without anything to publish does not miss it", up)
	put(t, conn, topic, "a", 1, 1)
	testkit.Until(t, "it is lost", lost)
	answers.Store(true)
	testkit.Until(t, "it is back", up)

	// A refusal is an answer.
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidRecord, Count: 1000})
	put(t, conn, topic, "a", 2, 1)
	testkit.Until(t, "the relay stops", admin.Counts(`wallet_relay_stopped{position="operations"}`, "1"))
	testkit.Until(t, "it is not lost", up)
}

func TestAnUnregisteredTopicStopsPublishingUntilRegistered(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	cluster, topic := newLiar(t, database)
	addr := cluster.ListenAddrs()[0]
	if err := cluster.CreateTopic("other", 3, nil); err != nil {
		t.Fatal(err)
	}
	conn := database.Conn(t)
	put(t, conn, topic, "a", 1, 10)
	put(t, conn, "other", "a", 1, 1)
	put(t, conn, topic, "a", 11, 10)
	admin, setting := newAdmin(t)
	start(t, environ(database, addr, setting, "TOPIC=other"), testkit.NewLog(t, "the relay"))
	testkit.Until(t, "the relay stops at row 11", admin.Says(`outbox row 11: topic "other" is not registered`))
	checkOrder(t, consume(t, addr, topic, 3, distinct(20)), map[string]int{"a": 20}) // the other lane goes on
	register(t, database, "other", 3)
	checkOrder(t, consume(t, addr, "other", 3, distinct(1)), map[string]int{"a": 1})
	admin.UntilWell(t)
}

// Whatever becomes of the events, operations arrive, and the relay stays in service. When it is over, every event
// arrives in its order.
func TestEventsThatKafkaDoesNotTakeDelayNothing(t *testing.T) {
	t.Parallel()
	toEvents := func(r kmsg.Request) bool {
		produce, ok := r.(*kmsg.ProduceRequest)
		return ok && slices.ContainsFunc(produce.Topics, func(topic kmsg.ProduceRequestTopic) bool { return topic.Topic == "events" })
	}
	for _, test := range []struct {
		name       string
		missing    bool // at Kafka
		registered bool
		fault      *kerr.Error // nil and registered: no answer
		says       string
		end        func(t *testing.T, c *kfake.Cluster, database testdb.Database)
	}{
		{name: "not registered", says: `topic "events" is not registered`, end: func(t *testing.T, _ *kfake.Cluster, database testdb.Database) {
			register(t, database, "events", 3)
		}},
		{name: "missing at Kafka", registered: true, missing: true, says: "events", end: func(t *testing.T, c *kfake.Cluster, _ testdb.Database) {
			if err := c.CreateTopic("events", 3, nil); err != nil {
				t.Error(err)
			}
		}},
		{name: "no right to write", registered: true, fault: kerr.TopicAuthorizationFailed, says: "publishing has stopped at outbox row"},
		{name: "too large", registered: true, fault: kerr.MessageTooLarge, says: "publishing has stopped at outbox row"},
		{name: "no answer", registered: true, says: "kafka does not take events"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			database := testdb.New(t)
			cluster, topic := newLiar(t, database)
			addr := cluster.ListenAddrs()[0]
			if !test.missing {
				if err := cluster.CreateTopic("events", 3, nil); err != nil {
					t.Fatal(err)
				}
			}
			if test.registered {
				register(t, database, "events", 3)
			}
			var over atomic.Bool
			switch {
			case test.fault != nil:
				cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "events", Err: test.fault, Count: -1, When: func(kmsg.Request) bool { return !over.Load() }})
			case test.registered && !test.missing:
				cluster.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
					cluster.KeepControl()
					return nil, nil, toEvents(r) && !over.Load()
				})
			}
			conn := database.Conn(t)
			admin, setting := newAdmin(t)
			start(t, environ(database, addr, setting, "TOPIC="+topic, "PUBLISH_TIMEOUT=5s"), testkit.NewLog(t, "the relay"))
			put(t, conn, "events", "a", 1, 10)
			testkit.Until(t, "the events stop", admin.Says(test.says))
			consumer := subscribe(t, addr, topic, 3)
			defer consumer.Close()
			for n := range 20 {
				put(t, conn, topic, "a", n+1, 1)
				put(t, conn, "events", "a", n+11, 1)
				testkit.Until(t, "the operation arrives", func() error {
					_, ok := receive(consumer)
					return testkit.Unless(ok, "it does not")
				})
			}
			if s, err := admin.State(); err != nil || !s.Ready || !s.Says(test.says) {
				t.Errorf("the relay says %+v, %v", s, err)
			}
			if made, err := admin.Metric(`wallet_relay_producers_total{position="operations"}`); err != nil || made != "1" {
				t.Errorf("the operations needed %s producers, %v", made, err)
			}
			over.Store(true)
			if test.end != nil {
				test.end(t, cluster, database)
			}
			checkOrder(t, consume(t, addr, "events", 3, distinct(30)), map[string]int{"a": 30})
			admin.UntilWell(t)
		})
	}
}

func TestFewerPartitionsAtTheBrokerStopPublishing(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	cluster, _ := newLiar(t, database)
	if err := cluster.CreateTopic("narrow", 2, nil); err != nil {
		t.Fatal(err)
	}
	register(t, database, "narrow", 4)
	put(t, database.Conn(t), "narrow", "a", 1, 1)
	admin, setting := newAdmin(t)
	start(t, environ(database, cluster.ListenAddrs()[0], setting, "TOPIC=narrow"), testkit.NewLog(t, "the relay"))
	testkit.Until(t, "the relay stops", admin.Says(`topic "narrow" has 2 partitions at the broker and 4 registered`))
}

func TestKafkaMissingAtTheStartIsToldOfOnce(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	free := testkit.FreeAddr(t)
	addr := free.String()
	register(t, database, "topic", 3)
	put(t, database.Conn(t), "topic", "a", 1, 10)
	log := testkit.NewLog(t, "the relay")
	admin, setting := newAdmin(t)
	start(t, environ(database, addr, setting, "TOPIC=topic", "WAVE_TIMEOUT=1s"), log)
	testkit.Until(t, "the relay has tried three times", admin.Counts(`wallet_relay_producers_total{position="operations"}`, "3"))
	cluster, err := kfake.NewCluster(kfake.Ports(free.Port), kfake.NumBrokers(1), kfake.SeedTopics(3, "topic"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	checkOrder(t, consume(t, addr, "topic", 3, distinct(10)), map[string]int{"a": 10})
	admin.UntilWell(t)
	if lost, back, all := log.Count("degraded: kafka"), log.Count("recovered: kafka"), log.Count("WARN"); lost != 1 || back != 1 || all != 1 {
		t.Errorf("that Kafka is lost is said %d times, that it is back %d times, in %d warnings; want 1 of each", lost, back, all)
	}
}

func TestARelayEndsInTimeWithoutKafka(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	register(t, database, "topic", 3)
	put(t, database.Conn(t), "topic", "a", 1, 10)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "topic"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	waves := make(chan bool, 1)
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		select {
		case waves <- true:
		default:
		}
		return nil, nil, true // No answer.
	})
	for name, addr := range map[string]string{"nobody listens": testkit.FreeAddr(t).String(), "nobody answers": cluster.ListenAddrs()[0]} {
		admin, setting := newAdmin(t)
		stop := start(t, environ(database, addr, setting, "TOPIC=topic"), testkit.NewLog(t, "the relay"))
		if name == "nobody answers" {
			<-waves
		} else {
			testkit.Until(t, "the relay misses Kafka", admin.Says("kafka: "))
		}
		stall, began := testdb.WatchStalls(t, database.URL), time.Now()
		stop()
		if took := time.Since(began); took > 5*time.Second+stall().Sum {
			t.Errorf("%s: it ended after %v", name, took)
		}
	}
}
