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

// given is a transfer that arrived, one that is back, and a hold that has expired, with what followed from them.
func given() ([]load.Operation, []walletdb.StoredOperationsRow) {
	sent, refused, held := uuid.New(), uuid.New(), uuid.New()
	receive, refusal, giveBack, expiry := idOf(sent, "receive"), idOf(refused, "receive"), idOf(idOf(refused, "receive"), "return"), idOf(held, "expire")
	other, at := second, time.Now().UTC()
	history := []load.Operation{
		{Wallet: wallet, ID: sent, Kind: "TRANSFER", Amount: 5, Target: other, SentAt: at, Answered: at.Add(1), Sequence: 1},
		{Wallet: wallet, ID: refused, Kind: "TRANSFER", Amount: 3, Target: other, SentAt: at.Add(2), Answered: at.Add(3), Sequence: 2},
		{Wallet: wallet, ID: held, Kind: "HOLD", Amount: 2, Expires: at, SentAt: at.Add(4), Answered: at.Add(5), Sequence: 4},
		{Wallet: other, ID: second, Kind: "DEPOSIT", Amount: 1, SentAt: at.Add(4), Answered: at.Add(5), Sequence: 3},
	}
	final := wallet
	return history, []walletdb.StoredOperationsRow{
		{WalletID: wallet, Seq: 1, ID: sent, Type: "TRANSFER", Amount: 5, CameTo: 5, CounterpartID: &other, Status: "PROCESSED"},
		{WalletID: wallet, Seq: 2, ID: refused, Type: "TRANSFER", Amount: 3, CameTo: 3, CounterpartID: &other, Status: "PROCESSED"},
		{WalletID: wallet, Seq: 3, ID: giveBack, Type: "RETURN", Amount: 3, CameTo: 3, SubjectID: &refusal, CounterpartID: &other, Status: "PROCESSED"},
		{WalletID: wallet, Seq: 4, ID: held, Type: "HOLD", Amount: 2, CameTo: 2, ExpiresAt: &at, Status: "PROCESSED"},
		{WalletID: wallet, Seq: 5, ID: expiry, Type: "EXPIRE", SubjectID: &held, Status: "PROCESSED"},
		{WalletID: other, Seq: 1, ID: receive, Type: "RECEIVE", Amount: 5, CameTo: 5, SubjectID: &sent, CounterpartID: &final, Status: "PROCESSED"},
		{WalletID: other, Seq: 2, ID: refusal, Type: "RECEIVE", Amount: 3, CameTo: 3, SubjectID: &refused, CounterpartID: &final, Status: "FAILED"},
		{WalletID: other, Seq: 3, ID: second, Type: "DEPOSIT", Amount: 1, CameTo: 1, Status: "PROCESSED"},
	}
}

