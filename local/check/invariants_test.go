package check

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/local/load"
)

// The checks decide whether everything else is right, so each is shown what it must not let pass.

var (
	wallet = uuid.MustParse("00000000-0000-0000-0000-000000000001")
	first  = uuid.MustParse("00000000-0000-0000-0000-00000000000a")
	second = uuid.MustParse("00000000-0000-0000-0000-00000000000b")
)

// accepted is two operations of one wallet, the second sent after the first was acknowledged.
func accepted() ([]load.Operation, []walletdb.StoredOperationsRow, []Message) {
	began := time.Now()
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	history := []load.Operation{
		{Wallet: wallet, ID: first, Kind: "DEPOSIT", Amount: 5, SentAt: at(0), Answered: at(10), Sequence: 1},
		{Wallet: wallet, ID: second, Kind: "WITHDRAW", Amount: 3, SentAt: at(20), Answered: at(30), Sequence: 2},
	}
	stored := []walletdb.StoredOperationsRow{
		{WalletID: wallet, Seq: 1, ID: first, Type: "DEPOSIT", Amount: 5},
		{WalletID: wallet, Seq: 2, ID: second, Type: "WITHDRAW", Amount: 3},
	}
	log := []Message{
		{Message: event.Message{WalletID: wallet, Sequence: 1, OperationID: first, Type: "DEPOSIT", Amount: 5}},
		{Message: event.Message{WalletID: wallet, Sequence: 2, OperationID: second, Type: "WITHDRAW", Amount: 3}},
	}
	return history, stored, log
}

func TestClientsHistoriesAreHeldAgainstWhatIsStored(t *testing.T) {
	for name, c := range map[string]struct {
		change func(history []load.Operation, stored []walletdb.StoredOperationsRow) ([]load.Operation, []walletdb.StoredOperationsRow)
		broken string
	}{
		"as sent": {func(h []load.Operation, s []walletdb.StoredOperationsRow) ([]load.Operation, []walletdb.StoredOperationsRow) {
			return h, s
		}, ""},
		"never answered, not stored": {func(h []load.Operation, s []walletdb.StoredOperationsRow) ([]load.Operation, []walletdb.StoredOperationsRow) {
			h[1].Answered, h[1].Sequence = time.Time{}, 0
			return h, s[:1]
		}, ""},
		"never answered, stored": {func(h []load.Operation, s []walletdb.StoredOperationsRow) ([]load.Operation, []walletdb.StoredOperationsRow) {
			h[1].Answered, h[1].Sequence = time.Time{}, 0
			return h, s
		}, ""},
		"acknowledged, not stored": {func(h []load.Operation, s []walletdb.StoredOperationsRow) ([]load.Operation, []walletdb.StoredOperationsRow) {
			return h, s[:1]
		}, "a client sent WITHDRAW"},
		"another amount": {func(h []load.Operation, s []walletdb.StoredOperationsRow) ([]load.Operation, []walletdb.StoredOperationsRow) {
			s[0].Amount = 6
			return h, s
		}, "a client sent DEPOSIT 5"},
		"another type": {func(h []load.Operation, s []walletdb.StoredOperationsRow) ([]load.Operation, []walletdb.StoredOperationsRow) {
			s[0].Type = "WITHDRAW"
			return h, s
		}, "a client sent DEPOSIT"},
		"another sequence than told": {func(h []load.Operation, s []walletdb.StoredOperationsRow) ([]load.Operation, []walletdb.StoredOperationsRow) {
			h[0].Sequence = 2
			return h, s
		}, "was told sequence 2"},
		"another wallet": {func(h []load.Operation, s []walletdb.StoredOperationsRow) ([]load.Operation, []walletdb.StoredOperationsRow) {
			s[0].WalletID = second
			return h, s
		}, "a client sent"},
		"stored, never sent": {func(h []load.Operation, s []walletdb.StoredOperationsRow) ([]load.Operation, []walletdb.StoredOperationsRow) {
			return h[:1], s
		}, "sent by nobody"},
		"a repetition answered otherwise": {func(h []load.Operation, s []walletdb.StoredOperationsRow) ([]load.Operation, []walletdb.StoredOperationsRow) {
			h[0].Wrong = "sent again was answered as another"
			return h, s
		}, "sent again"},
	} {
		t.Run(name, func(t *testing.T) {
			history, stored, _ := accepted()
			expectBroken(t, Clients(c.change(history, stored)), c.broken)
		})
	}
}

func TestOrderOfAcknowledgedBeforeSentIsChecked(t *testing.T) {
	history, stored, _ := accepted()
	expectBroken(t, Order(history, stored), "")

	history[1].SentAt = history[0].Answered.Add(-time.Millisecond)
	stored[0].ID, stored[1].ID = stored[1].ID, stored[0].ID
	history[0].Sequence, history[1].Sequence = 2, 1
	expectBroken(t, Order(history, stored), "") // they overlapped: either order is right

	history[1].SentAt = history[0].Answered.Add(time.Millisecond)
	expectBroken(t, Order(history, stored), "before sequence 1 was sent")

	history[1].Answered = time.Time{}
	expectBroken(t, Order(history, stored), "before sequence 1 was sent") // stored, never acknowledged

	stored[0].WalletID = second
	expectBroken(t, Order(history, stored), "") // another wallet
}

