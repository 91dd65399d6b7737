//go:build e2e

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// Receivers in local/clients/webhooks verify signatures by what Standard Webhooks offers for their language, and refuse
// what is not signed for them. Of the secrets that sign during an exchange each may be the one that they know.
func TestReceiversOfOtherLanguagesVerifySignatures(t *testing.T) {
	s := newSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1, Hooks: 1})
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	for language, install := range map[string]func(*testing.T, string) *clientSource{"Python": pythonReceiver, "JavaScript": javaScriptReceiver} {
		t.Run(language, func(t *testing.T) {
			r := startReceiver(t, install(t, root))
			wallet := s.OpenWallets(1)[0]
			webhook := s.webhook("/api/v1/webhooks", fmt.Sprintf(`{"url":%q,"wallets":[%q]}`, r.url, wallet))
			path := "/api/v1/webhooks/" + webhook.ID
			r.tell(webhook.Secret)
			deposit := func(version int64) {
				t.Helper()
				s.Deposit(s.APIURLs[0], wallet)
				r.await(fmt.Sprintf("taken: %s %d ", wallet, version))
			}
			deposit(1)
			if status, body := s.post(path+"/test", s.APIURLs[0], ""); status != http.StatusAccepted {
				t.Fatalf("ask for a test: %d %s", status, body)
			}
			r.await("other: legendary-wallet.webhook.test.v1")

			for n := range int64(2) { // the receiver goes on with its secret
				s.webhook(path+"/rotate-secret", "")
				s.awaitSettings(webhook.ID)
				deposit(2 + n)
			}
			for name, change := range map[string]func(*http.Request){
				"another body": func(q *http.Request) { q.Body = io.NopCloser(strings.NewReader(`{"type":"x"}`)); q.ContentLength = 12 },
				"another id":   func(q *http.Request) { q.Header.Set("webhook-id", uuid.NewString()) },
				"another time": func(q *http.Request) {
					q.Header.Set("webhook-timestamp", fmt.Sprint(time.Now().Add(time.Minute).Unix()))
				},
				"no signature":      func(q *http.Request) { q.Header.Del("webhook-signature") },
				"another signature": func(q *http.Request) { q.Header.Set("webhook-signature", "v1,"+strings.Repeat("A", 43)+"=") },
			} {
				if status := r.forge(change); status != http.StatusBadRequest {
					t.Errorf("%s: %d", name, status)
				}
				r.await("refused: ")
			}
			if status := r.forge(func(*http.Request) {}); status != http.StatusNoContent {
				t.Errorf("as it came: %d", status)
			}
		})
	}
}

func pythonReceiver(t *testing.T, root string) *clientSource {
	source := copyClient(t, root, "webhooks", "receiver.py", "requirements.txt")
	source.program = []string{source.pythonWith("requirements.txt"), "receiver.py"}
	return source
}

func javaScriptReceiver(t *testing.T, root string) *clientSource {
	source := copyClient(t, root, "webhooks", "receiver.mjs", "package.json", "package-lock.json")
	installed := source.installed("node", "npm", "npm",
		[]string{"node", "--version"}, []string{"package.json", "package-lock.json"},
		[]string{"npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"})
	if err := os.Symlink(filepath.Join(installed, "node_modules"), filepath.Join(source.dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	source.program = []string{"node", "receiver.mjs"}
	return source
}

// newWebhook is what is answered once.
type newWebhook struct{ ID, Secret string }

func (s *system) webhook(path, body string) (w newWebhook) {
	s.T.Helper()
	status, answer := s.post(path, s.APIURLs[0], body)
	if err := json.Unmarshal([]byte(answer), &w); err != nil || status >= 300 || w.Secret == "" {
		s.T.Fatalf("%s: %d %v", path, status, err)
	}
	return w
}

// awaitSettings waits until hooks has looked at a webhook's settings, which it does once a second: what it is asked
// for later is done after that.
func (s *system) awaitSettings(webhook string) {
	s.T.Helper()
	var asked struct{ RequestID int64 }
	path := "/api/v1/webhooks/" + webhook
	status, answer := s.post(path+"/test", s.APIURLs[0], "")
	if err := json.Unmarshal([]byte(answer), &asked); err != nil || status != http.StatusAccepted {
		s.T.Fatalf("ask for a test: %d %s", status, answer)
	}
	s.Until("hooks has looked at the webhook", time.Minute, func() bool {
		var now struct{ LastRequestID int64 }
		_, answer := s.get(path, s.APIURLs[0])
		return json.Unmarshal([]byte(answer), &now) == nil && now.LastRequestID >= asked.RequestID
	})
}

// foreignReceiver is one of the programs, between which and hooks a proxy looks at what is sent.
type foreignReceiver struct {
	t   *testing.T
	url string // of the proxy
	own string // its own
	in  io.Writer

	mu   sync.Mutex
	said []string
	seen http.Header // of the last delivery
	body []byte
}

func startReceiver(t *testing.T, source *clientSource) *foreignReceiver {
	t.Helper()
	cmd := proc.CommandIn(t.Context(), source.program[0], source.program[1:]...)
	cmd.Dir, cmd.Env, cmd.Stderr = source.dir, append(os.Environ(), source.env...), t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("it does not say where it listens")
	}
	r := &foreignReceiver{t: t, own: lines.Text(), in: in}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines.Scan() {
			r.mu.Lock()
			r.said = append(r.said, lines.Text())
			r.mu.Unlock()
		}
	}()
	t.Cleanup(func() { _ = in.Close(); <-read; _ = cmd.Wait() })
	r.url = r.proxy() // ends before its receiver
	return r
}

func (r *foreignReceiver) tell(secret string) {
	r.t.Helper()
	if _, err := fmt.Fprintln(r.in, secret); err != nil {
		r.t.Fatal(err)
	}
}

// proxy passes deliveries on, and keeps the last one.
func (r *foreignReceiver) proxy() (url string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.seen, r.body = request.Header.Clone(), body
		r.mu.Unlock()
		on, err := http.NewRequestWithContext(request.Context(), http.MethodPost, r.own, bytes.NewReader(body))
		if err != nil {
			r.t.Error(err)
			return
		}
		on.Header = request.Header
		response, err := http.DefaultClient.Do(on)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		response.Body.Close()
		w.WriteHeader(response.StatusCode)
	}))
	r.t.Cleanup(server.Close)
	return server.URL + "/"
}

// await waits until the receiver says something that begins so, and forgets what it has said.
func (r *foreignReceiver) await(begins string) {
	r.t.Helper()
	if !proc.Await(r.t.Context(), 20*time.Second, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for i, line := range r.said {
			if strings.HasPrefix(line, begins) {
				r.said = r.said[i+1:]
				return true
			}
		}
		return false
	}) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.t.Fatalf("it does not say %q, but %q", begins, r.said)
	}
}

// forge sends the last delivery again, changed.
func (r *foreignReceiver) forge(change func(*http.Request)) int {
	r.t.Helper()
	r.mu.Lock()
	header, body := r.seen.Clone(), bytes.Clone(r.body)
	r.mu.Unlock()
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.own, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header = header
	change(request)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}
