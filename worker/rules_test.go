package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

var (
	ourWallet   = uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000000")
	otherWallet = uuid.MustParse("bbbbbbbb-0000-4000-8000-000000000000")
	subjectID   = uuid.MustParse("cccccccc-0000-4000-8000-000000000000")
	noon        = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
)

// op makes an operation of our wallet that is accepted at noon.
func op(kind walletdb.OperationType, amount int64, changes ...func(*operation)) operation {
	o := operation{WalletID: ourWallet, Seq: 7, ID: uuid.NewSHA1(ourWallet, []byte(kind)), Type: kind, Amount: amount, CreatedAt: noon}
	switch kind {
	case capture, release, expire, reverse:
		o.SubjectID = &subjectID
	case transfer:
		o.CounterpartID = &otherWallet
	case receive, giveBack:
		o.SubjectID, o.CounterpartID = &subjectID, &otherWallet
	}
	for _, change := range changes {
		change(&o)
	}
	return o
}

func expiresAt(at time.Time) func(*operation) { return func(o *operation) { o.ExpiresAt = &at } }
func partly(o *operation)                     { o.Final = new(bool) }
func toOther(o *operation)                    { o.CounterpartID = &otherWallet }

// open is a hold, of which so much is left.
func open(left int64, changes ...func(*subject)) *subject {
	return about(hold, left, changes...)
}

func about(kind walletdb.OperationType, left int64, changes ...func(*subject)) *subject {
	s := &subject{seq: 3, kind: kind, left: left}
	for _, change := range changes {
		change(s)
	}
	return s
}

func until(at time.Time) func(*subject) { return func(s *subject) { s.expiresAt = &at } }
func namedTimes(n int) func(*subject)   { return func(s *subject) { s.named = n } }
func ended(s *subject)                  { s.expired = true }
func sentOn(s *subject)                 { s.counterpartID = &otherWallet }

// in are the reasons in a wallet that is ACTIVE, FROZEN and CLOSED.
type in [3]string

var states = [3]walletdb.WalletState{active, frozen, closed}

// every reason alone
var (
	always       = in{}
	unlessClosed = in{"", "", walletClosed}
	outgoing     = in{"", walletFrozen, walletClosed}
)

func orElse(reason string) in   { return in{reason, reason, walletClosed} }       // of what brings money in, or releases it
func orFrozen(reason string) in { return in{reason, walletFrozen, walletClosed} } // of what takes it out