func TestLogIsHeldAgainstWhatIsStored(t *testing.T) {
	for name, c := range map[string]struct {
		change func(log []Message) []Message
		broken string
	}{
		"in order":          {func(l []Message) []Message { return l }, ""},
		"repeated":          {func(l []Message) []Message { return append(l, l[0], l[1]) }, ""},
		"swapped":           {func(l []Message) []Message { return []Message{l[1], l[0]} }, "sequence 2 follows 0"},
		"gap":               {func(l []Message) []Message { return l[1:] }, "sequence 2 follows 0"},
		"end missing":       {func(l []Message) []Message { return l[:1] }, "is not in the log"},
		"nothing":           {func([]Message) []Message { return nil }, "is not in the log"},
		"other content":     {func(l []Message) []Message { l[0].Amount++; return l }, "the log says"},
		"another time":      {func(l []Message) []Message { l[0].AcceptedAt = time.Now(); return l }, "the log says"},
		"another operation": {func(l []Message) []Message { l[0].OperationID = second; return l }, "the log says"},
		"two partitions":    {func(l []Message) []Message { l[1].Partition = 1; return l }, "in partitions 0 and 1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, stored, log := accepted()
			expectBroken(t, Log(c.change(log), stored), c.broken)
		})
	}
}

func TestTimesThatGoBackAreReported(t *testing.T) {
	at := func(seconds int) *time.Time { moment := time.Unix(int64(seconds), 0); return &moment }
	row := func(wallet uuid.UUID, created int, applied *time.Time) walletdb.StoredOperationsRow {
		return walletdb.StoredOperationsRow{WalletID: wallet, CreatedAt: *at(created), AppliedAt: applied}
	}
	for name, c := range map[string]struct {
		stored []walletdb.StoredOperationsRow
		broken string
	}{
		"forward":           {[]walletdb.StoredOperationsRow{row(first, 5, at(6)), row(first, 7, at(7)), row(first, 8, nil)}, ""},
		"the same":          {[]walletdb.StoredOperationsRow{row(first, 5, at(6)), row(first, 5, at(6))}, ""},
		"of another wallet": {[]walletdb.StoredOperationsRow{row(first, 5, at(6)), row(second, 4, at(4))}, ""},
		"accepted before":   {[]walletdb.StoredOperationsRow{row(first, 5, at(6)), row(first, 4, at(6))}, "was accepted 1s before"},
		"applied before":    {[]walletdb.StoredOperationsRow{row(first, 5, at(8)), row(first, 6, at(6))}, "was applied 2s before"},
	} {
		t.Run(name, func(t *testing.T) { expectBroken(t, Times(c.stored), c.broken) })
	}
}

func TestTotalsThatDifferAreReported(t *testing.T) {
	right := walletdb.TotalsRow{Operations: 2, Outcomes: 2, LastSeq: 2, AppliedSeq: 2, Balance: 2, Processed: 2}
	expectBroken(t, Totals(right), "")
	for name, change := range map[string]func(*walletdb.TotalsRow){
		"operations": func(r *walletdb.TotalsRow) { r.Operations++ },
		"outcomes":   func(r *walletdb.TotalsRow) { r.Outcomes-- },
		"last_seq":   func(r *walletdb.TotalsRow) { r.LastSeq++ },
		"applied":    func(r *walletdb.TotalsRow) { r.AppliedSeq-- },
		"balance":    func(r *walletdb.TotalsRow) { r.Balance++ },
	} {
		wrong := right
		change(&wrong)
		if len(Totals(wrong).Broken) == 0 {
			t.Errorf("%s: not reported", name)
		}
	}
}

// expectBroken wants exactly what is named, or nothing, to speak against a promise.
func expectBroken(t *testing.T, p Invariant, want string) {
	t.Helper()
	got := strings.Join(p.Broken, "\n")
	if (want == "") != (got == "") || !strings.Contains(got, want) {
		t.Errorf("broken: %q, want %q", got, want)
	}
}

func TestHistoriesHaveAnOrderThatExplainsThem(t *testing.T) {
	for name, c := range map[string]struct {
		change func(history []load.Operation)
		stored int
		broken string
	}{
		"one after the other":           {func([]load.Operation) {}, 2, ""},
		"one before the other":          {func(h []load.Operation) { h[0].Sequence, h[1].Sequence = 2, 1 }, 2, "no order"},
		"at once, either way round":     {func(h []load.Operation) { h[0].Sequence, h[1].Sequence = 2, 1; h[1].SentAt = h[0].SentAt }, 2, ""},
		"twice the same":                {func(h []load.Operation) { h[1].Sequence = 1 }, 2, "no order"},
		"one left out":                  {func(h []load.Operation) { h[1].Sequence = 3 }, 2, "no order"},
		"not answered, and not stored":  {func(h []load.Operation) { h[1].Answered, h[1].Sequence = time.Time{}, 0 }, 1, ""},
		"not answered, stored behind":   {func(h []load.Operation) { h[1].Answered, h[1].Sequence = time.Time{}, 0 }, 2, ""},
		"not answered, stored too soon": {func(h []load.Operation) { h[0].Sequence = 2; h[1].Answered, h[1].ID = time.Time{}, first }, 1, "no order"},
		"not answered, took effect first": {func(h []load.Operation) {
			h[0].Answered, h[0].Sequence = time.Time{}, 0
		}, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			history, stored, _ := accepted()
			c.change(history)
			expectBroken(t, History(history, stored[:c.stored]), c.broken)
		})
	}
}
