package main

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// ops makes operations of one wallet from sequence 1 on: positive amounts are deposits, negative
// ones withdrawals.
func ops(amounts ...int64) []operation {
	operations := make([]operation, len(amounts))
	for i, amount := range amounts {
		operations[i] = operation{Seq: int64(i) + 1, ID: uuid.New(), Type: walletdb.OperationTypeDEPOSIT, Amount: amount}
		if amount < 0 {
			operations[i].Type, operations[i].Amount = walletdb.OperationTypeWITHDRAW, -amount
		}
	}
	return operations
}

func TestApply(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		fact    string
		balance int64
		amounts []int64
		want    []outcome
	}{
		{fact: "nothing to do", balance: 7, want: []outcome{}},
		{fact: "a deposit adds", balance: 7, amounts: []int64{3}, want: []outcome{{"", 10}}},
		{fact: "a withdrawal takes", balance: 7, amounts: []int64{-3}, want: []outcome{{"", 4}}},
		{fact: "all of the balance may be withdrawn", balance: 7, amounts: []int64{-7}, want: []outcome{{"", 0}}},
		{fact: "an overdraft fails and the rest continue", balance: 7, amounts: []int64{-8, -7, 1}, want: []outcome{{insufficientFunds, 7}, {"", 0}, {"", 1}}},
		{fact: "an empty wallet gives nothing", balance: 0, amounts: []int64{-1}, want: []outcome{{insufficientFunds, 0}}},
		{fact: "order decides", balance: 0, amounts: []int64{-5, 5, -5}, want: []outcome{{insufficientFunds, 0}, {"", 5}, {"", 0}}},
		{fact: "the limit may be reached", balance: maxBalance - 1, amounts: []int64{1}, want: []outcome{{"", maxBalance}}},
		{fact: "the limit may not be passed, and the rest continue", balance: maxBalance, amounts: []int64{1, -1, 1}, want: []outcome{{balanceLimit, maxBalance}, {"", maxBalance - 1}, {"", maxBalance}}},
		{fact: "the largest amounts do not overflow", balance: maxBalance, amounts: []int64{maxBalance, -maxBalance, maxBalance}, want: []outcome{{balanceLimit, maxBalance}, {"", 0}, {"", maxBalance}}},
	} {
		t.Run(test.fact, func(t *testing.T) {
			t.Parallel()
			balance, outcomes := apply(test.balance, ops(test.amounts...))
			if diff := cmp.Diff(test.want, outcomes, cmp.AllowUnexported(outcome{})); diff != "" {
				t.Error(diff)
			}
			want := test.balance
			if len(test.want) > 0 {
				want = test.want[len(test.want)-1].balanceAfter
			}
			if balance != want {
				t.Errorf("balance %d, want %d", balance, want)
			}
		})
	}
}

// Whatever is asked for, in whatever cuts: the balance stays within its limits, each outcome follows
// from the one before, an operation fails only if it must, and where a batch ends makes no
// difference.
func TestApplyKeepsTheBalanceRight(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.OneOf(rapid.Int64Range(-100, 100), rapid.Int64Range(-maxBalance, maxBalance)).Filter(func(n int64) bool { return n != 0 })
		amounts := rapid.SliceOfN(amount, 0, 50).Draw(t, "amounts")
		start := rapid.Int64Range(0, maxBalance).Draw(t, "start")
		operations := ops(amounts...)

		end, outcomes := apply(start, operations)
		balance := start
		for i, o := range outcomes {
			possible := balance+amounts[i] >= 0 && balance+amounts[i] <= maxBalance
			if possible {
				balance += amounts[i]
			}
			if possible != (o.failureReason == "") || o.balanceAfter != balance {
				t.Fatalf("operation %d (%d): %+v, want balance %d, possible %v", i, amounts[i], o, balance, possible)
			}
		}
		if end != balance || len(outcomes) != len(amounts) {
			t.Fatalf("ends at %d with %d outcomes, want %d with %d", end, len(outcomes), balance, len(amounts))
		}

		cut := rapid.IntRange(0, len(amounts)).Draw(t, "cut")
		middle, first := apply(start, operations[:cut])
		last, second := apply(middle, operations[cut:])
		if diff := cmp.Diff(outcomes, append(first, second...), cmp.AllowUnexported(outcome{})); diff != "" || last != end {
			t.Fatalf("cut at %d: ends at %d, want %d\n%s", cut, last, end, diff)
		}
	})
}

func TestPlan(t *testing.T) {
	t.Parallel()
	a, b := uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000000"), uuid.MustParse("bbbbbbbb-0000-4000-8000-000000000000")
	op := func(id uuid.UUID, seq int64) operation {
		return operation{WalletID: id, Seq: seq, Type: walletdb.OperationTypeDEPOSIT, Amount: 1}
	}
	wallets := func() []walletdb.Wallet { return []walletdb.Wallet{{ID: a, AppliedSeq: 4}, {ID: b}} }
	for _, test := range []struct {
		fact    string
		pending []operation
		applied [2]int64
		damaged []uuid.UUID
	}{
		{fact: "nothing pending", applied: [2]int64{4, 0}},
		{fact: "each wallet goes on from its own sequence", pending: []operation{op(a, 5), op(a, 6), op(b, 1)}, applied: [2]int64{6, 1}},
		{fact: "a gap halts its wallet and no other", pending: []operation{op(a, 6), op(b, 1)}, applied: [2]int64{4, 1}, damaged: []uuid.UUID{a}},
		{fact: "what comes before a gap is applied", pending: []operation{op(a, 5), op(b, 1), op(b, 2), op(b, 4)}, applied: [2]int64{5, 2}, damaged: []uuid.UUID{b}},
		{fact: "an operation that is applied already is not applied again", pending: []operation{op(a, 4), op(a, 5)}, applied: [2]int64{4, 0}, damaged: []uuid.UUID{a}},
	} {
		t.Run(test.fact, func(t *testing.T) {
			t.Parallel()
			p, err := newPlan(wallets(), test.pending)
			if err != nil {
				t.Fatal(err)
			}
			if got := [2]int64{p.wallets[0].AppliedSeq, p.wallets[1].AppliedSeq}; got != test.applied {
				t.Errorf("applied %v, want %v", got, test.applied)
			}
			if diff := cmp.Diff(test.damaged, p.damaged); diff != "" {
				t.Errorf("damaged: %s", diff)
			}
			if want := test.applied[0] - 4 + test.applied[1]; int64(len(p.applied)) != want || int64(len(p.outcomes.Seqs)) != want {
				t.Errorf("%d operations and %d outcomes, want %d", len(p.applied), len(p.outcomes.Seqs), want)
			}
		})
	}
}

func TestPlanRefusesWhatItDoesNotUnderstand(t *testing.T) {
	t.Parallel()
	wallet := uuid.New()
	for fact, pending := range map[string]operation{
		"an unknown type":             {WalletID: wallet, Seq: 1, Type: "HOLD", Amount: 1},
		"a wallet that is not locked": {WalletID: uuid.New(), Seq: 1, Type: walletdb.OperationTypeDEPOSIT, Amount: 1},
	} {
		if _, err := newPlan([]walletdb.Wallet{{ID: wallet}}, []operation{pending}); !errors.Is(err, errUnexpected) {
			t.Errorf("%s: %v, want an error", fact, err)
		}
	}
}
