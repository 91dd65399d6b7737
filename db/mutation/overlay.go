package mutation

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// An overlay has the texts of files that are built in place of those on disk, by their names from the
// package's folder.
type overlay struct {
	files map[string]string
	has   map[int]bool // the mutations that are in it, by their place in the list
}

// together is an overlay with all mutants of functions and of constant texts: the one runs whose place in the list is in
// the file chosen. A function that mutations change begins by asking for them, and calls the one that is chosen; these
// stand at the end of the file. A constant becomes a variable. Mutations of anything else are left out.
func together(mutations []Mutation, chosen string) (overlay, error) {
	all := overlay{map[string]string{}, map[int]bool{}}
	files := map[string]*goFile{}
	for i, m := range mutations {
		if filepath.Ext(m.file) != ".go" {
			continue
		}
		text, err := m.mutant()
		if err != nil {
			return all, fmt.Errorf("%s: %w", m.rule, err)
		}
		if files[m.file] == nil {
			original, err := os.ReadFile(m.file)
			if err != nil {
				return all, err
			}
			if files[m.file], err = parse(string(original)); err != nil {
				return all, err
			}
		}
		mutant, err := parse(text)
		if err != nil {
			return all, fmt.Errorf("%s: %w", m.rule, err)
		}
		all.has[i] = files[m.file].add(strconv.Itoa(i), mutant)
	}
	for name, f := range files {
		all.files[name] = f.text()
		all.files[filepath.Join(filepath.Dir(name), "mutant_chosen.go")] = "package " + f.name + fmt.Sprintf(choose, chosen)
	}
	return all, nil
}

// choose is what a package with mutants has besides.
const choose = `

import "os"

// A process that a test starts has not all of its environment: a file says which mutant runs.
var mutantChosen = func() string {
	number, _ := os.ReadFile(%q)
	return string(number)
}()

// mutantText returns the text of the mutant that is chosen; mutants are numbers and texts in turn.
func mutantText(original string, mutants ...string) string {
	for i := 0; i < len(mutants); i += 2 {
		if mutants[i] == mutantChosen {
			return mutants[i+1]
		}
	}
	return original
}
`

// A goFile is a file in parts: between[i] is what stands before parts[i].
type goFile struct {
	name    string // of the package
	between []string
	parts   []part
	mutants strings.Builder // functions
}

// A part is a function, or a constant text.
type part struct {
	before, name, after string // "func (r T) ", "name" and "(a, b int) bool {"; or "const ", "name" and " = "
	body                string // up to and with "}"; or the text
	call                string // "return r.%s(a, b)": how the function calls a mutant; empty for a constant
	mutants             string // what asks for them; or their numbers and texts
}

func parse(text string) (*goFile, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "", text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	piece := func(from, to token.Pos) string { return text[set.Position(from).Offset:set.Position(to).Offset] }
	f := &goFile{name: file.Name.Name}
	last := file.FileStart
	add := func(from, name, nameEnd, body, to token.Pos, call string) {
		f.between = append(f.between, piece(last, from))
		f.parts = append(f.parts, part{before: piece(from, name), name: piece(name, nameEnd), after: piece(nameEnd, body), body: piece(body, to), call: call})
		last = to
	}
	for _, declaration := range file.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			if call := call(d); call != "" {
				add(d.Pos(), d.Name.Pos(), d.Name.End(), d.Body.Lbrace+1, d.End(), call)
			}
		case *ast.GenDecl:
			if d.Tok != token.CONST || d.Lparen.IsValid() {
				continue
			}
			constant := d.Specs[0].(*ast.ValueSpec)
			if value, ok := constant.Values[0].(*ast.BasicLit); ok && value.Kind == token.STRING && len(constant.Names) == 1 {
				add(d.Pos(), constant.Names[0].Pos(), constant.Names[0].End(), value.Pos(), d.End(), "")
			}
		}
	}
	f.between = append(f.between, piece(last, file.FileEnd))
	return f, nil
}

// call is the statement by which a function passes what it was given to another, as a format; empty if it can't.
func call(d *ast.FuncDecl) string {
	if d.Name.Name == "init" || d.Type.TypeParams != nil {
		return ""
	}
	format := "%s"
	if d.Recv != nil {
		if len(d.Recv.List[0].Names) == 0 {
			return ""
		}
		format = d.Recv.List[0].Names[0].Name + ".%s"
	}
	var arguments []string
	for _, field := range d.Type.Params.List {
		if len(field.Names) == 0 {
			return ""
		}
		for _, name := range field.Names {
			if name.Name == "_" {
				return ""
			}
			arguments = append(arguments, name.Name)
		}
		if _, ok := field.Type.(*ast.Ellipsis); ok {
			arguments[len(arguments)-1] += "..."
		}
	}
	format += "(" + strings.Join(arguments, ", ") + ")"
	if d.Type.Results == nil {
		return format + "; return"
	}
	return "return " + format
}

// add adds the parts of a mutant that differ, and returns false if anything else does.
func (f *goFile) add(number string, mutant *goFile) bool {
	if !slices.Equal(f.between, mutant.between) {
		return false
	}
	var differ []int
	for i, original := range f.parts {
		changed := mutant.parts[i]
		if original.before != changed.before || original.name != changed.name || original.after != changed.after {
			return false
		}
		if original.body != changed.body {
			differ = append(differ, i)
		}
	}
	for _, i := range differ {
		original, changed := &f.parts[i], mutant.parts[i]
		if original.call == "" {
			original.mutants += fmt.Sprintf(", %q, %s", number, changed.body)
			continue
		}
		name := original.name + "_mutant" + number
		original.mutants += fmt.Sprintf(" if mutantChosen == %q { "+original.call+" };", number, name)
		f.mutants.WriteString("\n" + changed.before + name + changed.after + changed.body + "\n")
	}
	return true
}

func (f *goFile) text() string {
	var text strings.Builder
	for i, p := range f.parts {
		text.WriteString(f.between[i])
		if p.call == "" && p.mutants != "" {
			text.WriteString("var " + p.name + p.after + "mutantText(" + p.body + p.mutants + ")")
		} else {
			text.WriteString(p.before + p.name + p.after + p.mutants + p.body)
		}
	}
	return text.String() + f.between[len(f.parts)] + f.mutants.String()
}

// write writes the overlay, and returns the file that the go command reads.
func (o overlay) write(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	replace := map[string]string{}
	for name, text := range o.files {
		original, err := filepath.Abs(name)
		if err != nil {
			t.Fatal(err)
		}
		replace[original] = filepath.Join(folder, fmt.Sprint(len(replace))+"_"+filepath.Base(name))
		if err := os.WriteFile(replace[original], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "overlay.json")
	if err := os.WriteFile(file, list, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