func TestRules(t *testing.T) {
	t.Parallel()
	justNow, soon := noon.Add(-time.Microsecond), noon.Add(time.Microsecond)
	for _, test := range []struct {
		fact          string
		balance, held int64
		holds         int
		s             *subject
		op            operation
		reasons       in
		// If it is processed:
		balanceAfter, heldAfter int64
		state                   walletdb.WalletState // as before if empty
		applied                 int64                // as asked if 0
		left                    int64
		holdsAfter              int
	}{
		{fact: "a deposit adds", balance: 10, op: op(deposit, 5), reasons: unlessClosed, balanceAfter: 15},
		{fact: "a deposit does not touch what is held", balance: 10, held: 10, holds: 1, op: op(deposit, 5), reasons: unlessClosed, balanceAfter: 15, heldAfter: 10, holdsAfter: 1},
		{fact: "a deposit may reach the limit", balance: maxBalance - 5, op: op(deposit, 5), reasons: unlessClosed, balanceAfter: maxBalance},
		{fact: "a deposit may not pass the limit", balance: maxBalance - 5, op: op(deposit, 6), reasons: orElse(balanceLimit)},
		{fact: "a deposit above a balance that a RETURN has raised beyond the limit", balance: maxBalance + 5, op: op(deposit, 1), reasons: orElse(balanceLimit)},
		{fact: "the largest deposit does not overflow", balance: maxBalance, op: op(deposit, maxBalance), reasons: orElse(balanceLimit)},

		{fact: "a withdrawal takes", balance: 10, op: op(withdraw, 4), reasons: outgoing, balanceAfter: 6},
		{fact: "a withdrawal may take all", balance: 10, op: op(withdraw, 10), reasons: outgoing},
		{fact: "a withdrawal may not take more", balance: 10, op: op(withdraw, 11), reasons: orFrozen(insufficientFunds)},
		{fact: "a withdrawal may take what is available", balance: 10, held: 4, holds: 1, op: op(withdraw, 6), reasons: outgoing, balanceAfter: 4, heldAfter: 4, holdsAfter: 1},
		{fact: "a withdrawal may not take what is held", balance: 10, held: 4, holds: 1, op: op(withdraw, 7), reasons: orFrozen(insufficientFunds)},
		{fact: "an empty wallet gives nothing", op: op(withdraw, 1), reasons: orFrozen(insufficientFunds)},

		{fact: "a hold holds", balance: 10, op: op(hold, 4), reasons: outgoing, balanceAfter: 10, heldAfter: 4, holdsAfter: 1},
		{fact: "a hold may hold all that is available", balance: 10, held: 4, holds: 1, op: op(hold, 6), reasons: outgoing, balanceAfter: 10, heldAfter: 10, holdsAfter: 2},
		{fact: "a hold may not hold more", balance: 10, held: 4, holds: 1, op: op(hold, 7), reasons: orFrozen(insufficientFunds)},
		{fact: "a hold whose time is to come", balance: 10, op: op(hold, 4, expiresAt(soon)), reasons: outgoing, balanceAfter: 10, heldAfter: 4, holdsAfter: 1},
		{fact: "a hold whose time is over as it is accepted", balance: 10, op: op(hold, 4, expiresAt(noon)), reasons: orFrozen(holdExpired)},
		{fact: "a hold whose time was over before", balance: 10, op: op(hold, 4, expiresAt(justNow)), reasons: orFrozen(holdExpired)},
		{fact: "the last open hold that a wallet may have", balance: 10, holds: maxOpenHolds - 1, op: op(hold, 4), reasons: outgoing, balanceAfter: 10, heldAfter: 4, holdsAfter: maxOpenHolds},
		{fact: "one open hold more", balance: 10, holds: maxOpenHolds, op: op(hold, 4), reasons: orFrozen(limitReached)},
		{fact: "expired comes before the limit", holds: maxOpenHolds, op: op(hold, 4, expiresAt(noon)), reasons: orFrozen(holdExpired)},
		{fact: "the limit comes before the funds", holds: maxOpenHolds, op: op(hold, 4), reasons: orFrozen(limitReached)},

		{fact: "a capture of all closes its hold", balance: 10, held: 4, holds: 1, s: open(4), op: op(capture, 4), reasons: outgoing, balanceAfter: 6},
		{fact: "so it does if it is not final", balance: 10, held: 4, holds: 1, s: open(4), op: op(capture, 4, partly), reasons: outgoing, balanceAfter: 6},
		{fact: "a final capture of a part releases the rest", balance: 10, held: 4, holds: 1, s: open(4), op: op(capture, 3), reasons: outgoing, balanceAfter: 7},
		{fact: "a capture that is not final leaves the rest", balance: 10, held: 4, holds: 1, s: open(4), op: op(capture, 3, partly), reasons: outgoing, balanceAfter: 7, heldAfter: 1, left: 1, holdsAfter: 1},
		{fact: "a capture without an amount takes what remains", balance: 10, held: 4, holds: 1, s: open(4), op: op(capture, 0), reasons: outgoing, balanceAfter: 6, applied: 4},
		{fact: "a capture leaves other holds", balance: 10, held: 9, holds: 2, s: open(4), op: op(capture, 4), reasons: outgoing, balanceAfter: 6, heldAfter: 5, holdsAfter: 1},
		{fact: "a capture may not take more than remains", balance: 10, held: 4, holds: 1, s: open(4), op: op(capture, 5), reasons: orFrozen(exceedsHold), left: 4},
		{fact: "a capture before the hold's time", balance: 10, held: 4, holds: 1, s: open(4, until(soon)), op: op(capture, 4), reasons: outgoing, balanceAfter: 6},
		{fact: "a capture at the hold's time", balance: 10, held: 4, holds: 1, s: open(4, until(noon)), op: op(capture, 4), reasons: orFrozen(holdExpired), left: 4},
		{fact: "a capture after it", balance: 10, held: 4, holds: 1, s: open(4, until(justNow)), op: op(capture, 4), reasons: orFrozen(holdExpired), left: 4},
		{fact: "a capture after EXPIRE, though the clock was set back", balance: 10, s: open(0, until(soon), ended), op: op(capture, 4), reasons: orFrozen(holdExpired)},
		{fact: "a capture of a closed hold", balance: 10, s: open(0), op: op(capture, 4), reasons: orFrozen(holdClosed)},
		{fact: "a capture of what remains of a closed hold", balance: 10, s: open(0), op: op(capture, 0), reasons: orFrozen(holdClosed)},
		{fact: "expired comes before closed", balance: 10, s: open(0, until(noon)), op: op(capture, 4), reasons: orFrozen(holdExpired)},
		{fact: "the last capture that a hold may have", balance: 10, held: 4, holds: 1, s: open(4, namedTimes(maxNamed-1)), op: op(capture, 4), reasons: outgoing, balanceAfter: 6},
		{fact: "one capture more", balance: 10, held: 4, holds: 1, s: open(4, namedTimes(maxNamed)), op: op(capture, 4), reasons: orFrozen(limitReached), left: 4},
		{fact: "closed comes before the limit", balance: 10, s: open(0, namedTimes(maxNamed)), op: op(capture, 4), reasons: orFrozen(holdClosed)},
		{fact: "the limit comes before what the hold has", balance: 10, held: 4, holds: 1, s: open(4, namedTimes(maxNamed)), op: op(capture, 5), reasons: orFrozen(limitReached), left: 4},
		{fact: "a capture for another wallet", balance: 10, held: 4, holds: 1, s: open(4), op: op(capture, 3, toOther), reasons: outgoing, balanceAfter: 7},

		{fact: "a release gives back what remains", balance: 10, held: 9, holds: 2, s: open(4), op: op(release, 0), reasons: unlessClosed, balanceAfter: 10, heldAfter: 5, applied: 4, holdsAfter: 1},
		{fact: "a release of a closed hold", balance: 10, s: open(0), op: op(release, 0), reasons: orElse(holdClosed)},
		{fact: "a release after EXPIRE", balance: 10, s: open(0, until(justNow), ended), op: op(release, 0), reasons: orElse(holdClosed)},
		{fact: "a release when the time is over and EXPIRE has not come", balance: 10, held: 4, holds: 1, s: open(4, until(justNow)), op: op(release, 0), reasons: unlessClosed, balanceAfter: 10, applied: 4},
		{fact: "no limit binds a release", balance: 10, held: 4, holds: 1, s: open(4, namedTimes(maxNamed)), op: op(release, 0), reasons: unlessClosed, balanceAfter: 10, applied: 4},

		{fact: "EXPIRE gives back what remains", balance: 10, held: 9, holds: 2, s: open(4, until(justNow)), op: op(expire, 0), reasons: unlessClosed, balanceAfter: 10, heldAfter: 5, applied: 4, holdsAfter: 1},
		{fact: "EXPIRE of a closed hold", balance: 10, s: open(0, until(justNow)), op: op(expire, 0), reasons: orElse(holdClosed)},
		{fact: "no limit binds EXPIRE", balance: 10, held: 4, holds: 1, s: open(4, until(justNow), namedTimes(maxNamed)), op: op(expire, 0), reasons: unlessClosed, balanceAfter: 10, applied: 4},

		{fact: "a deposit is reversed in part", balance: 10, s: about(deposit, 8), op: op(reverse, 3), reasons: outgoing, balanceAfter: 7, left: 5},
		{fact: "a deposit is reversed", balance: 10, s: about(deposit, 8), op: op(reverse, 0), reasons: outgoing, balanceAfter: 2, applied: 8},
		{fact: "not more than is left of it", balance: 10, s: about(deposit, 8), op: op(reverse, 9), reasons: orFrozen(exceedsOriginal), left: 8},
		{fact: "not once more", balance: 10, s: about(deposit, 0), op: op(reverse, 0), reasons: orFrozen(exceedsOriginal)},
		{fact: "all that is available", balance: 10, held: 2, holds: 1, s: about(deposit, 8), op: op(reverse, 8), reasons: outgoing, balanceAfter: 2, heldAfter: 2, holdsAfter: 1},
		{fact: "not more than is available", balance: 10, held: 3, holds: 1, s: about(deposit, 8), op: op(reverse, 8), reasons: orFrozen(insufficientFunds), left: 8},
		{fact: "nor a part of what was asked for", balance: 10, held: 3, holds: 1, s: about(deposit, 8), op: op(reverse, 0), reasons: orFrozen(insufficientFunds), left: 8},
		{fact: "what is left comes before the funds", balance: 1, s: about(deposit, 8), op: op(reverse, 9), reasons: orFrozen(exceedsOriginal), left: 8},
		{fact: "the last reversal that an original may have", balance: 10, s: about(deposit, 8, namedTimes(maxNamed-1)), op: op(reverse, 8), reasons: outgoing, balanceAfter: 2},
		{fact: "one reversal more", balance: 10, s: about(deposit, 8, namedTimes(maxNamed)), op: op(reverse, 8), reasons: orFrozen(limitReached), left: 8},
		{fact: "the limit comes before what is left", balance: 10, s: about(deposit, 0, namedTimes(maxNamed)), op: op(reverse, 0), reasons: orFrozen(limitReached)},
		{fact: "a withdrawal is reversed in part", balance: 10, s: about(withdraw, 8), op: op(reverse, 3), reasons: unlessClosed, balanceAfter: 13, left: 5},
		{fact: "a withdrawal is reversed", balance: 10, held: 10, holds: 1, s: about(withdraw, 8), op: op(reverse, 0), reasons: unlessClosed, balanceAfter: 18, heldAfter: 10, applied: 8, holdsAfter: 1},
		{fact: "not more than was withdrawn", balance: 10, s: about(withdraw, 8), op: op(reverse, 9), reasons: orElse(exceedsOriginal), left: 8},
		{fact: "a reversal may reach the limit", balance: maxBalance - 8, s: about(withdraw, 8), op: op(reverse, 8), reasons: unlessClosed, balanceAfter: maxBalance},
		{fact: "a reversal may not pass the limit", balance: maxBalance - 7, s: about(withdraw, 8), op: op(reverse, 8), reasons: orElse(balanceLimit), left: 8},
		{fact: "what is left comes before the limit of the balance", balance: maxBalance, s: about(withdraw, 8), op: op(reverse, 9), reasons: orElse(exceedsOriginal), left: 8},
		{fact: "a capture is reversed", balance: 10, s: about(capture, 8), op: op(reverse, 0), reasons: unlessClosed, balanceAfter: 18, applied: 8},

		{fact: "a transfer takes", balance: 10, op: op(transfer, 4), reasons: outgoing, balanceAfter: 6},
		{fact: "a transfer may take what is available", balance: 10, held: 4, holds: 1, op: op(transfer, 6), reasons: outgoing, balanceAfter: 4, heldAfter: 4, holdsAfter: 1},
		{fact: "a transfer may not take what is held", balance: 10, held: 4, holds: 1, op: op(transfer, 7), reasons: orFrozen(insufficientFunds)},

		{fact: "what is received adds", balance: 10, op: op(receive, 5), reasons: unlessClosed, balanceAfter: 15},
		{fact: "what is received may reach the limit", balance: maxBalance - 5, op: op(receive, 5), reasons: unlessClosed, balanceAfter: maxBalance},
		{fact: "what is received may not pass the limit", balance: maxBalance - 4, op: op(receive, 5), reasons: orElse(balanceLimit)},

		{fact: "what comes back adds, whatever the state", balance: 10, op: op(giveBack, 5), reasons: always, balanceAfter: 15},
		{fact: "what comes back may pass the limit", balance: maxBalance, op: op(giveBack, maxBalance), reasons: always, balanceAfter: 2 * maxBalance},

		{fact: "freezing", balance: 10, held: 4, holds: 1, op: op(freeze, 0), reasons: unlessClosed, balanceAfter: 10, heldAfter: 4, state: frozen, holdsAfter: 1},
		{fact: "activating", balance: 10, held: 4, holds: 1, op: op(activate, 0), reasons: always, balanceAfter: 10, heldAfter: 4, state: active, holdsAfter: 1},
		{fact: "closing an empty wallet", op: op(closing, 0), reasons: always, state: closed},
		{fact: "closing a wallet that has money, or again one that was given some back", balance: 1, op: op(closing, 0), reasons: in{walletNotEmpty, walletNotEmpty, ""}, balanceAfter: 1, state: closed},
		{fact: "closing a wallet that holds money", balance: 1, held: 1, holds: 1, op: op(closing, 0), reasons: in{walletNotEmpty, walletNotEmpty, ""}, balanceAfter: 1, heldAfter: 1, state: closed, holdsAfter: 1},
	} {
		for i, state := range states {
			name := fmt.Sprintf("%s: %s", test.fact, state)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := account{balance: test.balance, held: test.held, state: state, openHolds: test.holds}
				named := 0
				if test.s != nil {
					s := *test.s
					named = s.named
					w.subjects = map[uuid.UUID]*subject{subjectID: &s}
				}
				want := outcome{test.reasons[i], test.balance, test.held, state, unsaid, unsaid}
				holds := test.holds
				if test.s != nil {
					want.subjectLeft = test.s.left
				}
				if want.failureReason == "" {
					want.balanceAfter, want.heldAfter, holds = test.balanceAfter, test.heldAfter, test.holdsAfter
					if test.state != "" {
						want.stateAfter = test.state
					}
					if test.applied != 0 {
						want.appliedAmount = test.applied
					}
					if test.s != nil {
						want.subjectLeft = test.left
					}
				}
				got, damaged := w.apply(test.op)
				if diff := cmp.Diff(want, got, cmp.AllowUnexported(outcome{})); diff != "" || damaged != "" {
					t.Error(diff, damaged)
				}
				if w.balance != want.balanceAfter || w.held != want.heldAfter || w.state != want.stateAfter || w.openHolds != holds {
					t.Errorf("the wallet has %+v, its outcome says %+v, open holds should be %d", w, want, holds)
				}
				counts := test.op.Type == capture || test.op.Type == reverse
				if s := w.subjects[subjectID]; s != nil && (s.left != want.subjectLeft || counts != (s.named == named+1)) {
					t.Errorf("its subject is %+v", *s)
				}
			})
		}
	}
}

