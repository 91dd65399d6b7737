// Typecheck checks packages for another operating system without its C compiler: every declaration
// and every call of them and of what they import, with cgo's own names left open. `go vet` cannot do
// that for a package that imports librdkafka, since it compiles what it imports first.
//
//	GOOS=darwin GOARCH=arm64 typecheck ./relay ./worker
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	mistakes, err := check(os.Args[1:])
	for _, mistake := range mistakes {
		fmt.Fprintln(os.Stderr, mistake)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "typecheck:", err)
	}
	if err != nil || len(mistakes) > 0 {
		os.Exit(1)
	}
}

// cgoType is in what go/types says of something whose type only a C compiler knows.
const cgoType = "invalid type"

// listed is what `go list` says of a package; one that tests are compiled into is a package of its own.
type listed struct {
	ImportPath, Dir   string
	GoFiles, CgoFiles []string
	ImportMap         map[string]string
	Module            *struct{ Main bool }
	Error             *struct{ Err string }
}

// check returns what is wrong in the workspace's own packages among the patterns and their imports.
func check(patterns []string) (mistakes []error, err error) {
	packages, err := list(patterns)
	if err != nil {
		return nil, err
	}
	files := token.NewFileSet()
	said := map[string]bool{} // a package and its variant with tests have the same mistakes
	found := func(mistake error) {
		if text := mistake.Error(); !said[text] && !strings.Contains(text, cgoType) {
			said[text] = true
			mistakes = append(mistakes, mistake)
		}
	}
	checked := map[string]*types.Package{"unsafe": types.Unsafe}
	for _, p := range packages {
		if p.ImportPath == "unsafe" || strings.HasSuffix(p.ImportPath, ".test") {
			continue
		}
		own := p.Module != nil && p.Module.Main
		if own && p.Error != nil {
			found(errors.New(p.Error.Err))
		}
		var parsed []*ast.File
		for _, name := range append(p.GoFiles, p.CgoFiles...) {
			file, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			parsed = append(parsed, file)
		}
		config := types.Config{
			Importer:         importer{p.ImportMap, checked},
			FakeImportC:      true,
			IgnoreFuncBodies: !own,
			Sizes:            types.SizesFor("gc", os.Getenv("GOARCH")),
			Error: func(err error) {
				if own {
					found(err)
				}
			},
		}
		path, _, _ := strings.Cut(p.ImportPath, " ")
		checked[p.ImportPath], _ = config.Check(path, files, parsed, nil) // config.Error has its errors
	}
	return mistakes, nil
}

// list returns the packages, those that are imported before those that import them.
func list(patterns []string) ([]listed, error) {
	command := exec.Command("go", append([]string{"list", "-e", "-deps", "-test", "-json"}, patterns...)...)
	command.Env = append(os.Environ(), "CGO_ENABLED=1")
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var packages []listed
	for decoder := json.NewDecoder(strings.NewReader(string(output))); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		packages = append(packages, p)
	}
}

// importer finds packages that are checked already. mapped are the imports of one package that mean
// another path: vendored ones of the standard library, and those with tests compiled in.
type importer struct {
	mapped  map[string]string
	checked map[string]*types.Package
}

func (i importer) Import(path string) (*types.Package, error) {
	if mapped, ok := i.mapped[path]; ok {
		path = mapped
	}
	if p := i.checked[path]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("%s is not there", path)
}
