//go:build e2e

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/walletid"
	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// behindHAProxy are two cells on the shared servers, each with a database and a topic of its own, and their proxy.
type behindHAProxy struct {
	cells []*system
	proxy *stack.Proxy
	key   string
}

// newCells starts them. Keys have these buckets, lines of buckets.map, or half of all in each cell.
func newCells(t *testing.T, buckets ...string) *behindHAProxy {
	t.Helper()
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	b := &behindHAProxy{}
	var stacks []*stack.Stack
	for cell := range 2 {
		s := sharedSystem(t)
		s.SetCell(cell)
		s.Prepare(stack.Config{APIs: 1, Relays: 1, Workers: 1})
		s.Begin()
		b.cells, stacks = append(b.cells, s), append(stacks, s.Stack)
	}
	b.key = b.cells[0].APIKey
	if err := b.cells[1].CopyKey(t.Context(), b.key); err != nil {
		t.Fatal(err)
	}
	state, err := proc.KeptState(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(state.Close)
	if len(buckets) > 0 {
		folder := filepath.Join(state.Dir, "haproxy")
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, "buckets.map"), []byte(strings.Join(buckets, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if b.proxy, err = stack.StartProxy(t.Context(), root, state, "", stacks); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.proxy.Stop)
	return b
}

// answered is what came back through the proxy.
type answered struct {
	status int
	header http.Header
	body   map[string]any
	text   string
}

// send sends a request through the proxy. Headers are lines.
func (b *behindHAProxy) send(t *testing.T, method, path, body string, headers ...string) (a answered) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, b.proxy.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+b.key)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a = answered{status: response.StatusCode, header: response.Header, text: string(text)}
	_ = json.Unmarshal(text, &a.body)
	return a
}

// open opens a wallet in a cell.
func (b *behindHAProxy) open(t *testing.T, cell int) uuid.UUID {
	t.Helper()
	a := b.send(t, "POST", "/api/v1/wallets", "{}", fmt.Sprintf("Wallet-Cell: %d", cell))
	id, err := uuid.Parse(fmt.Sprint(a.body["walletId"]))
	if err != nil || a.status != http.StatusCreated || walletid.Cell(id) != cell {
		t.Fatalf("open a wallet in cell %d: %d %s", cell, a.status, a.text)
	}
	return id
}

// wallets is how many a cell has.
func (b *behindHAProxy) wallets(t *testing.T, cell int) (count int64) {
	t.Helper()
	if err := b.cells[cell].Conn.QueryRow(t.Context(), "SELECT count(*) FROM wallets").Scan(&count); err != nil {
		t.Fatal(err)
	}
	return count
}