// An operation that cannot be understood is not decided on.
func TestDamageIsNotDecidedOn(t *testing.T) {
	t.Parallel()
	for fact, test := range map[string]struct {
		op operation
		s  *subject
	}{
		"a type of a newer release":                    {op: op("SPLIT", 5)},
		"a capture of nothing":                         {op: op(capture, 5)},
		"a release of nothing":                         {op: op(release, 0)},
		"an EXPIRE of nothing":                         {op: op(expire, 0)},
		"a reversal of nothing":                        {op: op(reverse, 5)},
		"a capture that names nothing":                 {op: op(capture, 5, func(o *operation) { o.SubjectID = nil }), s: open(9)},
		"a capture of a deposit":                       {op: op(capture, 5), s: about(deposit, 9)},
		"a release of a withdrawal":                    {op: op(release, 0), s: about(withdraw, 9)},
		"an EXPIRE of a capture":                       {op: op(expire, 0), s: about(capture, 9)},
		"a reversal of a hold":                         {op: op(reverse, 5), s: open(9)},
		"a reversal of a reversal":                     {op: op(reverse, 5), s: about(reverse, 9)},
		"a reversal of a transfer":                     {op: op(reverse, 5), s: about(transfer, 9)},
		"a reversal of what was received":              {op: op(reverse, 5), s: about(receive, 9)},
		"a reversal of a capture for another wallet":   {op: op(reverse, 5), s: about(capture, 9, sentOn)},
		"a transfer to nobody":                         {op: op(transfer, 5, func(o *operation) { o.CounterpartID = nil })},
		"money received from nobody":                   {op: op(receive, 5, func(o *operation) { o.CounterpartID = nil })},
		"money received for nothing":                   {op: op(receive, 5, func(o *operation) { o.SubjectID = nil })},
		"money given back without what was not taken":  {op: op(giveBack, 5, func(o *operation) { o.SubjectID = nil })},
		"money given back by nobody":                   {op: op(giveBack, 5, func(o *operation) { o.CounterpartID = nil })},
		"a capture of a hold that is not applied":      {op: op(capture, 5), s: nil},
		"an operation without a type":                  {op: op("", 5)},
		"a capture by a wallet that knows other holds": {op: op(capture, 5, func(o *operation) { o.SubjectID = &otherWallet }), s: open(9)},
	} {
		w := account{balance: 9, held: 9, state: active, openHolds: 1, subjects: map[uuid.UUID]*subject{subjectID: test.s}}
		if o, damaged := w.apply(test.op); damaged == "" || w.balance != 9 || w.held != 9 || w.state != active {
			t.Errorf("%s: %+v, damage %q, wallet %+v", fact, o, damaged, w)
		}
	}
}

