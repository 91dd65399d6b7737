package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

// consoleFiles are the console's page, script and styles, which `make generate` bundles from console/src.
//
//go:embed console/dist
var consoleFiles embed.FS

// consolePolicy lets the console's page load its own script and styles and ask the api it came from, and nothing else:
// text of clients that should ever become HTML runs nothing. Trusted types take from scripts what could make it HTML.
const consolePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// consoleFile is one of them as it is sent.
type consoleFile struct {
	mediaType string
	etag      string
	plain     []byte
	gzipped   []byte
}

// newConsole serves the console: files that ask this API, with the key of whoever signs in. It reads nothing itself.
// auth is false if the API asks for no keys; the page then asks for none either.
func newConsole(auth bool) (http.Handler, error) {
	files := map[string]consoleFile{}
	dist, err := fs.Sub(consoleFiles, "console/dist")
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(dist, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(dist, name)
		if err != nil {
			return err
		}
		if name == "index.html" {
			name = "" // GET /console/
			if !auth {
				content = bytes.Replace(content, []byte(`data-auth="on"`), []byte(`data-auth="off"`), 1)
			}
		}
		files[name], err = newConsoleFile(path.Ext(entry.Name()), content)
		return err
	})
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		file, found := files[strings.TrimPrefix(r.URL.Path, "/console/")]
		if !found {
			answerNotFound(w, r)
			return
		}
		file.serve(w, r)
	}), nil
}

func newConsoleFile(extension string, content []byte) (consoleFile, error) {
	var compressed bytes.Buffer
	writer, err := gzip.NewWriterLevel(&compressed, gzip.BestCompression)
	if err != nil {
		return consoleFile{}, err
	}
	if _, err := writer.Write(content); err != nil {
		return consoleFile{}, err
	}
	if err := writer.Close(); err != nil {
		return consoleFile{}, err
	}
	hash := sha256.Sum256(content)
	// The table of media types of the machine may say something else of .js.
	mediaType := map[string]string{".js": "text/javascript; charset=utf-8"}[extension]
	if mediaType == "" {
		mediaType = mime.TypeByExtension(extension)
	}
	return consoleFile{
		mediaType: mediaType,
		etag:      base64.RawURLEncoding.EncodeToString(hash[:12]),
		plain:     content,
		gzipped:   compressed.Bytes(),
	}, nil
}

// serve has a browser ask each time whether the file is still the same, so that a page never mixes two releases for
// longer than it takes to load.
func (f consoleFile) serve(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Type", f.mediaType)
	header.Set("Content-Security-Policy", consolePolicy)
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	header.Set("Cache-Control", "no-cache")
	header.Set("Vary", "Accept-Encoding")
	content, etag := f.plain, f.etag
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		header.Set("Content-Encoding", "gzip")
		content, etag = f.gzipped, f.etag+"-gzip"
	}
	header.Set("ETag", `"`+etag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}
