package main

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
)

// consoleLimit bounds what a browser loads before a person sees anything, as it is sent.
const consoleLimit = 150 << 10

func TestTheConsoleIsSmallAndLoadsNothingButItsOwnFiles(t *testing.T) {
	t.Parallel()
	console, err := newConsole(true)
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string, headers ...string) *httptest.ResponseRecorder {
		request := httptest.NewRequest(http.MethodGet, path, nil)
		for i := 0; i < len(headers); i += 2 {
			request.Header.Set(headers[i], headers[i+1])
		}
		answer := httptest.NewRecorder()
		console.ServeHTTP(answer, request)
		return answer
	}
	page := get("/console/").Body.String()
	if regexp.MustCompile(`(?i)<style|<script[^>]*>[^<]|\son[a-z]+=|\sstyle=|https?://`).MatchString(page) {
		t.Errorf("the page has code or styles of its own, or names another origin:\n%s", page)
	}
	if !strings.Contains(page, `data-auth="on"`) {
		t.Errorf("the page does not know that keys are asked for:\n%s", page)
	}
	sent := 0
	for path, mediaType := range map[string]string{
		"": "text/html; charset=utf-8", "console.js": "text/javascript; charset=utf-8", "console.css": "text/css; charset=utf-8", "licences.txt": "text/plain; charset=utf-8",
	} {
		plain, zipped := get("/console/"+path), get("/console/"+path, "Accept-Encoding", "gzip, br")
		for _, answer := range []*httptest.ResponseRecorder{plain, zipped} {
			header := answer.Header()
			policy := header.Get("Content-Security-Policy")
			if answer.Code != http.StatusOK || header.Get("Content-Type") != mediaType || header.Get("Cache-Control") != "no-cache" ||
				!strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") {
				t.Errorf("%q: %d %v", path, answer.Code, header)
			}
		}
		if path != "licences.txt" {
			sent += zipped.Body.Len()
		}
		reader, err := gzip.NewReader(zipped.Body)
		if err != nil {
			t.Fatalf("%q: %v", path, err)
		}
		if unzipped, err := io.ReadAll(reader); err != nil || string(unzipped) != plain.Body.String() || len(unzipped) == 0 {
			t.Errorf("%q is something else when it is compressed: %v", path, err)
		}
		etag := zipped.Header().Get("ETag")
		if etag == plain.Header().Get("ETag") {
			t.Errorf("%q has one ETag, %s, for two encodings", path, etag)
		}
		if again := get("/console/"+path, "Accept-Encoding", "gzip", "If-None-Match", etag); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
			t.Errorf("%q again: %d, %d bytes", path, again.Code, again.Body.Len())
		}
	}
	t.Logf("%d bytes are loaded", sent)
	if sent > consoleLimit {
		t.Errorf("%d bytes are loaded, want %d at most", sent, consoleLimit)
	}
}

func TestTheConsoleIsOffWhereTheOperatorWantsIt(t *testing.T) {
	t.Parallel()
	const browser = "Accept: text/html"
	off := startAPI(t, testdb.New(t).As(testdb.API), "CONSOLE=off")
	for _, path := range []string{"/console", "/console/", "/console/console.js"} {
		if answer := off.send("GET", path, "", browser); answer.status != http.StatusNotFound || answer.body["code"] != "not-found" {
			t.Errorf("%s: %d %s", path, answer.status, answer.text)
		}
	}
	if home := off.send("GET", "/", "", browser); home.status != http.StatusOK || strings.Contains(home.text, "console") {
		t.Errorf("home: %d %s", home.status, home.text)
	}
	on := startAPI(t, testdb.New(t).As(testdb.API))
	if home := on.send("GET", "/", "", browser); !strings.Contains(home.text, `href="/console/"`) {
		t.Errorf("home: %s", home.text)
	}
	if page := on.send("GET", "/console/", "", browser); !strings.Contains(page.text, `data-auth="off"`) {
		t.Errorf("the console of an api that asks for no keys: %s", page.text)
	}
}
