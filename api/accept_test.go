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
		{name: "a policy forbids it among others", err: refused("42501"), sent: true, size: 2, want: bisect},
		{name: "a policy forbids it", err: refused("42501"), sent: true, size: 1, want: refuse},
		{name: "no such column", err: refused("42703"), sent: true, size: 2, want: retryLater},
		{name: "a refusal that may be a replay", err: errLookFirst, size: 2, want: lookFirst},
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

func TestAcceptRefusesWhatCanNeverBe(t *testing.T) {
	t.Parallel()
	mine, other, foreign, dollars := uuid.UUID{1}, uuid.UUID{2}, uuid.UUID{3}, uuid.UUID{4}
	const (
		capture  = walletdb.OperationTypeCAPTURE
		release  = walletdb.OperationTypeRELEASE
		reverse  = walletdb.OperationTypeREVERSE
		transfer = walletdb.OperationTypeTRANSFER
	)
	hold, deposit, withdraw, taken, sent, moved, others := uuid.UUID{10}, uuid.UUID{11}, uuid.UUID{12}, uuid.UUID{13}, uuid.UUID{14}, uuid.UUID{15}, uuid.UUID{16}
	subjects := map[uuid.UUID]subject{
		hold: {mine, "HOLD", false}, deposit: {mine, "DEPOSIT", false}, withdraw: {mine, "WITHDRAW", false},
		taken: {mine, capture, false}, sent: {mine, capture, true}, moved: {mine, transfer, true}, others: {other, "HOLD", false},
	}
	wallets := map[uuid.UUID]walletdb.FindWalletsRow{
		mine: {ID: mine, Currency: "EUR", Tenant: "a"}, other: {ID: other, Currency: "EUR", Tenant: "a"},
		foreign: {ID: foreign, Currency: "EUR", Tenant: "b"}, dollars: {ID: dollars, Currency: "USD", Tenant: "a"},
	}
	for _, test := range []struct {
		name    string
		kind    walletdb.OperationType
		subject uuid.UUID // of none: Nil
		target  *uuid.UUID
		want    error
	}{
		{"a capture of a hold", capture, hold, nil, nil},
		{"a capture of an unknown hold", capture, uuid.UUID{99}, nil, errHoldNotFound},
		{"a capture of another wallet's hold", capture, others, nil, errHoldNotFound},
		{"a capture of a deposit", capture, deposit, nil, errHoldNotFound},
		{"a release of a hold", release, hold, nil, nil},
		{"a release of a withdrawal", release, withdraw, nil, errHoldNotFound},
		{"a reversal of a deposit", reverse, deposit, nil, nil},
		{"a reversal of a withdrawal", reverse, withdraw, nil, nil},
		{"a reversal of a capture", reverse, taken, nil, nil},
		{"a reversal of a capture that went to another wallet", reverse, sent, nil, errNotReversible},
		{"a reversal of a transfer", reverse, moved, nil, errNotReversible},
		{"a reversal of a hold", reverse, hold, nil, errNotReversible},
		{"a reversal of nothing", reverse, uuid.UUID{99}, nil, errOperationNotFound},
		{"a reversal of another wallet's operation", reverse, others, nil, errOperationNotFound},
		{"a transfer", transfer, uuid.Nil, &other, nil},
		{"a transfer to no wallet", transfer, uuid.Nil, &uuid.UUID{99}, errTargetNotFound},
		{"a transfer to the wallet of zeros", transfer, uuid.Nil, &uuid.UUID{}, errTargetNotFound},
		{"a transfer to another tenant", transfer, uuid.Nil, &foreign, errTargetNotFound},
		{"a transfer to another currency", transfer, uuid.Nil, &dollars, errCurrencyMismatch},
		{"a capture for another wallet", capture, hold, &other, nil},
		{"a capture for the wallet of zeros", capture, hold, &uuid.UUID{}, errTargetNotFound},
		{"a capture of an unknown hold for no wallet", capture, uuid.UUID{99}, &uuid.UUID{99}, errHoldNotFound},
	} {
		r := &request{tenant: "a", walletID: mine, id: uuid.UUID{50}, kind: test.kind, targetID: test.target}
		if test.subject != uuid.Nil {
			r.subjectID = &test.subject
		}
		accepted, answers, _ := accept([]*request{r}, state{
			sequences: map[uuid.UUID]sequence{mine: {lastSeq: 5}}, owners: map[uuid.UUID]string{mine: "a"}, operations: map[uuid.UUID]*walletdb.OperationState{},
			subjects: subjects, wallets: wallets,
		})
		if got := answers[0].err; !errors.Is(got, test.want) || (len(accepted) == 1) != (test.want == nil) {
			t.Errorf("%s: %v and %d accepted, want %v", test.name, got, len(accepted), test.want)
		}
	}
}

