package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatTheOtherSystemHasNotIsFound(t *testing.T) {
	t.Setenv("GOOS", "darwin")
	t.Setenv("GOARCH", "arm64")
	t.Setenv("GOWORK", "off")
	t.Chdir(t.TempDir())
	const cgo = "// #include <stdio.h>\nimport \"C\"\n\n"
	for name, text := range map[string]string{
		"go.mod":            "module example.com/m\n\ngo 1.26.0\n",
		"lib/lib.go":        "package lib\n\n" + cgo + "const Size = C.BUFSIZ\n\nfunc Limit() int { return 2 * Size }\n",
		"fits/fits.go":      "package fits\n\nimport \"example.com/m/lib\"\n\nvar Twice = lib.Limit() | lib.Size\n",
		"linux/linux.go":    "package linux\n\nimport (\n\t\"syscall\"\n\n\t\"example.com/m/lib\"\n)\n\nvar _ = syscall.Fdatasync(lib.Limit())\n",
		"test/some.go":      "package test\n",
		"test/some_test.go": "package test\n\nimport \"syscall\"\n\nvar _ = syscall.SysProcAttr{Pdeathsig: 9}\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ pattern, want string }{
		{"./fits", ""},
		{"./linux", "undefined: syscall.Fdatasync"},
		{"./test", "unknown field Pdeathsig"},
	} {
		mistakes, err := check([]string{c.pattern})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(mistakes); (len(mistakes) == 0) != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %q", c.pattern, got, c.want)
		}
	}
}