func TestWhatFollows(t *testing.T) {
	t.Parallel()
	reference := "invoice 7"
	named := func(o *operation) { o.Reference = &reference }
	w := func(state walletdb.WalletState) *account {
		return &account{balance: 10, held: 4, openHolds: 1, state: state, subjects: map[uuid.UUID]*subject{subjectID: open(4)}}
	}
	follow := func(o operation, kind walletdb.OperationType, id uuid.UUID, amount int64) *following {
		return &following{otherWallet, id, kind, amount, o.Reference, o.ID, &ourWallet}
	}
	sent, all, refused := op(transfer, 6, named), op(capture, 0, toOther, named), op(receive, 5, named)
	for fact, test := range map[string]struct {
		op    operation
		state walletdb.WalletState
		want  *following
	}{
		"a transfer is received":                                {op: sent, state: active, want: follow(sent, receive, event.ReceiveID(sent.ID), 6)},
		"a transfer that fails is not":                          {op: op(transfer, 7), state: active},
		"a capture for another wallet is received":              {op: all, state: active, want: follow(all, receive, event.ReceiveID(all.ID), 4)},
		"a capture for another wallet that fails is not":        {op: all, state: frozen},
		"a capture is not":                                      {op: op(capture, 4), state: active},
		"what a closed wallet is to receive is given back":      {op: refused, state: closed, want: follow(refused, giveBack, event.ReturnID(refused.ID), 5)},
		"what is received is not":                               {op: refused, state: active},
		"what was given back is there, and leads to nothing":    {op: op(giveBack, 5), state: closed},
		"a deposit that fails was not made by us":               {op: op(deposit, 5), state: closed},
		"a withdrawal leads to nothing":                         {op: op(withdraw, 5), state: active},
		"a reversal leads to nothing, though its subject fails": {op: op(release, 0), state: active},
	} {
		o, damaged := w(test.state).apply(test.op)
		if diff := cmp.Diff(test.want, o.leadsTo(test.op), cmp.AllowUnexported(following{})); diff != "" || damaged != "" {
			t.Errorf("%s: %s %s", fact, damaged, diff)
		}
	}
}

