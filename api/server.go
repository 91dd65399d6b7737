package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/swaggest/swgui/v5emb"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
)

// newHandler is the API's HTTP surface: everything that a client can reach.
func newHandler(w *wallets, k *keys, m *metrics) (http.Handler, error) {
	api, err := oas.NewServer(w, k,
		oas.WithNotFound(answerNotFound),
		oas.WithMethodNotAllowed(answerMethodNotAllowed),
		oas.WithErrorHandler(func(_ context.Context, w http.ResponseWriter, r *http.Request, err error) {
			writeProblem(w, r, decodeProblem(r, err))
		}),
		oas.WithMiddleware(checkHeaders),
	)
	if err != nil {
		return nil, err
	}
	router := chi.NewRouter()
	router.Use(secureHeaders, w.tracing.request, m.measure, identify, recoverPanic, headAsGet, joinLines, limitBody)
	if k.off {
		router.Use(withoutKeys)
	}
	router.NotFound(answerNotFound)
	router.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) { answerMethodNotAllowed(w, r, http.MethodGet) })
	router.Handle("/api/*", api)
	router.Get("/openapi.yaml", serveContract)
	router.Get("/swagger", http.RedirectHandler("/swagger/", http.StatusMovedPermanently).ServeHTTP)
	router.Get("/swagger/*", v5emb.New("Legendary Wallet", "/openapi.yaml", "/swagger/").ServeHTTP)
	return router, nil
}

func answerNotFound(w http.ResponseWriter, r *http.Request) {
	writeProblem(w, r, problem{code: notFound})
}

func answerMethodNotAllowed(w http.ResponseWriter, r *http.Request, allowed string) {
	w.Header().Set("Allow", strings.Replace(allowed, http.MethodGet, "GET, HEAD", 1))
	writeProblem(w, r, problem{code: methodNotAllowed})
}

func serveContract(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(contract)
}

// call is what errors and logs tell of a request.
type call struct {
	id   string
	path string
}

type callKey struct{}

func callOf(ctx context.Context) call {
	c, _ := ctx.Value(callKey{}).(*call)
	if c == nil {
		return call{}
	}
	return *c
}

// identify gives every request an id: the client's own if it sent a sensible one, else that of the
// client's trace (traceparent, W3C Trace Context), else a new one.
func identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-Id")
		if !visible(id) {
			id = traceID(r)
		}
		if id == "" {
			id = uuid.NewString()
		}
		w.Header().Set("X-Request-Id", id)
		ctx := context.WithValue(r.Context(), callKey{}, &call{id: id, path: r.URL.EscapedPath()})
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// secureHeaders keep a browser from taking an answer for something else, from framing the pages, and
// from telling others where it was. TLS, and with it Strict-Transport-Security, is the proxy's.
func secureHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Frame-Options", "DENY")
		w.Header().Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}

// traceID is empty if the request is not part of a trace.
func traceID(r *http.Request) string {
	header := r.Header.Get("Traceparent")
	if header == "" {
		return ""
	}
	found := traceparent.FindStringSubmatch(header)
	if found == nil {
		return ""
	}
	return found[1]
}

var traceparent = regexp.MustCompile("^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

// visible reports whether s is 1 to 128 visible ASCII characters.
func visible(s string) bool {
	for _, c := range []byte(s) {
		if c < '!' || c > '~' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 128
}

func recoverPanic(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				slog.ErrorContext(r.Context(), "panic", "panic", p, "stack", string(debug.Stack()), "request_id", callOf(r.Context()).id)
				writeProblem(w, r, problem{code: internal})
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// headAsGet answers HEAD wherever GET is answered; net/http leaves the body out.
func headAsGet(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			clone := *r
			clone.Method = http.MethodGet
			r = &clone
		}
		next.ServeHTTP(w, r)
	})
}

// joinLines makes several lines of a header that is a list one, of which ogen reads the first only.
func joinLines(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"If-None-Match", "Prefer"} {
			if lines := r.Header[name]; len(lines) > 1 {
				r.Header.Set(name, strings.Join(lines, ", "))
			}
		}
		next.ServeHTTP(w, r)
	})
}

func limitBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			r.Body = &strictBody{body: http.MaxBytesReader(w, r.Body, bodyLimit(r.URL.Path))}
		}
		next.ServeHTTP(w, r)
	})
}

// newHTTPServer has a limit on everything that a slow or hostile client could hold. longest is how long
// an answer may take, after which there are 10 s to send it.
func newHTTPServer(handler http.Handler, longest time.Duration) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      longest + 10*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
	}
}
