//go:build e2e

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"
)

// receivers answer webhooks by their path, each in its wrong way until it is healed.
type receivers struct {
	*httptest.Server
	healed atomic.Bool
}

func newReceivers(s *system) *receivers {
	r := &receivers{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if r.healed.Load() {
			return
		}
		switch request.URL.Path {
		case "/slow":
			select {
			case <-time.After(10 * time.Second):
			case <-request.Context().Done():
			}
		case "/refusing":
			w.WriteHeader(http.StatusInternalServerError)
		case "/gone":
			w.WriteHeader(http.StatusGone)
		}
	}))
	s.T.Cleanup(r.Close)
	return r
}

// register makes an endpoint and returns its id.
func (s *system) register(url string) (id string) {
	s.T.Helper()
	status, body := s.post("/api/v1/webhooks", s.APIURLs[0], fmt.Sprintf(`{"url":"%s"}`, url))
	var webhook struct{ ID string }
	if err := json.Unmarshal([]byte(body), &webhook); err != nil || status != http.StatusCreated {
		s.T.Fatalf("register %s: %d %s", url, status, body)
	}
	return webhook.ID
}

// tellingFaults are those of events and webhooks. What is replayed is what came before began.
func (s *system) tellingFaults(f *faultsToSee, began time.Time) {
	r := newReceivers(s)
	f.make("WalletWebhooksRefused", "WalletWebhookDisabled")
	refusing, gone, slow := s.register(r.URL+"/refusing"), s.register(r.URL+"/gone"), s.register(r.URL+"/slow")
	s.Deposit(s.APIURLs[0], s.OpenWallets(1)[0])
	f.heal("WalletWebhookDisabled")

	const late = 65 * time.Second // the alert's 60 s, and what its evaluation takes
	s.Until("the first events are old", 2*late, func() bool { return time.Since(began) > late })
	f.make("WalletWebhooksLate")
	if status, body := s.post("/api/v1/webhooks/"+slow+"/replay", s.APIURLs[0], fmt.Sprintf(`{"since":"%s"}`, began.Add(-time.Minute).UTC().Format(time.RFC3339))); status != http.StatusAccepted {
		s.T.Fatalf("replay: %d %s", status, body)
	}
	s.fire(f, "WalletWebhooksLate", "WalletWebhooksRefused", "WalletWebhookDisabled")
	f.heal("WalletWebhooksLate", "WalletWebhooksRefused")
	r.healed.Store(true)

	hooks := s.Process("hooks")
	hooks.Stop()
	f.make("WalletWebhooksMissed")
	s.exec("UPDATE hook_cursors SET next_offset = next_offset + 1000000, finished = ''") // as if the topic had lost its end
	if err := hooks.Begin(); err != nil {
		s.T.Fatal(err)
	}
	f.heal("WalletWebhooksMissed")
	s.fire(f, "WalletWebhooksMissed")

	f.make("WalletEventsMissing")
	s.exec("CREATE TABLE events_topic AS SELECT * FROM outbox_topics WHERE topic = $1", s.EventsTopic)
	s.exec("DELETE FROM outbox_topics WHERE topic = $1", s.EventsTopic)
	s.fire(f, "WalletEventsMissing")
	f.heal("WalletEventsMissing")
	s.exec("INSERT INTO outbox_topics SELECT * FROM events_topic")

	for _, id := range []string{refusing, gone, slow} { // their receivers end with this group
		if status, body := s.send(http.MethodDelete, s.APIURLs[0]+"/api/v1/webhooks/"+id, http.NoBody); status != http.StatusNoContent {
			s.T.Errorf("delete a webhook: %d %s", status, body)
		}
	}
}
