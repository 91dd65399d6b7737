package main

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
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
	log *logBuffer
}

func (s *store) startProcess(k *topic, settings ...string) *process {
	s.Helper()
	p := &process{exec.Command(os.Args[0]), &logBuffer{}}
	p.Env = append(s.environ(k, settings...), "TEST_BINARY_IS_WORKER=1")
	p.Stderr = p.log
	p.SysProcAttr = endsWithTest
	if err := p.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		p.kill()
		if s.Failed() {
			s.Logf("log of worker process %d:\n%s", p.Process.Pid, p.log)
		}
	})
	return p
}

func (p *process) signal(sig os.Signal) { _ = p.Process.Signal(sig) }

func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	_ = p.Wait()
}
