package main

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// The rules once more, as their contract says them, and in another way: a model knows nothing but what happened to
// its wallet, adds it all up anew for every question, and finds every reason before it chooses one.

type model struct{ past []past }

// past is an operation that has had its turn, and what it came to.
type past struct {
	operation
	failed string
	amount int64
}

func (m *model) find(id *uuid.UUID) *past {
	for i := range m.past {
		if id != nil && m.past[i].ID == *id {
			return &m.past[i]
		}
	}
	return nil
}

// those returns the processed operations of some types that refer to an operation.
func (m *model) those(id uuid.UUID, types ...string) (found []past) {
	for _, p := range m.past {
		if p.failed == "" && p.SubjectID != nil && *p.SubjectID == id && slices.Contains(types, string(p.Type)) {
			found = append(found, p)
		}
	}
	return found
}

func (m *model) tries(id uuid.UUID) (n int) {
	for _, p := range m.past {
		if (p.Type == "CAPTURE" || p.Type == "REVERSE") && *p.SubjectID == id {
			n++
		}
	}
	return n
}

func sum(of []past) (total int64) {
	for _, p := range of {
		total += p.amount
	}
	return total
}

// remaining is what a hold still holds.
func (m *model) remaining(h past) int64 {
	captures := m.those(h.ID, "CAPTURE")
	over := len(m.those(h.ID, "RELEASE", "EXPIRE")) > 0 || slices.ContainsFunc(captures, func(p past) bool { return *p.Final })
	if h.failed != "" || over {
		return 0
	}
	return h.amount - sum(captures)
}

// notReversed is what is left of an original.
func (m *model) notReversed(original past) int64 {
	if original.failed != "" {
		return 0
	}
	return original.amount - sum(m.those(original.ID, "REVERSE"))
}

func (m *model) balance() (balance int64) {
	for _, p := range m.past {
		switch {
		case p.failed != "":
		case p.Type == "DEPOSIT", p.Type == "RECEIVE", p.Type == "RETURN":
			balance += p.amount
		case p.Type == "WITHDRAW", p.Type == "CAPTURE", p.Type == "TRANSFER":
			balance -= p.amount
		case p.Type == "REVERSE" && m.find(p.SubjectID).Type == "DEPOSIT":
			balance -= p.amount
		case p.Type == "REVERSE":
			balance += p.amount
		}
	}
	return balance
}

func (m *model) openHolds() (open int, held int64) {
	for _, p := range m.past {
		if p.Type == "HOLD" && m.remaining(p) > 0 {
			open++
			held += m.remaining(p)
		}
	}
	return open, held
}

func (m *model) state() walletdb.WalletState {
	state := "ACTIVE"
	for _, p := range m.past {
		if after := map[string]string{"FREEZE": "FROZEN", "ACTIVATE": "ACTIVE", "CLOSE": "CLOSED"}[string(p.Type)]; after != "" && p.failed == "" {
			state = after
		}
	}
	return walletdb.WalletState(state)
}

var order = []string{
	"WALLET_CLOSED", "WALLET_FROZEN", "HOLD_EXPIRED", "HOLD_CLOSED", "LIMIT_REACHED",
	"EXCEEDS_HOLD", "EXCEEDS_ORIGINAL", "INSUFFICIENT_FUNDS", "BALANCE_LIMIT", "WALLET_NOT_EMPTY",
}

