package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// settle applies everything that the wallets have accepted, and what that leads to.
func (s *store) settle(l ledger, wallets ...uuid.UUID) (halted *halted) {
	s.Helper()
	halted = newHalted(discard)
	a := &applier{ledger: l, halted: halted, committed: func(context.Context, plan, []received) {}}
	for {
		last, err := l.lastSequences(context.Background(), wallets)
		if err != nil {
			s.Fatal(err)
		}
		var targets []target
		for _, id := range wallets {
			var applied int64
			s.scan(&applied, "SELECT applied_seq FROM wallets WHERE id = $1", id)
			if applied < last[id] && !halted.has(id) {
				targets = append(targets, target{id, last[id], true})
			}
		}
		if len(targets) == 0 {
			return halted
		}
		if err := a.apply(context.Background(), targets, nil); err != nil {
			s.Fatal(err)
		}
	}
}

// told is what the database says of an operation, in a line.
func (s *store) told(o operation) (line string) {
	s.Helper()
	s.scan(&line, `SELECT concat_ws(' ', type, status, failure_reason, balance_after, 'held ' || held_after, state_after, 'applied ' || applied_amount, 'left ' || subject_left)
		FROM operation_states WHERE id = $1`, o.ID)
	return line
}

func (s *store) wantTold(o operation, want string) {
	s.Helper()
	if got := s.told(o); got != want {
		s.Errorf("%s, want %s", got, want)
	}
}

func (s *store) wantOpenHolds(wallet uuid.UUID, want ...uuid.UUID) {
	s.Helper()
	var got []uuid.UUID
	s.scan(&got, "SELECT coalesce(array_agg(hold_id ORDER BY seq), '{}') FROM open_holds WHERE wallet_id = $1", wallet)
	if diff := cmp.Diff(append([]uuid.UUID{}, want...), got); diff != "" {
		s.Errorf("open holds: %s", diff)
	}
}

func naming(kind walletdb.OperationType, o operation, amount int64, changes ...func(*operation)) operation {
	r := operation{WalletID: o.WalletID, Type: kind, Amount: amount, SubjectID: &o.ID}
	for _, change := range changes {
		change(&r)
	}
	return r
}

