package proc

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Run runs a command to its end and returns what it wrote if it fails.
func Run(ctx context.Context, dir string, argv ...string) error {
	cmd := CommandIn(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	return RunCaptured(cmd, io.Discard)
}

// CommandIn is a command that gets no Ctrl-C from the terminal but ends with ctx, and with it all that
// it has started.
func CommandIn(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd
}

// RunCaptured runs a command to its end. What it wrote goes to out, and into the error.
func RunCaptured(cmd *exec.Cmd, out io.Writer) error {
	var written bytes.Buffer
	cmd.Stdout = io.MultiWriter(&written, out)
	cmd.Stderr = cmd.Stdout
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, written.Bytes())
	}
	return nil
}

// LastLines returns the end of a log file, for an error message.
func LastLines(path string, count int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return path + ":\n  " + strings.Join(lines[max(0, len(lines)-count):], "\n  ")
}
