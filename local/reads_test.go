//go:build e2e

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// shown is an operation, a wallet or a hold as the API shows it.
type shown struct {
	OperationID    string
	OperationType  string
	Sequence       int64
	Status         string
	SubjectID      string
	CreatedAt      time.Time
	BalanceAfter   int64
	HeldAfter      int64
	AvailableAfter int64

	WalletID  string
	Balance   int64
	Held      int64
	Available int64
	State     string
	Version   int64

	HoldID    string
	Amount    int64
	Captured  int64
	Remaining int64
	ExpiresAt time.Time
}

type shownPage struct {
	Items []shown
	Next  *int64
}

// exchange sends a request and returns what is answered.
func (s *system) exchange(t *testing.T, method, path, body string, into any) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.APIURLs[0]+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.APIKey)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Prefer", "wait=30")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s %s: %d %s: %v", method, path, answer.StatusCode, text, err)
	}
	return answer.StatusCode
}

// all reads a list to its end.
func (s *system) all(t *testing.T, path string) (items []shown) {
	t.Helper()
	for after := ""; ; {
		var page shownPage
		if status := s.exchange(t, "GET", path+after, "", &page); status != http.StatusOK {
			t.Fatalf("GET %s: %d", path+after, status)
		}
		items = append(items, page.Items...)
		if page.Next == nil {
			return items
		}
		after = fmt.Sprintf("&after=%d", *page.Next)
	}
}

