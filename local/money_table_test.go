//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

const mostMoney = 1<<53 - 1

// moneyClient does one thing after the other to wallets, and waits for each.
type moneyClient struct {
	*testing.T
	*system
}

// do returns an operation as it is once it is applied, or has failed the test. Numbers stay as they were written.
func (c moneyClient) do(method, path, body string) map[string]any {
	c.T.Helper()
	return c.ask("wait=20", method, path, body)
}

// ask is do with another preference.
func (c moneyClient) ask(prefer, method, path, body string) map[string]any {
	c.T.Helper()
	request, err := http.NewRequestWithContext(c.T.Context(), method, c.APIURLs[0]+"/api/v1/wallets"+path, strings.NewReader(body))
	if err != nil {
		c.T.Fatal(err)
	}
	request.Header = http.Header{"Authorization": {"Bearer " + c.APIKey}, "Content-Type": {"application/json"}, "Prefer": {prefer}}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		c.T.Fatal(err)
	}
	defer response.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(response.Body); err != nil {
		c.T.Fatal(err)
	}
	var answer map[string]any
	decoder := json.NewDecoder(&text)
	decoder.UseNumber()
	if err := decoder.Decode(&answer); err != nil || response.StatusCode > 299 {
		c.T.Fatalf("%s %s %s: %d %v %v", method, path, body, response.StatusCode, answer, err)
	}
	return answer
}

// outcome is what became of an operation: PROCESSED or why it failed, and where its money is.
func outcome(answer map[string]any) string {
	text := fmt.Sprint(answer["status"])
	if reason := answer["failureReason"]; reason != nil {
		text = fmt.Sprint(reason)
	}
	if settlement := answer["settlement"]; settlement != nil {
		text += " " + fmt.Sprint(settlement)
	}
	return text
}

// scene is a wallet with 90 of which 40 are held, or a closed one, and what may be named in it.
type scene struct {
	c             moneyClient
	wallet, other string
	ids           map[string]string
}

func (s scene) do(name, method, path, body string) string {
	s.c.T.Helper()
	for named, id := range s.ids {
		path = strings.ReplaceAll(path, "{"+named+"}", id)
	}
	answer := s.c.do(method, "/"+s.wallet+path, strings.ReplaceAll(body, "{other}", s.other))
	s.ids[name] = fmt.Sprint(answer["operationId"])
	return outcome(answer)
}

func (s scene) must(name, method, path, body string) {
	s.c.T.Helper()
	if got := s.do(name, method, path, body); got != "PROCESSED" {
		s.c.T.Fatalf("%s: %s", name, got)
	}
}

func (c moneyClient) scene(state string) scene {
	c.T.Helper()
	wallets := c.OpenWallets(2)
	s := scene{c, wallets[0].String(), wallets[1].String(), map[string]string{}}
	s.must("deposit", "POST", "/operations", `{"operationType":"DEPOSIT","amount":100}`)
	s.must("withdrawal", "POST", "/operations", `{"operationType":"WITHDRAW","amount":10}`)
	s.must("hold", "POST", "/holds", `{"amount":40}`)
	switch state {
	case "FROZEN":
		s.must("freeze", "PUT", "/state", `{"state":"FROZEN","reason":"x"}`)
	case "CLOSED":
		s.must("release", "POST", "/holds/{hold}/release", `{}`)
		s.must("empty", "POST", "/operations", `{"operationType":"WITHDRAW","amount":90}`)
		s.must("close", "PUT", "/state", `{"state":"CLOSED","reason":"x"}`)
	}
	return s
}