// An original or a hold that has failed has nothing to give.
func TestWhatIsLeftOfAnOperationAtFirst(t *testing.T) {
	t.Parallel()
	at := noon
	for _, test := range []struct {
		op   operation
		o    outcome
		want subject
	}{
		{op(hold, 5, expiresAt(at)), outcome{appliedAmount: unsaid}, subject{seq: 7, kind: hold, expiresAt: &at, left: 5}},
		{op(hold, 5), outcome{failureReason: insufficientFunds, appliedAmount: unsaid}, subject{seq: 7, kind: hold}},
		{op(capture, 0, toOther), outcome{appliedAmount: 4}, subject{seq: 7, kind: capture, counterpartID: &otherWallet, left: 4}},
		{op(deposit, 5), outcome{appliedAmount: unsaid}, subject{seq: 7, kind: deposit, left: 5}},
	} {
		if diff := cmp.Diff(test.want, *test.o.subject(test.op), cmp.AllowUnexported(subject{})); diff != "" {
			t.Error(diff)
		}
	}
}

// Plain deposits and withdrawals, whatever is asked for, in whatever cuts: the balance stays within its limits, and
// where a batch ends makes no difference. model_test.go does this for all types.
func TestApplyKeepsTheBalanceRight(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.OneOf(rapid.Int64Range(-100, 100), rapid.Int64Range(-maxBalance, maxBalance)).Filter(func(n int64) bool { return n != 0 })
		w := account{balance: rapid.Int64Range(0, maxBalance).Draw(t, "start"), state: active}
		for i, n := range rapid.SliceOfN(amount, 0, 50).Draw(t, "amounts") {
			before, o := w.balance, op(deposit, n)
			if n < 0 {
				o = op(withdraw, -n)
			}
			got, _ := w.apply(o)
			possible := before+n >= 0 && before+n <= maxBalance
			if possible != (got.failureReason == "") || possible && w.balance != before+n || !possible && w.balance != before || got.balanceAfter != w.balance {
				t.Fatalf("operation %d (%d) on %d: %+v", i, n, before, got)
			}
		}
	})
}

