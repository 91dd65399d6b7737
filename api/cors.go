package main

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rs/cors"
)

// exposedHeaders are those of openapi.yaml that a page's script cannot read unless it is allowed to.
var exposedHeaders = []string{
	"Accept-Encoding", "Allow", "ETag", "Idempotency-Replayed", "Location", "Preference-Applied", "Retry-After",
	"WWW-Authenticate", "X-Request-Id",
}

var exposed = []string{strings.Join(exposedHeaders, ", ")}

// allowOrigins lets the pages of these origins use the API: "*" is all of them. Without origins it
// does nothing. A preflight needs no key.
func allowOrigins(origins []string, next http.Handler) http.Handler {
	if len(origins) == 0 {
		return next
	}
	return cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
		AllowedHeaders: []string{"Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Last-Event-ID", "Prefer", "Traceparent", "Tracestate", "Wallet-Cell", "X-Request-Id"},
		MaxAge:         int(time.Hour.Seconds()),
	}).Handler(next)
}

// exposeHeaders says what a page's script may read if allowOrigins lets the page use the answer. ogen says
// it in every answer, and leaves headers out that are not of its making.
func exposeHeaders(answer http.Header) {
	if answer["Access-Control-Allow-Origin"] != nil {
		answer["Access-Control-Expose-Headers"] = exposed
	} else {
		delete(answer, "Access-Control-Expose-Headers")
	}
}

// parseOrigins reads origins with commas between them (RFC 6454), or "*".
func parseOrigins(text string) ([]string, error) {
	var origins []string
	for origin := range strings.SplitSeq(text, ",") {
		if origin = strings.TrimSpace(origin); origin == "" {
			continue
		}
		u, err := url.Parse(origin)
		if origin != "*" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || origin != u.Scheme+"://"+u.Host || strings.Contains(u.Host, "*")) {
			return nil, errors.New("must be origins such as https://shop.example with commas between them, or *")
		}
		origins = append(origins, origin)
	}
	return origins, nil
}
