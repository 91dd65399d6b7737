package main

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// timesBack counts the operations of a wallet that say they were accepted before their predecessor,
// and returns by how much the worst of them does.
func timesBack(t *testing.T, conn *pgx.Conn, walletID uuid.UUID) (count int, worst time.Duration) {
	t.Helper()
	var seconds float64
	err := conn.QueryRow(t.Context(), `
		SELECT count(*), coalesce(max(extract(epoch FROM before - created_at)), 0)::float8
		FROM (SELECT created_at, lag(created_at) OVER (ORDER BY seq) AS before FROM operations WHERE wallet_id = $1) o
		WHERE created_at < before`, walletID).Scan(&count, &seconds)
	if err != nil {
		t.Fatal(err)
	}
	return count, time.Duration(seconds * float64(time.Second))
}

// flushOf accepts operations of a wallet in one flush, and returns them.
func flushOf(t *testing.T, f *flusher, walletID uuid.UUID, operations int) (accepted []walletdb.OperationState) {
	t.Helper()
	requests := fill(t, f.queue, walletID, operations)
	taken := f.queue.take(nil)
	if back := f.flush(t.Context(), taken); len(back) > 0 {
		t.Fatalf("%d came back", len(back))
	}
	for _, r := range requests {
		got := <-r.done
		if got.err != nil {
			t.Fatal(got.err)
		}
		accepted = append(accepted, got.operation)
	}
	return accepted
}

// Two processes take turns at one wallet's lock. Each reads the clock once it has the lock, so that
// the order of the times is that of the sequence.
func TestTimesFollowTheSequenceAcrossProcesses(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	walletID := insertWallet(t, database)
	conn := database.Conn(t)
	ctx, stop := context.WithCancel(t.Context())
	var flushers, clients sync.WaitGroup
	queues := make([]*queue, 2)
	for i := range queues {
		f := newFlusher(t, database.As(testdb.API))
		queues[i] = f.queue
		flushers.Go(func() { f.run(ctx) })
	}
	const operations = 3_000
	for c := range 24 {
		clients.Go(func() {
			for range operations / 24 {
				r := waitingRequest(ctx, walletID)
				queues[c%2].push(r)
				if got := <-r.done; got.err != nil {
					t.Error(got.err)
				}
			}
		})
	}
	clients.Wait()
	stop()
	flushers.Wait()
	mustBeDense(t, conn, walletID, operations)
	if count, worst := timesBack(t, conn, walletID); count > 0 {
		t.Errorf("created_at is below its predecessor's %d times in %d operations, by up to %v", count, operations, worst)
	}
}

// What a statement reads before it waits for a lock may be older than what the lock's last holder wrote.
func TestTheClockIsReadOnceTheWalletIsLocked(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	walletID := insertWallet(t, database)
	f := newFlusher(t, database.As(testdb.API))
	f.config.RuntimeParams["lock_timeout"] = "10s"
	f.config.RuntimeParams["application_name"] = "flush"
	release, observer := lockWallet(t, database, walletID), database.Conn(t)
	r := waitingRequest(t.Context(), walletID)
	go f.flush(t.Context(), []*request{r})
	testkit.Until(t, "the flush waits for the lock", flushWaits(observer))
	var released time.Time
	if err := observer.QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&released); err != nil {
		t.Fatal(err)
	}
	release()
	if got := <-r.done; got.err != nil || got.operation.CreatedAt.Before(released) {
		t.Errorf("accepted at %v, while another transaction held the wallet until %v or later (%v)", got.operation.CreatedAt, released, got.err)
	}
}

// A clock that was set back by a little is waited for; one that was set back by more is taken as it is,
// once for each wallet, and that is counted. The message, the row and the wallet have the same time.
func TestAClockThatWasSetBack(t *testing.T) {
	database := testdb.New(t)
	conn := database.Conn(t)
	f := newFlusher(t, database.As(testdb.API))
	for _, test := range []struct {
		name     string
		ahead    time.Duration // the wallet's last operation is, of the clock
		backward bool
	}{
		{name: "by 4 s", ahead: 4 * time.Second, backward: false},
		{name: "by an hour", ahead: time.Hour, backward: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			walletID := insertWallet(t, database)
			flushOf(t, f, walletID, 1)
			if _, err := conn.Exec(t.Context(), "UPDATE operations SET created_at = created_at + $2::interval WHERE wallet_id = $1", walletID, test.ahead); err != nil {
				t.Fatal(err)
			}
			var last time.Time
			if err := conn.QueryRow(t.Context(), "UPDATE wallet_sequences SET last_at = last_at + $2::interval WHERE wallet_id = $1 RETURNING last_at", walletID, test.ahead).Scan(&last); err != nil {
				t.Fatal(err)
			}
			counted := testutil.ToFloat64(timesSetBack)
			accepted := append(flushOf(t, f, walletID, 3), flushOf(t, f, walletID, 2)...)
			count, by := timesBack(t, conn, walletID)
			if test.backward {
				if count != 1 || by < test.ahead-time.Minute || testutil.ToFloat64(timesSetBack)-counted != 1 {
					t.Errorf("times go back %d times, by up to %v, and %v of them are counted; want one", count, by, testutil.ToFloat64(timesSetBack)-counted)
				}
			} else {
				if count != 0 || testutil.ToFloat64(timesSetBack) != counted {
					t.Errorf("times go back %d times, by up to %v, and %v of them are counted; want none", count, by, testutil.ToFloat64(timesSetBack)-counted)
				}
				if accepted[0].CreatedAt.Before(last) {
					t.Errorf("accepted at %v, before the clock came to %v", accepted[0].CreatedAt, last)
				}
			}
			mustAgreeOnTimes(t, conn, walletID, accepted)
		})
	}
}

// mustAgreeOnTimes compares what clients are told with the rows and the messages.
func mustAgreeOnTimes(t *testing.T, conn *pgx.Conn, walletID uuid.UUID, accepted []walletdb.OperationState) {
	t.Helper()
	for _, o := range accepted {
		var stored time.Time
		var payload []byte
		err := conn.QueryRow(t.Context(), `SELECT o.created_at, m.payload FROM operations o
			JOIN outbox m ON m.key = o.wallet_id::text AND convert_from(m.payload, 'UTF8')::json->>'operationId' = o.id::text
			WHERE o.id = $1`, o.ID).Scan(&stored, &payload)
		if err != nil {
			t.Fatal(err)
		}
		m, err := event.Decode(payload)
		if err != nil {
			t.Fatal(err)
		}
		if !o.CreatedAt.Equal(stored) || !m.AcceptedAt.Equal(stored) {
			t.Errorf("sequence %d: stored is %v, the client was told %v, the message says %v", o.Seq, stored, o.CreatedAt, m.AcceptedAt)
		}
	}
	var last time.Time
	if err := conn.QueryRow(t.Context(), "SELECT last_at FROM wallet_sequences WHERE wallet_id = $1", walletID).Scan(&last); err != nil {
		t.Fatal(err)
	}
	if at := accepted[len(accepted)-1].CreatedAt; !at.Equal(last) {
		t.Errorf("last_at is %v, the last operation was accepted at %v", last, at)
	}
}
