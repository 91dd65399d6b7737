package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// programs are what a stack runs.
var programs = []string{"api", "relay", "worker", "hooks", "ctl"}

// Workspace is the folder of go.work, at or above the current one.
func Workspace() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		if dir == "/" {
			return "", errors.New("run local inside a clone of the project: there is no go.work here or above")
		}
		dir = filepath.Dir(dir)
	}
}

// Build builds the programs into a folder and says that it goes on while it does.
func Build(ctx context.Context, root, bin string, out io.Writer, flags ...string) error {
	for tool, packages := range map[string]string{"go": "golang", "gcc": "gcc libc6-dev"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("building needs %s on PATH (Debian: apt-get install %s; macOS: xcode-select --install)", tool, packages)
		}
	}
	started := time.Now()
	args := append(append([]string{"build", "-ldflags=-w"}, flags...), "-o", bin+"/") // linked in half the time: no debugger needs to read them
	for _, program := range programs {
		if _, err := os.Stat(filepath.Join(root, program)); err == nil { // an earlier release has no hooks
			args = append(args, "./"+program)
		}
	}
	cmd := proc.CommandIn(ctx, "go", args...)
	cmd.Dir = root
	cmd.Stdout, cmd.Stderr = out, out // "go: downloading …" and what the compiler has to say
	done := make(chan error)
	go func() { done <- cmd.Run() }()
	for tick := time.Tick(10 * time.Second); ; {
		select {
		case err := <-done:
			if ctx.Err() != nil {
				return proc.ErrInterrupted
			}
			if err != nil {
				return fmt.Errorf("go build: %w", err)
			}
			fmt.Fprintf(out, "  %-9s ready in %4.1f s  %s\n", "programs", time.Since(started).Seconds(), bin)
			return nil
		case <-tick:
			fmt.Fprintf(out, "  building api, relay, worker, hooks and ctl for %.0f s now; only the first time takes minutes\n", time.Since(started).Seconds())
		}
	}
}
