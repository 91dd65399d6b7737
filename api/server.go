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

// newHandler is the API's HTTP surface: everything that a client can reach. console is nil where it is off.
func newHandler(w *wallets, k *keys, m *metrics, console http.Handler) (http.Handler, error) {
	options := []oas.ServerOption{
		oas.WithNotFound(answerNotFound),
		oas.WithMethodNotAllowed(answerMethodNotAllowed),
		oas.WithErrorHandler(func(_ context.Context, w http.ResponseWriter, r *http.Request, err error) {
			writeProblem(w, r, decodeProblem(r, err))
		}),
	}
	api, err := oas.NewServer(w, w, k, options...)
	if err != nil {
		return nil, err
	}
	// mistaken is for requests with a mistake only, because ogen's middleware costs every request a tenth.
	mistaken, err := oas.NewServer(w, w, k, append(options, oas.WithMiddleware(reportMistake))...)
	if err != nil {
		return nil, err
	}
	router := chi.NewRouter()
	router.Use(w.tracer.request, m.measure, prepare)
	if k.off {
		router.Use(withoutKeys)
	}
	if w.hooks.keys.None() {
		router.Use(withoutWebhooks)
	}
	// All other paths are ogen's. As a route they would cost every request a map of chi's.
	router.NotFound(func(w http.ResponseWriter, r *http.Request) {
		if err := mistake(r); err != nil {
			mistaken.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), mistakeKey{}, err)))
		} else {
			api.ServeHTTP(w, r)
		}
	})
	// chi comes here with every method that it does not know, whatever the path.
	router.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		if ours := chi.NewRouteContext(); router.Match(ours, http.MethodGet, r.URL.Path) {
			answerMethodNotAllowed(w, r, http.MethodGet)
		} else {
			api.ServeHTTP(w, r)
		}
	})
	router.Get("/", serveHome(console != nil))
	router.Get("/favicon.ico", serveIcon)
	router.Get("/openapi.yaml", serveContract)
	router.Get("/swagger", http.RedirectHandler("/swagger/", http.StatusMovedPermanently).ServeHTTP)
	router.Get("/swagger/*", v5emb.New("Legendary Wallet", "/openapi.yaml", "/swagger/").ServeHTTP)
	if console != nil {
		router.Get("/console", http.RedirectHandler("/console/", http.StatusMovedPermanently).ServeHTTP)
		router.Get("/console/*", console.ServeHTTP)
	}
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

// call is what errors and logs say of a request.
type call struct {
	id   string
	path string
	head bool   // HEAD, of which prepare makes GET
	cell string // that the request names in a header
}

type callKey struct{}

func callOf(ctx context.Context) call {
	c, _ := ctx.Value(callKey{}).(*call)
	if c == nil {
		return call{}
	}
	return *c
}

// prepare rewrites a request so that ogen reads it right, and answers a panic. It is one function instead
// of a chain, because every waiting request keeps its stack.
func prepare(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		r = identify(w, r)
		defer answerPanic(w, r)
		if r.Method == http.MethodHead {
			r.Method = http.MethodGet // net/http leaves the body out
		}
		readableLines(r.Header)
		if r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
			r.Body = &strictBody{body: http.MaxBytesReader(w, r.Body, bodyLimit(r.URL.Path)), coding: r.Header["Content-Encoding"]}
		}
		next.ServeHTTP(w, r)
	})
}

// secure keeps a browser from taking an answer for something else, from framing the pages, and from
// sending referrers. TLS, and with it Strict-Transport-Security, is the proxy's.
func secure(answer http.Header) {
	answer["X-Content-Type-Options"] = noSniff
	answer["X-Frame-Options"] = deny
	answer["Referrer-Policy"] = noReferrer
}

// All answers share these.
var (
	noSniff    = []string{"nosniff"}
	deny       = []string{"DENY"}
	noReferrer = []string{"no-referrer"}
)

// identify gives a request an id: the client's own if it sent a sensible one, else that of the client's
// trace (traceparent, W3C Trace Context), else a new one. It returns a copy of the request.
func identify(w http.ResponseWriter, r *http.Request) *http.Request {
	id := r.Header.Get("X-Request-Id")
	if !visible(id) {
		id = traceID(r)
	}
	if id == "" {
		id = uuid.NewString()
	}
	w.Header().Set("X-Request-Id", id)
	return r.WithContext(context.WithValue(r.Context(), callKey{}, &call{id: id, path: r.URL.EscapedPath(), cell: strings.Join(r.Header[cellHeader], ", "), head: r.Method == http.MethodHead}))
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

// answerPanic answers a request whose handler has panicked. Callers defer it.
func answerPanic(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	slog.ErrorContext(r.Context(), "panic", "panic", p, "stack", string(debug.Stack()), "request_id", callOf(r.Context()).id)
	writeProblem(w, r, problem{code: internal})
}

// readableLines makes several lines of a header that is a list one, of which ogen reads the first only,
// and several spaces before credentials one (RFC 9110, section 11.4), of which ogen skips the first only.
func readableLines(header http.Header) {
	for i, line := range header["Authorization"] {
		if scheme, credentials, found := strings.Cut(line, "  "); found {
			header["Authorization"][i] = scheme + " " + strings.TrimLeft(credentials, " ")
		}
	}
	for _, name := range []string{"If-None-Match", "Prefer"} {
		if lines := header[name]; len(lines) > 1 {
			header.Set(name, strings.Join(lines, ", "))
		}
	}
}

// newHTTPServer has a limit on everything that a slow or hostile client could occupy. longest is how long
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