func TestPlan(t *testing.T) {
	t.Parallel()
	a, b := ourWallet, otherWallet
	op := func(id uuid.UUID, seq int64) operation {
		return operation{WalletID: id, Seq: seq, ID: uuid.NewSHA1(id, []byte{byte(seq)}), Type: deposit, Amount: 1}
	}
	newer := op(a, 6)
	newer.Type = "SPLIT"
	wallets := func() []walletdb.Wallet {
		return []walletdb.Wallet{{ID: a, AppliedSeq: 4, State: active}, {ID: b, State: active}}
	}
	for _, test := range []struct {
		fact    string
		pending []operation
		refused map[uuid.UUID]string
		applied [2]int64
		damaged []uuid.UUID
		newer   bool
	}{
		{fact: "nothing pending", applied: [2]int64{4, 0}},
		{fact: "each wallet goes on from its own sequence", pending: []operation{op(a, 5), op(a, 6), op(b, 1)}, applied: [2]int64{6, 1}},
		{fact: "a gap halts its wallet and no other", pending: []operation{op(a, 6), op(b, 1)}, applied: [2]int64{4, 1}, damaged: []uuid.UUID{a}},
		{fact: "what comes before a gap is applied", pending: []operation{op(a, 5), op(b, 1), op(b, 2), op(b, 4)}, applied: [2]int64{5, 2}, damaged: []uuid.UUID{b}},
		{fact: "an operation that is applied already is not applied again", pending: []operation{op(a, 4), op(a, 5)}, applied: [2]int64{4, 0}, damaged: []uuid.UUID{a}},
		{fact: "an unknown type halts its wallet and no other", pending: []operation{op(a, 5), newer, op(a, 7), op(b, 1)}, applied: [2]int64{5, 1}, damaged: []uuid.UUID{a}, newer: true},
		{fact: "what was refused halts its wallet and no other", pending: []operation{op(a, 5), op(a, 6), op(a, 7), op(b, 1)}, refused: map[uuid.UUID]string{op(a, 6).ID: "why"}, applied: [2]int64{5, 1}, damaged: []uuid.UUID{a}},
	} {
		t.Run(test.fact, func(t *testing.T) {
			t.Parallel()
			p, err := newPlan(reading{wallets: wallets(), pending: test.pending, refused: test.refused})
			if err != nil {
				t.Fatal(err)
			}
			if got := [2]int64{p.wallets[0].AppliedSeq, p.wallets[1].AppliedSeq}; got != test.applied {
				t.Errorf("applied %v, want %v", got, test.applied)
			}
			var damaged []uuid.UUID
			for _, d := range p.damaged {
				if damaged = append(damaged, d.walletID); d.newer != test.newer || d.what == "" {
					t.Errorf("%+v", d)
				}
			}
			if diff := cmp.Diff(test.damaged, damaged); diff != "" {
				t.Errorf("damaged: %s", diff)
			}
			if want := test.applied[0] - 4 + test.applied[1]; int64(len(p.applied)) != want || int64(len(p.outcomes.Seqs)) != want {
				t.Errorf("%d operations and %d outcomes, want %d", len(p.applied), len(p.outcomes.Seqs), want)
			}
			if p.outcomes.HeldsAfter != nil || p.outcomes.StatesAfter != nil || p.outcomes.AppliedAmounts != nil || p.outcomes.SubjectsLeft != nil || p.advances.Helds != nil || p.advances.States != nil {
				t.Errorf("plain deposits are written with more columns than they need: %+v %+v", p.outcomes, p.advances)
			}
		})
	}
}