// Whatever clients do with a wallet, what can be read of it ties together: the statement, the wallet at the time of
// each operation, what filters let through, and the holds.
func TestReadsOfAWalletTieTogether(t *testing.T) {
	s := newSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1})
	var wallet, other shown
	s.exchange(t, "POST", "/wallets", `{"currency":"EUR","metadata":{"k":"v"}}`, &wallet)
	s.exchange(t, "POST", "/wallets", `{"currency":"EUR"}`, &other)
	path := "/wallets/" + wallet.WalletID
	var holds []string
	anyHold := func() string { return holds[max(0, len(holds)-1-rand.N(5))] } // one of the last
	send := func(path, body string) shown {
		var o shown
		if status := s.exchange(t, "POST", path, body, &o); status != http.StatusOK {
			t.Fatalf("POST %s %s: %d %+v", path, body, status, o)
		}
		return o
	}
	send(path+"/operations", `{"operationType":"DEPOSIT","amount":3000}`)
	setState := func(state string) {
		var o shown
		s.exchange(t, "PUT", path+"/state", `{"state":"`+state+`","reason":"test"}`, &o)
	}
	for i := range 120 {
		switch i % 30 { // frozen for a tenth of the time
		case 20:
			setState("FROZEN")
		case 23:
			setState("ACTIVE")
		}
		amount := 1 + rand.N(60)
		switch n := rand.N(10); {
		case n < 2 || len(holds) == 0:
			expiry := ""
			if rand.N(3) == 0 {
				expiry = fmt.Sprintf(`,"expiresAt":"%s"`, time.Now().Add(time.Second).UTC().Format("2006-01-02T15:04:05.000Z"))
			}
			holds = append(holds, send(path+"/holds", fmt.Sprintf(`{"amount":%d%s}`, amount, expiry)).OperationID)
		case n < 4:
			send(path+"/holds/"+anyHold()+"/capture", fmt.Sprintf(`{"amount":%d,"final":%t}`, amount, rand.N(2) == 0))
		case n < 5:
			send(path+"/holds/"+anyHold()+"/capture", fmt.Sprintf(`{"toWalletId":"%s"}`, other.WalletID))
		case n < 6:
			send(path+"/holds/"+anyHold()+"/release", `{}`)
		case n < 7:
			send(path+"/transfers", fmt.Sprintf(`{"toWalletId":"%s","amount":%d}`, other.WalletID, amount))
		default:
			send(path+"/operations", fmt.Sprintf(`{"operationType":"%s","amount":%d}`, []string{"DEPOSIT", "WITHDRAW"}[rand.N(2)], amount))
		}
	}
	var statement []shown
	testkit.Until(t, "all is applied, and what has to expire has expired", func() error {
		for _, h := range s.all(t, path+"/holds?limit=500") {
			if !h.ExpiresAt.IsZero() {
				return fmt.Errorf("hold %s is open", h.HoldID)
			}
		}
		statement = s.all(t, path+"/operations?order=asc&limit=500") // after the holds: nothing is going to expire any more
		return testkit.Unless(!slices.ContainsFunc(statement, func(o shown) bool { return o.Status == "PENDING" }), "one is pending")
	})
	now := shown{}
	s.exchange(t, "GET", path, "", &now)
	last := statement[len(statement)-1]
	if now.Version != last.Sequence || now.Balance != last.BalanceAfter || now.Held != last.HeldAfter || now.Available != last.AvailableAfter {
		t.Errorf("the wallet is %+v, its last operation %+v", now, last)
	}

	// The wallet as it was after each operation.
	state := "ACTIVE"
	for i, o := range statement {
		if to := map[string]string{"FREEZE": "FROZEN", "ACTIVATE": "ACTIVE"}[o.OperationType]; to != "" && o.Status == "PROCESSED" {
			state = to
		}
		if i+1 < len(statement) && statement[i+1].CreatedAt.Equal(o.CreatedAt) {
			continue
		}
		var then shown
		status := s.exchange(t, "GET", path+"?at="+url.QueryEscape(o.CreatedAt.Format(time.RFC3339Nano)), "", &then)
		if status != http.StatusOK || then.Version != o.Sequence || then.Balance != o.BalanceAfter || then.Held != o.HeldAfter || then.State != state {
			t.Errorf("at operation %d: %d %+v, want %s and %+v", o.Sequence, status, then, state, o)
		}
	}

	// The same operations by filters.
	sequences := func(items []shown) (seqs []int64) {
		for _, o := range items {
			seqs = append(seqs, o.Sequence)
		}
		return seqs
	}
	middle := statement[len(statement)/2].CreatedAt
	for name, keep := range map[string]func(o shown) bool{
		"status=FAILED":            func(o shown) bool { return o.Status == "FAILED" },
		"type=CAPTURE":             func(o shown) bool { return o.OperationType == "CAPTURE" },
		"type=EXPIRE":              func(o shown) bool { return o.OperationType == "EXPIRE" },
		"subjectId=" + holds[0]:    func(o shown) bool { return o.SubjectID == holds[0] },
		"to=" + iso(middle):        func(o shown) bool { return o.CreatedAt.Before(middle) },
		"from=" + iso(middle):      func(o shown) bool { return !o.CreatedAt.Before(middle) },
		"status=PENDING&type=HOLD": func(shown) bool { return false },
	} {
		want := sequences(slices.DeleteFunc(slices.Clone(statement), func(o shown) bool { return !keep(o) }))
		if got := sequences(s.all(t, path+"/operations?order=asc&limit=7&"+name)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}

	// The holds: what is open is held, and each is what its operations made of it.
	var remaining int64
	var open []string
	for _, h := range s.all(t, path+"/holds?limit=3") {
		remaining += h.Remaining
		open = append(open, h.HoldID)
	}
	if remaining != now.Held {
		t.Errorf("the open holds keep %d, and %d is held", remaining, now.Held)
	}
	for _, id := range holds {
		var h shown
		s.exchange(t, "GET", path+"/holds/"+id, "", &h)
		want := shown{Status: "FAILED"}
		for _, o := range statement {
			switch {
			case o.Status != "PROCESSED":
			case o.OperationID == id:
				want.Status = "OPEN"
			case o.SubjectID == id && o.OperationType == "CAPTURE":
				want.Captured += o.Amount
			case o.SubjectID == id:
				want.Status = map[string]string{"RELEASE": "CLOSED", "EXPIRE": "EXPIRED"}[o.OperationType]
			}
		}
		isOpen := slices.Contains(open, id)
		if want.Status == "OPEN" && !isOpen {
			want.Status = "CLOSED" // by a final capture, or by one of all that remained
		}
		if h.Status != want.Status || h.Captured != want.Captured || isOpen != (h.Status == "OPEN") || isOpen != (h.Remaining > 0) || h.Captured+h.Remaining > h.Amount {
			t.Errorf("hold %s: %+v, want %s with %d captured; listed %v", id, h, want.Status, want.Captured, isOpen)
		}
	}
	kinds := map[string]int{}
	for _, o := range statement {
		kinds[o.OperationType+" "+o.Status]++
	}
	t.Logf("%d operations: %v; %s", len(statement), kinds, cmp.Or(now.State, "no state"))
}

func iso(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }
