//go:build e2e

package browser

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
)

// Somebody reads a long statement: it goes on at its end, does not move while something new comes, is filtered, and
// saved. The key may read only, so nothing else is offered.
func TestSomebodyReadsAStatement(t *testing.T) {
	s, g := consoleSystem(t)
	wallet := send(t, s, http.MethodPost, "/api/v1/wallets", object{"currency": "EUR"})["walletId"].(string)
	items := make([]object, 130)
	for i := range items {
		items[i] = object{"walletId": wallet, "operationType": "DEPOSIT", "amount": 100 + i, "reference": fmt.Sprintf("invoice %d", i+1)}
	}
	items[0]["reference"] = `=1+1, "first"`
	items[129]["operationType"] = "WITHDRAW"
	send(t, s, http.MethodPost, "/api/v1/wallet/batch", object{"operations": items})
	s.Until("all of it is applied", time.Minute, func() bool {
		_, version := s.Balance(uuid.MustParse(wallet))
		return version == 130
	})
	var key strings.Builder
	if err := s.Ctl(t.Context(), &key, "keys", "create", "reader", "--all-tenants", "--scopes", "wallets:read"); err != nil {
		t.Fatal(err)
	}

	p := openConsole(t, g.URL, 5*time.Minute)
	p.signIn(strings.TrimSpace(key.String()))
	p.open("#/wallets/" + wallet)
	p.reads("Live")
	p.rows("50 rows", func(rows []string) bool { return len(rows) == 50 && strings.HasPrefix(rows[0], "130 ") })
	for _, name := range []string{"Deposit", "Withdraw", "Transfer", "Hold", "Freeze", "Close", "Reverse operation 129"} {
		if nodes, err := p.all("button", name); err != nil || len(nodes) > 0 {
			t.Errorf("a key that may only read is offered %q: %v", name, err)
		}
	}
	if nodes, err := p.all("link", "Webhooks"); err != nil || len(nodes) > 0 {
		t.Errorf("a key that may only read wallets is offered webhooks: %v", err)
	}

	p.rows("all 130 rows, one by one as their end is reached", func(rows []string) bool {
		run(t, p.ctx, chromedp.Evaluate[bool](`scrollTo(0, document.body.scrollHeight), true`))
		return len(rows) == 130 && strings.HasPrefix(rows[129], "1 ")
	})
	p.reads("These are all.")
	rows := p.rowsNow()
	for i, row := range rows {
		if !strings.HasPrefix(row, fmt.Sprintf("%d ", 130-i)) {
			t.Fatalf("row %d is %q", i, row)
		}
	}

	// Something new comes while the reader is at the end.
	send(t, s, http.MethodPost, "/api/v1/wallets/"+wallet+"/operations", object{"operationType": "DEPOSIT", "amount": 7})
	p.fact("Operations applied", "131")
	p.find("button", "↑ Newer operations")
	if now := p.rowsNow(); len(now) != 130 || now[0] != rows[0] {
		t.Errorf("the statement moved under its reader: %d rows, the first is %q", len(now), now[0])
	}
	p.press("↑ Newer operations")
	p.rows("the newest operation first", func(rows []string) bool { return strings.HasPrefix(rows[0], "131 ") })

	run(t, p.ctx, chromedp.Evaluate[bool](`document.querySelector(".filters").open = true`))
	p.choose("Type", "Withdrawal")
	p.rows("the withdrawal alone", func(rows []string) bool { return len(rows) == 1 && strings.HasPrefix(rows[0], "130 ") })
	p.choose("Status", "FAILED")
	p.reads("No operation is like that.")
	p.press("Clear")
	p.rows("all types again", func(rows []string) bool { return len(rows) >= 50 })

	// What a browser would save.
	run(t, p.ctx, chromedp.Evaluate[bool](`{
		const make = URL.createObjectURL;
		URL.createObjectURL = file => (file.text().then(text => window.saved = text), make.call(URL, file));
		true;
	}`))
	p.press("Save as CSV")
	var saved string
	testkit.Within(t, patience, "a file", func() error {
		saved = run(t, p.ctx, chromedp.Evaluate[string](`window.saved ?? ""`))
		return testkit.Unless(saved != "", "there is none; to be read: %s", p.text())
	})
	records, err := csv.NewReader(strings.NewReader(saved)).ReadAll()
	if err != nil || len(records) != 132 {
		t.Fatalf("%d lines, %v:\n%s", len(records), err, saved)
	}
	column := map[string]int{}
	for i, name := range records[0] {
		column[name] = i
	}
	last := records[131]
	for name, want := range map[string]string{
		"sequence": "1", "operationType": "DEPOSIT", "amountMinor": "100", "amount": "1.00", "balanceAfterMinor": "100", "currency": "EUR", "reference": `'=1+1, "first"`,
	} {
		if i, found := column[name]; !found || last[i] != want {
			t.Errorf("%s of the first operation is %q, want %q", name, last, want)
		}
	}
	p.behaved(strings.TrimSpace(key.String()))
}

// rowsNow are the rows of the statement, as somebody reads them.
func (p *person) rowsNow() []string {
	p.t.Helper()
	return run(p.t, p.ctx, chromedp.Evaluate[[]string](
		`[...document.querySelectorAll("section[aria-labelledby=statement] tbody tr")].map(row => row.innerText.replace(/\s+/g, " ").trim())`))
}

func (p *person) rows(what string, are func(rows []string) bool) {
	p.t.Helper()
	testkit.Within(p.t, patience, what, func() error {
		rows := p.rowsNow()
		return testkit.Unless(len(rows) > 0 && are(rows), "%d rows: %.200q", len(rows), rows)
	})
}