func TestPlanRefusesWhatItDoesNotUnderstand(t *testing.T) {
	t.Parallel()
	_, err := newPlan(reading{wallets: []walletdb.Wallet{{ID: ourWallet}}, pending: []operation{{WalletID: otherWallet, Seq: 1, Type: deposit, Amount: 1}}})
	if !errors.Is(err, errUnexpected) {
		t.Errorf("operations of a wallet that is not locked: %v, want an error", err)
	}
}

// A transaction accepts so much and no more in other wallets. The wallet goes on with the next one; others are not
// held up.
func TestATransactionThatLeadsToTooMuchIsCutShort(t *testing.T) {
	t.Parallel()
	var pending []operation
	for seq := range int64(maxFollowing + 2) {
		o := op(transfer, 1)
		o.Seq, o.ID = seq+1, uuid.New()
		pending = append(pending, o)
	}
	pending = append(pending, operation{WalletID: otherWallet, Seq: 1, ID: uuid.New(), Type: deposit, Amount: 1},
		operation{WalletID: otherWallet, Seq: 2, ID: uuid.New(), Type: receive, Amount: 1, SubjectID: &subjectID, CounterpartID: &ourWallet})
	p, err := newPlan(reading{wallets: []walletdb.Wallet{{ID: ourWallet, Balance: 1000, State: active}, {ID: otherWallet, State: active}}, pending: pending})
	if err != nil {
		t.Fatal(err)
	}
	if !p.full || len(p.damaged) > 0 || len(p.following) != maxFollowing {
		t.Errorf("full %v, %d damaged, %d follow", p.full, len(p.damaged), len(p.following))
	}
	if p.wallets[0].AppliedSeq != maxFollowing || p.wallets[0].Balance != 500 || p.wallets[1].AppliedSeq != 1 {
		t.Errorf("%+v", p.wallets)
	}
	met, damaged, left := judge([]target{{ourWallet, maxFollowing + 2, true}, {otherWallet, 2, true}}, p)
	if len(met) > 0 || len(damaged) > 0 || len(left) != 2 {
		t.Errorf("met %v, damaged %v, left %v", met, damaged, left)
	}
}

