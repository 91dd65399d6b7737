// Performance writes docs/performance.md, and the blocks of README.md and docs/ that quote figures, from the
// newest kept results and fault reports. So no figure is typed twice, and none is older than the page says.
//
// `make generate` runs it at the top of the repository, `make check-generated` finds what it would change.
package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
)

//go:embed performance.md.tmpl
var page string

func main() {
	if err := generate("."); err != nil {
		fmt.Fprintln(os.Stderr, "performance:", err)
		os.Exit(1)
	}
}

// generate writes the page and the blocks of the repository at root. It writes nothing if a figure is missing.
func generate(root string) error {
	texts, err := render(root)
	if err != nil {
		return err
	}
	for path, text := range texts {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// render returns the texts of the page and of all pages that may have blocks, by their paths.
func render(root string) (map[string]string, error) {
	newest, err := readNewest(root)
	if err != nil {
		return nil, err
	}
	templates, err := template.New("page").Funcs(functions).Parse(page)
	if err != nil {
		return nil, err
	}
	block := func(name string) (string, error) { return execute(templates, name, newest) }
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	for _, path := range append(pages, filepath.Join(root, "README.md")) {
		before, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if texts[path], err = fill(string(before), block); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	path := filepath.Join(root, "docs", "performance.md")
	texts[path], err = block("page")
	return texts, err
}

var functions = template.FuncMap{
	"count": count, "ms": ms, "ratio": ratio, "short": short, "yes": yes,
	"cores": func(us, perSecond float64) string { return ratio(us * perSecond / 1e6) },
	"list":  func(of ...*results) []*results { return of },
	"stored": func(scenario string) (string, error) {
		value, err := strconv.ParseFloat(strings.TrimPrefix(scenario, "stored "), 64)
		return count(value), err
	},
	"median": func(figures map[string]spread, name string) (float64, error) {
		value, found := figures[name]
		if !found {
			return 0, fmt.Errorf("there is no figure %q", name)
		}
		return value.Median, nil
	},
}

func execute(templates *template.Template, name string, newest *newest) (string, error) {
	if templates.Lookup(name) == nil {
		return "", fmt.Errorf("there is no block %q in performance.md.tmpl", name)
	}
	var out bytes.Buffer
	err := templates.ExecuteTemplate(&out, name, newest)
	return out.String(), err
}

const blockEnd = "<!-- performance:end -->"

var blockBegin = regexp.MustCompile(`<!-- performance:begin ([a-z-]+) -->`)

// fill replaces what stands between the markers of each block by the block's text.
func fill(page string, block func(name string) (string, error)) (string, error) {
	var out strings.Builder
	for {
		begin := blockBegin.FindStringSubmatchIndex(page)
		if begin == nil {
			if strings.Contains(page, blockEnd) {
				return "", errors.New("a block ends that did not begin")
			}
			return out.String() + page, nil
		}
		name := page[begin[2]:begin[3]]
		length := strings.Index(page[begin[1]:], blockEnd)
		if length < 0 || blockBegin.MatchString(page[begin[1]:begin[1]+length]) {
			return "", fmt.Errorf("block %s does not end", name)
		}
		text, err := block(name)
		if err != nil {
			return "", err
		}
		out.WriteString(page[:begin[1]] + "\n" + strings.Trim(text, "\n") + "\n" + blockEnd)
		page = page[begin[1]+length+len(blockEnd):]
	}
}

// count writes a whole number with a comma between thousands.
func count(value float64) string {
	digits := fmt.Sprintf("%.0f", value)
	var groups []string
	for len(digits) > 3 {
		groups = append(groups, digits[len(digits)-3:])
		digits = digits[:len(digits)-3]
	}
	groups = append(groups, digits)
	slices.Reverse(groups)
	return strings.Join(groups, ",")
}

// ms writes milliseconds with the digits that mean something.
func ms(value float64) string {
	if value < 9.95 {
		return fmt.Sprintf("%.1f", value)
	}
	return fmt.Sprintf("%.0f", value)
}

func ratio(value float64) string { return fmt.Sprintf("%.2f", value) }

// short writes a number of any size.
func short(value float64) string {
	if value >= 100 {
		return count(value)
	}
	return fmt.Sprintf("%.3g", value)
}

func yes(value bool) string {
	if value {
		return "yes"
	}
	return "**no**"
}