// Whether operations are applied one by one or at once, what was held, captured and reversed comes to the same.
func TestHoldsAndReversals(t *testing.T) {
	t.Parallel()
	for _, together := range []bool{true, false} {
		t.Run(fmt.Sprintf("together %v", together), func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			l := s.ledger()
			wallet := s.wallet()
			var all []operation
			ask := func(o operation) operation {
				t.Helper()
				o = s.ask(o)
				if all = append(all, o); !together {
					s.settle(l, wallet)
				}
				return o
			}
			plain := func(kind walletdb.OperationType, amount int64) operation {
				return ask(operation{WalletID: wallet, Type: kind, Amount: amount})
			}
			in := plain(deposit, 100)
			first := plain(hold, 60)
			tooMuch := plain(withdraw, 41)
			part := ask(naming(capture, first, 20, partly))
			beyond := ask(naming(capture, first, 41))
			rest := ask(naming(capture, first, 0))
			late := ask(naming(capture, first, 1))
			second := plain(hold, 30)
			freed := ask(naming(release, second, 0))
			third := plain(hold, 10)
			none := plain(hold, 1000)
			ofNone := ask(naming(capture, none, 1))
			back := ask(naming(reverse, part, 5))
			backAll := ask(naming(reverse, part, 0))
			backAgain := ask(naming(reverse, part, 0))
			undone := ask(naming(reverse, in, 51))
			undone2 := ask(naming(reverse, in, 50))
			frost := plain(freeze, 0)
			cold := plain(withdraw, 1)
			thaw := plain(activate, 0)
			full := plain(closing, 0)
			s.settle(l, wallet)
			for _, want := range []struct {
				operation
				line string
			}{
				{in, "DEPOSIT PROCESSED 100"},
				{first, "HOLD PROCESSED 100 held 60"},
				{tooMuch, "WITHDRAW FAILED INSUFFICIENT_FUNDS 100 held 60"},
				{part, "CAPTURE PROCESSED 80 held 40 left 40"},
				{beyond, "CAPTURE FAILED EXCEEDS_HOLD 80 held 40 left 40"},
				{rest, "CAPTURE PROCESSED 40 applied 40 left 0"},
				{late, "CAPTURE FAILED HOLD_CLOSED 40 left 0"},
				{second, "HOLD PROCESSED 40 held 30"},
				{freed, "RELEASE PROCESSED 40 applied 30 left 0"},
				{third, "HOLD PROCESSED 40 held 10"},
				{none, "HOLD FAILED INSUFFICIENT_FUNDS 40 held 10"},
				{ofNone, "CAPTURE FAILED HOLD_CLOSED 40 held 10 left 0"},
				{back, "REVERSE PROCESSED 45 held 10 left 15"},
				{backAll, "REVERSE PROCESSED 60 held 10 applied 15 left 0"},
				{backAgain, "REVERSE FAILED EXCEEDS_ORIGINAL 60 held 10 left 0"},
				{undone, "REVERSE FAILED INSUFFICIENT_FUNDS 60 held 10 left 100"},
				{undone2, "REVERSE PROCESSED 10 held 10 left 50"},
				{frost, "FREEZE PROCESSED 10 held 10 FROZEN"},
				{cold, "WITHDRAW FAILED WALLET_FROZEN 10 held 10 FROZEN"},
				{thaw, "ACTIVATE PROCESSED 10 held 10"},
				{full, "CLOSE FAILED WALLET_NOT_EMPTY 10 held 10"},
			} {
				s.wantTold(want.operation, want.line)
			}
			s.wantOpenHolds(wallet, third.ID)
			var row string
			s.scan(&row, "SELECT balance || ' ' || held || ' ' || state || ' ' || (rules_seq = applied_seq) FROM wallets WHERE id = $1", wallet)
			if row != "10 10 ACTIVE true" {
				t.Errorf("the wallet has %s", row)
			}
			// The worker of the release before knows nothing of holds: it stops here, instead of paying what is held.
			_, err := l.pool.Exec(t.Context(), "UPDATE wallets SET balance = 9, applied_seq = applied_seq + 1 WHERE id = $1", wallet)
			if refused := new(pgconn.PgError); !errors.As(err, &refused) || refused.ConstraintName != "wallets_rules" && refused.ConstraintName != "wallets_held" {
				t.Errorf("a worker that does not know what is held goes on: %v", err)
			}
		})
	}
}

// funded opens a wallet that has so much.
func (s *store) funded(l ledger, amount int64) uuid.UUID {
	s.Helper()
	wallet := s.wallet()
	s.accept(wallet, amount)
	s.settle(l, wallet)
	return wallet
}

func (s *store) find(id uuid.UUID) walletdb.OperationState {
	s.Helper()
	found, err := walletdb.New(s.conn).FindOperations(context.Background(), []uuid.UUID{id})
	if err != nil || len(found) != 1 {
		s.Fatalf("operation %s: %v, %v", id, found, err)
	}
	return found[0]
}