// turn is an operation's turn.
func (m *model) turn(o operation) past {
	balance, state := m.balance(), m.state()
	open, held := m.openHolds()
	available := balance - held
	kind, amount := string(o.Type), o.Amount
	var reasons []string
	fails := func(reason string, when bool) {
		if when {
			reasons = append(reasons, reason)
		}
	}
	gives, takes := false, false
	switch kind {
	case "DEPOSIT", "RECEIVE":
		takes = true
	case "WITHDRAW", "TRANSFER":
		gives = true
		fails("INSUFFICIENT_FUNDS", amount > available)
	case "HOLD":
		gives = true
		fails("INSUFFICIENT_FUNDS", amount > available)
		fails("HOLD_EXPIRED", o.ExpiresAt != nil && o.CreatedAt.UnixMicro() >= o.ExpiresAt.UnixMicro())
		fails("LIMIT_REACHED", open == 1000)
	case "CAPTURE":
		gives = true
		h := m.find(o.SubjectID)
		remaining := m.remaining(*h)
		if amount == 0 {
			amount = remaining
		}
		fails("HOLD_EXPIRED", h.ExpiresAt != nil && o.CreatedAt.UnixMicro() >= h.ExpiresAt.UnixMicro() || len(m.those(h.ID, "EXPIRE")) > 0)
		fails("HOLD_CLOSED", remaining == 0)
		fails("EXCEEDS_HOLD", amount > remaining)
		fails("LIMIT_REACHED", m.tries(h.ID) >= 100)
	case "RELEASE", "EXPIRE":
		amount = m.remaining(*m.find(o.SubjectID))
		fails("HOLD_CLOSED", amount == 0)
	case "REVERSE":
		original := m.find(o.SubjectID)
		left := m.notReversed(*original)
		if amount == 0 {
			amount = left
		}
		gives = original.Type == "DEPOSIT"
		takes = !gives
		fails("EXCEEDS_ORIGINAL", amount > left || amount == 0)
		fails("INSUFFICIENT_FUNDS", gives && amount > available)
		fails("LIMIT_REACHED", m.tries(original.ID) >= 100)
	case "CLOSE":
		fails("WALLET_NOT_EMPTY", state != "CLOSED" && (balance > 0 || held > 0))
	}
	fails("BALANCE_LIMIT", takes && balance+amount > 9007199254740991)
	fails("WALLET_FROZEN", state == "FROZEN" && gives)
	fails("WALLET_CLOSED", state == "CLOSED" && kind != "RETURN" && kind != "ACTIVATE" && kind != "CLOSE")
	p := past{operation: o, amount: amount}
	for _, reason := range order {
		if slices.Contains(reasons, reason) {
			p.failed = reason
			break
		}
	}
	m.past = append(m.past, p)
	return p
}

// left is what an operation has left of what it refers to.
func (m *model) left(o operation) int64 {
	switch string(o.Type) {
	case "CAPTURE", "RELEASE", "EXPIRE":
		return m.remaining(*m.find(o.SubjectID))
	case "REVERSE":
		return m.notReversed(*m.find(o.SubjectID))
	}
	return -1
}

// machine has a wallet that is modelled, and another one beside it.
type machine struct {
	*rapid.T
	books   books
	models  map[uuid.UUID]*model
	now     time.Time
	counter byte
	second  byte
}

// Whatever is accepted, in whatever order and cuts: what the worker makes of it is what the contract says.
// make test runs some thousands of sequences of 30 steps. For 100,000 of them:
//
//	go test -count=1 -run TestTheRulesAgreeWithTheModel ./worker -rapid.checks=100000
func TestTheRulesAgreeWithTheModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{T: t, books: newBooks(ourWallet, otherWallet), models: map[uuid.UUID]*model{ourWallet: {}, otherWallet: {}}, now: noon}
		actions := map[string]func(*rapid.T){
			"apply": func(*rapid.T) { m.apply(rapid.IntRange(1, 12).Draw(t, "limit")) },
			"wait": func(*rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.SampledFrom([]int{1, 1, 2, 5, -1, -7}).Draw(t, "seconds")) * time.Second)
			},
			"a hundred captures": func(*rapid.T) {
				if h := m.any("HOLD"); h != nil && rapid.IntRange(0, 9).Draw(t, "rarely") == 0 {
					for range 100 {
						m.accept(h.WalletID, operation{Type: "CAPTURE", Amount: 1, SubjectID: &h.ID, Final: new(bool)})
					}
				}
			},
			"a hundred reversals": func(*rapid.T) {
				if o := m.any("DEPOSIT", "WITHDRAW"); o != nil && rapid.IntRange(0, 9).Draw(t, "rarely") == 0 {
					for range 100 {
						m.accept(o.WalletID, operation{Type: "REVERSE", Amount: 1, SubjectID: &o.ID})
					}
				}
			},
			"": func(*rapid.T) { m.check() },
		}
		for _, kind := range []string{"DEPOSIT", "WITHDRAW", "HOLD", "TRANSFER", "FREEZE", "ACTIVATE", "CLOSE"} {
			actions[kind] = func(*rapid.T) { m.ask(kind) }
		}
		for kind, of := range map[string][]string{"CAPTURE": {"HOLD"}, "CAPTURE again": {"HOLD"}, "RELEASE": {"HOLD"}, "EXPIRE": {"HOLD"}, "REVERSE": {"DEPOSIT", "WITHDRAW", "CAPTURE"}} {
			actions[kind] = func(*rapid.T) { m.askAbout(kind, of) }
		}
		t.Repeat(actions)
		for m.apply(50) > 0 {
		}
		m.check()
		m.conserved()
	})
}

