package mutation

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The program prints what each of its parts says.
const program = `package main

import "fmt"

const text = "text"

type list struct{}

func (l list) sum(first int, more ...int) (total int) {
	for _, n := range more {
		total += n
	}
	return first + total
}

func say(what ...any) { fmt.Println(what...) }

func ignore(_ int) string { return "ignored" }

func main() { say(text, list{}.sum(1, 2, 3), ignore(4)) }
`

func TestTheMutantThatIsChosenRuns(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{"main.go": program, "go.mod": "module program\n\ngo 1.26\n"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mutations := []Mutation{
		Of("a constant", "", "main.go", `"text"`, `"other"`),
		Of("a method", "", "main.go", "first + total", "total"),
		Of("a function without a result", "", "main.go", "fmt.Println(what...)", `fmt.Println("nothing")`),
		Of("a function that drops what it gets", "", "main.go", `"ignored"`, `"not"`),
		Of("the same constant and two functions", "", "main.go", `"text"`, `"third"`, "total += n", "total -= n", "fmt.Println(what...)", "fmt.Print(what...)"),
	}
	chosen := filepath.Join(t.TempDir(), "chosen")
	all, err := together(mutations, chosen)
	if err != nil {
		t.Fatal(err)
	}
	if all.has[3] {
		t.Error("a function that cannot pass on what it gets has a mutant")
	}
	binary := filepath.Join(t.TempDir(), "program")
	build := exec.CommandContext(t.Context(), "go", "build", "-overlay="+all.write(t), "-o", binary, ".")
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for number, want := range map[string]string{"": "text 6 ignored", "0": "other 6 ignored", "1": "text 5 ignored", "2": "nothing", "4": "third-4ignored", "9": "text 6 ignored"} {
		if err := os.WriteFile(chosen, []byte(number), 0o600); err != nil {
			t.Fatal(err)
		}
		output, err := exec.CommandContext(t.Context(), binary).CombinedOutput()
		if got := strings.TrimSpace(string(output)); err != nil || got != want {
			t.Errorf("mutant %q says %q, %v; want %q", number, got, err, want)
		}
	}
}