// What one wallet gives is accepted in the other one by the same commit; what that one does not take comes back.
func TestTransfers(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := s.ledger()
	a, b := s.funded(l, 100), s.funded(l, 10)
	reference := `from "a", 7 €`
	sent := s.ask(operation{WalletID: a, Type: transfer, Amount: 30, CounterpartID: &b, Reference: &reference})
	h := s.ask(operation{WalletID: a, Type: hold, Amount: 20})
	captured := s.ask(naming(capture, h, 0, func(o *operation) { o.CounterpartID = &b }))
	tooMuch := s.ask(operation{WalletID: a, Type: transfer, Amount: 51, CounterpartID: &b})
	s.settle(l, a)
	s.wantBalance(a, 50, 5)
	s.wantBalance(b, 10, 1)
	s.settle(l, b)
	s.wantBalance(b, 60, 3)
	for _, o := range []operation{sent, captured} {
		got := s.find(event.ReceiveID(o.ID))
		if got.Type != receive || got.WalletID != b || *got.SubjectID != o.ID || *got.CounterpartID != a || got.Status != "PROCESSED" || (got.Reference == nil) != (o.Reference == nil) {
			t.Errorf("%+v", got)
		}
		if got.SubjectLeft != nil || got.AppliedAmount != nil {
			t.Errorf("a RECEIVE has no subject of its own: %+v", got)
		}
	}
	if got := s.find(event.ReceiveID(sent.ID)); *got.Reference != reference || got.Amount != 30 {
		t.Errorf("%+v", got)
	}
	s.wantTold(tooMuch, "TRANSFER FAILED INSUFFICIENT_FUNDS 50")
	s.wantTold(captured, "CAPTURE PROCESSED 50 applied 20 left 0")

	s.ask(operation{WalletID: b, Type: withdraw, Amount: 60})
	s.ask(operation{WalletID: b, Type: closing})
	s.settle(l, b)
	refused := s.ask(operation{WalletID: a, Type: transfer, Amount: 50, CounterpartID: &b, Reference: &reference})
	s.ask(operation{WalletID: a, Type: freeze})
	s.settle(l, a)
	s.wantBalance(a, 0, 7)
	s.settle(l, b)
	s.settle(l, a)
	s.wantBalance(a, 50, 8)
	back := s.find(event.ReturnID(event.ReceiveID(refused.ID)))
	if back.Type != giveBack || back.WalletID != a || *back.SubjectID != event.ReceiveID(refused.ID) || *back.CounterpartID != b || *back.Reference != reference || back.Status != "PROCESSED" {
		t.Errorf("%+v", back)
	}
	s.wantTold(operation{ID: event.ReceiveID(refused.ID)}, "RECEIVE FAILED WALLET_CLOSED 0 CLOSED")
	s.wantMessages()
	s.audit()
}

// wantMessages compares every outbox row with what db/event makes of its operation, and the order of a wallet's rows
// with that of its sequences.
func (s *store) wantMessages() {
	s.Helper()
	rows, err := s.conn.Query(context.Background(), `SELECT b.id, b.topic, b.key, b.headers, b.payload, o.wallet_id, o.seq, o.id, o.type, o.amount, o.created_at
		FROM outbox b JOIN operations o ON o.id::text = convert_from(b.payload, 'UTF8')::json->>'operationId' ORDER BY b.id`)
	if err != nil {
		s.Fatal(err)
	}
	defer rows.Close()
	last := map[uuid.UUID]int64{}
	n := 0
	for ; rows.Next(); n++ {
		var id int64
		var topic, key, headers string
		var payload []byte
		var o operation
		if err := rows.Scan(&id, &topic, &key, &headers, &payload, &o.WalletID, &o.Seq, &o.ID, &o.Type, &o.Amount, &o.CreatedAt); err != nil {
			s.Fatal(err)
		}
		if want := message(o); string(payload) != string(want) || topic != s.topic || key != o.WalletID.String() || headers != event.Headers(string(o.Type)) {
			s.Errorf("outbox row %d of topic %s with key %s and headers %s:\n%s, want\n%s", id, topic, key, headers, payload, want)
		}
		if o.Seq != last[o.WalletID]+1 {
			s.Errorf("wallet %s: sequence %d comes after %d in the outbox", o.WalletID, o.Seq, last[o.WalletID])
		}
		last[o.WalletID] = o.Seq
	}
	var operations int
	if s.scan(&operations, "SELECT count(*) FROM operations"); rows.Err() != nil || n != operations {
		s.Errorf("%d messages of %d operations: %v", n, operations, rows.Err())
	}
}

