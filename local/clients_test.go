//go:build e2e

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// seenByClients is what the scenario prints in every language.
const seenByClients = `wallet: EUR, balance 0
deposit: sequence 1
retried: same operation true, replayed true
withdrawal: PROCESSED, balance 750
overdraft: FAILED, INSUFFICIENT_FUNDS
statement: 1 DEPOSIT 1050 PROCESSED
statement: 2 WITHDRAW 300 PROCESSED
statement: 3 WITHDRAW 5000 FAILED
hold: PROCESSED, held 500, available 250
open holds: 1, remaining 500
captured: 200, held 300
captured: 300, held 0
hold: CLOSED, captured 500
released: 100, available 250
by path: balance 5
transfer: COMPLETED, to the other wallet true
reversed: 10, balance 200
of the hold: CAPTURE 200
of the hold: CAPTURE 300
found: TRANSFER 40
when it was held: balance 750, held 500
captured for the other wallet: 50 COMPLETED
problem: 422 not-reversible
batch: sequence 4
batch: 422 idempotency-key-reused
after the batch: PROCESSED, balance 102
by its id: DEPOSIT 1050, pending before it 0
by its reference: the other wallet true, balance 102
frozen: PROCESSED, then WALLET_FROZEN
wallet: FROZEN, order 815
key: may write operations true
status: a relay leads true
webhook: ACTIVE, secret true
listed: true
changed: receipts, enabled false
read: wallets 1, secret false
rotated: another secret true
attempts: 0
test: has a message true
replay: asked for later true
problem: 409 not-stalled
problem: 404 webhook-not-found
problem: 401 unauthorized
problem: 404 wallet-not-found
problem: 422 idempotency-key-reused
problem: 404 hold-not-found
`

// Clients in clients/ are written against what is generated from openapi.yaml, as it is generated, and
// checked as strictly as their language can: a schema that a generator types badly fails here.
func TestGeneratedClientsOfFourLanguagesSeeTheSame(t *testing.T) {
	s := newSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1})
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	for language, generate := range generatedClients {
		t.Run(language, func(t *testing.T) {
			source := generate(t, root)
			source.env = append(source.env, "API_URL="+s.APIURLs[0], "API_KEY="+s.APIKey)
			if diff := cmp.Diff(seenByClients, source.run(source.program...)); diff != "" {
				t.Errorf("the client saw (-want +got):\n%s", diff)
			}
		})
	}
}

var generatedClients = map[string]func(t *testing.T, root string) *clientSource{
	"Go": goClient, "TypeScript": typeScriptClient, "Python": pythonClient, "Java": javaClient,
}

// clientSource is a folder with a client's sources, and what runs it.
type clientSource struct {
	t       *testing.T
	dir     string
	env     []string
	program []string
}

// goClient is the one that `make generate` keeps next to its scenario.
func goClient(t *testing.T, root string) *clientSource {
	source := &clientSource{t: t, dir: filepath.Join(root, "local"), program: []string{filepath.Join(t.TempDir(), "scenario")}}
	source.run("go", "build", "-o", source.program[0], "./clients/go")
	return source
}

