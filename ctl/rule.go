package main

import (
	"cmp"
	"fmt"

	"github.com/legendary-wallet/legendary-wallet/db/event"
)

const (
	// maxBalanceMinor is the largest balance in minor units that a wallet is brought to by anything but a RETURN, 2^53 - 1.
	maxBalanceMinor = 1<<53 - 1
	// maxNamed is how many CAPTUREs of a hold, or REVERSEs of an original, are looked at.
	maxNamed = 100
	// maxOpenHolds is how many open holds a wallet may have.
	maxOpenHolds = 1_000
)

// operationTypes are all that this release knows.
var operationTypes = []string{
	"DEPOSIT", "WITHDRAW", "HOLD", "CAPTURE", "RELEASE", "EXPIRE", "REVERSE", "TRANSFER", "RECEIVE", "RETURN", "FREEZE", "ACTIVATE", "CLOSE",
}

// money is what operations change of a wallet.
type money struct {
	balance, held int64 // minor units
	state         string
}

func (m money) String() string {
	text := fmt.Sprintf("a balance of %d", m.balance)
	if m.held != 0 {
		text += fmt.Sprintf(", %d held", m.held)
	}
	if m.state != "ACTIVE" {
		text += ", " + m.state
	}
	return text
}

// result is what an operation came to. Nothing is left of what is no hold and cannot be reversed: none.
type result struct {
	reason string // why it failed; empty: it is PROCESSED
	after  money
	amount int64 // 0 of a failed one
	left   int64
}

const none = -1

func (r result) String() string {
	text := "PROCESSED of " + fmt.Sprint(r.amount)
	if r.reason != "" {
		text = "FAILED by " + r.reason
	}
	if r.left != none {
		text += fmt.Sprintf(", %d left", r.left)
	}
	return text + ", " + r.after.String()
}

// result is the outcome as it is stored.
func (row operationRow) result() result {
	r := result{reason: row.FailureReason, after: money{row.BalanceAfter, row.HeldAfter, row.StateAfter}, left: none}
	switch {
	case row.Status != "PROCESSED" && r.reason == "":
		r.reason = "no reason"
	case row.Status == "PROCESSED":
		r.amount = row.cameTo()
	case row.AppliedAmount != nil:
		r.amount = cmp.Or(*row.AppliedAmount, none) // a failed one has none, not even 0
	}
	if row.SubjectLeft != nil {
		r.left = *row.SubjectLeft
	}
	return r
}

// cameTo is the amount of a processed operation.
func (row operationRow) cameTo() int64 {
	if row.AppliedAmount != nil {
		return *row.AppliedAmount
	}
	return row.Amount
}

// subject is what an operation refers to in its own wallet: a hold, or the original that is reversed.
type subject struct {
	deposit bool // the original is one
	late    bool // the hold's time was over when the operation was accepted, or it has expired
	left    int64
	named   int64
}

func (s *subject) String() string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf(", with %d left of what it refers to", s.left)
}

// subjectOf returns nil for an operation that refers to nothing in its own wallet, and a problem if what it
// refers to is not there, or of another kind.
func (a *audit) subjectOf(row operationRow) (s *subject, problem string) {
	switch row.Type {
	case "CAPTURE", "RELEASE", "EXPIRE", "REVERSE":
	default:
		return nil, ""
	}
	if row.SubjectID == nil {
		return nil, "it does not say what it refers to"
	}
	of, found := row.linked[*row.SubjectID]
	switch {
	case !found:
		return nil, "what it refers to does not exist"
	case of.WalletID != row.WalletID || of.Seq >= row.Seq:
		return nil, fmt.Sprintf("what it refers to is operation %d of wallet %s", of.Seq, of.WalletID)
	case row.Type == "REVERSE":
		if of.Type != "DEPOSIT" && of.Type != "WITHDRAW" && (of.Type != "CAPTURE" || of.CounterpartID != nil) {
			return nil, fmt.Sprintf("a %s cannot be reversed", of.Type)
		}
		before := row.reversed[place{row.WalletID, row.Seq}]
		s = &subject{deposit: of.Type == "DEPOSIT", named: before.Named}
		if before.Named > 0 {
			s.left = before.SubjectLeft
		} else if of.Status == "PROCESSED" {
			s.left = of.CameTo
		}
		return s, ""
	case of.Type != "HOLD":
		return nil, fmt.Sprintf("it refers to a %s", of.Type)
	}
	expiry, expired := row.linked[event.ExpireID(of.ID)]
	h := a.open[of.ID] // nothing is left of others
	return &subject{
		late: expired && expiry.Status == "PROCESSED" && expiry.Seq < row.Seq || of.ExpiresAt != nil && !row.CreatedAt.Before(*of.ExpiresAt),
		left: h.left, named: h.named,
	}, ""
}