// The first row of a page that exists already, or whose wallet does not, halts its own wallet and no other.
func TestATransferThatCannotBeReceivedHaltsItsWalletAlone(t *testing.T) {
	t.Parallel()
	for fact, spoil := range map[string]func(s *store, b uuid.UUID, o operation){
		"its RECEIVE exists": func(s *store, b uuid.UUID, o operation) {
			s.ask(operation{WalletID: b, ID: event.ReceiveID(o.ID), Type: receive, Amount: 1, SubjectID: &o.ID, CounterpartID: &o.WalletID})
		},
		"its wallet does not exist": func(s *store, b uuid.UUID, o operation) {
			s.exec("UPDATE operations SET counterpart_id = gen_random_uuid() WHERE id = $1", o.ID)
		},
	} {
		t.Run(fact, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			l := s.ledger()
			a, b, c := s.funded(l, 100), s.funded(l, 100), s.funded(l, 100)
			s.ask(operation{WalletID: a, Type: transfer, Amount: 1, CounterpartID: &c})
			spoiled := s.ask(operation{WalletID: a, Type: transfer, Amount: 2, CounterpartID: &c})
			s.ask(operation{WalletID: a, Type: transfer, Amount: 4, CounterpartID: &c})
			s.ask(operation{WalletID: b, Type: transfer, Amount: 8, CounterpartID: &c})
			spoil(s, b, spoiled)
			halted := s.settle(l, a, b)
			if halted.count() != 1 || !halted.has(a) || halted.unknown() != 0 {
				t.Errorf("%d wallets are halted, a is: %v", halted.count(), halted.has(a))
			}
			s.wantTold(spoiled, "TRANSFER PENDING")
			s.wantBalance(a, 99, 2)
			s.settle(l, c)
			s.wantBalance(c, 109, 3)
		})
	}
}

func TestAnUnknownTypeHaltsItsWalletAlone(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.exec("ALTER TYPE operation_type ADD VALUE 'SPLIT'")
	l := s.ledger()
	newer, healthy := s.wallet(), s.wallet()
	var messages [][]byte
	for _, o := range []operation{{WalletID: newer, Type: deposit, Amount: 5}, {WalletID: newer, Type: "SPLIT", Amount: 1}, {WalletID: newer, Type: deposit, Amount: 5}, {WalletID: healthy, Type: deposit, Amount: 5}} {
		messages = append(messages, message(s.ask(o)))
	}
	b := newBench(l)
	var logged testkit.Log
	b.applier.halted = newHalted(testLog(&logged))
	for range 2 {
		if err := b.process(t.Context(), batch(0, messages...)); err != nil {
			t.Fatal(err)
		}
	}
	s.wantBalance(newer, 5, 1)
	s.wantBalance(healthy, 5, 1)
	if h := b.applier.halted; h.count() != 1 || h.unknown() != 1 || len(b.stuck) != 0 || !slices.Equal(b.stored, []int64{4}) {
		t.Errorf("%d wallets are halted, %d by an unknown type, %d stuck; offsets %v stored", h.count(), h.unknown(), len(b.stuck), b.stored)
	}
	if n := strings.Count(logged.String(), "does not know the type SPLIT"); n != 1 {
		t.Errorf("%d lines in the log:\n%s", n, logged.String())
	}
	s.exec("DELETE FROM outbox")
	s.exec("UPDATE operations SET type = 'WITHDRAW' WHERE type = 'SPLIT'") // as if this were the newer release
	if err := b.process(t.Context(), batch(4, messages[2])); err != nil {
		t.Fatal(err)
	}
	s.wantBalance(newer, 9, 3)
	if h := b.applier.halted; h.count()+h.unknown() != 0 {
		t.Error("the wallet still counts as halted")
	}
}