func TestWhatFollowsFromOperationsIsHeldAgainstThem(t *testing.T) {
	for name, c := range map[string]struct {
		change           func(stored []walletdb.StoredOperationsRow) []walletdb.StoredOperationsRow
		clients, settled string
	}{
		"as it should be": {func(s []walletdb.StoredOperationsRow) []walletdb.StoredOperationsRow { return s }, "", ""},
		"a RECEIVE by another id": {func(s []walletdb.StoredOperationsRow) []walletdb.StoredOperationsRow {
			s[5].ID = first
			return s
		}, "sent by nobody", "neither arrived"},
		"a RECEIVE twice": {func(s []walletdb.StoredOperationsRow) []walletdb.StoredOperationsRow {
			twice := s[5]
			twice.ID, twice.Seq = first, 4
			return append(s, twice)
		}, "sent by nobody", ""},
		"a RECEIVE of a leg that failed": {func(s []walletdb.StoredOperationsRow) []walletdb.StoredOperationsRow {
			s[0].Status = "FAILED"
			return s
		}, "sent by nobody", ""},
		"no RECEIVE": {func(s []walletdb.StoredOperationsRow) []walletdb.StoredOperationsRow {
			return append(s[:5], s[6:]...)
		}, "", "neither arrived"},
		"a RECEIVE of less": {func(s []walletdb.StoredOperationsRow) []walletdb.StoredOperationsRow {
			s[5].CameTo = 4
			return s
		}, "", "neither arrived"},
		"a RECEIVE that is pending": {func(s []walletdb.StoredOperationsRow) []walletdb.StoredOperationsRow {
			s[5].Status = "PENDING"
			return s
		}, "", "neither arrived"},
		"a RECEIVE in another wallet": {func(s []walletdb.StoredOperationsRow) []walletdb.StoredOperationsRow {
			s[5].WalletID = first
			return s
		}, "", "neither arrived"},
		"no RETURN": {func(s []walletdb.StoredOperationsRow) []walletdb.StoredOperationsRow {
			return append(s[:2], s[3:]...)
		}, "", "neither arrived"},
		"a RETURN that is pending": {func(s []walletdb.StoredOperationsRow) []walletdb.StoredOperationsRow {
			s[2].Status = "PENDING"
			return s
		}, "", "neither arrived"},
		"a RETURN of what was received": {func(s []walletdb.StoredOperationsRow) []walletdb.StoredOperationsRow {
			s[6].Status = "PROCESSED"
			return s
		}, "sent by nobody", "neither arrived"},
		"an EXPIRE of another hold": {func(s []walletdb.StoredOperationsRow) []walletdb.StoredOperationsRow {
			s[4].SubjectID = &s[0].ID
			return s
		}, "sent by nobody", ""},
		"another target": {func(s []walletdb.StoredOperationsRow) []walletdb.StoredOperationsRow {
			s[0].CounterpartID = &first
			return s
		}, "a client sent TRANSFER", "neither arrived"},
		"a hold that never expires": {func(s []walletdb.StoredOperationsRow) []walletdb.StoredOperationsRow {
			s[3].ExpiresAt = nil
			return s
		}, "a client sent HOLD", ""},
		"a subject that nobody named": {func(s []walletdb.StoredOperationsRow) []walletdb.StoredOperationsRow {
			s[7].SubjectID = &first
			return s
		}, "a client sent DEPOSIT", ""},
		"a capture that was final": {func(s []walletdb.StoredOperationsRow) []walletdb.StoredOperationsRow {
			partial := false
			s[7].Final = &partial
			return s
		}, "a client sent DEPOSIT", ""},
	} {
		t.Run(name, func(t *testing.T) {
			history, stored := given()
			stored = c.change(stored)
			expectBroken(t, Clients(history, stored), c.clients)
			expectBroken(t, Settled(stored), c.settled)
		})
	}
	// Their sequences are not the clients'.
	history, stored := given()
	expectBroken(t, History(history, stored), "")
	expectBroken(t, Order(history, stored), "")
	history[0].Sequence, history[1].Sequence = 2, 1
	stored[0].Seq, stored[1].Seq = 2, 1
	expectBroken(t, History(history, stored), "no order")
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
	right := walletdb.TotalsRow{Operations: 2, Outcomes: 2, LastSeq: 2, AppliedSeq: 2, Balance: 2, Processed: 2, Outside: 2}
	expectBroken(t, Totals(right), "")
	for name, change := range map[string]func(*walletdb.TotalsRow){
		"operations": func(r *walletdb.TotalsRow) { r.Operations++ },
		"outcomes":   func(r *walletdb.TotalsRow) { r.Outcomes-- },
		"last_seq":   func(r *walletdb.TotalsRow) { r.LastSeq++ },
		"applied":    func(r *walletdb.TotalsRow) { r.AppliedSeq-- },
		"balance":    func(r *walletdb.TotalsRow) { r.Balance++ },
		"own":        func(r *walletdb.TotalsRow) { r.Processed++ },
		"expiring":   func(r *walletdb.TotalsRow) { r.Expiring++ },
		"outside":    func(r *walletdb.TotalsRow) { r.Outside++ },
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
