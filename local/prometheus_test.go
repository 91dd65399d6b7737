//go:build e2e

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/legendary-wallet/legendary-wallet/db/freeport"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// hurry divides every `for:` of the alert rules in tests; nothing else of them is changed.
const hurry = 60

// rule is what the tests read of an alert rule.
type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

// shipped reads a file of deploy/.
func shipped(t *testing.T, path string) []byte {
	t.Helper()
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "deploy", path))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// alertRules are those of deploy/prometheus/alerts.yml.
func alertRules(t *testing.T) (rules []rule) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal(shipped(t, "prometheus/alerts.yml"), &file); err != nil {
		t.Fatal(err)
	}
	for _, group := range file.Groups {
		rules = append(rules, group.Rules...)
	}
	return rules
}

// panelQueries are the queries of the dashboard, by panel and legend.
func panelQueries(t *testing.T) map[string]string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expr         string `json:"expr"`
				LegendFormat string `json:"legendFormat"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(shipped(t, "grafana/dashboards/wallet.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	queries := map[string]string{}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			queries[panel.Title+": "+target.LegendFormat] = strings.ReplaceAll(target.Expr, "$__rate_interval", "10s")
		}
	}
	return queries
}

// exposes reports whether a service, or Prometheus itself, has a metric of this name.
func (s *system) exposes(name string) bool {
	s.T.Helper()
	for _, p := range s.Services {
		response, err := http.Get(p.AdminURL + "/metrics")
		if err != nil {
			s.T.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			s.T.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if metricName.FindString(line) == name {
				return true
			}
		}
	}
	return name == "up" || name == "ALERTS"
}

var (
	metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*`)
	// notNames are the parts of a query in which no metric is named: strings, selectors' labels, ranges,
	// and lists of labels.
	notNames   = regexp.MustCompile(`"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)`)
	identifier = regexp.MustCompile(`\b[a-zA-Z_]\w*\s*\(?`)
	operators  = []string{"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring"}
)

// metricsIn returns the names of the metrics in a query.
func metricsIn(query string) (names []string) {
	text := notNames.ReplaceAllString(strings.ReplaceAll(query, `\"`, ""), " ")
	for _, word := range identifier.FindAllString(text, -1) {
		if !strings.HasSuffix(word, "(") && !slices.Contains(operators, strings.TrimSpace(word)) {
			names = append(names, strings.TrimSpace(word))
		}
	}
	return names
}

// watched is a real Prometheus that scrapes a system, evaluates the shipped alerts and is asked all
// the time which of them fire.
type watched struct {
	url string

	mu     sync.Mutex
	firing map[string]bool
	first  map[string]time.Time // when each fired first
	last   map[string]time.Time // when each was seen firing last
}

func (s *system) watch() *watched {
	s.T.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		s.T.Fatal("prometheus is not on PATH (Debian: apt-get install prometheus)")
	}
	port, err := freeport.Find()
	if err != nil {
		s.T.Fatal(err)
	}
	dir := s.T.TempDir()
	w := &watched{url: "http://" + proc.Address(port), firing: map[string]bool{}, first: map[string]time.Time{}, last: map[string]time.Time{}}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			s.T.Fatal(err)
		}
	}
	write("alerts.yml", hurried(s.T, string(shipped(s.T, "prometheus/alerts.yml"))))
	targets := map[string][]string{}
	for _, p := range s.Services {
		job, _, _ := strings.Cut(p.Name, "-")
		targets[job] = append(targets[job], strings.TrimPrefix(p.AdminURL, "http://"))
	}
	var jobs strings.Builder
	for _, job := range slices.Sorted(maps.Keys(targets)) {
		fmt.Fprintf(&jobs, "  - job_name: %s\n    static_configs:\n      - targets: [%s]\n", job, strings.Join(targets[job], ", "))
	}
	write("prometheus.yml", "global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 500ms }\nrule_files: [alerts.yml]\nscrape_configs:\n"+jobs.String())
	server := &proc.Process{
		Name: "prometheus", Log: s.State.Log("prometheus"), Changed: func(string) {},
		Argv: []string{
			program, "--config.file=" + filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path=" + filepath.Join(dir, "data"),
			"--web.listen-address=" + proc.Address(port), "--log.level=warn",
		},
		Ready: func(ctx context.Context) error { return stack.Ping(ctx, w.url+"/-/ready") },
	}
	if err := server.Start(s.T.Context()); err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(server.Stop)
	go w.look(s.T.Context())
	return w
}

// hurried divides every `for:`.
func hurried(t *testing.T, rules string) string {
	t.Helper()
	return regexp.MustCompile(`(?m)^(\s+for: )(\S+)$`).ReplaceAllStringFunc(rules, func(line string) string {
		before, value, _ := strings.Cut(line, "for: ")
		d, err := time.ParseDuration(value)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%sfor: %dms", before, (d / hurry).Milliseconds())
	})
}

// look asks for the alerts until ctx ends.
func (w *watched) look(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		var answer struct {
			Data struct {
				Alerts []struct {
					Labels map[string]string `json:"labels"`
					State  string            `json:"state"`
				} `json:"alerts"`
			} `json:"data"`
		}
		if err := getJSON(ctx, w.url+"/api/v1/alerts", &answer); err != nil {
			continue
		}
		w.mu.Lock()
		clear(w.firing)
		for _, alert := range answer.Data.Alerts {
			if name := alert.Labels["alertname"]; alert.State == "firing" {
				w.firing[name], w.last[name] = true, time.Now()
				if w.first[name].IsZero() {
					w.first[name] = time.Now()
				}
			}
		}
		w.mu.Unlock()
	}
}

// forget takes it that these alerts have not fired yet.
func (w *watched) forget(alerts []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, alert := range alerts {
		delete(w.first, alert)
		delete(w.firing, alert)
	}
}

// fired reports whether an alert has fired since it was forgotten.
func (w *watched) fired(alert string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.first[alert].IsZero()
}

func (w *watched) allFiring() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.firing))
}

// query returns how many series the answer to a query has.
func (w *watched) query(ctx context.Context, query string) (series int, err error) {
	var answer struct {
		Error string `json:"error"`
		Data  struct {
			Result []json.RawMessage `json:"result"`
		} `json:"data"`
	}
	if err := getJSON(ctx, w.url+"/api/v1/query?query="+url.QueryEscape(query), &answer); err != nil {
		return 0, err
	}
	if answer.Error != "" {
		return 0, fmt.Errorf("%s: %s", query, answer.Error)
	}
	return len(answer.Data.Result), nil
}

func getJSON(ctx context.Context, url string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(into)
}
