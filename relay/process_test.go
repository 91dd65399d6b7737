package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/service"
)

// The test binary is the relay, too, for tests that kill it.
func TestMain(m *testing.M) {
	if os.Getenv("RELAY_CHILD") != "" {
		main()
	}
	os.Exit(m.Run())
}

// A child is a relay in a process of its own.
type child struct {
	*exec.Cmd
	admin testkit.Admin
}

func startChild(t testing.TB, environ []string) child {
	t.Helper()
	admin, setting := newAdmin(t)
	c := child{exec.Command(os.Args[0]), admin}
	c.Env, c.Stderr = append(environ, setting, "RELAY_CHILD=1"), testkit.NewLog(t, "a relay")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return c
}

// is waits until the child is a leader or a standby.
func (c child) is(t testing.TB, role string) {
	t.Helper()
	testkit.Until(t, "the relay is a "+role, c.admin.Is(func(s testkit.State) bool { return s.Ready && s.Role == role }))
}

// writer inserts rows of one key until it is stopped, and returns how many.
func writer(t testing.TB, database testdb.Database, topic, key string) (stop func() int) {
	t.Helper()
	conn := database.Conn(t)
	ctx, cancel := context.WithCancel(t.Context())
	var written int
	var work sync.WaitGroup
	work.Go(func() {
		for ; ctx.Err() == nil; written += 5 {
			put(t, conn, topic, key, written+1, 5)
			service.Sleep(ctx, 3*time.Millisecond)
		}
	})
	return func() int {
		cancel()
		work.Wait()
		return written
	}
}

func TestAStandbyTakesOverFromALeaderThatDiesOrStops(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	topic := newTopic(t, database, brokers(t), 3)
	conn := database.Conn(t)
	singles := make(chan string, 100)
	consumer := subscribe(t, brokers(t), topic, 3)
	go func() {
		defer consumer.Close()
		for t.Context().Err() == nil {
			if r, ok := receive(consumer); ok && r.key == "single" {
				singles <- r.value
			}
		}
	}()
	// arrives measures how long a row takes that is inserted now, without stalls of the machine.
	number := 0
	arrives := func() time.Duration {
		t.Helper()
		stall := testdb.WatchStalls(t, database.URL)
		started := time.Now()
		number++
		put(t, conn, topic, "single", number, 1)
		testkit.Until(t, "the row arrives", func() error {
			var last string
			select {
			case last = <-singles:
			default:
			}
			return testkit.Unless(last == fmt.Sprint(number), "row %d does not, row %q does", number, last)
		})
		return time.Since(started) - stall().Sum
	}

	first := startChild(t, environ(database, brokers(t), "TOPIC="+topic))
	first.is(t, "leader")
	stop := writer(t, database, topic, "a")
	arrives()
	second := startChild(t, environ(database, brokers(t), "TOPIC="+topic))
	second.is(t, "standby")
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if took := arrives(); took > 4*time.Second {
		t.Errorf("after a kill -9 a row took %v", took)
	}

	third := startChild(t, environ(database, brokers(t), "TOPIC="+topic))
	third.is(t, "standby")
	second.is(t, "leader")
	if err := second.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if took := arrives(); took > 15*time.Second {
		t.Errorf("after a SIGSTOP a row took %v", took)
	}
	if err := second.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	second.is(t, "standby")
	arrives()
	total := stop()
	all := consume(t, brokers(t), topic, 3, distinct(total+number))
	t.Logf("%d rows, %d duplicates", total, checkOrder(t, all, map[string]int{"a": total, "single": number}))
}

func TestTwoLeadersOnlyAddDuplicates(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	topic := newTopic(t, database, brokers(t), 3)
	var relays sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 2 {
		config, err := configOf(environ(database, brokers(t), "TOPIC="+topic, "POLL_INTERVAL=5ms"))
		if err != nil {
			t.Fatal(err)
		}
		lead := leader(config, newStatus(slogTo(testkit.NewLog(t, "the relay"))), nil)
		relays.Go(func() { lead(ctx) })
	}
	want := map[string]int{}
	writers := map[string]func() int{}
	for _, key := range []string{"a", "b", "c"} {
		writers[key] = writer(t, database, topic, key)
	}
	conn := database.Conn(t)
	testkit.Within(t, 2*time.Minute, "more is published than was written", func() error {
		time.Sleep(100 * time.Millisecond)
		published, written := endOffsets(t, brokers(t), topic, 3), int64(0)
		err := conn.QueryRow(t.Context(), "SELECT last_value FROM outbox_id_seq").Scan(&written)
		return errors.Join(err, testkit.Unless(published > written, "%d rows, %d messages", written, published))
	})
	total := 0
	for key, stop := range writers {
		want[key] = stop()
		total += want[key]
	}
	all := consume(t, brokers(t), topic, 3, distinct(total))
	cancel()
	relays.Wait()
	duplicates := checkOrder(t, all, want)
	t.Logf("%d rows, %d duplicates", total, duplicates)
	if duplicates == 0 {
		t.Error("no duplicates: only one relay was at work")
	}
}

