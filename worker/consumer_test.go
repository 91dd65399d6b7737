package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// From messages to balances, on real Postgres, Redis and Kafka.
func TestMessagesBecomeBalances(t *testing.T) {
	t.Parallel()
	s, k := newStore(t), newTopic(t, 4)
	first, second := s.wallet(), s.wallet()
	cache, err := walletcache.Open(redisURL(t))
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	// Only what somebody reads is in Redis, which may be new, and has to settle.
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	reader := newCache(cache, testHealth(), newMetrics())
	go reader.Run(ctx)
	testkit.Until(t, "the wallet is cached", func() error {
		_, ticket, found := reader.Read(first)
		if !found {
			reader.Fill(ctx, ticket, walletcache.Entry{Wallet: walletdb.Wallet{ID: first, Currency: "EUR"}})
		}
		return testkit.Unless(found, "it is not")
	})
	k.produce(s.accept(first, 100, -30, -80)...)
	k.produce(s.accept(second, 5)...)
	w := s.startWorker(k)
	s.waitApplied()
	s.wantBalance(first, 70, 3)
	s.wantBalance(second, 5, 1)

	testkit.Until(t, "the cache has the newest balance", func() error {
		got, ticket, found := reader.Read(first)
		if !found { // another test's worker may have missed something
			if stored, err := walletdb.New(s.conn).GetWallet(ctx, first); err == nil {
				reader.Fill(ctx, ticket, walletcache.Entry{Wallet: stored})
			}
		}
		return testkit.Unless(got.Balance == 70 && got.AppliedSeq == 3, "it says %+v", got)
	})
	s.waitCommitted(k, 4)
	w.stop()
	s.audit()
}

// Workers come and go while messages come twice, late and in the wrong order. At every moment what
// lies below a committed offset is finished.
func TestWorkersComeAndGoUnderLoad(t *testing.T) {
	t.Parallel()
	s, k := newStore(t), newTopic(t, 6)
	load := &store{TB: t, Database: s.Database, conn: s.Database.Conn(t), topic: s.topic}
	loading, stop := context.WithCancel(t.Context())
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		var wallets []uuid.UUID
		for range 30 {
			wallets = append(wallets, load.wallet())
		}
		for i := 0; loading.Err() == nil; i++ {
			messages := load.accept(wallets[i%len(wallets)], 7, -5, -5, 3, -1)
			slices.Reverse(messages[2:])
			k.produce(append(messages, messages[1], messages[4])...)
		}
	}()
	settle := func(workers ...*running) {
		t.Helper()
		for _, w := range workers {
			w.waitForPartitions()
		}
		before := s.checkOffsets(k)
		testkit.Until(t, "500 more messages are committed", func() error {
			got := s.checkOffsets(k)
			return testkit.Unless(got >= before+500, "%d are, after %d", got, before)
		})
	}
	a := s.startWorker(k)
	settle(a)
	b, c := s.startWorker(k), s.startWorker(k)
	settle(a, b, c)
	b.stop()
	c.stop()
	settle(a)
	stop()
	<-loaded
	s.waitApplied()
	s.waitCommitted(k, int64(len(k.produced)))
	a.stop()
	s.audit()
}

func numbered(number int32) *assignedPartition {
	return &assignedPartition{partition: &partition{number: number}}
}

