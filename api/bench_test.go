package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/legendary-wallet/legendary-wallet/service"
	"github.com/prometheus/client_golang/prometheus"
)

// BenchmarkRequest measures what the api itself does for one operation with a key: all but reading and
// writing HTTP, and the flush.
//
//	go test -run '^$' -bench Request -benchmem ./api
func BenchmarkRequest(b *testing.B) {
	q := newQueue(limits{operations: 1, bytes: 1 << 20, flush: 1})
	registry := prometheus.NewRegistry()
	m := newMetrics(registry, q, func() int { return 0 })
	handler, err := newHandler(&wallets{queue: q, metrics: m, cache: newCache(nil, service.NewHealth(slog.New(slog.DiscardHandler), registry), registry), timeout: time.Second}, &keys{off: true}, m, nil)
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		for range q.some {
			requests := q.take(nil)
			q.finish(requests)
			for i, r := range requests {
				r.done <- &answer{operation: r.operation(int64(i+1), time.Now())}
			}
		}
	}()
	body := depositBody(uuid.New(), 1250)
	for b.Loop() {
		request := httptest.NewRequest(http.MethodPost, operationsPath, strings.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Idempotency-Key", "7df8399c-f92b-4891-89d9-67e82d376b6b")
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		if answer.Code != http.StatusAccepted {
			b.Fatal(answer.Body)
		}
	}
}
