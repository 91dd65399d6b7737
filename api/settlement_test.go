package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

func TestAnOperationSaysWhatItCameTo(t *testing.T) {
	t.Parallel()
	wallet, other, id, cause := uuid.UUID{1}, uuid.UUID{2}, uuid.UUID{3}, uuid.UUID{4}
	amount := func(n int64) *int64 { return &n }
	sameTimes := cmp.Comparer(func(a, b oas.Time) bool { return time.Time(a).Equal(time.Time(b)) })
	leg := oas.NewOptCounterpart(oas.Counterpart{WalletID: other, OperationID: event.ReceiveID(id)})
	origin := oas.NewOptCounterpart(oas.Counterpart{WalletID: other, OperationID: cause})
	for name, test := range map[string]struct {
		stored walletdb.OperationState
		want   oas.Operation // of the fields below
	}{
		"a pending deposit":       {walletdb.OperationState{Type: "DEPOSIT", Amount: 5}, oas.Operation{Amount: oas.NewOptInt64(5)}},
		"a pending open capture":  {walletdb.OperationState{Type: "CAPTURE"}, oas.Operation{}},
		"an applied open capture": {walletdb.OperationState{Type: "CAPTURE", AppliedAmount: amount(7), BalanceAfter: amount(9), HeldAfter: amount(2)}, oas.Operation{Amount: oas.NewOptInt64(7), BalanceAfter: oas.NewOptBalance(9), HeldAfter: oas.NewOptInt64(2), AvailableAfter: oas.NewOptInt64(7)}},
		"an applied deposit":      {walletdb.OperationState{Type: "DEPOSIT", Amount: 5, BalanceAfter: amount(9)}, oas.Operation{Amount: oas.NewOptInt64(5), BalanceAfter: oas.NewOptBalance(9), HeldAfter: oas.NewOptInt64(0), AvailableAfter: oas.NewOptInt64(9)}},
		"a freeze":                {walletdb.OperationState{Type: "FREEZE", BalanceAfter: amount(0)}, oas.Operation{BalanceAfter: oas.NewOptBalance(0), HeldAfter: oas.NewOptInt64(0), AvailableAfter: oas.NewOptInt64(0)}},
		"a transfer":              {walletdb.OperationState{Type: "TRANSFER", Amount: 5, CounterpartID: &other}, oas.Operation{Amount: oas.NewOptInt64(5), Counterpart: leg}},
		"a capture for another":   {walletdb.OperationState{Type: "CAPTURE", Amount: 5, CounterpartID: &other, SubjectID: &cause}, oas.Operation{Amount: oas.NewOptInt64(5), Counterpart: leg, SubjectID: oas.NewOptUUID(cause)}},
		"a capture for nobody":    {walletdb.OperationState{Type: "CAPTURE", Amount: 5, SubjectID: &cause}, oas.Operation{Amount: oas.NewOptInt64(5), SubjectID: oas.NewOptUUID(cause)}},
		"a receive":               {walletdb.OperationState{Type: "RECEIVE", Amount: 5, CounterpartID: &other, SubjectID: &cause}, oas.Operation{Amount: oas.NewOptInt64(5), Counterpart: origin, SubjectID: oas.NewOptUUID(cause)}},
		"a return":                {walletdb.OperationState{Type: "RETURN", Amount: 5, CounterpartID: &other, SubjectID: &cause}, oas.Operation{Amount: oas.NewOptInt64(5), Counterpart: origin, SubjectID: oas.NewOptUUID(cause)}},
	} {
		test.stored.ID, test.stored.WalletID = id, wallet
		body := operationBody(test.stored, "")
		got := oas.Operation{
			Amount: body.Amount, BalanceAfter: body.BalanceAfter, HeldAfter: body.HeldAfter, AvailableAfter: body.AvailableAfter,
			SubjectID: body.SubjectID, Counterpart: body.Counterpart,
		}
		if diff := cmp.Diff(test.want, got, sameTimes); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// However a client learns where the money is, the next balance that it reads is not from before that.
func TestASettlementRaisesTheWalletInWhichItHappened(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	cache := newCached(t)
	a := startAPI(t, database.As(testdb.API), cache.setting())
	conn := database.Conn(t)
	asks := map[string]func(from, to uuid.UUID) reply{
		"the operation": func(from, _ uuid.UUID) reply {
			return a.send("GET", walletPath(from)+"/operations/"+uuid.NewSHA1(from, []byte("k")).String(), "")
		},
		"the statement": func(from, _ uuid.UUID) reply { return a.send("GET", walletPath(from)+"/operations?type=TRANSFER", "") },
		"the request again": func(from, to uuid.UUID) reply {
			return a.send("POST", walletPath(from)+"/transfers", fmt.Sprintf(`{"toWalletId":"%s","amount":4,"reference":"ref"}`, to), "Idempotency-Key: k")
		},
		"a batch again": func(from, to uuid.UUID) reply {
			return a.send("POST", batchPath, fmt.Sprintf(`{"operations":[{"walletId":"%s","operationType":"TRANSFER","toWalletId":"%s","amount":4,"reference":"ref","idempotencyKey":"k"}]}`, from, to))
		},
	}
	for name, ask := range asks {
		for _, settlement := range []string{settlementPending, settlementCompleted, settlementReturned} {
			from, to := a.newWallet(t), a.newWallet(t)
			cache.hold(t, a, from)
			cache.hold(t, a, to)
			leg := uuid.NewSHA1(from, []byte("k"))
			receive := row{kind: "RECEIVE", amount: 4, id: event.ReceiveID(leg), subject: leg, other: from}
			write(t, conn, from, row{kind: "DEPOSIT", amount: 9, status: processed, balance: 9}, row{kind: "TRANSFER", amount: 4, id: leg, other: to, status: processed, balance: 5})
			settled, balance := to, int64(4)
			switch settlement {
			case settlementPending:
				settled, balance = from, 5
			case settlementCompleted:
				receive.status, receive.balance = processed, 4
			case settlementReturned:
				receive.status, receive.reason = failed, "WALLET_CLOSED"
				settled, balance = from, 9
				write(t, conn, from, row{kind: "RETURN", amount: 4, id: event.ReturnID(receive.id), subject: receive.id, other: to, status: processed, balance: 9})
			}
			write(t, conn, to, receive)
			r := ask(from, to)
			body := r.body
			if items, ok := r.body["items"].([]any); ok {
				body, _ = items[0].(map[string]any)
			}
			if r.status != 200 || body["settlement"] != settlement {
				t.Errorf("%s of a transfer whose money is %s: %d %s", name, settlement, r.status, r.text)
			}
			if got := a.send("GET", walletPath(settled), ""); got.number(t, "balance") != balance {
				t.Errorf("%s said %s, and then the balance is not %d: %s", name, settlement, balance, got.text)
			}
		}
	}
}

// Nothing is announced here: the api finds out by asking.
func TestAWaitOnATransferEndsWithItsSettlement(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API))
	worker := newApplier(t, database, "redis://127.0.0.1:1")
	conn := database.Conn(t)
	for _, returned := range []bool{false, true} {
		from, to := a.newWallet(t), a.newWallet(t)
		replies := make(chan reply, 1)
		body := fmt.Sprintf(`{"toWalletId":"%s","amount":4}`, to)
		go func() {
			replies <- a.send("POST", walletPath(from)+"/transfers", body, "Idempotency-Key: k", "Prefer: wait=20")
		}()
		testkit.Until(t, "the transfer is accepted", worker.hasOperation(t, from, 1))
		leg := uuid.NewSHA1(from, []byte("k"))
		receive, giveBack := event.ReceiveID(leg), event.ReturnID(event.ReceiveID(leg))

		write(t, conn, to, row{kind: "RECEIVE", amount: 4, id: receive, subject: leg, other: from})
		finish(t, conn, leg, processed, 0)
		mustWait(t, replies, "the money is on its way")
		want := settlementCompleted
		if returned {
			want = settlementReturned
			write(t, conn, from, row{kind: "RETURN", amount: 4, id: giveBack, subject: receive, other: to})
			finish(t, conn, receive, failed, 0)
			mustWait(t, replies, "the money is on its way back")
			finish(t, conn, giveBack, processed, 4)
		} else {
			finish(t, conn, receive, processed, 4)
		}
		r := <-replies
		if r.status != 200 || r.body["status"] != processed || r.body["settlement"] != want || r.header.Get("Preference-Applied") != "wait=20" {
			t.Errorf("%d %s, want settlement %s", r.status, r.text, want)
		}
	}
}

// mustWait fails if an answer comes while the api has had time to find out twice.
func mustWait(t *testing.T, replies <-chan reply, meanwhile string) {
	t.Helper()
	select {
	case r := <-replies:
		t.Fatalf("answered while %s: %d %s", meanwhile, r.status, r.text)
	case <-time.After(2 * pollInterval):
	}
}

// finish gives an accepted operation its outcome.
func finish(t *testing.T, conn *pgx.Conn, id uuid.UUID, status string, balance int64) {
	t.Helper()
	_, err := conn.Exec(t.Context(), `WITH o AS (
			INSERT INTO outcomes (wallet_id, seq, status, failure_reason, balance_after, subject_left)
			SELECT wallet_id, seq, $2::outcome_status, CASE WHEN $2 = 'FAILED' THEN 'WALLET_CLOSED' END, $3, CASE WHEN subject_id IS NOT NULL THEN 0 END
			FROM operations WHERE id = $1 RETURNING *)
		UPDATE wallets SET balance = o.balance_after, applied_seq = o.seq, rules_seq = o.seq FROM o WHERE wallets.id = o.wallet_id`, id, status, balance)
	if err != nil {
		t.Fatal(err)
	}
}