// Columns that say nothing before the first operation that needs them are filled up for those before it.
func TestAPlanHasAllColumnsOrNone(t *testing.T) {
	t.Parallel()
	one, two, three := op(deposit, 10), op(hold, 4), op(capture, 0)
	one.Seq, two.Seq, three.Seq = 1, 2, 3
	two.ID = subjectID
	pending := []operation{one, two, three}
	wanted, holding := wanted(pending)
	if !slices.Equal(holding, []uuid.UUID{ourWallet}) || len(wanted[ourWallet]) != 1 {
		t.Errorf("wanted %v, holding %v", wanted, holding)
	}
	p, err := newPlan(reading{wallets: []walletdb.Wallet{{ID: ourWallet, State: active}}, pending: pending, subjects: wanted})
	if err != nil {
		t.Fatal(err)
	}
	want := walletdb.InsertOutcomesParams{
		WalletIds: []uuid.UUID{ourWallet, ourWallet, ourWallet}, Seqs: []int64{1, 2, 3}, Statuses: strings.Fields("PROCESSED PROCESSED PROCESSED"),
		FailureReasons: make([]string, 3), BalancesAfter: []int64{10, 10, 6}, HeldsAfter: []int64{0, 4, 0}, StatesAfter: strings.Fields("ACTIVE ACTIVE ACTIVE"),
		AppliedAmounts: []int64{unsaid, unsaid, 4}, SubjectsLeft: []int64{unsaid, unsaid, 0},
	}
	if diff := cmp.Diff(want, p.outcomes); diff != "" {
		t.Error(diff)
	}
	if len(p.opened.Seqs)+len(p.closed.Seqs) > 0 {
		t.Errorf("a hold that is opened and closed is written: %+v %+v", p.opened, p.closed)
	}
	if w := p.wallets[0]; w.RulesSeq != 3 || w.Balance != 6 || w.Held != 0 {
		t.Errorf("%+v", w)
	}
}