func typeScriptClient(t *testing.T, root string) *clientSource {
	source := copyClient(t, root, "typescript", "scenario.ts", "tsconfig.json", "package.json", "package-lock.json")
	// The generator looks for tsconfig.json next to its node_modules.
	installed := source.installed("node", "npm", "npm",
		[]string{"node", "--version"}, []string{"package.json", "package-lock.json", "tsconfig.json"},
		[]string{"npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"})
	if err := os.Symlink(filepath.Join(installed, "node_modules"), filepath.Join(source.dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	source.run("node_modules/.bin/openapi-ts", "--input", filepath.Join(root, "openapi.yaml"), "--output", "client", "--no-log-file")
	source.run("node_modules/.bin/tsc")
	source.program = []string{"node", "dist/scenario.js"}
	return source
}

func pythonClient(t *testing.T, root string) *clientSource {
	source := copyClient(t, root, "python", "scenario.py", "requirements.txt")
	python := source.pythonWith("requirements.txt")
	source.env = append(source.env, "PATH="+filepath.Dir(python)+":"+os.Getenv("PATH")) // the generator looks for ruff there
	source.run(python, "-m", "openapi_python_client", "generate", "--path", filepath.Join(root, "openapi.yaml"),
		"--output-path", "client", "--meta", "none", "--fail-on-warning")
	source.run(python, "-m", "mypy", "--strict", "scenario.py", "client")
	source.program = []string{python, "scenario.py"}
	return source
}

// javaClient is made and compiled by Maven, whose own folder keeps what it downloads.
func javaClient(t *testing.T, root string) *clientSource {
	source := copyClient(t, root, "java", "pom.xml")
	if err := os.MkdirAll(filepath.Join(source.dir, "src/main/java"), 0o755); err != nil {
		t.Fatal(err)
	}
	source.copy(filepath.Join(root, "local/clients/java/Scenario.java"), filepath.Join(source.dir, "src/main/java"))
	source.run("mvn", "--quiet", "--batch-mode", "-Dopenapi="+filepath.Join(root, "openapi.yaml"), "compile", "dependency:copy-dependencies")
	source.program = []string{"java", "-cp", "target/classes:target/dependency/*", "Scenario"}
	return source
}

// pythonWith is a Python interpreter with the packages that a file pins.
func (s *clientSource) pythonWith(requirements string) string {
	s.t.Helper()
	installed := s.installed("python3", "python3", "python3-venv",
		[]string{"python3", "-c", "import sys; print(sys.executable, sys.version)"}, []string{requirements},
		[]string{"sh", "-c", "python3 -m venv venv && venv/bin/python -m pip install --quiet --requirement " + requirements})
	return filepath.Join(installed, "venv", "bin", "python")
}

func copyClient(t *testing.T, root, folder string, files ...string) *clientSource {
	t.Helper()
	source := &clientSource{t: t, dir: t.TempDir()}
	for _, name := range files {
		source.copy(filepath.Join(root, "local", "clients", folder, name), source.dir)
	}
	return source
}

func (s *clientSource) copy(from, folder string) {
	s.t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, filepath.Base(from)), text, 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// installed is a folder with what a package manager installs for the pinned versions. It is kept in the
// cache under a name that changes with them and with the interpreter.
func (s *clientSource) installed(interpreter, manager, debian string, version, pins, install []string) string {
	s.t.Helper()
	for _, tool := range []string{interpreter, manager} {
		if _, err := exec.LookPath(tool); err != nil {
			s.t.Fatalf("this client needs %s on PATH (Debian: apt-get install %s)", tool, debian)
		}
	}
	sum := sha256.New()
	sum.Write([]byte(s.run(version...)))
	for _, name := range pins {
		text, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			s.t.Fatal(err)
		}
		sum.Write(text)
	}
	cache, err := proc.CacheDir()
	if err != nil {
		s.t.Fatal(err)
	}
	folder := filepath.Join(cache, fmt.Sprintf("client-%s-%s", interpreter, hex.EncodeToString(sum.Sum(nil)[:4])))
	if _, err := os.Stat(folder); err == nil {
		return folder
	}
	// As with Kafka, the folder gets its name when it is complete.
	if err := os.MkdirAll(cache, 0o755); err != nil {
		s.t.Fatal(err)
	}
	partial, err := os.MkdirTemp(cache, "client-partial-")
	if err != nil {
		s.t.Fatal(err)
	}
	defer os.RemoveAll(partial)
	for _, name := range pins {
		s.copy(filepath.Join(s.dir, name), partial)
	}
	(&clientSource{t: s.t, dir: partial}).run(install...)
	if err := os.Rename(partial, folder); err != nil && !errors.Is(err, os.ErrExist) {
		s.t.Fatal(err)
	}
	return folder
}

// run runs a command in the folder to its end and returns what it printed.
func (s *clientSource) run(argv ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Minute)
	defer cancel()
	cmd := proc.CommandIn(ctx, argv[0], argv[1:]...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), s.env...)
	var printed, complained bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &complained
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("%s: %v\n%s%s", strings.Join(argv, " "), err, &printed, &complained)
	}
	return printed.String()
}