// Partitions that the topic does not have are left once they are missing for a while, and not before: the
// broker that was asked may be the last to hear of a topic's growth.
func TestPartitionsThatTheTopicDoesNotHaveAreLeftAfterAWhile(t *testing.T) {
	t.Parallel()
	c := &consumer{health: testHealth()}
	there, vanished := divide([]*assignedPartition{numbered(9), numbered(0), numbered(8), numbered(7)}, 8)
	if len(there) != 2 || !slices.Equal(vanished, []int32{8, 9}) {
		t.Errorf("%d partitions are there, and %v are not", len(there), vanished)
	}
	began := time.Now()
	var since time.Time
	look := func(after time.Duration, vanished ...int32) (leaves bool) {
		since = c.judgeVanished(vanished, 8, since, began.Add(after))
		return c.leaving.Swap(false)
	}
	for _, l := range []struct {
		after    time.Duration
		vanished []int32
		leaves   bool
	}{
		{after: 0, vanished: []int32{8}, leaves: false},
		{after: vanishedFor - time.Second, vanished: []int32{8}, leaves: false},
		{after: vanishedFor, leaves: false}, // the broker has heard
		{after: vanishedFor + time.Second, vanished: []int32{8}, leaves: false},
		{after: 2 * vanishedFor, vanished: []int32{8}, leaves: false},
		{after: 2*vanishedFor + time.Second, vanished: []int32{8}, leaves: true},
		{after: 2*vanishedFor + 2*time.Second, vanished: []int32{8}, leaves: false}, // it is leaving
		{after: 3*vanishedFor + time.Second, vanished: []int32{8}, leaves: true},
	} {
		if leaves := look(l.after, l.vanished...); leaves != l.leaves {
			t.Errorf("after %v, %d partitions missing: leaves = %v, want %v", l.after, len(l.vanished), leaves, l.leaves)
		}
	}
	if degraded := c.health.State().Degraded; len(degraded) != 1 || assignment.Dependency != "" {
		t.Errorf("degraded: %q, want the assignment alone", degraded)
	}
	if look(4*vanishedFor, nil...); c.vanished.Load() || len(c.health.State().Degraded) > 0 {
		t.Errorf("all partitions are there, and yet: %v", c.health.State().Degraded)
	}
}

// A partition is taken away while its transaction waits for a lock. It may finish, and what it did is
// reported; if it does not in time, its partition is abandoned, and nothing is lost either.
func TestRevokedWhileATransactionRuns(t *testing.T) {
	t.Parallel()
	for fact, release := range map[string]string{
		"it finishes in time":           "partitions revoked",
		"it does not, and is abandoned": "partition abandoned",
	} {
		t.Run(fact, func(t *testing.T) {
			t.Parallel()
			s, k := newStore(t), newTopic(t, 2)
			locker := &store{TB: t, Database: s.Database, conn: s.Database.Conn(t)}
			var messages [][]byte
			for range 20 { // of both partitions
				messages = append(messages, s.accept(s.wallet(), 1)...)
			}
			locker.exec("BEGIN")
			locker.exec("SELECT FROM wallets FOR UPDATE")
			url := "DATABASE_URL=" + s.As("wallet_worker") + "&lock_timeout=20000&statement_timeout=20000"
			a := s.startWorker(k, url)
			k.produce(messages...)
			s.waitForLocks(2) // whichever of the two is taken away
			b := s.startWorker(k, url)
			a.waitForLog(release)
			locker.exec("COMMIT")
			s.waitApplied()
			b.waitForPartitions()
			s.waitCommitted(k, 20)
			a.stop()
			b.stop()
			s.audit()
		})
	}
}

func TestPoisonBytesArePassedOver(t *testing.T) {
	t.Parallel()
	s, k := newStore(t), newTopic(t, 1)
	wallet := s.wallet()
	good := s.accept(wallet, 1, 1, 1)
	k.produceRaw([]byte("\x00\xff not an operation"), good[0], nil, good[2], []byte(`{"walletId":7}`))
	w := s.startWorker(k)
	s.waitApplied()
	s.wantBalance(wallet, 3, 3)
	s.waitCommitted(k, 5)
	w.stop()
	for offset, lines := range map[int]int{0: 1, 2: 0, 4: 0} { // the first speaks for all of a minute
		if n := w.log.Count(fmt.Sprintf(`"partition":0,"offset":%d`, offset)); n != lines {
			t.Errorf("offset %d is in %d log lines, want %d", offset, n, lines)
		}
	}
}

// The offset passes what cannot be applied before somebody repairs it, and nothing else: it waits for a
// wallet that only cannot be written for now, while others go on.
func TestTheOffsetPassesDamagedWalletsAlone(t *testing.T) {
	t.Parallel()
	s, k := newStore(t), newTopic(t, 1)
	damaged, poisoned, healthy := s.wallet(), s.wallet(), s.wallet()
	s.damaged = damaged
	messages := slices.Concat(s.accept(damaged, 1, 1), s.accept(healthy, 1), s.accept(poisoned, 1), s.accept(healthy, 1))
	s.exec("DELETE FROM operations WHERE wallet_id = $1 AND seq = 1", damaged)
	s.exec("INSERT INTO outcomes (wallet_id, seq, status, balance_after) VALUES ($1, 1, 'PROCESSED', 1)", poisoned)
	w := s.startWorker(k)
	k.produce(messages...)
	testkit.Until(t, "the healthy wallet goes on", func() error {
		var seq int64
		s.scan(&seq, "SELECT applied_seq FROM wallets WHERE id = $1", healthy)
		if committed := s.checkOffsets(k); committed > 3 {
			t.Fatalf("%d messages committed, and the fourth is not applied", committed)
		}
		return testkit.Unless(seq >= 2, "it is at sequence %d", seq)
	})
	s.exec("DELETE FROM outcomes WHERE wallet_id = $1", poisoned)
	s.waitCommitted(k, 5)
	s.wantBalance(poisoned, 1, 1)
	s.wantBalance(damaged, 0, 0)
	w.stop()
}

