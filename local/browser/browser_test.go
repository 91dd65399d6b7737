//go:build e2e

// Package browser uses the API's Swagger page and the console as a person would, in a real browser.
package browser

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/apikey"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// The screenshot is kept with `go test -artifacts`.
func TestSwaggerPageSendsADepositAndAsksNobodyElse(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	api := startAPI(t, database)
	ctx := openBrowser(t)
	asked := recordHosts(t, ctx)

	do(t, ctx,
		chromedp.Navigate(api+"/swagger/"),
		chromedp.Click(chromedp.CSS("button.authorize")),
		chromedp.SendKeys(chromedp.CSS(".auth-container input"), newKey(t, database)),
		chromedp.Click(chromedp.CSS(".auth-btn-wrapper button.authorize")),
		chromedp.Click(chromedp.CSS(".auth-btn-wrapper button.btn-done")),
	)
	var wallet struct{ WalletID string }
	answer := tryItOut(t, ctx, "operations-Wallets-createWallet", `{"currency": "EUR"}`, "201")
	if err := json.Unmarshal([]byte(answer), &wallet); err != nil || wallet.WalletID == "" {
		t.Fatalf("created wallet: %v\n%s", err, answer)
	}
	body := fmt.Sprintf(`{"walletId": %q, "operationType": "DEPOSIT", "amount": 1250}`, wallet.WalletID)
	answer = tryItOut(t, ctx, "operations-Operations-createOperation", body, "202")
	var operation struct {
		WalletID, Status string
		Amount, Sequence int
	}
	if err := json.Unmarshal([]byte(answer), &operation); err != nil || operation.WalletID != wallet.WalletID ||
		operation.Status != "PENDING" || operation.Amount != 1250 || operation.Sequence != 1 {
		t.Errorf("sent deposit: %v\n%s", err, answer)
	}

	if status := readWallet(t, ctx, wallet.WalletID); !strings.HasPrefix(status, "200") {
		t.Errorf("the wallet is answered with %s to whoever writes nothing but its id", status)
	}
	picture := run(t, ctx, chromedp.Screenshot(chromedp.ID("operations-Operations-createOperation")))
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), "swagger.png"), picture, 0o600); err != nil {
		t.Error(err)
	}
	own, err := url.Parse(api)
	if hosts := asked(); err != nil || !slices.Equal(hosts, []string{own.Host}) {
		t.Errorf("the page asked %v, want %s alone", hosts, own.Host)
	}
}

// A page of an origin that CORS_ORIGINS names sends a deposit with a key, after a preflight that has none, and reads
// the headers of the contract. A page of any other origin is told nothing.
func TestPagesOfAllowedOriginsUseTheAPI(t *testing.T) {
	t.Parallel()
	page := func() string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<!doctype html><title>shop</title>"))
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	allowed, other := page(), page()
	database := testdb.New(t)
	api := startAPI(t, database, "CORS_ORIGINS=https://shop.example, "+allowed)
	key := newKey(t, database)
	send := fmt.Sprintf(`(async () => {
		const ask = (key, id) => fetch(%q, {
			method: "POST", body: JSON.stringify({currency: "EUR"}),
			headers: {"Content-Type": "application/json", "Authorization": "Bearer " + key, "Idempotency-Key": id, "X-Request-Id": "page"},
		});
		try {
			const id = crypto.randomUUID();
			const made = await ask(%q, id), again = await ask(%q, id), refused = await ask("lw_unknown", id);
			return [made.status, (await made.json()).currency, made.headers.get("X-Request-Id"), again.headers.get("Idempotency-Replayed"), refused.status, (await refused.json()).code].join(" ");
		} catch (e) { return String(e) }
	})()`, api+"/api/v1/wallets", key, key)
	for _, test := range []struct{ origin, want string }{
		{origin: allowed, want: "201 EUR page true 401 unauthorized"},
		{origin: other, want: "TypeError: Failed to fetch"},
	} {
		ctx := openBrowser(t)
		do(t, ctx, chromedp.Navigate(test.origin))
		if got := run(t, ctx, chromedp.Evaluate[string](send, chromedp.EvalAwaitPromise)); got != test.want {
			t.Errorf("a page of %s got %q, want %q", test.origin, got, test.want)
		}
	}
}