// A capture may be in the flush of its hold, if its client knew the hold's id before it was answered.
func TestAcceptFindsAHoldOfTheSameFlush(t *testing.T) {
	t.Parallel()
	mine, hold := uuid.UUID{1}, uuid.UUID{10}
	_, answers, _ := accept([]*request{
		{tenant: "a", walletID: mine, id: uuid.UUID{11}, kind: "CAPTURE", subjectID: &hold},
		{tenant: "a", walletID: mine, id: hold, kind: "HOLD", amount: 5},
		{tenant: "a", walletID: mine, id: uuid.UUID{12}, kind: "CAPTURE", subjectID: &hold},
	}, state{sequences: map[uuid.UUID]sequence{mine: {}}, owners: map[uuid.UUID]string{mine: "a"}, operations: map[uuid.UUID]*walletdb.OperationState{}})
	if !errors.Is(answers[0].err, errHoldNotFound) || answers[1].err != nil || answers[2].err != nil {
		t.Errorf("before its hold %v, the hold %v, after it %v", answers[0].err, answers[1].err, answers[2].err)
	}
}

func TestAReplayComparesEverythingThatWasAsked(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 9, 15, 0, 0, time.UTC)
	elsewhere, no, yes := at.In(time.FixedZone("", 3600)), false, true
	id := func(n byte) *uuid.UUID { return &uuid.UUID{n} }
	asked := func() *request {
		return &request{
			walletID: uuid.UUID{1}, id: uuid.UUID{2}, kind: "CAPTURE", amount: 5, reference: "r", metadata: []byte(`{"a":"1","b":"2"}`),
			subjectID: id(3), targetID: id(4), expiresAt: &at, final: &no,
		}
	}
	known := asked().operation(1, at)
	known.Metadata = []byte(`{"b": "2", "a": "1"}`) // as Postgres writes it
	known.AppliedAmount = new(int64)                // what it came to says nothing about what was asked
	for name, change := range map[string]func(r *request){
		"":                                 func(*request) {},
		"the same time in another zone ":   func(r *request) { r.expiresAt = &elsewhere },
		"another type":                     func(r *request) { r.kind = "RELEASE" },
		"another amount":                   func(r *request) { r.amount = 6 },
		"an open amount":                   func(r *request) { r.amount = 0 },
		"another reference":                func(r *request) { r.reference = "s" },
		"another hold":                     func(r *request) { r.subjectID = id(9) },
		"no hold":                          func(r *request) { r.subjectID = nil },
		"another target":                   func(r *request) { r.targetID = id(9) },
		"no target":                        func(r *request) { r.targetID = nil },
		"another time":                     func(r *request) { later := at.Add(time.Microsecond); r.expiresAt = &later },
		"no time":                          func(r *request) { r.expiresAt = nil },
		"final":                            func(r *request) { r.final = &yes },
		"other metadata":                   func(r *request) { r.metadata = []byte(`{"a":"1","b":"3"}`) },
		"less metadata":                    func(r *request) { r.metadata = []byte(`{"a":"1"}`) },
		"no metadata":                      func(r *request) { r.metadata = nil },
		"the same metadata the other way ": func(r *request) { r.metadata = []byte(`{"b":"2","a":"1"}`) },
	} {
		r := asked()
		change(r)
		got := again(r, known)
		if same := name == "" || name[len(name)-1] == ' '; same != (got.err == nil) || !same && !errors.Is(got.err, errKeyReused) {
			t.Errorf("%q: %v", name, got.err)
		}
	}
}