func TestARelayToldToEndResumesWhereItWas(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	topic := newTopic(t, database, brokers(t), 3)
	conn := database.Conn(t)
	put(t, conn, topic, "a", 1, 30_000) // A window of many pages.
	position := func() (open bool, text string) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), "SELECT coalesce(bool_or(cur IS NOT NULL), true), coalesce(max(prev || ' ' || after_id), '1:1: 0') FROM relay_positions WHERE relay = 'wallet-relay'").Scan(&open, &text); err != nil {
			t.Fatal(err)
		}
		return open, text
	}
	stops := 0
	for open, before := position(); open; open, before = position() {
		stop := start(t, environ(database, brokers(t), "TOPIC="+topic), testkit.NewLog(t, "the relay"))
		testkit.Until(t, "the position moves", func() error {
			_, text := position()
			return testkit.Unless(text != before, "it is %s", text)
		})
		stall, began := testdb.WatchStalls(t, database.URL), time.Now()
		stop()
		if took := time.Since(began); took > 5*time.Second+stall().Sum {
			t.Errorf("it ended after %v", took)
		}
		stops++
	}
	t.Logf("ended %d times", stops)
	put(t, conn, topic, "a", 30_001, 1)
	start(t, environ(database, brokers(t), "TOPIC="+topic), testkit.NewLog(t, "the relay"))
	all := consume(t, brokers(t), topic, 3, distinct(30_001))
	if duplicates := checkOrder(t, all, map[string]int{"a": 30_001}); duplicates > 0 {
		t.Errorf("%d duplicates", duplicates)
	}
}

func TestAPositionRolledBackOnlyAddsDuplicates(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	topic := newTopic(t, database, brokers(t), 3)
	conn := database.Conn(t)
	put(t, conn, topic, "a", 1, 100)
	stop := start(t, environ(database, brokers(t), "TOPIC="+topic), testkit.NewLog(t, "the relay"))
	consume(t, brokers(t), topic, 3, distinct(100))
	stop()
	if _, err := conn.Exec(t.Context(), "UPDATE relay_positions SET prev = '1:1:'"); err != nil {
		t.Fatal(err)
	}
	put(t, conn, topic, "a", 101, 100)
	start(t, environ(database, brokers(t), "TOPIC="+topic), testkit.NewLog(t, "the relay"))
	all := consume(t, brokers(t), topic, 3, distinct(200))
	if duplicates := checkOrder(t, all, map[string]int{"a": 200}); duplicates != 100 {
		t.Errorf("%d duplicates, want 100", duplicates)
	}
}

func TestLostPostgresConnectionsLoseNothing(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	topic := newTopic(t, database, brokers(t), 3)
	conn := database.Conn(t)
	start(t, environ(database, brokers(t), "TOPIC="+topic), testkit.NewLog(t, "the relay"))
	stop := writer(t, database, topic, "a")
	random := rand.New(rand.NewPCG(1, 1))
	for range 10 {
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond) // Any moment.
		_, err := conn.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'test_wallet_relay'")
		if err != nil {
			t.Fatal(err)
		}
	}
	total := stop()
	all := consume(t, brokers(t), topic, 3, distinct(total))
	t.Logf("%d rows, %d duplicates", total, checkOrder(t, all, map[string]int{"a": total}))
}

// A network that swallows everything: no connection is closed, no answer comes.
func TestASilentPostgresIsLeftAndFoundAgain(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	topic := newTopic(t, database, brokers(t), 3)
	proxy := testkit.NewProxy(t, database.As(testdb.Relay))
	proxy.Open(t)
	admin, setting := newAdmin(t)
	start(t, append(environ(database, brokers(t), "TOPIC="+topic, setting), "DATABASE_URL="+proxy.URL), testkit.NewLog(t, "the relay"))
	conn := database.Conn(t)
	put(t, conn, topic, "a", 1, 10)
	consume(t, brokers(t), topic, 3, distinct(10))

	proxy.Hold()
	put(t, conn, topic, "a", 11, 10)
	testkit.Until(t, "the relay leaves", admin.Is(func(s testkit.State) bool { return s.Role == "standby" && s.Says("postgres: ") }))
	proxy.Release()
	checkOrder(t, consume(t, brokers(t), topic, 3, distinct(20)), map[string]int{"a": 20})
	admin.UntilWell(t)
}