// rule says what an operation must lead to.
func rule(m money, openHolds int64, row operationRow, s *subject) result {
	r := result{after: m, left: none}
	amount, available := row.Amount, m.balance-m.held
	if s != nil {
		if r.left = s.left; amount == 0 {
			amount = s.left
		}
	}
	fail := func(reason string) result { r.reason = reason; return r }
	isClosed, isFrozen := m.state == "CLOSED", m.state == "FROZEN"
	if isClosed && row.Type != "RETURN" && row.Type != "ACTIVATE" && row.Type != "CLOSE" {
		return fail("WALLET_CLOSED")
	}
	r.amount = amount
	refused := ""
	switch row.Type {
	case "DEPOSIT", "RECEIVE":
		refused = first(is(amount > maxBalanceMinor-m.balance, "BALANCE_LIMIT"))
		r.after.balance += amount
	case "RETURN":
		r.after.balance += amount
	case "WITHDRAW", "TRANSFER":
		refused = first(is(isFrozen, "WALLET_FROZEN"), is(amount > available, "INSUFFICIENT_FUNDS"))
		r.after.balance -= amount
	case "HOLD":
		late := row.ExpiresAt != nil && !row.CreatedAt.Before(*row.ExpiresAt)
		refused = first(is(isFrozen, "WALLET_FROZEN"), is(late, "HOLD_EXPIRED"), is(openHolds >= maxOpenHolds, "LIMIT_REACHED"), is(amount > available, "INSUFFICIENT_FUNDS"))
		r.after.held += amount
	case "CAPTURE":
		refused = first(is(isFrozen, "WALLET_FROZEN"), is(s.late, "HOLD_EXPIRED"), is(s.left == 0, "HOLD_CLOSED"), is(s.named >= maxNamed, "LIMIT_REACHED"), is(amount > s.left, "EXCEEDS_HOLD"))
		if r.left -= amount; row.Final {
			r.left = 0
		}
		r.after.balance -= amount
		r.after.held -= s.left - r.left
	case "RELEASE", "EXPIRE":
		refused = first(is(s.left == 0, "HOLD_CLOSED"))
		r.left = 0
		r.after.held -= s.left
	case "REVERSE":
		exceeds := amount > s.left || s.left == 0
		refused = first(is(isFrozen && s.deposit, "WALLET_FROZEN"), is(s.named >= maxNamed, "LIMIT_REACHED"), is(exceeds, "EXCEEDS_ORIGINAL"))
		r.left -= amount
		if s.deposit {
			refused = first(refused, is(amount > available, "INSUFFICIENT_FUNDS"))
			r.after.balance -= amount
		} else {
			refused = first(refused, is(amount > maxBalanceMinor-m.balance, "BALANCE_LIMIT"))
			r.after.balance += amount
		}
	case "FREEZE":
		r.after.state = "FROZEN"
	case "ACTIVATE":
		r.after.state = "ACTIVE"
	case "CLOSE":
		refused = first(is(!isClosed && (m.balance != 0 || m.held != 0), "WALLET_NOT_EMPTY"))
		r.after.state = "CLOSED"
	default:
		refused = "nothing: this ctl does not know its type"
	}
	if refused != "" {
		r.after, r.amount, r.left = m, 0, none
		if s != nil {
			r.left = s.left
		}
		return fail(refused)
	}
	return r
}

// is names a reason if there is one.
func is(so bool, reason string) string {
	if so {
		return reason
	}
	return ""
}

// first of the reasons that there are: it is the one that is told.
func first(reasons ...string) string {
	for _, reason := range reasons {
		if reason != "" {
			return reason
		}
	}
	return ""
}