func TestOneAddressReachesBothCells(t *testing.T) {
	t.Parallel()
	b := newCells(t)
	zero, one := b.open(t, 0), b.open(t, 1)
	for cell, wallet := range []uuid.UUID{zero, one} {
		path := "/api/v1/wallets/" + wallet.String()
		for _, request := range []struct {
			method, path, body string
			status             int
		}{
			{"POST", "/api/v1/wallet", deposit(wallet), 202},
			{"POST", path + "/operations", `{"operationType":"DEPOSIT","amount":1}`, 202},
			{"POST", path + "/holds", `{"amount":1}`, 202},
			{"GET", path, "", 200},
			{"GET", "/api/v1/wallets/" + strings.ToUpper(wallet.String()), "", 200},
			{"GET", strings.ReplaceAll(path, "-", "%2D") + "/operations", "", 200},
			{"GET", path + "/holds", "", 200},
			{"GET", path + "/operations/" + uuid.NewString(), "", 404},
		} {
			a := b.send(t, request.method, request.path, request.body)
			if a.status != request.status {
				t.Errorf("cell %d: %s %s: %d %s", cell, request.method, request.path, a.status, a.text)
			}
		}
		list := b.send(t, "GET", "/api/v1/wallets", "", fmt.Sprintf("Wallet-Cell: %d", cell))
		if !strings.Contains(list.text, wallet.String()) || strings.Count(list.text, "walletId") != 1 {
			t.Errorf("the wallets of cell %d: %s", cell, list.text)
		}
		in := fmt.Sprintf("Wallet-Cell: %d", cell)
		operation, _ := b.send(t, "POST", "/api/v1/wallet", deposit(wallet)).body["operationId"].(string)
		for _, path := range []string{"/api/v1/key", "/api/v1/status", "/api/v1/operations/" + operation} {
			if a := b.send(t, "GET", path, "", in); a.status != http.StatusOK {
				t.Errorf("cell %d: GET %s: %d %s", cell, path, a.status, a.text)
			}
		}
		if a := b.send(t, "GET", "/api/v1/operations/"+operation, "", fmt.Sprintf("Wallet-Cell: %d", 1-cell)); a.body["code"] != "operation-not-found" {
			t.Errorf("an operation of cell %d in the other one: %d %s", cell, a.status, a.text)
		}
		b.mustKeepWebhooks(t, cell)
		b.mustFollow(t, wallet)
		// A batch goes where its header says, and each cell answers for its own.
		batch := b.send(t, "POST", "/api/v1/wallet/batch", `{"operations":[`+deposit(zero)+","+deposit(one)+`]}`, fmt.Sprintf("Wallet-Cell: %d", cell))
		items, _ := batch.body["items"].([]any)
		if batch.status != http.StatusOK || len(items) != 2 {
			t.Fatalf("a batch to cell %d: %d %s", cell, batch.status, batch.text)
		}
		for i := range items {
			item := items[i].(map[string]any)
			if (i == cell) != (item["sequence"] != nil) || i != cell && (item["code"] != "wrong-cell" || fmt.Sprint(item["status"], item["cell"]) != fmt.Sprint(421, i)) {
				t.Errorf("a batch to cell %d: item %d: %v", cell, i, item)
			}
		}
	}
	for _, refused := range []struct {
		what, method, path, body, header string
		status                           int
		code                             string
	}{
		{"a transfer to another cell", "POST", "/api/v1/wallets/" + zero.String() + "/transfers", `{"toWalletId":"` + one.String() + `","amount":1}`, "", 422, "other-cell"},
		{"and back", "POST", "/api/v1/wallets/" + one.String() + "/transfers", `{"toWalletId":"` + zero.String() + `","amount":1}`, "", 422, "other-cell"},
		{"an operation sent to the wrong cell", "POST", "/api/v1/wallet", deposit(one), "Wallet-Cell: 0", 421, "wrong-cell"},
		{"a list of a cell that there is not", "GET", "/api/v1/wallets", "", "Wallet-Cell: 7", 421, "wrong-cell"},
		{"a wallet of a cell that there is not", "GET", "/api/v1/wallets/00000000-0000-8007-8000-000000000000", "", "", 421, "wrong-cell"},
		{"a new wallet for a cell that there is not", "POST", "/api/v1/wallets", "{}", "Wallet-Cell: 7", 421, "wrong-cell"},
		{"a cell that is no number", "GET", "/api/v1/wallets", "", "Wallet-Cell: one", 400, "invalid-request"},
		{"a wallet that nobody has", "GET", "/api/v1/wallets/" + uuid.NewString(), "", "", 404, "wallet-not-found"},
	} {
		var headers []string
		if refused.header != "" {
			headers = []string{refused.header}
		}
		if a := b.send(t, refused.method, refused.path, refused.body, headers...); a.status != refused.status || a.body["code"] != refused.code {
			t.Errorf("%s: %d %s", refused.what, a.status, a.text)
		}
	}
	for cell, s := range b.cells {
		if _, err := check.AwaitIdle(t.Context(), s.Conn, 30*time.Second); err != nil {
			t.Error(err)
		}
		if err := s.Verify(t.Context(), io.Discard); err != nil {
			t.Errorf("cell %d: %v", cell, err)
		}
	}
}

