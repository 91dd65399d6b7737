//go:build e2e

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

const (
	contractTestSeconds = "100" // for 16 requests
	leastCases          = 1000
	leastSucceeded      = 150 // the longer it runs, the larger is the part of wrong requests
)

// Schemathesis makes requests of all kinds from openapi.yaml, right ones, wrong ones and sequences along
// its links, and holds every answer to it. It does not work in threads: three run at once, the last with
// a key that is allowed nothing.
func TestEveryAnswerFollowsTheContract(t *testing.T) {
	s := newSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1})
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	source := copyClient(t, root, "schemathesis", "hooks.py", "schemathesis.toml", "requirements.txt")
	python := source.pythonWith("requirements.txt")
	answers := map[string]map[int]int{} // by request and status
	var mu sync.Mutex
	t.Run("runs", func(t *testing.T) {
		for name, key := range map[string]string{"one": s.APIKey, "two": s.APIKey, "without scopes": s.keyWithoutScopes()} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				report := filepath.Join(t.TempDir(), "report.har")
				run := &clientSource{t: t, dir: source.dir}
				t.Log(summaryOf(run.run(python, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml",
					"run", filepath.Join(root, "openapi.yaml"), "--url", s.APIURLs[0], "--header", "Authorization: Bearer "+key,
					"--max-time", contractTestSeconds, "--generation-database", "none", "--warnings", "off", "--no-color",
					"--report", "har", "--report-har-path", report)))
				mu.Lock()
				defer mu.Unlock()
				countAnswers(t, report, answers)
			})
		}
	})

	cases, succeeded, total := 0, 0, map[int]int{}
	for request, statuses := range answers {
		for status, n := range statuses {
			cases += n
			total[status] += n
			if status < 300 {
				succeeded += n
			}
			if status >= 500 {
				t.Errorf("%s: %d answers %d", request, n, status)
			}
		}
	}
	t.Logf("%d cases, %d succeeded: %v", cases, succeeded, answers)
	if cases < leastCases || succeeded < leastSucceeded {
		t.Errorf("%d cases, of which %d succeeded: want at least %d and %d", cases, succeeded, leastCases, leastSucceeded)
	}
	for _, status := range []int{202, 304, 409, 415, 422} { // chance decides which requests meet these
		if total[status] == 0 {
			t.Errorf("no answer %d", status)
		}
	}
	for request, want := range map[string][]int{
		"POST /wallets":                 {201, 400, 401, 403},
		"GET /wallets":                  {200, 400, 401, 403},
		"GET /wallets/{}":               {200, 400, 401, 403, 404},
		"POST /wallet":                  {400, 401, 403, 404},
		"POST /wallet/batch":            {200, 400, 401, 403},
		"GET /wallets/{}/operations":    {200, 400, 401, 403, 404},
		"GET /wallets/{}/operations/{}": {200, 400, 401, 403, 404},

		"POST /wallets/{}/operations":            {403, 404},
		"POST /wallets/{}/operations/{}/reverse": {403, 404},
		"POST /wallets/{}/holds":                 {403, 404},
		"GET /wallets/{}/holds":                  {403, 404},
		"GET /wallets/{}/holds/{}":               {403, 404},
		"POST /wallets/{}/holds/{}/capture":      {403, 404},
		"POST /wallets/{}/holds/{}/release":      {403, 404},
		"POST /wallets/{}/transfers":             {403, 404},
		"PUT /wallets/{}/state":                  {403, 404},

		"POST /webhooks":                  {200, 201, 400, 403, 422},
		"GET /webhooks":                   {200, 400, 403},
		"GET /webhooks/{}":                {200, 400, 403, 404},
		"PATCH /webhooks/{}":              {200, 400, 403, 404},
		"DELETE /webhooks/{}":             {204, 403, 404},
		"POST /webhooks/{}/rotate-secret": {200, 403, 404},
		"GET /webhooks/{}/attempts":       {200, 400, 403, 404},
		"POST /webhooks/{}/test":          {202, 403, 404},
		"POST /webhooks/{}/replay":        {202, 400, 403, 404},
		"POST /webhooks/{}/skip":          {400, 403, 404},
	} {
		for _, status := range want {
			if answers[request][status] == 0 {
				t.Errorf("%s: no answer %d", request, status)
			}
		}
	}
}

// keyWithoutScopes is a key that is known and allowed nothing.
func (s *system) keyWithoutScopes() string {
	s.T.Helper()
	var key strings.Builder
	if err := s.Ctl(s.T.Context(), &key, "keys", "create", "nobody"); err != nil {
		s.T.Fatal(err)
	}
	if _, err := s.Conn.Exec(s.T.Context(), "UPDATE api_keys SET scopes = '{}' WHERE client = 'nobody'"); err != nil {
		s.T.Fatal(err)
	}
	return strings.TrimSpace(key.String())
}

// identity is a segment of a path in which a request names a wallet, an operation, a hold or a webhook.
var identity = regexp.MustCompile(`(/wallets|/operations|/holds|/webhooks)/[^/]+`)

// countAnswers adds up the answers of a report by request and status.
func countAnswers(t *testing.T, report string, answers map[string]map[int]int) {
	t.Helper()
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var har struct {
		Log struct {
			Entries []struct {
				Request  struct{ Method, URL string }
				Response struct{ Status int }
			}
		}
	}
	if err := json.Unmarshal(text, &har); err != nil {
		t.Fatal(err)
	}
	for _, entry := range har.Log.Entries {
		_, path, _ := strings.Cut(entry.Request.URL, "/api/v1")
		path, _, _ = strings.Cut(path, "?")
		request := entry.Request.Method + " " + identity.ReplaceAllString(path, "$1/{}")
		if answers[request] == nil {
			answers[request] = map[int]int{}
		}
		answers[request][entry.Response.Status]++
	}
}

// summaryOf is the end of what schemathesis prints, its seed included.
func summaryOf(printed string) string {
	_, summary, _ := strings.Cut(printed, "SUMMARY")
	return summary
}