// More transfers than one transaction takes into other wallets.
func TestManyTransfersTakeSeveralTransactions(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := s.ledger()
	rich, other, quiet := s.funded(l, 10_000), s.wallet(), s.funded(l, 1)
	const n = 2*maxFollowing + 100
	s.exec(`INSERT INTO operations (wallet_id, seq, id, type, amount, counterpart_id) SELECT $1, n + 1, gen_random_uuid(), 'TRANSFER', 1, $2 FROM generate_series(1, $3::int) n`, rich, other, n)
	s.exec(`UPDATE wallet_sequences SET last_seq = $2 + 1 WHERE wallet_id = $1`, rich, n)
	s.accept(quiet, 1)
	c := &counting{ledger: l}
	if halted := s.settle(c, rich, quiet); halted.count() > 0 {
		t.Errorf("%d wallets are halted", halted.count())
	}
	if c.following != maxFollowing {
		t.Errorf("a transaction accepted %d operations in other wallets, the limit is %d", c.following, maxFollowing)
	}
	s.wantBalance(rich, 10_000-n, n+1)
	s.wantBalance(quiet, 2, 2)
	s.settle(l, other)
	s.wantBalance(other, n, n)
}

// Times of what the worker accepts follow those of the wallet, unless the clock was set back by more than 5 s.
func TestTimesOfWhatFollows(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ahead time.Duration
		want  string // of created_at, against what last_at was
		back  int64
	}{
		"no time yet":    {want: ">"},
		"before":         {ahead: -time.Minute, want: ">"},
		"a little ahead": {ahead: 4 * time.Second, want: ">="},
		"far ahead":      {ahead: 10 * time.Second, want: "<", back: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			l := s.ledger()
			a, b := s.funded(l, 100), s.wallet()
			for range 2 {
				s.ask(operation{WalletID: a, Type: transfer, Amount: 1, CounterpartID: &b})
			}
			last := time.Unix(0, 0)
			if test.ahead != 0 {
				last = time.Now().Add(test.ahead).Truncate(time.Microsecond)
				s.exec("UPDATE wallet_sequences SET last_at = $2 WHERE wallet_id = $1", b, last)
			}
			done, err := l.transaction(t.Context(), []target{{a, 3, true}}, nil)
			if err != nil || done.timesBack != test.back {
				t.Errorf("%v, times back %d, want %d", err, done.timesBack, test.back)
			}
			var got bool
			s.scan(&got, "SELECT bool_and(o.created_at "+test.want+" $2) AND bool_and(o.created_at = s.last_at) FROM operations o JOIN wallet_sequences s USING (wallet_id) WHERE o.wallet_id = $1", b, last)
			if !got {
				t.Errorf("created_at is not %s last_at, or last_at did not follow", test.want)
			}
			s.wantMessages()
		})
	}
}