// tryItOut opens an operation on the page, sends body with it, and returns the answer's body.
func tryItOut(t *testing.T, ctx context.Context, operation, body, status string) string {
	t.Helper()
	inside := func(selector string) chromedp.CSS { return chromedp.CSS("#" + operation + " " + selector) }
	do(t, ctx,
		chromedp.Click(inside(".opblock-summary-control")),
		chromedp.Click(inside(".try-out__btn")),
		chromedp.Click(inside("textarea.body-param__text")),
		chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl)),
		chromedp.KeyEvent(body),
		chromedp.Click(inside("button.execute")),
	)
	answered := run(t, ctx, chromedp.Text(inside(".live-responses-table .response > .response-col_status")))
	answer := run(t, ctx, chromedp.Text(inside(".live-responses-table .response .highlight-code")))
	start, end := strings.Index(answer, "{"), strings.LastIndex(answer, "}")
	if !strings.HasPrefix(strings.TrimSpace(answered), status) || start < 0 || end < start {
		t.Fatalf("%s: answered %q, want %s\n%s", operation, answered, status, answer)
	}
	return answer[start : end+1]
}

// readWallet reads a wallet on the page, with every other parameter as the page fills it in, and returns the status.
func readWallet(t *testing.T, ctx context.Context, id string) string {
	t.Helper()
	inside := func(selector string) chromedp.CSS { return chromedp.CSS("#operations-Wallets-getWallet " + selector) }
	do(t, ctx,
		chromedp.Click(inside(".opblock-summary-control")),
		chromedp.Click(inside(".try-out__btn")),
		chromedp.Click(inside(`tr[data-param-name="walletId"] input`)),
		chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl)),
		chromedp.KeyEvent(id),
		chromedp.Click(inside("button.execute")),
	)
	return strings.TrimSpace(run(t, ctx, chromedp.Text(inside(".live-responses-table .response > .response-col_status"))))
}

func do(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	run(t, ctx, chromedp.Steps(steps...))
}

func run[T any](t *testing.T, ctx context.Context, action chromedp.Action[T]) T {
	t.Helper()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// recordHosts notes every host that the page asks, in the order of the first request.
func recordHosts(t *testing.T, ctx context.Context) func() []string {
	t.Helper()
	var mu sync.Mutex
	var hosts []string
	err := chromedp.Listen(ctx, func(event any) {
		sent, ok := event.(*network.EventRequestWillBeSent)
		if !ok || strings.HasPrefix(sent.Request.URL, "data:") {
			return
		}
		asked, err := url.Parse(sent.Request.URL)
		mu.Lock()
		defer mu.Unlock()
		if err == nil && !slices.Contains(hosts, asked.Host) {
			hosts = append(hosts, asked.Host)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(hosts)
	}
}

// openBrowser starts Chromium with a new profile. It can reach this machine only.
func openBrowser(t *testing.T) context.Context {
	t.Helper()
	return openBrowserFor(t, 2*time.Minute)
}

func openBrowserFor(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is not installed: apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox, // it refuses to run as root otherwise
		chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
		chromedp.WindowSize(1280, 1600),
		chromedp.WSURLReadTimeout(time.Minute), // how long it may take to start
	)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	ctx, cancelAllocator := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancelAllocator)
	ctx, cancelBrowser := chromedp.NewContext(ctx)
	t.Cleanup(cancelBrowser)
	return ctx
}

func newKey(t *testing.T, database testdb.Database) string {
	t.Helper()
	key, hash := apikey.New()
	err := walletdb.New(database.Conn(t)).CreateKey(t.Context(), walletdb.CreateKeyParams{
		ID: uuid.New(), Client: "browser", Hash: hash, Scopes: apikey.Scopes, AllTenants: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// startAPI builds the api and starts it. It returns the API's URL.
func startAPI(t *testing.T, database testdb.Database, settings ...string) string {
	t.Helper()
	redisURL := os.Getenv("TEST_REDIS_URL")
	if redisURL == "" {
		t.Fatal("TEST_REDIS_URL is not set: run `make test`")
	}
	binary := filepath.Join(t.TempDir(), "api")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/legendary-wallet/legendary-wallet/api")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build api: %v\n%s", err, output)
	}
	api := exec.Command(binary)
	api.Env = append([]string{
		"DATABASE_URL=" + database.As(testdb.API), "REDIS_URL=" + redisURL,
		"HTTP_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0",
	}, settings...)
	stderr, err := api.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := api.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = api.Process.Signal(syscall.SIGTERM)
		if err := api.Wait(); err != nil {
			t.Errorf("api after SIGTERM: %v", err)
		}
	})
	listening := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			t.Log(lines.Text())
			var entry struct{ Msg, Addr string }
			if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "api listening" {
				listening <- entry.Addr
			}
		}
	}()
	select {
	case addr := <-listening:
		return "http://" + addr
	case <-time.After(30 * time.Second):
		t.Fatal("the api does not listen after 30 s")
		return ""
	}
}
