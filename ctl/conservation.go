package main

import (
	"context"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// realm is what money does not leave: transfers stay in a tenant and a currency.
type realm struct{ tenant, currency string }

// flow is what came into a realm and went out of it, and where it is, in minor units. Its sums may be
// larger than any balance.
type flow struct {
	Tenant           string  `json:"tenant"`
	Currency         string  `json:"currency"`
	Deposits         big.Int `json:"deposits"`
	Withdrawals      big.Int `json:"withdrawals"`
	Captures         big.Int `json:"captures"` // those that went to no wallet
	ReversedDeposits big.Int `json:"reversedDeposits"`
	ReversedPayments big.Int `json:"reversedPayments"` // withdrawals and captures
	Balances         big.Int `json:"balances"`
	InTransit        big.Int `json:"inTransit"` // accepted by the receiver, or by the sender again, and not applied yet
}

// lost is what came in, and is nowhere: less than nothing if money was made.
func (f *flow) lost() *big.Int {
	sum := new(big.Int).Sub(&f.Deposits, &f.Withdrawals)
	sum.Sub(sum, &f.Captures).Sub(sum, &f.ReversedDeposits).Add(sum, &f.ReversedPayments)
	return sum.Sub(sum, &f.Balances).Sub(sum, &f.InTransit)
}

func (f *flow) String() string {
	return fmt.Sprintf("%s of tenant %s: deposits %d - withdrawals %d - captures %d - reversals of deposits %d + reversals of withdrawals and captures %d = balances %d + in transit %d",
		f.Currency, f.Tenant, &f.Deposits, &f.Withdrawals, &f.Captures, &f.ReversedDeposits, &f.ReversedPayments, &f.Balances, &f.InTransit)
}

// flows are those of all realms; nil: they are not added up.
type flows map[realm]*flow

func (f flows) of(w walletdb.AuditWalletsRow) *flow {
	r := realm{w.Tenant, w.Currency}
	if f[r] == nil {
		f[r] = &flow{Tenant: w.Tenant, Currency: w.Currency}
	}
	return f[r]
}

// add adds an operation of a wallet up, by its outcome as it is stored.
func (f flows) add(w walletdb.AuditWalletsRow, row operationRow) {
	if f == nil || row.Type == "" {
		return
	}
	in := f.of(w)
	var sum *big.Int
	switch {
	case row.Status == "" && (row.Type == "RECEIVE" || row.Type == "RETURN"):
		sum = &in.InTransit
	case row.Status != "PROCESSED":
		return
	case row.Type == "DEPOSIT":
		sum = &in.Deposits
	case row.Type == "WITHDRAW":
		sum = &in.Withdrawals
	case row.Type == "CAPTURE" && row.CounterpartID == nil:
		sum = &in.Captures
	case row.Type == "REVERSE" && row.SubjectID != nil && row.linked[*row.SubjectID].Type == "DEPOSIT":
		sum = &in.ReversedDeposits
	case row.Type == "REVERSE":
		sum = &in.ReversedPayments
	default:
		return
	}
	sum.Add(sum, big.NewInt(row.cameTo()))
}

func (f flows) addBalance(w walletdb.AuditWalletsRow) {
	if f != nil {
		in := f.of(w)
		in.Balances.Add(&in.Balances, big.NewInt(w.Balance))
	}
}

func (f flows) sorted() []*flow {
	all := slices.Collect(maps.Values(f))
	slices.SortFunc(all, func(a, b *flow) int { return strings.Compare(a.Tenant+"\x00"+a.Currency, b.Tenant+"\x00"+b.Currency) })
	return all
}

// conserve holds the sums of all pages against each other. Each page is of a moment of its own, so that they
// are of one database only if nothing was accepted or applied meanwhile: then what each wallet has counted
// is still what all have. Otherwise a transfer may be in none of the pages, or in two.
func (v *verifier) conserve(ctx context.Context) error {
	now, err := walletdb.New(v.conn).SumSequences(ctx)
	if err != nil {
		return fmt.Errorf("add up what is accepted and applied: %w", err)
	}
	if now.LastSeq != v.sequences.LastSeq || now.AppliedSeq != v.sequences.AppliedSeq {
		v.total.NotAdded = "something was accepted or applied meanwhile, or a wallet is missing"
		return nil
	}
	v.total.Money = v.flows.sorted()
	for _, f := range v.total.Money {
		if lost := f.lost(); lost.Sign() != 0 {
			v.report(finding{"money-lost", nil, 0, fmt.Sprintf("%d are nowhere (less than 0: were made): %s", lost, f)})
		}
	}
	return nil
}
