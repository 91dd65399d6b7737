package tracing

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/service"
)

type lines struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (l *lines) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(text)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}

// A collector that takes connections and never answers costs spans, and one line a minute says so.
func TestSpansThatAreLostAreLogged(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+silent.Addr().String())
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "200") // ms
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")     // ms
	var log lines
	settings := Read(service.NewEnv([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + silent.Addr().String(), "OTEL_TRACES_SAMPLER_ARG=1"}))
	tracers, err := New(t.Context(), "wallet-test", settings, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer tracers.End()
	const lost = "traces cannot be sent"
	for deadline := time.Now().Add(20 * time.Second); strings.Count(log.String(), lost) == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("nothing is logged:\n%s", log.String())
		}
		_, span := tracers.Chosen.Start(context.Background(), "operation")
		span.End()
	}
	for range 10 { // further batches fail within the minute
		_, span := tracers.All.Start(context.Background(), "flush")
		span.End()
		time.Sleep(60 * time.Millisecond)
	}
	if n := strings.Count(log.String(), lost); n != 1 {
		t.Errorf("%d lines within a minute:\n%s", n, log.String())
	}
}

func TestTracingThatIsOffIsNil(t *testing.T) {
	t.Parallel()
	tracers, err := New(t.Context(), "wallet-test", Read(service.NewEnv(nil)), slog.New(slog.DiscardHandler))
	if tracers != nil || err != nil {
		t.Errorf("%v %v", tracers, err)
	}
	tracers.End()
}