// any is an accepted operation of some types, applied or not, that an api lets others refer to.
func (m *machine) any(types ...string) *operation {
	var all []*operation
	for _, k := range m.books {
		for i := range k.operations {
			if o := &k.operations[i]; slices.Contains(types, string(o.Type)) && (o.Type != "CAPTURE" || o.CounterpartID == nil) {
				all = append(all, o)
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[rapid.IntRange(0, len(all)-1).Draw(m.T, "which")]
}

func (m *machine) wallet() (one, other *book) {
	if rapid.IntRange(0, 3).Draw(m.T, "wallet") == 0 {
		return m.books[1], m.books[0]
	}
	return m.books[0], m.books[1]
}

// amount is small, or at a limit.
func (m *machine) amount(k *book, least int64) int64 {
	near := []int64{k.Balance, k.Balance - k.Held, maxBalance - k.Balance, maxBalance}
	amount := rapid.OneOf(rapid.Int64Range(1, 20), rapid.SampledFrom(near)).Draw(m.T, "amount") + rapid.Int64Range(-1, 1).Draw(m.T, "more")
	return min(max(amount, least), maxBalance)
}

func (m *machine) ask(kind string) {
	k, other := m.wallet()
	o := operation{Type: walletdb.OperationType(kind)}
	switch kind {
	case "DEPOSIT", "WITHDRAW":
		o.Amount = m.amount(k, 1)
	case "HOLD":
		o.Amount = m.amount(k, 1)
		if rapid.Bool().Draw(m.T, "expires") {
			at := m.now.Add(time.Duration(rapid.IntRange(-1, 5).Draw(m.T, "in")) * time.Second)
			o.ExpiresAt = &at
		}
	case "TRANSFER":
		o.Amount = m.amount(k, 1)
		o.CounterpartID = &other.ID
	}
	m.accept(k.ID, o)
}

func (m *machine) askAbout(kind string, of []string) {
	subject := m.any(of...)
	if subject == nil {
		return
	}
	k := m.books.of(subject.WalletID)
	o := operation{Type: walletdb.OperationType(kind), SubjectID: &subject.ID}
	switch kind {
	case "CAPTURE", "CAPTURE again":
		o.Type, o.Amount = capture, m.amount(k, 0)
		final := rapid.Bool().Draw(m.T, "final")
		if o.Final = &final; rapid.IntRange(0, 2).Draw(m.T, "to the other") == 0 {
			id := ourWallet
			if k.ID == ourWallet {
				id = otherWallet
			}
			o.CounterpartID = &id
		}
	case "REVERSE":
		o.Amount = m.amount(k, 0)
	case "EXPIRE":
		if m.books.has(event.ExpireID(subject.ID)) {
			return
		}
		o.ID = event.ExpireID(subject.ID)
	}
	m.accept(k.ID, o)
}

func (m *machine) accept(walletID uuid.UUID, o operation) {
	if o.ID == uuid.Nil {
		if m.counter++; m.counter == 0 {
			m.second++
		}
		o.ID = uuid.UUID{0: m.second, 1: m.counter, 6: 0x40, 8: 0x80}
	}
	o.CreatedAt = m.now
	m.books.of(walletID).accept(o)
}

// apply runs a transaction of both wallets, and returns how many operations it has applied.
func (m *machine) apply(limit int) int {
	var wallets []walletdb.Wallet
	var pending []operation
	for _, k := range m.books {
		wallets = append(wallets, k.Wallet)
		pending = append(pending, k.operations[k.AppliedSeq:]...)
	}
	pending = pending[:min(limit, len(pending))]
	p, err := newPlan(m.books.read(wallets, pending))
	if err != nil || len(p.damaged) > 0 || len(p.applied) != len(pending) {
		m.Fatalf("%v; damaged: %v; applied %d of %d", err, p.damaged, len(p.applied), len(pending))
	}
	accepted, err := m.books.commit(p, m.now)
	if err != nil {
		m.Fatal(err)
	}
	for _, o := range p.applied {
		accepted = m.compare(o, accepted)
	}
	if len(accepted) > 0 {
		m.Fatalf("accepted without a cause: %+v", accepted)
	}
	return len(p.applied)
}

// compare compares an operation's outcome, and what it has led to, with the model's.
func (m *machine) compare(o operation, accepted []operation) []operation {
	w := m.models[o.WalletID]
	want := w.turn(o)
	got := m.books.of(o.WalletID).outcomes[o.Seq-1]
	_, held := w.openHolds()
	applied := int64(-1)
	if want.failed == "" && want.amount != o.Amount {
		applied = want.amount
	}
	if (got != outcome{want.failed, w.balance(), held, w.state(), applied, w.left(o)}) {
		m.Fatalf("%+v\nhas %+v\nwant failed %q, balance %d, held %d, %s, applied %d, left %d", o, got, want.failed, w.balance(), held, w.state(), applied, w.left(o))
	}
	var kind string
	var id uuid.UUID
	switch {
	case want.failed == "" && o.CounterpartID != nil && (o.Type == "TRANSFER" || o.Type == "CAPTURE"):
		kind, id = "RECEIVE", uuid.NewSHA1(o.ID, []byte("receive"))
	case want.failed != "" && o.Type == "RECEIVE":
		kind, id = "RETURN", uuid.NewSHA1(o.ID, []byte("return"))
	default:
		return accepted
	}
	if len(accepted) == 0 {
		m.Fatalf("nothing follows from %+v", o)
	}
	next := accepted[0]
	if string(next.Type) != kind || next.ID != id || next.WalletID != *o.CounterpartID || next.Amount != want.amount || *next.SubjectID != o.ID || *next.CounterpartID != o.WalletID {
		m.Fatalf("%+v follows from %+v", next, o)
	}
	return accepted[1:]
}

func (m *machine) check() {
	for _, k := range m.books {
		w := m.models[k.ID]
		open, held := w.openHolds()
		if k.Balance != w.balance() || k.Held != held || k.State != w.state() || len(k.holds) != open || k.RulesSeq != k.AppliedSeq {
			m.Fatalf("the wallet has %+v and %d open holds, want balance %d, held %d, %s, %d open", k.Wallet, len(k.holds), w.balance(), held, w.state(), open)
		}
	}
}

// conserved: what came in and did not go out is there.
func (m *machine) conserved() {
	var there, left int64
	for id, w := range m.models {
		there += m.books.of(id).Balance
		for _, p := range w.past {
			switch {
			case p.failed != "" || p.CounterpartID != nil:
			case p.Type == "DEPOSIT":
				left += p.amount
			case p.Type == "WITHDRAW", p.Type == "CAPTURE":
				left -= p.amount
			case p.Type == "REVERSE" && w.find(p.SubjectID).Type == "DEPOSIT":
				left -= p.amount
			case p.Type == "REVERSE":
				left += p.amount
			}
		}
	}
	if there != left {
		m.Fatalf("the wallets have %d, %d was put in and not taken out", there, left)
	}
}