// mustKeepWebhooks makes a webhook in a cell, and reads it there. The other cell has none.
func (b *behindHAProxy) mustKeepWebhooks(t *testing.T, cell int) {
	t.Helper()
	const path = "/api/v1/webhooks"
	here, there := fmt.Sprintf("Wallet-Cell: %d", cell), fmt.Sprintf("Wallet-Cell: %d", 1-cell)
	made := b.send(t, "POST", path, fmt.Sprintf(`{"url":"http://127.0.0.1:1/%d"}`, cell), here)
	id, isText := made.body["id"].(string)
	if made.status != http.StatusCreated || !isText {
		t.Fatalf("a webhook in cell %d: %d %s", cell, made.status, made.text)
	}
	if list := b.send(t, "GET", path, "", here); !strings.Contains(list.text, id) || strings.Count(list.text, "127.0.0.1:1") != 1 {
		t.Errorf("the webhooks of cell %d: %s", cell, list.text)
	}
	if read := b.send(t, "GET", path+"/"+id, "", here); read.status != http.StatusOK {
		t.Errorf("its webhook: %d %s", read.status, read.text)
	}
	if read := b.send(t, "GET", path+"/"+id, "", there); read.body["code"] != "webhook-not-found" {
		t.Errorf("its webhook in the other cell: %d %s", read.status, read.text)
	}
}

// mustFollow waits for what a wallet's stream says first.
func (b *behindHAProxy) mustFollow(t *testing.T, wallet uuid.UUID) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.proxy.URL+"/api/v1/wallets/"+wallet.String()+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+b.key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "data:") && strings.Contains(lines.Text(), wallet.String()) {
			return
		}
	}
	t.Errorf("the stream of %s ended without its balance: %s", wallet, response.Status)
}

// The same program works in both cells. It names one in `Wallet-Cell`, which decides where its wallets are opened, too.
func TestGeneratedClientsSeeTheSameInBothCells(t *testing.T) {
	b := newCells(t)
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	for language, generate := range generatedClients {
		t.Run(language, func(t *testing.T) {
			source := generate(t, root)
			for cell := range b.cells {
				b.mustSee(t, source, seenByClients, cell, 2, "API_KEY="+b.key, fmt.Sprintf("WALLET_CELL=%d", cell))
			}
		})
	}
}

// Old clients know nothing of cells. Their API key says in which one they open wallets.
func TestTheLastReleasesClientWorksUnchangedInBothCells(t *testing.T) {
	b := newCells(t)
	source, saw := clientOfLastRelease(t)
	for cell, key := range b.keyOfEachCell(t) {
		b.mustSee(t, source, saw, cell, 1, "API_KEY="+key)
	}
}

// mustSee runs a client through the proxy. It opens so many wallets in the cell.
func (b *behindHAProxy) mustSee(t *testing.T, source *clientSource, want string, cell int, opens int64, env ...string) {
	t.Helper()
	before := b.wallets(t, cell)
	run := *source
	run.env = slices.Concat(source.env, []string{"API_URL=" + b.proxy.URL}, env)
	if diff := cmp.Diff(want, run.run(run.program...)); diff != "" {
		t.Errorf("in cell %d the client saw (-want +got):\n%s", cell, diff)
	}
	if opened := b.wallets(t, cell) - before; opened != opens {
		t.Errorf("cell %d has %d wallets more", cell, opened)
	}
}

