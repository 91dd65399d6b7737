package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// One operation's trace begins with its client's and leads through all three processes to Redis. What
// is done for many operations at once has a trace of its own, linked with theirs both ways.
func TestATraceLeadsFromTheRequestThroughAllThreeProcessesToRedis(t *testing.T) {
	spans := collectSpans(t)
	s := sharedSystem(t)
	s.Env = append(s.Env, "OTEL_EXPORTER_OTLP_ENDPOINT="+spans.url, "OTEL_BSP_SCHEDULE_DELAY=100")
	s.Prepare(stack.Config{APIs: 1, Relays: 1, Workers: 1})
	s.Begin()
	wallet := s.OpenWallets(1)[0]
	const many = 20
	clients := make([]string, many) // their traces
	var work sync.WaitGroup
	for i := range clients {
		clients[i] = strings.ReplaceAll(uuid.NewString(), "-", "")
		work.Go(func() { s.depositIn(clients[i], "01", wallet) })
	}
	untraced := strings.ReplaceAll(uuid.NewString(), "-", "")
	work.Go(func() { s.depositIn(untraced, "00", wallet) })
	work.Wait()

	want := []string{
		"client",
		"  POST (wallet-api)",
		"    accept (wallet-api), links: flush",
		"      publish (wallet-relay), links: wave",
		"        apply (wallet-worker), links: transaction",
		"          postgres transaction (wallet-worker), links: transaction",
		"          redis write (wallet-worker), links: transaction",
	}
	// The event that tells of several operations is published in the trace of the last one.
	const event = "        publish (wallet-relay), links: wave"
	for _, client := range clients {
		var tree []string
		s.Until("the trace is complete", time.Minute, func() bool {
			tree = slices.DeleteFunc(withoutTimes(spans.tree(client)), func(line string) bool { return line == event })
			return len(tree) >= len(want) && !strings.Contains(strings.Join(tree, ""), unknown)
		})
		if !slices.Equal(tree, want) {
			t.Errorf("trace %s:\n%s", client, strings.Join(tree, "\n"))
		}
	}
	t.Logf("trace %s\n%s", clients[0], strings.Join(spans.tree(clients[0]), "\n"))

	for batch, linked := range map[string]string{"flush": "accept", "wave": "publish", "transaction": "apply"} {
		var links int
		s.Until("each "+batch+" is told", time.Minute, func() bool { links = spans.linksOf(batch, linked, clients); return links >= many })
		if links != many && batch != "wave" || links > 2*many { // waves publish events too
			t.Errorf("%d links lead from a %s to %d operations", links, batch, many)
		}
	}
	if tree := spans.tree(untraced); len(tree) > 1 {
		t.Errorf("a trace that its client does not sample is told:\n%s", strings.Join(tree, "\n"))
	}
}

// depositIn accepts an operation within a client's trace.
func (s *system) depositIn(traceID, flags string, wallet uuid.UUID) {
	request, err := http.NewRequestWithContext(s.T.Context(), http.MethodPost, s.APIURLs[0]+"/api/v1/wallet", strings.NewReader(deposit(wallet)))
	if err != nil {
		s.T.Error(err)
		return
	}
	request.Header.Set("Authorization", "Bearer "+s.APIKey)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Traceparent", fmt.Sprintf("00-%s-%s-%s", traceID, clientSpan, flags))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.T.Error(err)
		return
	}
	response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		s.T.Errorf("status %d", response.StatusCode)
	}
}

// clientSpan is the span of the client that sends a request.
const clientSpan = "00f067aa0ba902b7"

// span is one that was received, with its process.
type span struct {
	*otlp.Span
	service string
}

// spans are all that an OpenTelemetry collector has received.
type spans struct {
	url string

	mu   sync.Mutex
	byID map[string]span
}

// collectSpans receives OTLP over HTTP.
func collectSpans(t *testing.T) *spans {
	t.Helper()
	c := &spans{byID: map[string]span{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &request)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, resource := range request.ResourceSpans {
			service := ""
			for _, attribute := range resource.Resource.Attributes {
				if attribute.Key == "service.name" {
					service = attribute.Value.GetStringValue()
				}
			}
			for _, scope := range resource.ScopeSpans {
				for _, s := range scope.Spans {
					c.byID[hex.EncodeToString(s.SpanId)] = span{s, service}
				}
			}
		}
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// unknown is the name of a span that has not come yet.
const unknown = "?"

func (c *spans) name(id []byte) string {
	if s, ok := c.byID[hex.EncodeToString(id)]; ok {
		return s.Name
	}
	return unknown
}

// tree prints a trace, a line for each span under its parent's, with the spans it is linked to.
func (c *spans) tree(traceID string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := []string{"client"}
	var began uint64
	var children func(parent, indent string)
	children = func(parent, indent string) {
		var found []span
		for _, s := range c.byID {
			if hex.EncodeToString(s.TraceId) == traceID && hex.EncodeToString(s.ParentSpanId) == parent {
				found = append(found, s)
			}
		}
		slices.SortFunc(found, func(a, b span) int { return int(int64(a.StartTimeUnixNano) - int64(b.StartTimeUnixNano)) })
		for _, s := range found {
			if began == 0 {
				began = s.StartTimeUnixNano
			}
			line := fmt.Sprintf("%s%s (%s)", indent, s.Name, s.service)
			for i, link := range s.Links {
				separator := ", links: "
				if i > 0 {
					separator = ", "
				}
				line += separator + c.name(link.SpanId)
			}
			line += fmt.Sprintf(" | %.1f ms, from %.1f ms on", float64(s.EndTimeUnixNano-s.StartTimeUnixNano)/1e6, float64(s.StartTimeUnixNano-began)/1e6)
			lines = append(lines, line)
			children(hex.EncodeToString(s.SpanId), indent+"  ")
		}
	}
	children(clientSpan, "  ")
	return lines
}

func withoutTimes(tree []string) []string {
	plain := make([]string, len(tree))
	for i, line := range tree {
		plain[i], _, _ = strings.Cut(line, " | ")
	}
	return plain
}

// linksOf counts the links that lead from the spans of a batch, which are roots, to spans of a name in
// the traces.
func (c *spans) linksOf(batch, linked string, traces []string) (links int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.byID {
		if s.Name != batch || len(s.ParentSpanId) > 0 {
			continue
		}
		for _, link := range s.Links {
			if c.name(link.SpanId) == linked && slices.Contains(traces, hex.EncodeToString(link.TraceId)) {
				links++
			}
		}
	}
	return links
}
