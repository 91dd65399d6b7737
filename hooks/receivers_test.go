package main

import (
	"crypto/tls"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/service/egress"
)

// testSender may call this machine.
func testSender(t *testing.T) *sender {
	t.Helper()
	policy, err := egress.ParsePolicy("127.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	return newSender(policy)
}

// hostile is a server that answers as it likes. With the test its connections end, and with them handle has to.
func hostile(t *testing.T, handle http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return server.URL
}

// Every attempt ends in time, keeps nothing of what the receiver sends, and says what was wrong.
func TestReceiversThatMisbehave(t *testing.T) {
	t.Parallel()
	var followed atomic.Int64
	target := hostile(t, func(http.ResponseWriter, *http.Request) { followed.Add(1) })
	untrusted := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(untrusted.Close)
	old := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.StartTLS()
	t.Cleanup(old.Close)
	var self string
	self = hostile(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, self, http.StatusTemporaryRedirect) })
	for name, test := range map[string]struct {
		url     string
		verdict verdict
		says    string
		within  time.Duration
	}{
		"an endless body": {hostile(t, func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}), delivered, "", 5 * time.Second},
		"a body that never ends": {hostile(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}), delivered, "", 5 * time.Second},
		"no answer": {silentListener(t), unreachable, "there was no answer in time", sendTimeout + 5*time.Second},
		"10 MB of headers": {hostile(t, func(w http.ResponseWriter, _ *http.Request) {
			for i := range 1000 {
				w.Header().Add("X-Filler", strings.Repeat("x", 10_000+i))
			}
		}), unreachable, "", 5 * time.Second},
		"a redirect to itself": {self, unreachable, "redirects are not followed", 5 * time.Second},
		"a redirect to another host": {hostile(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, target, http.StatusPermanentRedirect)
		}), unreachable, "redirects are not followed", 5 * time.Second},
		"a certificate of nobody's": {untrusted.URL, unreachable, "the certificate is not valid", 5 * time.Second},
		"an old TLS":                {old.URL, unreachable, "", 5 * time.Second},
		"http to a port of TLS":     {strings.Replace(untrusted.URL, "https", "http", 1), refused, "400", 5 * time.Second},
		"nobody listens":            {"http://" + testkit.FreeAddr(t).String(), unreachable, "no connection: connection refused", 5 * time.Second},
		"a name that is none":       {"http://nobody.invalid/", unreachable, "could not be resolved", 10 * time.Second},
		"a private address":         {"https://10.0.0.1/", unreachable, "not public", 5 * time.Second},
		"a metadata address":        {"https://169.254.169.254/", unreachable, "find their own secrets", 5 * time.Second},
		"http to a public address":  {"http://192.0.2.1/", unreachable, "", 5 * time.Second},
		"a connection that is cut": {hostile(t, func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = conn.Close()
			}
		}), unreachable, "", 5 * time.Second},
		"no HTTP": {hostile(t, func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = conn.Write([]byte("\x00\x01 hello\r\n\r\n"))
				_ = conn.Close()
			}
		}), unreachable, "", 5 * time.Second},
		"gone": {hostile(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(410) }), gone, "410 Gone", 5 * time.Second},
		"later": {hostile(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(429)
		}), unreachable, "429", 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := testSender(t).send(t.Context(), testTarget(test.url), "id", []byte(`{}`))
			if r.verdict != test.verdict || !strings.Contains(r.err, test.says) || r.took > test.within {
				t.Errorf("%s after %v: %q; want %s: %q", verdicts[r.verdict], r.took, r.err, verdicts[test.verdict], test.says)
			}
			if strings.Contains(r.err, "127.0.0.1") || strings.Contains(r.err, "10.0.0.1") || len([]rune(r.err)) > maxErrorText {
				t.Errorf("the error says too much: %q", r.err)
			}
			if name == "later" && r.retryAfter != 2*time.Minute {
				t.Errorf("to be tried again after %v", r.retryAfter)
			}
			if followed.Load() > 0 {
				t.Error("a redirect was followed")
			}
		})
	}
}

func testTarget(url string) target {
	return target{url: url, secrets: []string{"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}}
}

// No proxy of the environment sees a delivery.
func TestNoProxyIsUsed(t *testing.T) {
	var proxied atomic.Int64
	proxy := hostile(t, func(http.ResponseWriter, *http.Request) { proxied.Add(1) })
	t.Setenv("HTTP_PROXY", proxy)
	t.Setenv("HTTPS_PROXY", proxy)
	r := testSender(t).send(t.Context(), testTarget("http://example.invalid/"), "id", []byte(`{}`))
	if proxied.Load() > 0 || r.verdict != unreachable {
		t.Errorf("%d requests went to the proxy: %+v", proxied.Load(), r)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)
	for status, want := range map[int]verdict{
		200: delivered, 201: delivered, 204: delivered, 299: delivered, 301: unreachable, 302: unreachable, 307: unreachable, 400: refused, 401: refused,
		404: refused, 408: unreachable, 410: gone, 413: refused, 422: refused, 425: unreachable, 429: unreachable, 500: refused, 502: unreachable,
		503: unreachable, 504: unreachable, 599: refused,
	} {
		if r := judge(status, http.Header{}, now); r.verdict != want || (r.err == "") != (want == delivered) {
			t.Errorf("%d is %s: %q", status, verdicts[r.verdict], r.err)
		}
	}
	for text, want := range map[string]time.Duration{
		"": 0, "soon": 0, "-5": 0, "0": time.Second, "120": 2 * time.Minute, "9223372036854775807": math.MaxInt32 * time.Second, "Sun, 29 Nov 2026 08:10:00 GMT": 10 * time.Minute, "Sun, 29 Nov 2026 07:00:00 GMT": time.Second,
	} {
		if got := judge(503, http.Header{"Retry-After": {text}}, now).retryAfter; got != want {
			t.Errorf("Retry-After: %s is %v, want %v", text, got, want)
		}
	}
	if got := testRetries().after(1, 24*time.Hour); got != time.Hour {
		t.Errorf("a receiver that asks for a day is called after %v", got)
	}
}
