package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

func TestAcceptDecidesOnEachRequest(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 9, 15, 0, 123456000, time.UTC)
	mine, locked, missing := uuid.UUID{1}, uuid.UUID{2}, uuid.UUID{3}
	deposit := func(walletID uuid.UUID, id byte, amount int64) *request {
		return &request{tenant: allTenants, walletID: walletID, id: uuid.UUID{id}, kind: walletdb.OperationTypeDEPOSIT, amount: amount}
	}
	ours := deposit(mine, 21, 5)
	ours.sent = true
	before := walletdb.OperationState{WalletID: mine, Seq: 4, ID: uuid.UUID{20}, Type: "DEPOSIT", Amount: 7, Status: "FAILED"}
	earlier := walletdb.OperationState{WalletID: mine, Seq: 5, ID: uuid.UUID{21}, Type: "DEPOSIT", Amount: 5, Status: "PENDING"}
	withReference := deposit(mine, 20, 7)
	withReference.reference = "r"
	withdraw := deposit(mine, 20, 7)
	withdraw.kind = walletdb.OperationTypeWITHDRAW

	requests := []*request{
		deposit(mine, 10, 1),
		deposit(mine, 10, 1), // the same key twice in one flush
		deposit(mine, 10, 2), // and with other content
		deposit(mine, 11, 3),
		deposit(locked, 12, 1),
		deposit(missing, 13, 1),
		deposit(mine, 20, 7), // accepted and finished before
		withReference,
		withdraw,
		ours, // its commit went unanswered
	}
	accepted, answers, _ := accept(requests, state{
		clock:      at,
		sequences:  map[uuid.UUID]sequence{mine: {lastSeq: 5}},
		owners:     map[uuid.UUID]string{mine: "default", locked: "default"},
		operations: map[uuid.UUID]*walletdb.OperationState{before.ID: &before, earlier.ID: &earlier},
	})

	first := walletdb.OperationState{WalletID: mine, Seq: 6, ID: uuid.UUID{10}, Type: "DEPOSIT", Amount: 1, CreatedAt: at, Status: "PENDING"}
	second := walletdb.OperationState{WalletID: mine, Seq: 7, ID: uuid.UUID{11}, Type: "DEPOSIT", Amount: 3, CreatedAt: at, Status: "PENDING"}
	if diff := cmp.Diff([]walletdb.OperationState{first, second}, accepted); diff != "" {
		t.Errorf("accepted (-want +got):\n%s", diff)
	}
	want := []answer{
		{operation: first},
		{operation: first, replayed: true},
		{err: errKeyReused},
		{operation: second},
		{err: errLocked},
		{err: errWalletNotFound},
		{operation: before, replayed: true},
		{err: errKeyReused},
		{err: errKeyReused},
		{operation: earlier},
	}
	if diff := cmp.Diff(want, answers, cmp.AllowUnexported(answer{}), cmpopts.EquateErrors()); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}

// One flush has requests of many tenants: what one of them may see is no news to the others.
func TestAFlushKeepsTenantsApart(t *testing.T) {
	t.Parallel()
	locked, waits := uuid.UUID{1}, uuid.UUID{2}
	known := walletdb.OperationState{WalletID: locked, Seq: 1, ID: uuid.UUID{20}, Type: "DEPOSIT", Amount: 1, Status: "PENDING"}
	knownToo := walletdb.OperationState{WalletID: waits, Seq: 1, ID: uuid.UUID{21}, Type: "DEPOSIT", Amount: 1, Status: "PENDING"}
	type want struct {
		tenant   tenant
		walletID uuid.UUID
		id       byte
		err      error
	}
	var requests []*request
	wants := []want{
		{"acme", locked, 10, nil},
		{"globex", locked, 10, errWalletNotFound}, // the same id, accepted a line above
		{"globex", locked, 11, errWalletNotFound},
		{"globex", locked, 20, errWalletNotFound},
		{"globex", waits, 12, errWalletNotFound},
		{"globex", waits, 21, errWalletNotFound},
		{"", locked, 13, errWalletNotFound},
		{"acme", locked, 20, nil},
		{allTenants, locked, 14, nil},
		{"acme", waits, 15, errLocked},
		{allTenants, waits, 21, nil},
		{allTenants, uuid.UUID{3}, 16, errWalletNotFound},
	}
	for _, w := range wants {
		requests = append(requests, &request{tenant: w.tenant, walletID: w.walletID, id: uuid.UUID{w.id}, kind: walletdb.OperationTypeDEPOSIT, amount: 1})
	}
	_, answers, _ := accept(requests, state{
		sequences:  map[uuid.UUID]sequence{locked: {lastSeq: 1}},
		owners:     map[uuid.UUID]string{locked: "acme", waits: "acme"},
		operations: map[uuid.UUID]*walletdb.OperationState{known.ID: &known, knownToo.ID: &knownToo},
	})
	for i, w := range wants {
		if got := answers[i].err; !errors.Is(got, w.err) {
			t.Errorf("request %d, %+v: %v", i, w, got)
		}
	}
}

func TestErrorsDecideHowAFlushGoesOn(t *testing.T) {
	t.Parallel()
	refused := func(code string) error { return &pgconn.PgError{SeverityUnlocalized: "ERROR", Code: code} }
	duplicate := &pgconn.PgError{SeverityUnlocalized: "ERROR", Code: "23505", ConstraintName: "operations_id"}
	fatal := &pgconn.PgError{SeverityUnlocalized: "FATAL", Code: "57P01"}
	for _, test := range []struct {
		name string
		err  error
		sent bool
		mode mode
		size int
		want step
	}{
		{name: "no error", sent: true, size: 1, want: deliver},
		{name: "lock timeout", err: refused("55P03"), sent: false, size: 1, want: retrySkipLocked},
		{name: "lock timeout although locked wallets are skipped", err: refused("55P03"), sent: true, mode: mode{skipLocked: true}, size: 1, want: retryLater},
		{name: "accepted before", err: duplicate, sent: true, size: 1, want: retryWithLookup},
		{name: "accepted before although it was looked up", err: duplicate, sent: true, mode: mode{lookup: true}, size: 2, want: bisect},
		{name: "another constraint", err: refused("23505"), sent: true, size: 2, want: bisect},
		{name: "bad data among others", err: refused("22021"), sent: true, size: 2, want: bisect},
		{name: "bad data alone", err: refused("22021"), sent: true, size: 1, want: refuse},
		{name: "a damaged page", err: refused("XX001"), sent: true, size: 2, want: bisect},
		{name: "deadlock", err: refused("40P01"), sent: true, size: 2, want: retryLater},
		{name: "disk full", err: refused("53100"), sent: true, size: 1, want: retryLater},
		{name: "connection lost before the commit", err: errors.New("EOF"), sent: false, size: 1, want: retryLater},
		{name: "connection lost after the commit was sent", err: errors.New("EOF"), sent: true, size: 1, want: retryLaterUnknown},
		{name: "backend ended after the commit was sent", err: fatal, sent: true, size: 1, want: retryLaterUnknown},
		{name: "no answer in time", err: context.DeadlineExceeded, sent: true, size: 1, want: retryLaterUnknown},
	} {
		if got := afterError(test.err, test.sent, test.mode, test.size); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