// A dump carries the position and the xids of another database along; with them the relay would
// lose rows, or publish some for ever.
func TestARestoredDumpStopsPublishingUntilRebased(t *testing.T) {
	t.Parallel()
	ctx, original := t.Context(), testdb.New(t)
	topic := newTopic(t, original, brokers(t), 3)
	conn, err := pgx.Connect(ctx, original.URL)
	if err != nil {
		t.Fatal(err)
	}
	put(t, conn, topic, "a", 1, 10)
	stop := start(t, environ(original, brokers(t), "TOPIC="+topic), testkit.NewLog(t, "the relay"))
	consume(t, brokers(t), topic, 3, distinct(10))
	stop()
	put(t, conn, topic, "a", 11, 10)
	if _, err := conn.Exec(ctx, "UPDATE outbox SET xid = (xid::text::bigint + 1000000000)::text::xid8"); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(ctx); err != nil {
		t.Fatal(err)
	}
	restored := copyOf(t, original)
	conn = restored.Conn(t)

	admin, setting := newAdmin(t)
	start(t, environ(restored, brokers(t), "TOPIC="+topic, setting), testkit.NewLog(t, "the relay"))
	testkit.Until(t, "the relay stops", admin.Says("ctl relay rebase"))
	if _, err := conn.Exec(ctx, "DELETE FROM relay_positions"); err != nil { // The xids alone tell.
		t.Fatal(err)
	}
	testkit.Until(t, "the relay begins anew", func() error {
		var n int
		err := conn.QueryRow(ctx, "SELECT count(*) FROM relay_positions").Scan(&n)
		return errors.Join(err, testkit.Unless(n == 2, "there are %d positions", n))
	})
	rebase(t, conn)
	put(t, conn, topic, "a", 21, 10)
	all := consume(t, brokers(t), topic, 3, distinct(30))
	if duplicates := checkOrder(t, all, map[string]int{"a": 30}); duplicates != 10 {
		t.Errorf("%d duplicates, want those of before the dump", duplicates)
	}
}

func TestAPausedRelayPublishesNothing(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	topic := newTopic(t, database, brokers(t), 3)
	conn := database.Conn(t)
	if _, err := conn.Exec(t.Context(), "INSERT INTO relay_controls VALUES ('wallet-relay', now(), 'test')"); err != nil {
		t.Fatal(err)
	}
	put(t, conn, topic, "a", 1, 10)
	admin, setting := newAdmin(t)
	start(t, environ(database, brokers(t), "TOPIC="+topic, setting), testkit.NewLog(t, "the relay"))
	testkit.Until(t, "the relay pauses", admin.Says("an operator paused publishing"))
	if n := endOffsets(t, brokers(t), topic, 3); n != 0 {
		t.Errorf("%d messages", n)
	}
	if _, err := conn.Exec(t.Context(), "UPDATE relay_controls SET paused_at = NULL"); err != nil {
		t.Fatal(err)
	}
	checkOrder(t, consume(t, brokers(t), topic, 3, distinct(10)), map[string]int{"a": 10})
}

// A lane that is stopped for hours has more and more rows of the other one before it. It measures its window once, keeps
// it over restarts, and goes on from there.
func TestAStoppedLaneMeasuresItsWindowOnce(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	topic := newTopic(t, database, brokers(t), 3)
	conn := database.Conn(t)
	put(t, conn, "events", "a", 1, 3)
	put(t, conn, topic, "a", 1, batchLimits.rows+1)
	admin, setting := newAdmin(t)
	stop := start(t, environ(database, brokers(t), "TOPIC="+topic, setting), testkit.NewLog(t, "the relay"))
	testkit.Until(t, "the events stop", admin.Says(`topic "events" is not registered`))
	window := func() (cur *string, after, last int64) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), "SELECT cur::text, after_id, last_id FROM relay_positions WHERE relay = 'wallet-relay/events'").Scan(&cur, &after, &last); err != nil {
			t.Fatal(err)
		}
		return cur, after, last
	}
	testkit.Until(t, "the window is kept", func() error {
		cur, after, last := window()
		return testkit.Unless(cur != nil && after == 0 && last == int64(batchLimits.rows)+4, "it is %v, %d to %d", cur, after, last)
	})
	consume(t, brokers(t), topic, 3, distinct(batchLimits.rows+1))
	stop()
	measured, _, _ := window()
	put(t, conn, "events", "a", 4, 3)
	admin, setting = newAdmin(t)
	start(t, environ(database, brokers(t), "TOPIC="+topic, setting), testkit.NewLog(t, "the relay"))
	testkit.Until(t, "the events stop again", admin.Says(`topic "events" is not registered`))
	if cur, _, _ := window(); cur == nil || *cur != *measured {
		t.Errorf("the window is measured again")
	}
	late := newTopic(t, database, brokers(t), 3)
	if _, err := conn.Exec(t.Context(), "UPDATE outbox SET topic = $1 WHERE topic = 'events'", late); err != nil {
		t.Fatal(err)
	}
	if duplicates := checkOrder(t, consume(t, brokers(t), late, 3, distinct(6)), map[string]int{"a": 6}); duplicates > 0 {
		t.Errorf("%d duplicates", duplicates)
	}
	admin.UntilWell(t)
}