// What clients may ask for, in each state and at each boundary, over HTTP.
func TestEveryOperationInEveryStateAtItsBoundaries(t *testing.T) {
	t.Parallel()
	system := sharedSystem(t)
	system.ServiceEnv = map[string][]string{"worker": {"BATCH_INTERVAL=0"}}
	system.Prepare(stack.Config{APIs: 1, Relays: 1, Workers: 1})
	system.Begin()
	operation := func(kind string) func(int64) (string, string, string) {
		return func(amount int64) (string, string, string) {
			return "POST", "/operations", fmt.Sprintf(`{"operationType":%q,"amount":%d}`, kind, amount)
		}
	}
	post := func(path, body string) func(int64) (string, string, string) {
		return func(amount int64) (string, string, string) {
			return "POST", path, strings.ReplaceAll(body, "#", fmt.Sprint(amount))
		}
	}
	state := func(to string) func(int64) (string, string, string) {
		return func(int64) (string, string, string) {
			return "PUT", "/state", fmt.Sprintf(`{"state":%q,"reason":"x"}`, to)
		}
	}
	const ok, frozen, closed, poor = "PROCESSED", "WALLET_FROZEN", "WALLET_CLOSED", "INSUFFICIENT_FUNDS"
	type outcomes map[int64]string // by amount
	all := func(what string, amounts ...int64) outcomes {
		o := outcomes{}
		for _, amount := range amounts {
			o[amount] = what
		}
		return o
	}
	const room = mostMoney - 90
	t.Run("when", func(t *testing.T) {
		for _, row := range []struct {
			name                   string
			ask                    func(amount int64) (method, path, body string)
			active, frozen, closed outcomes
		}{
			{"DEPOSIT", operation("DEPOSIT"), outcomes{1: ok, room - 1: ok, room: ok, room + 1: "BALANCE_LIMIT"}, outcomes{1: ok, room: ok, room + 1: "BALANCE_LIMIT"}, all(closed, 1, mostMoney)},
			{"WITHDRAW", operation("WITHDRAW"), outcomes{49: ok, 50: ok, 51: poor}, all(frozen, 1, 50, 51), all(closed, 1)},
			{"HOLD", post("/holds", `{"amount":#}`), outcomes{49: ok, 50: ok, 51: poor}, all(frozen, 1, 51), all(closed, 1)},
			{"HOLD that is over", post("/holds", `{"amount":#,"expiresAt":"2026-01-01T00:00:00Z"}`), outcomes{1: "HOLD_EXPIRED", 51: "HOLD_EXPIRED"}, all(frozen, 1), all(closed, 1)},
			{"CAPTURE", post("/holds/{hold}/capture", `{"amount":#}`), outcomes{39: ok, 40: ok, 41: "EXCEEDS_HOLD"}, all(frozen, 40, 41), all(closed, 1)},
			{"CAPTURE for another", post("/holds/{hold}/capture", `{"amount":#,"toWalletId":"{other}"}`), outcomes{39: ok + " COMPLETED", 40: ok + " COMPLETED", 41: "EXCEEDS_HOLD"}, all(frozen, 40), all(closed, 1)},
			{"RELEASE", post("/holds/{hold}/release", `{}`), all(ok, 0), all(ok, 0), all(closed, 0)},
			{"REVERSE of a deposit", post("/operations/{deposit}/reverse", `{"amount":#}`), outcomes{49: ok, 50: ok, 51: poor, 100: poor, 101: "EXCEEDS_ORIGINAL"}, all(frozen, 1, 101), all(closed, 1)},
			{"REVERSE of a withdrawal", post("/operations/{withdrawal}/reverse", `{"amount":#}`), outcomes{9: ok, 10: ok, 11: "EXCEEDS_ORIGINAL"}, outcomes{9: ok, 10: ok, 11: "EXCEEDS_ORIGINAL"}, all(closed, 1)},
			{"TRANSFER", post("/transfers", `{"amount":#,"toWalletId":"{other}"}`), outcomes{49: ok + " COMPLETED", 50: ok + " COMPLETED", 51: poor}, all(frozen, 1), all(closed, 1)},
			{"FREEZE", state("FROZEN"), all(ok, 0), all(ok, 0), all(closed, 0)},
			{"ACTIVATE", state("ACTIVE"), all(ok, 0), all(ok, 0), all(ok, 0)},
			{"CLOSE", state("CLOSED"), all("WALLET_NOT_EMPTY", 0), all("WALLET_NOT_EMPTY", 0), all(ok, 0)},
		} {
			for in, want := range map[string]outcomes{"ACTIVE": row.active, "FROZEN": row.frozen, "CLOSED": row.closed} {
				t.Run(row.name+" "+in, func(t *testing.T) {
					t.Parallel()
					for amount, want := range want {
						method, path, body := row.ask(amount)
						if got := (moneyClient{t, system}).scene(in).do("asked", method, path, body); got != want {
							t.Errorf("%d: %s, want %s", amount, got, want)
						}
					}
				})
			}
		}
		t.Run("RECEIVE and RETURN", func(t *testing.T) {
			t.Parallel()
			c := moneyClient{t, system}
			send := func(from, to scene, amount int64) (got, received string) {
				from.other = to.wallet
				got = from.do("sent", "POST", "/transfers", fmt.Sprintf(`{"amount":%d,"toWalletId":"{other}"}`, amount))
				leg := c.do("GET", "/"+from.wallet+"/operations/"+from.ids["sent"], "")
				receive := leg["counterpart"].(map[string]any)["operationId"]
				return got, outcome(c.do("GET", fmt.Sprintf("/%s/operations/%s", to.wallet, receive), ""))
			}
			full := c.scene("ACTIVE")
			full.must("most", "POST", "/operations", fmt.Sprintf(`{"operationType":"DEPOSIT","amount":%d}`, room-10))
			for _, test := range []struct {
				to           scene
				amount       int64
				want, reason string
			}{
				{c.scene("ACTIVE"), 10, "PROCESSED COMPLETED", ok},
				{c.scene("FROZEN"), 10, "PROCESSED COMPLETED", ok},
				{c.scene("CLOSED"), 10, "PROCESSED RETURNED", closed},
				{full, 11, "PROCESSED RETURNED", "BALANCE_LIMIT"},
				{full, 10, "PROCESSED COMPLETED", ok},
				{full, 1, "PROCESSED RETURNED", "BALANCE_LIMIT"},
			} {
				if got, received := send(c.scene("ACTIVE"), test.to, test.amount); got != test.want || received != test.reason {
					t.Errorf("%d: %s, and the RECEIVE %s; want %s and %s", test.amount, got, received, test.want, test.reason)
				}
			}
			// What comes back is taken above the limit.
			sender, gone := c.scene("ACTIVE"), c.scene("CLOSED")
			item := func(more string, amount int64) string {
				return fmt.Sprintf(`{"walletId":%q,"amount":%d,%s}`, sender.wallet, amount, more)
			}
			batch := `{"operations":[` + item(`"operationType":"TRANSFER","toWalletId":"`+gone.wallet+`"`, 30) + "," + item(`"operationType":"DEPOSIT"`, mostMoney-60) + `]}`
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, system.APIURLs[0]+"/api/v1/wallet/batch", strings.NewReader(batch))
			if err != nil {
				t.Fatal(err)
			}
			request.Header = http.Header{"Authorization": {"Bearer " + system.APIKey}, "Content-Type": {"application/json"}}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Fatalf("a batch: %d", response.StatusCode)
			}
			stacktest.Until(t, "the money is back, above the limit", 20*time.Second, func() bool {
				return fmt.Sprint(c.do("GET", "/"+sender.wallet, "")["balance"]) == fmt.Sprint(mostMoney+30)
			})
			if got := sender.do("more", "POST", "/operations", `{"operationType":"DEPOSIT","amount":1}`); got != "BALANCE_LIMIT" {
				t.Errorf("a deposit above the limit: %s", got)
			}
			if got := sender.do("back", "POST", "/operations/{withdrawal}/reverse", `{"amount":1}`); got != "BALANCE_LIMIT" {
				t.Errorf("a reversal above the limit: %s", got)
			}
		})
		t.Run("limits", func(t *testing.T) {
			t.Parallel()
			c := moneyClient{t, system}
			const mostHolds, mostNamed = 1000, 100
			s := c.scene("ACTIVE")
			s.must("plenty", "POST", "/operations", `{"operationType":"DEPOSIT","amount":2000}`)
			var clients sync.WaitGroup
			for range 20 {
				clients.Go(func() {
					for range mostHolds / 20 {
						c.do("POST", "/"+s.wallet+"/holds", `{"amount":1}`)
					}
				})
			}
			clients.Wait() // with the first one, one too many: which of them it was depends on their order
			if got := s.do("one more", "POST", "/holds", `{"amount":1}`); got != "LIMIT_REACHED" {
				t.Errorf("the hold beyond the limit: %s", got)
			}
			s.must("released", "POST", "/holds/{hold}/release", `{}`)
			s.must("one instead", "POST", "/holds", `{"amount":200}`)
			if got := s.do("one more", "POST", "/holds", `{"amount":1}`); got != "LIMIT_REACHED" {
				t.Errorf("the hold beyond the limit, after one was replaced: %s", got)
			}
			for name, path := range map[string]string{"capture": "/holds/{one instead}/capture", "reverse": "/operations/{plenty}/reverse"} {
				for i := range mostNamed {
					body, want := `{"amount":1,"final":false}`, ok
					if name == "reverse" {
						body = `{"amount":1}`
					}
					if i%10 == 0 { // what fails counts, too
						body, want = `{"amount":3000}`, map[string]string{"capture": "EXCEEDS_HOLD", "reverse": "EXCEEDS_ORIGINAL"}[name]
					}
					if got := s.do(name, "POST", path, body); got != want {
						t.Fatalf("%s %d: %s, want %s", name, i+1, got, want)
					}
				}
				if got := s.do(name, "POST", path, `{"amount":1}`); got != "LIMIT_REACHED" {
					t.Errorf("%s beyond the limit: %s", name, got)
				}
			}
			s.must("release after that", "POST", "/holds/{one instead}/release", `{}`)
			if got := s.do("again", "POST", "/holds/{one instead}/release", `{}`); got != "HOLD_CLOSED" {
				t.Errorf("a release of a closed hold: %s", got)
			}
		})
		t.Run("times", func(t *testing.T) {
			t.Parallel()
			s := moneyClient{t, system}.scene("ACTIVE")
			stall := testdb.WatchStalls(t, system.Backing.DatabaseURL)
			until := time.Now().Add(8 * time.Second).UTC() // hold and capture are applied before that even if the machine stalls
			s.must("short", "POST", "/holds", `{"amount":5,"expiresAt":"`+until.Format("2006-01-02T15:04:05.000000Z")+`"}`)
			s.must("in time", "POST", "/holds/{short}/capture", `{"amount":1,"final":false}`)
			time.Sleep(time.Until(until))
			if got := s.do("too late", "POST", "/holds/{short}/capture", `{"amount":1}`); got != "HOLD_EXPIRED" {
				t.Errorf("a capture at the hold's end: %s", got)
			}
			stacktest.Until(t, "the hold has expired", time.Minute, func() bool {
				return s.c.do("GET", "/"+s.wallet+"/holds/"+s.ids["short"], "")["status"] == "EXPIRED"
			})
			if took := time.Since(until); took > 6*time.Second+stall().Longest {
				t.Errorf("it has expired %v after its end", took)
			}
			for _, path := range []string{"capture", "release"} {
				want := map[string]string{"capture": "HOLD_EXPIRED", "release": "HOLD_CLOSED"}[path]
				if got := s.do("after that", "POST", "/holds/{short}/"+path, `{}`); got != want {
					t.Errorf("%s after that: %s, want %s", path, got, want)
				}
			}
			if wallet := s.c.do("GET", "/"+s.wallet, ""); fmt.Sprintf("%v %v", wallet["balance"], wallet["available"]) != "89 49" {
				t.Errorf("the wallet is %v", wallet)
			}
		})
	})
	if _, err := check.AwaitIdle(t.Context(), system.Conn, 30*time.Second); err != nil {
		t.Error(err)
	}
	if err := system.Verify(t.Context(), io.Discard); err != nil {
		t.Error(err)
	}
}
