// Package webhooks is the service of somebody who hears of outcomes by webhooks, and which may misbehave.
package webhooks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/local/load"
)

// largestBody is more than a webhook may have.
const largestBody = 1 << 20

// Receiver remembers what it has taken, in the order in which it came. What it refuses it does not count.
type Receiver struct {
	// Takes is how long it works on each delivery.
	Takes time.Duration

	address string
	mu      sync.Mutex
	server  *http.Server
	verify  *standardwebhooks.Webhook
	runs    []event.Run
	broken  []string
	under   map[uuid.UUID]context.Context // the delivery of a wallet that is under way
	refuse  atomic.Int64                  // the status that everything is refused with; 0: none
	silent  atomic.Pointer[chan struct{}] // nobody is answered until it is closed
}

// Start listens on a port of this machine.
func Start() (*Receiver, error) {
	r := &Receiver{address: "127.0.0.1:0", under: map[uuid.UUID]context.Context{}}
	return r, r.Return()
}

// URL is where webhooks are to go.
func (r *Receiver) URL() string { return "http://" + r.address + "/webhooks" }

// Return listens again after Leave.
func (r *Receiver) Return() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	listener, err := net.Listen("tcp", r.address)
	if err != nil {
		return fmt.Errorf("listen for webhooks: %w", err)
	}
	r.address = listener.Addr().String()
	r.server = &http.Server{Handler: http.HandlerFunc(r.serve), ReadHeaderTimeout: 10 * time.Second}
	go func(s *http.Server) { _ = s.Serve(listener) }(r.server) // ends by Leave
	return nil
}

// Leave refuses connections, and cuts those that there are.
func (r *Receiver) Leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.server.Close()
}

// Refuse answers everything with a status; 0 takes what comes again.
func (r *Receiver) Refuse(status int) { r.refuse.Store(int64(status)) }

// FallSilent is what a receiver does that hangs: what comes is not answered until the function that is returned is called.
func (r *Receiver) FallSilent() (speak func()) {
	until := make(chan struct{})
	r.silent.Store(&until)
	return sync.OnceFunc(func() { r.silent.Store(nil); close(until) })
}

// Subscribe asks an api for a webhook to this receiver, and returns its id.
func (r *Receiver) Subscribe(api *load.Client) (uuid.UUID, error) {
	body, err := json.Marshal(map[string]string{"url": r.URL()})
	if err != nil {
		return uuid.Nil, err
	}
	answer, err := api.Do(http.MethodPost, "/api/v1/webhooks", "", body)
	if err != nil {
		return uuid.Nil, err
	}
	var webhook struct {
		ID     uuid.UUID
		Secret string
	}
	if err := json.Unmarshal(answer.Body, &webhook); err != nil || answer.Status != http.StatusCreated || webhook.Secret == "" {
		return uuid.Nil, fmt.Errorf("ask for a webhook: %d, %w", answer.Status, cmp.Or(err, errors.New("no new webhook"))) // its body may have the secret
	}
	verify, err := standardwebhooks.NewWebhook(webhook.Secret)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verify = verify
	return webhook.ID, err
}

func (r *Receiver) serve(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(io.LimitReader(request.Body, largestBody))
	if err != nil {
		return
	}
	if until := r.silent.Load(); until != nil {
		select {
		case <-*until:
		case <-request.Context().Done():
		}
		panic(http.ErrAbortHandler) // not even then
	}
	if status := r.refuse.Load(); status != 0 {
		w.WriteHeader(int(status))
		return
	}
	if err := r.take(request, body); err != nil {
		r.mu.Lock()
		r.broken = append(r.broken, "a webhook: "+err.Error())
		r.mu.Unlock()
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// take takes a delivery, or says what is wrong with it.
func (r *Receiver) take(request *http.Request, body []byte) error {
	r.mu.Lock()
	verify := r.verify
	r.mu.Unlock()
	if verify == nil {
		return errors.New("it came before the secret")
	}
	if err := verify.Verify(body, request.Header); err != nil {
		return err
	}
	var message struct {
		Type      string
		Timestamp time.Time
		Data      event.Run
	}
	if err := json.Unmarshal(body, &message); err != nil {
		return err
	}
	run := message.Data
	if message.Type != event.RunType {
		return nil // a test
	}
	if id, want := request.Header.Get(standardwebhooks.HeaderWebhookID), event.RunID(run.WalletID, run.Version); id != want {
		return fmt.Errorf("its webhook-id is %q, not %s", id, want)
	}
	if message.Timestamp.IsZero() {
		return errors.New("it has no timestamp")
	}
	return r.remember(request.Context(), run)
}

// remember fails if another delivery of the wallet is under way, whose sender still waits for the answer.
func (r *Receiver) remember(ctx context.Context, run event.Run) error {
	r.mu.Lock()
	if other := r.under[run.WalletID]; other != nil && other.Err() == nil {
		r.mu.Unlock()
		return fmt.Errorf("two deliveries of wallet %s at once", run.WalletID)
	}
	r.under[run.WalletID] = ctx
	r.mu.Unlock()
	time.Sleep(r.Takes)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs = append(r.runs, run)
	if r.under[run.WalletID] == ctx {
		delete(r.under, run.WalletID)
	}
	return nil
}

// Got is what has come of some wallets, in order.
func (r *Receiver) Got(wallets []uuid.UUID) (runs []event.Run) {
	of := make(map[uuid.UUID]bool, len(wallets))
	for _, id := range wallets {
		of[id] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, run := range r.runs {
		if of[run.WalletID] {
			runs = append(runs, run)
		}
	}
	return runs
}

// Forget begins anew, and returns what was wrong with deliveries until now.
func (r *Receiver) Forget() (broken []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	broken = slices.Compact(r.broken)
	r.runs, r.broken = nil, nil
	return broken
}

// Close ends it.
func (r *Receiver) Close() { r.Leave() }
