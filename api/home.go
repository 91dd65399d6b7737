package main

import (
	_ "embed"
	"net/http"
	"regexp"
	"strings"
)

//go:embed home.html
var homePage []byte

// icon is a coin.
const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="#c90"/><path d="M5 4v8h6" fill="none" stroke="#fff" stroke-width="2"/></svg>`

// consoleEntry is the line of the page that leads to the console.
var consoleEntry = regexp.MustCompile(`(?m)^.*href="/console/".*\n`)

// serveHome shows a person where to go. Programs, which ask for JSON, have nothing here.
func serveHome(console bool) http.HandlerFunc {
	page := homePage
	if !console {
		page = consoleEntry.ReplaceAll(page, nil)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if !accepts(r, "text/html") {
			answerNotFound(w, r)
			return
		}
		header := w.Header()
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'")
		_, _ = w.Write(page)
	}
}

func serveIcon(w http.ResponseWriter, r *http.Request) {
	if !accepts(r, "image/") {
		answerNotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Header().Set("Cache-Control", "public, max-age=86400")
	_, _ = w.Write([]byte(icon))
}

// accepts reports whether a client names a kind of media type that it wants, as browsers do.
func accepts(r *http.Request, kind string) bool {
	return strings.Contains(strings.Join(r.Header["Accept"], ","), kind)
}
