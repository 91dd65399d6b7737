// Package receiver is the service of somebody who hears of outcomes by webhooks, and which may misbehave.
package receiver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/local/load"
)

const (
	// largestBody is more than a webhook may have.
	largestBody = 1 << 20
	// maxWrong is how much of what was wrong is kept.
	maxWrong = 1000
)

// Receiver listens on this machine. Once it has asked for a webhook it knows the secret, and takes only what is signed
// with it.
type Receiver struct {
	Addr string
	URL  string

	take   Take
	refuse atomic.Int64                  // the status that everything is refused with; 0: none
	silent atomic.Pointer[chan struct{}] // nobody is answered until it is closed

	mu     sync.Mutex
	server *http.Server
	verify *standardwebhooks.Webhook // nil: it knows no secret
	wrong  []string                  // with what came
}

// Delivery is a webhook as it came.
type Delivery struct {
	ID     string
	Type   string
	Signed bool // with the secret that the receiver knows
	Run    event.Run
}

// Take is told of each webhook. What it returns an error for comes again. The context ends when the sender does not
// wait for the answer any more.
type Take func(context.Context, Delivery) error

// Listen has webhooks taken until Close. It listens on the address, or on another one if that is taken.
func Listen(addr string, take Take) (*Receiver, error) {
	r := &Receiver{Addr: addr, take: take}
	err := r.Return()
	if err != nil {
		r.Addr = "127.0.0.1:0"
		err = r.Return()
	}
	return r, err
}

// Return listens again after Leave.
func (r *Receiver) Return() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	listener, err := net.Listen("tcp", r.Addr)
	if err != nil {
		return fmt.Errorf("listen for webhooks: %w", err)
	}
	r.Addr = listener.Addr().String()
	r.URL = "http://" + r.Addr + "/"
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

// Close ends it.
func (r *Receiver) Close() { r.Leave() }

// Refuse answers everything with a status; 0 takes what comes again.
func (r *Receiver) Refuse(status int) { r.refuse.Store(int64(status)) }

// FallSilent is what a receiver does that hangs: what comes is not answered until the function that is returned is called.
func (r *Receiver) FallSilent() (speak func()) {
	until := make(chan struct{})
	r.silent.Store(&until)
	return sync.OnceFunc(func() { r.silent.Store(nil); close(until) })
}

// Subscribe asks an api for a webhook to this receiver, of these wallets, or of all. It returns the webhook's id.
func (r *Receiver) Subscribe(api *load.Client, wallets ...uuid.UUID) (uuid.UUID, error) {
	body, err := json.Marshal(struct {
		URL     string      `json:"url"`
		Wallets []uuid.UUID `json:"wallets,omitempty"`
	}{r.URL, wallets})
	if err != nil {
		return uuid.Nil, err
	}
	r.mu.Lock() // what comes meanwhile waits for the secret
	defer r.mu.Unlock()
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
	r.verify, err = standardwebhooks.NewWebhook(webhook.Secret)
	return webhook.ID, err
}

// Know has it take only what is signed with a secret that somebody else was told.
func (r *Receiver) Know(secret string) error {
	verify, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verify = verify
	return nil
}

func (r *Receiver) serve(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, largestBody))
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
	d, err := r.read(request.Header, body)
	if err == nil {
		err = r.take(request.Context(), d)
	}
	if err != nil {
		r.note("a webhook: " + err.Error())
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// read checks a delivery, and says what is wrong with it.
func (r *Receiver) read(header http.Header, body []byte) (d Delivery, err error) {
	r.mu.Lock()
	verify := r.verify
	r.mu.Unlock()
	if d.Signed = verify != nil; d.Signed {
		if err := verify.Verify(body, header); err != nil {
			return d, err
		}
	}
	var message struct {
		Type      string
		Timestamp time.Time
		Data      event.Run
	}
	if err := json.Unmarshal(body, &message); err != nil {
		return d, err
	}
	d.ID, d.Type, d.Run = header.Get(standardwebhooks.HeaderWebhookID), message.Type, message.Data
	if d.Type != event.RunType {
		return d, nil
	}
	if want := event.RunID(d.Run.WalletID, d.Run.Version); d.ID != want {
		return d, fmt.Errorf("its webhook-id is %q, not %s", d.ID, want)
	}
	if message.Timestamp.IsZero() {
		return d, errors.New("it has no timestamp")
	}
	return d, nil
}

// note keeps what was wrong with a delivery.
func (r *Receiver) note(wrong string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.wrong); n < maxWrong && (n == 0 || r.wrong[n-1] != wrong) {
		r.wrong = append(r.wrong, wrong)
	}
}

// Wrong returns what was wrong with deliveries since it was asked last.
func (r *Receiver) Wrong() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	wrong := r.wrong
	r.wrong = nil
	return wrong
}