func TestServicesAcceptWhatIsTheirsAndChangeNoFact(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	wallet := s.funded(s.ledger(), 100)
	for service, tries := range map[testdb.Service]map[string]bool{
		testdb.Worker: {
			accepting("DEPOSIT", false): false, accepting("WITHDRAW", false): false, accepting("HOLD", false): false, accepting("CAPTURE", true): false, accepting("REVERSE", true): false,
			accepting("RECEIVE", true): true, accepting("RETURN", true): true, accepting("EXPIRE", true): true,
		},
		testdb.API: {
			accepting("DEPOSIT", false): true, accepting("CAPTURE", true): true, accepting("REVERSE", true): true,
			accepting("RECEIVE", true): false, accepting("RETURN", true): false, accepting("EXPIRE", true): false,
			"INSERT INTO outcomes (wallet_id, seq, status, balance_after) VALUES ($1, 99, 'PROCESSED', 1)": false,
			"UPDATE wallets SET balance = 0 WHERE id = $1":                                                 false,
			"INSERT INTO open_holds (wallet_id, seq, hold_id) VALUES ($1, 1, $1)":                          false,
		},
	} {
		conn := testdb.Database{URL: s.As(service)}.Conn(t)
		for _, fact := range []string{
			"UPDATE operations SET amount = 1 WHERE wallet_id = $1", "UPDATE operations SET type = 'RETURN' WHERE wallet_id = $1", "DELETE FROM operations WHERE wallet_id = $1",
			"UPDATE outcomes SET balance_after = 1 WHERE wallet_id = $1", "DELETE FROM outcomes WHERE wallet_id = $1",
		} {
			tries[fact] = false
		}
		for sql, allowed := range tries {
			tx, err := conn.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, err = tx.Exec(t.Context(), sql, wallet)
			refused := new(pgconn.PgError)
			if allowed != (err == nil) || err != nil && (!errors.As(err, &refused) || refused.Code != "42501") {
				t.Errorf("%s: %s: %v, want allowed %v", service, sql, err, allowed)
			}
			if err := tx.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.wantBalance(wallet, 100, 1)
}

func accepting(kind string, subject bool) string {
	columns, values := "wallet_id, seq, id, type, amount", "$1, 99, gen_random_uuid(), '"+kind+"', 1"
	if subject {
		columns, values = columns+", subject_id", values+", gen_random_uuid()"
	}
	if kind == "RECEIVE" || kind == "RETURN" {
		columns, values = columns+", counterpart_id", values+", gen_random_uuid()"
	}
	return "INSERT INTO operations (" + columns + ") VALUES (" + values + ")"
}

// Two workers apply transfers to and fro between a few wallets, while others accept operations in them. Nobody waits for
// somebody who waits for him, and nothing is lost or doubled.
func TestTransfersToAndFroNeverDeadlock(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var wallets []uuid.UUID
	for range 6 {
		wallets = append(wallets, s.wallet())
		s.accept(wallets[len(wallets)-1], 1_000_000)
	}
	const rounds, each = 60, 12
	errs := make(chan error)
	accepting := make(chan struct{})
	for seed := range uint64(2) {
		conn := s.Database.Conn(t)
		go func() {
			defer func() { errs <- nil }() // also after an ask that ends the goroutine
			random := rand.New(rand.NewPCG(seed, 0))
			own := &store{TB: t, Database: s.Database, conn: conn, topic: s.topic}
			for range rounds {
				for range each {
					from, to := random.IntN(len(wallets)), random.IntN(len(wallets)-1)
					if to >= from {
						to++
					}
					own.ask(operation{WalletID: wallets[from], Type: transfer, Amount: 1 + random.Int64N(400_000), CounterpartID: &wallets[to]})
				}
				own.accept(wallets[random.IntN(len(wallets))], 1, 1, -1, -1)
			}
		}()
	}
	for seed := range uint64(2) {
		l := s.ledger(patient...)
		go func() {
			random := rand.New(rand.NewPCG(seed, 1))
			var all error
			for done := false; !done; {
				select {
				case <-accepting:
					done = true
				default:
				}
				targets := make([]target, 0, len(wallets))
				for _, i := range random.Perm(len(wallets))[:1+random.IntN(len(wallets))] {
					targets = append(targets, target{wallets[i], 1 << 40, false})
				}
				_, err := l.transaction(context.Background(), targets, nil)
				all = errors.Join(all, err)
			}
			errs <- all
		}()
	}
	for range 2 {
		<-errs
	}
	close(accepting)
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		return
	}
	s.settle(s.ledger(), wallets...)
	var balances, received int64
	s.scan(&balances, "SELECT sum(balance)::bigint FROM wallets")
	s.scan(&received, "SELECT count(*) FROM operation_states WHERE type = 'RECEIVE' AND status = 'PROCESSED'")
	if want := int64(len(wallets)) * 1_000_000; balances != want || received < rounds*each {
		t.Errorf("the wallets have %d, want %d; %d transfers were received", balances, want, received)
	}
	s.wantMessages()
	s.audit()
}
