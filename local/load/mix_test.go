package load

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

// accepting is an api that accepts all that it knows, and counts by route.
type accepting struct {
	mu       sync.Mutex
	requests map[string]int
	sequence int
	first    map[string]string // the request with a key
	wrong    []string
}

var anID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`)

func (a *accepting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var asked struct {
		WalletID   uuid.UUID
		ToWalletID uuid.UUID
	}
	err := json.Unmarshal(body, &asked)
	a.mu.Lock()
	defer a.mu.Unlock()
	route := r.Method + " " + anID.ReplaceAllString(r.URL.Path, "ID")
	if asked.ToWalletID != uuid.Nil {
		route += " to another"
	}
	wallet := anID.FindString(r.URL.Path)
	if wallet == "" {
		wallet = asked.WalletID.String()
	}
	key, request := r.Header.Get("Idempotency-Key"), r.Method+r.URL.Path+string(body)
	if before, again := a.first[key]; again && before != request {
		a.wrong = append(a.wrong, fmt.Sprintf("%s was sent, and then %s", before, request))
	}
	if err != nil || strings.Contains(request, asked.ToWalletID.String()+"/") {
		a.wrong = append(a.wrong, fmt.Sprintf("%s: %v", request, err))
	}
	a.first[key] = request
	a.requests[route]++
	a.sequence++
	id := operationID(uuid.MustParse(wallet), key)
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, `{"operationId":"%s","sequence":%d}`, id, a.sequence)
}

func TestAMixSendsAllThatThereIs(t *testing.T) {
	api := &accepting{requests: map[string]int{}, first: map[string]string{}}
	server := httptest.NewServer(api)
	defer server.Close()
	refusing := uuid.New()
	l := &Load{
		APIs: []string{server.URL}, Wallets: []uuid.UUID{uuid.New(), uuid.New(), uuid.New()}, Connections: 4, RatePerSecond: 4000, Duration: time.Second,
		Mix: EveryType, Attempt: 5 * time.Second, Patience: 5 * time.Second,
	}
	l.Mix.Refusing = []uuid.UUID{refusing}
	known := map[uuid.UUID]Operation{}
	refused := 0
	for _, op := range l.Send(t.Context()) {
		known[op.ID] = op
		if op.Target == refusing {
			refused++
		}
	}
	for _, op := range l.SendThese(t.Context(), Operation{Wallet: refusing, Kind: "CLOSE"}) {
		known[op.ID] = op
	}
	for _, route := range []string{
		"POST /api/v1/wallet", "POST /api/v1/wallets/ID/holds", "POST /api/v1/wallets/ID/holds/ID/capture", "POST /api/v1/wallets/ID/holds/ID/capture to another",
		"POST /api/v1/wallets/ID/holds/ID/release", "POST /api/v1/wallets/ID/operations/ID/reverse", "POST /api/v1/wallets/ID/transfers to another", "PUT /api/v1/wallets/ID/state",
	} {
		if api.requests[route] == 0 {
			t.Errorf("no %s among %v", route, api.requests)
		}
	}
	if len(api.wrong) > 0 || refused == 0 || l.Failures.Load() > 0 {
		t.Errorf("wrong: %q; %d transfers to what refuses; %d failures", api.wrong, refused, l.Failures.Load())
	}
	// A client refers to what it has sent, in the same wallet.
	expiring := 0
	for _, op := range known {
		subject := known[op.Subject]
		if op.Subject != uuid.Nil && (subject.Wallet != op.Wallet || op.Kind != "REVERSE" && subject.Kind != "HOLD" || op.Kind == "REVERSE" && (subject.Kind == "HOLD" || subject.Target != uuid.Nil)) {
			t.Errorf("%+v refers to %+v", op, subject)
		}
		if !op.Expires.IsZero() {
			expiring++
		}
	}
	if expiring == 0 {
		t.Error("no hold expires")
	}
}