// Kafka has lost messages: those of the end, which no later message makes up for. The sweep does.
func TestTheSweepAppliesWhatKafkaLost(t *testing.T) {
	t.Parallel()
	s, k := newStore(t), newTopic(t, 1)
	wallet, quiet := s.wallet(), s.wallet()
	k.produce(s.accept(wallet, 1, 1)...)
	w := s.startWorker(k, "SWEEP_AFTER=1s")
	s.waitApplied()
	w.stop()
	k.produce(s.accept(wallet, 1, 1)...)
	k.deleteRecords(0, 4)
	s.accept(quiet, 5) // never published at all
	w = s.startWorker(k, "SWEEP_AFTER=1s")
	s.waitApplied()
	k.produce(s.accept(wallet, 1)...)
	s.waitApplied()
	s.waitCommitted(k, 5)
	w.stop()
	s.audit()
}

// A worker is stopped inside its transaction, taken for dead, and goes on later.
func TestAZombieDoesNoHarm(t *testing.T) {
	t.Parallel()
	s, k := newStore(t), newTopic(t, 1)
	locker := &store{TB: t, Database: s.Database, conn: s.Database.Conn(t)}
	wallet := s.wallet()
	locker.exec("BEGIN")
	locker.exec("SELECT FROM wallets FOR UPDATE")
	zombie := s.startProcess(k, "RDKAFKA_SESSION_TIMEOUT_MS=6000")
	k.produce(s.accept(wallet, 5, -3, -3)...)
	s.waitForLocks(1)
	zombie.signal(syscall.SIGSTOP)
	locker.exec("COMMIT") // the zombie has the lock now, and does nothing with it

	begin := time.Now()
	w := s.startWorker(k, "RDKAFKA_SESSION_TIMEOUT_MS=6000")
	s.waitApplied()
	t.Logf("taken over after %v", time.Since(begin).Round(time.Millisecond))
	k.produce(s.accept(wallet, 1)...)
	zombie.signal(syscall.SIGCONT)
	s.waitApplied()
	testkit.Until(t, "the zombie knows that it lost its partition", zombie.log.Has("revoked"))
	k.produce(s.accept(wallet, 1, 1)...)
	s.waitApplied()
	s.waitCommitted(k, 6)
	w.stop()
	zombie.signal(syscall.SIGTERM)
	if err := zombie.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	s.wantBalance(wallet, 5, 6)
	s.audit()
}

// The others need not wait for the end of its session, whether it had a partition or not.
func TestAWorkerThatStopsLeavesTheGroup(t *testing.T) {
	t.Parallel()
	s, k := newStore(t), newTopic(t, 1)
	session := "RDKAFKA_SESSION_TIMEOUT_MS=60000"
	owner := s.startWorker(k, session)
	owner.waitForPartitions()
	standby := s.startWorker(k, session)
	standby.waitForLog("partitions assigned")
	standby.stop()
	owner.stop()
	s.startWorker(k, session)
	k.produce(s.accept(s.wallet(), 1)...)
	s.waitApplied()
	s.waitCommitted(k, 1)
}

// A static member that is killed has its partitions back as soon as it is back. A dynamic one would
// wait for the end of the dead one's session.
func TestAStaticMemberComesBackAtOnce(t *testing.T) {
	t.Parallel()
	s, k := newStore(t), newTopic(t, 2)
	wallet := s.wallet()
	static := []string{"GROUP_INSTANCE_ID=worker-0", "RDKAFKA_SESSION_TIMEOUT_MS=60000"}
	first := s.startProcess(k, static...)
	k.produce(s.accept(wallet, 1)...)
	s.waitApplied()
	first.kill()
	begin := time.Now()
	s.startWorker(k, static...)
	k.produce(s.accept(wallet, 1)...)
	s.waitApplied()
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("back after %v", took)
	}
}