// keyOfEachCell are API keys by the cell in which a wallet is opened that neither its key nor a header gives to another.
func (b *behindHAProxy) keyOfEachCell(t *testing.T) (keys [2]string) {
	t.Helper()
	for keys[0] == "" || keys[1] == "" {
		if err := b.cells[0].CreateKey(t.Context()); err != nil {
			t.Fatal(err)
		}
		key := b.cells[0].APIKey
		cell := crc32.ChecksumIEEE([]byte("Bearer "+key)) % walletid.Buckets / (walletid.Buckets / 2)
		if keys[cell] == "" {
			if err := b.cells[1].CopyKey(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			keys[cell] = key
		}
	}
	return keys
}

// asHeader writes a key as clients may: quoted where it has to be, and else in either way.
func asHeader(key string, quoted bool) string {
	if !quoted && !strings.Contains(key, " ") && !strings.HasPrefix(key, `"`) {
		return key
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
}

// anyKey is any key that the API takes.
func anyKey() string {
	letters := " !\"#,;\\\\\\\"\"abcXYZ019~"
	key := make([]byte, 1+rand.IntN(40))
	for i := range key {
		key[i] = letters[rand.IntN(len(letters))]
	}
	return string(key) + uuid.NewString()
}

// The buckets are those of a cell that the proxy does not know, or of none.
func TestAKeyedCreationIsMadeInItsOwnCellOnly(t *testing.T) {
	t.Parallel()
	b := newCells(t, "0:1023 0", "1024:2047 7", "2048:3071 1")
	made := [2]int64{}
	for i := range 100 {
		key := anyKey()
		headers := []string{"Idempotency-Key: " + asHeader(key, true)}
		if i%2 == 0 {
			headers = append(headers, "Wallet-Cell: ") // names none
		}
		a := b.send(t, "POST", "/api/v1/wallets", "{}", headers...)
		switch owner := walletid.Bucket(key) / 1024; {
		case owner == 0 || owner == 2:
			made[owner/2]++
			if a.status != http.StatusCreated {
				t.Errorf("cell %d: %d %s", owner/2, a.status, a.text)
			}
		case a.status != http.StatusServiceUnavailable || a.body["code"] != "overloaded" || a.header.Get("Retry-After") == "":
			t.Errorf("%q of bucket %d: %d %s", key, walletid.Bucket(key), a.status, a.text)
		}
	}
	for cell, want := range made {
		if got := b.wallets(t, cell); got != want || want == 100 {
			t.Errorf("cell %d has %d wallets, want %d", cell, got, want)
		}
	}
}

func TestEveryRetryOfAKeyedCreationMeetsItsWallet(t *testing.T) {
	t.Parallel()
	b := newCells(t)
	restarting, restarted := atomic.Bool{}, make(chan struct{})
	restarting.Store(true)
	go func() {
		defer close(restarted)
		for i := 0; restarting.Load(); i++ {
			b.cells[i%2].Process("api").Signal(syscall.SIGKILL)
			time.Sleep(2 * time.Second)
		}
	}()
	const keys = 1000
	var clients sync.WaitGroup
	var unavailable atomic.Int64
	in := [2]atomic.Int64{}
	for client := range 10 {
		clients.Go(func() {
			for i := client; i < keys; i += 10 {
				key := anyKey()
				wallets := map[string]bool{}
				for try, again := 0, 0; again < 2; try++ {
					a := b.send(t, "POST", "/api/v1/wallets", "{}", "Idempotency-Key: "+asHeader(key, try%2 == 0))
					switch {
					case a.status == http.StatusCreated || a.status == http.StatusOK:
						wallets[fmt.Sprint(a.body["walletId"])] = true
						again++
					case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "" && try < 1000:
						unavailable.Add(1)
						time.Sleep(100 * time.Millisecond)
					default:
						t.Errorf("%q, try %d: %d %s", key, try, a.status, a.text)
						return
					}
				}
				if len(wallets) != 1 {
					t.Errorf("%q made %v", key, wallets)
				}
				for id := range wallets {
					cell := walletid.Cell(uuid.MustParse(id))
					if want := walletid.Bucket(key) / (walletid.Buckets / 2); cell != want {
						t.Errorf("%q of bucket %d made a wallet in cell %d", key, walletid.Bucket(key), cell)
					}
					in[cell].Add(1)
				}
			}
		})
	}
	clients.Wait()
	restarting.Store(false)
	<-restarted
	if wallets := b.wallets(t, 0) + b.wallets(t, 1); wallets != keys {
		t.Errorf("%d keys made %d wallets", keys, wallets)
	}
	t.Logf("%d keys: %d wallets in cell 0, %d in cell 1; %d answers were 503 while apis started again", keys, in[0].Load(), in[1].Load(), unavailable.Load())
}
