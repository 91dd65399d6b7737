package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// Links from a page to a file or a heading of this repository, and pages that other files name by their path,
// such as the alerts' runbooks, lead somewhere.
func TestNoLinkIsDead(t *testing.T) {
	t.Parallel()
	dead, err := deadLinks(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range dead {
		t.Error(link)
	}
}

func TestDeadLinksAreFound(t *testing.T) {
	t.Parallel()
	const other = "# Other\n## With `code`, and more\n## Twice\n## Twice\n"
	for _, test := range []struct{ name, path, text, want string }{
		{"a file", "page.md", "[x](docs/other.md) [y](docs) <a href=\"docs/other.md\">z</a>", ""},
		{"elsewhere", "page.md", "[x](https://example.org/no.md) [y](mailto:a@b.c)", ""},
		{"a heading", "page.md", "[x](docs/other.md#with-code-and-more)", ""},
		{"the second of two", "page.md", "[x](docs/other.md#twice-1)", ""},
		{"its own heading", "page.md", "# Here\n[x](#here)", ""},
		{"in code", "page.md", "```\n[x](no.md)\n```\nand `[x](no.md)`", ""},
		{"from a folder", "docs/page.md", "[x](../compose.yaml) [y](other.md)", ""},
		{"two headings of one name", "page.md", "# A\n# A\n[x](#a-1)", ""},
		{"no file", "page.md", "[x](docs/no.md)", "page.md: docs/no.md"},
		{"no file, in HTML", "page.md", "<img src=\"no.svg\">", "page.md: no.svg"},
		{"no file, by reference", "page.md", "[x]\n\n[x]: no.md\n", "page.md: no.md"},
		{"no heading", "page.md", "[x](docs/other.md#no)", "page.md: docs/other.md#no"},
		{"no heading of its own", "page.md", "[x](#no)", "page.md: #no"},
		{"not the third", "page.md", "[x](docs/other.md#twice-2)", "page.md: docs/other.md#twice-2"},
		{"a heading in code", "page.md", "```\n# No\n```\n[x](#no)", "page.md: #no"},
		{"an alert's page", "alerts.yml", "Do: docs/other.md says.", ""},
		{"an alert's heading", "alerts.yml", "Do: docs/other.md#twice.", ""},
		{"an alert's page that is gone", "alerts.yml", "Do: docs/runbook.md says.", "alerts.yml: docs/runbook.md"},
		{"an alert's heading that is gone", "alerts.yml", "Do: docs/other.md#no says.", "alerts.yml: docs/other.md#no"},
		{"a comment's page that is gone", "main.go", "// docs/runbook.md", "main.go: docs/runbook.md"},
	} {
		root := t.TempDir()
		for path, text := range map[string]string{"docs/other.md": other, "compose.yaml": "", test.path: test.text} {
			path = filepath.Join(root, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		dead, err := deadLinks(root)
		if err != nil || strings.Join(dead, ", ") != test.want {
			t.Errorf("%s: dead are %q, %v; want %q", test.name, dead, err, test.want)
		}
	}
}

// What a client may get, openapi.yaml lists with each request, and docs/clients.md explains.
func TestEveryErrorCodeIsExplained(t *testing.T) {
	t.Parallel()
	contract, err := os.ReadFile(filepath.Join("..", "..", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "clients.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{"not-found": true, "method-not-allowed": true}
	for _, list := range regexp.MustCompile(`(?s)Codes: .*?\.\n`).FindAllString(string(contract), -1) {
		for _, code := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(list, -1) {
			listed[code[1]] = true
		}
	}
	if len(listed) < 10 {
		t.Fatalf("openapi.yaml lists the codes in another way: %v", listed)
	}
	explained := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| [1-5][0-9][0-9] \\|").FindAllStringSubmatch(string(page), -1) {
		explained[row[1]] = true
		if !listed[row[1]] {
			t.Errorf("docs/clients.md explains %s, which no request lists", row[1])
		}
	}
	for code := range listed {
		if !explained[code] {
			t.Errorf("docs/clients.md does not explain %s", code)
		}
	}
}

var (
	inText = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:href|src)="([^"]+)"|(?m:^\[[^\]]+\]:\s+(\S+)$)`)
	// A page that is named by its path from the top, in a comment or a runbook.
	named = regexp.MustCompile(`\b(?:docs|deploy|db|local|api|relay|worker|ctl)/[\w./-]*\w\.md\b(?:#[\w-]+)?`)
	// Code and its fences.
	fenced = regexp.MustCompile("(?ms)^ *```.*?^ *```[^\n]*$|`[^`\n]*`")
	fence  = regexp.MustCompile("(?ms)^ *```.*?^ *```[^\n]*$")
)

// deadLinks returns the links of all pages below root that lead nowhere, each with its page.
func deadLinks(root string) ([]string, error) {
	var dead []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains([]string{".git", ".local", "bin", "node_modules", "testdata", "results"}, entry.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		// The tests of this package are full of dead links.
		kinds := []string{".md", ".go", ".sql", ".yml", ".yaml", ".env", ".sh", ".json", ".html"}
		if !slices.Contains(kinds, filepath.Ext(path)) && entry.Name() != "Makefile" || strings.HasSuffix(filepath.ToSlash(path), "local/performance/"+entry.Name()) {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		page, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		var links []string
		if filepath.Ext(path) == ".md" {
			for _, match := range inText.FindAllStringSubmatch(fenced.ReplaceAllString(string(text), ""), -1) {
				link := match[1] + match[2] + match[3]
				if !strings.Contains(link, ":") && !leads(path, link) {
					links = append(links, link)
				}
			}
		} else {
			for _, link := range named.FindAllString(string(text), -1) {
				if !leads(filepath.Join(root, "README.md"), link) {
					links = append(links, link)
				}
			}
		}
		for _, link := range links {
			dead = append(dead, fmt.Sprintf("%s: %s", filepath.ToSlash(page), link))
		}
		return nil
	})
	return dead, err
}

// leads reports whether a link of a page leads to a file, and to a heading of it if it names one.
func leads(page, link string) bool {
	file, anchor, hasAnchor := strings.Cut(link, "#")
	target := page
	if file != "" {
		target = filepath.Join(filepath.Dir(page), filepath.FromSlash(file))
	}
	if _, err := os.Stat(target); err != nil {
		return false
	}
	if !hasAnchor || filepath.Ext(target) != ".md" {
		return true
	}
	text, err := os.ReadFile(target)
	return err == nil && slices.Contains(anchors(string(text)), anchor)
}

var heading = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *#*$`)

// anchors returns the names that GitHub gives a page's headings.
func anchors(page string) []string {
	var names []string
	seen := map[string]int{}
	for _, match := range heading.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		var name strings.Builder
		for _, r := range strings.ToLower(match[1]) {
			switch {
			case r == ' ':
				name.WriteRune('-')
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				name.WriteRune(r)
			}
		}
		anchor := name.String()
		if n := seen[anchor]; n > 0 {
			names = append(names, fmt.Sprintf("%s-%d", anchor, n))
		} else {
			names = append(names, anchor)
		}
		seen[anchor]++
	}
	return names
}
