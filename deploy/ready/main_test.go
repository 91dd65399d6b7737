package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestReadyIsWhatTheServiceSays(t *testing.T) {
	t.Parallel()
	status := http.StatusOK
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked %s", r.URL.Path)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"reasons":["starting"]}`))
	}))
	_, port, _ := strings.Cut(strings.TrimPrefix(service.URL, "http://"), ":")
	if err := run(":" + port); err != nil {
		t.Errorf("ready: %v", err)
	}
	status = http.StatusServiceUnavailable
	if err := run("127.0.0.1:" + port); err == nil || !strings.Contains(err.Error(), "starting") {
		t.Errorf("not ready: %v", err)
	}
	service.Close()
	if err := run(":" + port); err == nil {
		t.Error("ready though nobody listens")
	}
	if err := run(""); err == nil || !strings.Contains(err.Error(), "ADMIN_ADDR") {
		t.Errorf("without an address: %v", err)
	}
}