// Kafka refuses the older of two members with one name, and its client then hangs in Close.
func TestAFencedWorkerEnds(t *testing.T) {
	t.Parallel()
	s, k := newStore(t), newTopic(t, 1)
	wallet := s.wallet()
	older := s.startWorker(k, "GROUP_INSTANCE_ID=worker-0")
	k.produce(s.accept(wallet, 1)...)
	s.waitApplied()
	s.startWorker(k, "GROUP_INSTANCE_ID=worker-0")
	select {
	case <-older.done:
	case <-time.After(30 * time.Second):
		t.Fatal("the older one goes on")
	}
	if older.code != 1 {
		t.Errorf("exit code %d, want 1", older.code)
	}
	k.produce(s.accept(wallet, 1)...)
	s.waitApplied()
}

// Kafka takes the commits and never answers; then another broker is the group's. Applying goes on,
// and the offsets arrive in the end.
func TestCommitsThatGetNoAnswer(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(2, "wallet-operations"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	k := &topic{TB: t, name: "wallet-operations", brokers: strings.Join(cluster.ListenAddrs(), ",")}
	k.connect()
	answer := make(chan struct{})
	cluster.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		cluster.SleepControl(func() { <-answer })
		return nil, nil, false
	})
	w := s.startWorker(k)
	for range 20 {
		k.produce(s.accept(s.wallet(), 1, -1)...)
	}
	s.waitApplied()
	w.stop() // within 5 s, and in vain for the offsets
	if got := s.checkOffsets(k); got != 0 {
		t.Errorf("%d messages committed", got)
	}
	close(answer)
	cluster.RehashCoordinators()
	w = s.startWorker(k)
	k.produce(s.accept(s.wallet(), 1)...)
	s.waitApplied()
	s.waitCommitted(k, 41)
	w.stop()
	s.audit()
}

// Nothing is there when the worker starts; then one after the other comes. It says so once each.
func TestItWaitsForWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	postgres, kafka := testkit.NewProxy(t, s.As(testdb.Worker)), testkit.FreeAddr(t)
	k := &topic{TB: t, name: "wallet-operations", brokers: kafka.String()}
	w := s.startWorker(k, "DATABASE_URL="+postgres.URL)
	testkit.Until(t, "the worker misses Postgres", w.admin.Says("postgres: "))
	postgres.Open(t)
	testkit.Until(t, "the worker misses Kafka", w.admin.Says("kafka: "))
	cluster, err := kfake.NewCluster(kfake.Ports(kafka.Port), kfake.SeedTopics(1, k.name))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	k.connect()
	wallet := s.wallet()
	k.produce(s.accept(wallet, 1)...)
	s.waitApplied()

	w.admin.UntilWell(t)

	postgres.Cut()
	k.produce(s.accept(wallet, 1)...)
	testkit.Until(t, "the sweeper misses Postgres", w.admin.Says("postgres for sweeping: "))
	postgres.Open(t)
	s.waitApplied()
	w.admin.UntilWell(t)
	for _, event := range []string{`"degraded: postgres"`, `"recovered: postgres"`, "degraded: kafka", "recovered: kafka"} {
		if n := w.log.Count(event); n != 1 {
			t.Errorf("%s is logged %d times within a minute, want 1", event, n)
		}
	}
	w.stop()
	s.audit()
}

// deleteRecords removes a partition's records below an offset.
func (k *topic) deleteRecords(partition int32, offset int64) {
	k.Helper()
	request := kmsg.NewPtrDeleteRecordsRequest()
	t := kmsg.NewDeleteRecordsRequestTopic()
	t.Topic = k.name
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	t.Partitions = append(t.Partitions, p)
	request.Topics = append(request.Topics, t)
	if _, err := request.RequestWith(context.Background(), k.client); err != nil {
		k.Fatal(err)
	}
}

// produceRaw writes values to partition 0.
func (k *topic) produceRaw(values ...[]byte) {
	k.Helper()
	for _, value := range values {
		if err := k.client.ProduceSync(context.Background(), &kgo.Record{Topic: k.name, Key: []byte("raw"), Value: value}).FirstErr(); err != nil {
			k.Fatal(err)
		}
	}
}
