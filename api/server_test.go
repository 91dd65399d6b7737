package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/service"
)

func TestAnswersCarryWhatTheContractPromises(t *testing.T) {
	t.Parallel()
	a := startAPI(t, testdb.New(t).As(testdb.API), "DEFAULT_CURRENCY=CHF")
	key := "Idempotency-Key: " + uuid.NewString() // Redis outlives the test, and a key is a wallet
	created := a.send("POST", walletsPath, `{"reference":"r"}`, key, "X-Request-Id: mine")
	walletID := uuid.MustParse(created.body["walletId"].(string))
	if created.header.Get("Location") != "/api/v1/wallets/"+walletID.String() || created.header.Get("X-Request-Id") != "mine" {
		t.Errorf("headers of a created wallet: %v", created.header)
	}
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"} {
		if got := created.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if created.body["currency"] != "CHF" || created.body["reference"] != "r" || created.number(t, "balance") != 0 || created.number(t, "version") != 0 {
		t.Errorf("created: %s", created.text)
	}
	if again := a.send("POST", walletsPath, `{"reference":"r"}`, key); again.text != created.text || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("created again: %s %v", again.text, again.header)
	}
	if read := a.send("GET", created.header.Get("Location"), ""); read.text != created.text || read.header.Get("Cache-Control") != "private, no-cache" {
		t.Errorf("read: %s %v", read.text, read.header)
	}

	accepted := a.deposit(walletID, 5, `Idempotency-Key: "a\"b"`)
	wantID := uuid.NewSHA1(walletID, []byte(`a"b`)).String()
	if accepted.body["operationId"] != wantID || accepted.header.Get("Location") != created.header.Get("Location")+"/operations/"+wantID {
		t.Errorf("accepted: %s %v", accepted.text, accepted.header)
	}
	if !regexp.MustCompile(`"createdAt":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"`).MatchString(accepted.text) {
		t.Errorf("createdAt is not RFC 3339 in UTC with six decimals: %s", accepted.text)
	}
	read := a.send("GET", accepted.header.Get("Location"), "")
	if read.status != http.StatusOK || read.text != accepted.text {
		t.Errorf("read: %d %s", read.status, read.text)
	}
	for _, field := range []string{"reference", "failureReason", "balanceAfter", "appliedAt"} {
		if strings.Contains(accepted.text, field) {
			t.Errorf("%s has no value and is there: %s", field, accepted.text)
		}
	}
	if plain := a.send("POST", walletsPath, `{}`); strings.Contains(plain.text, "reference") {
		t.Errorf("a wallet without a reference has one: %s", plain.text)
	}
}

func TestAPageHas50ItemsUnlessTheClientSaysOtherwise(t *testing.T) {
	t.Parallel()
	a := startAPI(t, testdb.New(t).As(testdb.API))
	walletID := a.newWallet(t)
	a.items(t, slices.Repeat([]string{depositBody(walletID, 1)}, 51))
	for range 50 {
		a.newWallet(t)
	}
	for _, path := range []string{walletsPath, walletsPath + "/" + walletID.String() + "/operations"} {
		page := a.send("GET", path, "")
		if items, _ := page.body["items"].([]any); len(items) != 50 || page.body["next"] == nil {
			t.Errorf("%s: %d items, next %v", path, len(items), page.body["next"])
		}
		whole := a.send("GET", path+"?limit=51", "")
		if items, _ := whole.body["items"].([]any); len(items) != 51 || whole.body["next"] != nil {
			t.Errorf("%s with a limit of 51: %d items, next %v", path, len(items), whole.body["next"])
		}
	}
}

func TestAPanicIsAProblem(t *testing.T) {
	t.Parallel()
	handler := prepare(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("password") }))
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/api/v1/wallets/x", nil))
	want := `{"type":"urn:legendary-wallet:error:internal","title":"Internal error","status":500,` +
		`"detail":"The error is on our side and was logged.","code":"internal","instance":"/api/v1/wallets/x"}`
	if answer.Code != http.StatusInternalServerError || answer.Body.String() != want {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
}

func TestARequestKeepsTheIDThatItCameWith(t *testing.T) {
	t.Parallel()
	a := startAPI(t, testdb.New(t).As(testdb.API))
	const trace = "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, test := range []struct {
		headers []string
		want    string
	}{
		{[]string{"X-Request-Id: mine", trace}, "mine"},
		{[]string{trace}, "0af7651916cd43dd8448eb211c80319c"},
		{[]string{"X-Request-Id: with a space", trace}, "0af7651916cd43dd8448eb211c80319c"},
		{[]string{"X-Request-Id: " + strings.Repeat("x", 129)}, ""},
		{[]string{"Traceparent: nonsense"}, ""},
	} {
		got := a.send("GET", "/nowhere", "", test.headers...).header.Get("X-Request-Id")
		if _, err := uuid.Parse(got); got != test.want && (test.want != "" || err != nil) {
			t.Errorf("%v: %q, want %q or a new one", test.headers, got, test.want)
		}
	}
}

func TestAnETagChangesWithTheVersionOnly(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		ifNoneMatch string
		want        bool
	}{
		{`"7"`, true},
		{`W/"7"`, true},
		{`"6", "7"`, true},
		{`"6",W/"7"`, true},
		{`*`, true},
		{`"6"`, false},
		{`7`, false},
		{``, false},
		{`"77"`, false},
	} {
		if got := hasETag(test.ifNoneMatch, `"7"`); got != test.want {
			t.Errorf("If-None-Match: %s: %v", test.ifNoneMatch, got)
		}
	}
	a := startAPI(t, testdb.New(t).As(testdb.API))
	path := walletsPath + "/" + a.newWallet(t).String()
	read := a.send("GET", path, "")
	etag := read.header.Get("ETag")
	unchanged := a.send("GET", path, "", `If-None-Match: "x"`, "If-None-Match: "+etag)
	if unchanged.status != http.StatusNotModified || unchanged.text != "" || unchanged.header.Get("ETag") != etag || unchanged.header.Get("Cache-Control") != cacheControl {
		t.Errorf("%d %q %v", unchanged.status, unchanged.text, unchanged.header)
	}
}

func TestTheLastAnswerOfAConnectionSaysSoWhileTheProcessDrains(t *testing.T) {
	t.Parallel()
	health := service.NewHealth(slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	handler := closeConnections(health, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, draining := range []bool{false, true} {
		if draining {
			health.Drain()
		}
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest("GET", "/", nil))
		if last := answer.Header().Get("Connection") == "close"; last != draining {
			t.Errorf("draining %v: Connection is %q", draining, answer.Header().Get("Connection"))
		}
	}
}
