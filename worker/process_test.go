package main

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
)

// TestMain lets the test binary be the worker, so that tests can kill and stop one.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_BINARY_IS_WORKER") != "" {
		main()
	}
	os.Exit(m.Run())
}

// process is a worker that can be killed.
type process struct {
	*exec.Cmd
	log *testkit.Log
}

func (s *store) startProcess(k *topic, settings ...string) *process {
	s.Helper()
	p := &process{exec.Command(os.Args[0]), testkit.NewLog(s, "a worker process")}
	p.Env = append(s.environ(k, settings...), "TEST_BINARY_IS_WORKER=1")
	p.Stderr = p.log
	p.SysProcAttr = testkit.EndsWithTest
	if err := p.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(p.kill)
	return p
}

func (p *process) signal(sig os.Signal) { _ = p.Process.Signal(sig) }

func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	_ = p.Wait()
}
