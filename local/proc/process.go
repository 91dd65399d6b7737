// Package proc runs child processes: it starts, supervises, restarts and ends them, and finds them free
// ports and a folder for their state.
//
// No child outlives the program: it is killed with it, however that ends, by the kernel on Linux and by
// the reaper on macOS; what cannot be (a Postgres detaches itself) watches its standard input.
package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	stopWithin   = 10 * time.Second
	ReadyWithin  = 2 * time.Minute
	ProbeEvery   = 20 * time.Millisecond
	restartPause = 50 * time.Millisecond
	longestPause = 2 * time.Second
	// A process that lived for livedLong did not die of how it starts.
	livedLong = 500 * time.Millisecond
)

// ErrInterrupted is what a command ends with that a signal has ended.
var ErrInterrupted = errors.New("interrupted")

// Process is one supervised child: it is started again whenever it dies, until stop. It runs in a
// process group of its own, so that Ctrl-C in the terminal reaches only local, which then stops
// everything in order.
type Process struct {
	Name string
	Argv []string
	Env  []string
	Log  string
	// About is for the person who watches the start.
	About string
	// AdminURL is empty for a backing service.
	AdminURL string
	// EndsWithParent is for a child that watches its standard input and must clean up when local is
	// gone. Any other child is killed by the kernel with local.
	EndsWithParent bool
	// Ready returns nil once the process does its work.
	Ready func(context.Context) error
	// Changed is notified of every start and end.
	Changed func(what string)

	mu        sync.Mutex
	pid       int
	starts    int
	stopping  bool
	nextEnv   []string
	lastDeath string
	done      chan struct{}
}

// Start returns when the process is ready. A process that dies before that is not retried: what
// stopped it is in its log, whose end is part of the error.
func (p *Process) Start(ctx context.Context) error {
	if err := p.Begin(); err != nil {
		return err
	}
	if err := p.AwaitReady(ctx, true); err != nil {
		p.Stop()
		return fmt.Errorf("%s: %w\n%s", p.Name, err, LastLines(p.Log, 15))
	}
	return nil
}

// Begin starts the process and its supervision without waiting until it is ready.
func (p *Process) Begin() error {
	p.mu.Lock()
	p.stopping, p.starts, p.done = false, 0, make(chan struct{})
	p.mu.Unlock()
	cmd, err := p.launch()
	if err != nil {
		return err
	}
	go p.supervise(cmd)
	return nil
}

// AwaitReady waits until the process is ready. With atOnce its first end is an error.
func (p *Process) AwaitReady(ctx context.Context, atOnce bool) error {
	ctx, cancel := context.WithTimeout(ctx, ReadyWithin)
	defer cancel()
	tick := time.NewTicker(ProbeEvery)
	defer tick.Stop()
	for {
		probe, cancelProbe := context.WithTimeout(ctx, 2*time.Second)
		err := p.Ready(probe)
		cancelProbe()
		if err == nil {
			return nil
		}
		p.mu.Lock()
		died, death := p.starts > 1 || p.pid == 0, p.lastDeath
		p.mu.Unlock()
		if atOnce && died {
			return fmt.Errorf("ended before it was ready (%s)", death)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", errors.Join(ctx.Err(), err))
		}
	}
}

func (p *Process) supervise(cmd *exec.Cmd) {
	defer close(p.done)
	pause := restartPause
	for {
		started := time.Now()
		_ = cmd.Wait()
		// What the dead process had started goes with it.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		orphans.forget(cmd.Process.Pid)
		p.mu.Lock()
		p.pid, p.lastDeath = 0, cmd.ProcessState.String()
		p.mu.Unlock()
		if p.isStopping() {
			return
		}
		p.Changed("ended (" + cmd.ProcessState.String() + "), starting it again")
		for {
			if time.Since(started) > livedLong {
				pause = restartPause
			}
			time.Sleep(pause)
			pause = min(2*pause, longestPause)
			if p.isStopping() {
				return
			}
			var err error
			if cmd, err = p.launch(); err == nil {
				break
			}
			p.Changed(err.Error())
		}
		p.Changed("")
	}
}

// launch starts the process once.
func (p *Process) launch() (*exec.Cmd, error) {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := exec.Command(p.Argv[0], p.Argv[1:]...)
	cmd.Env = append(append(os.Environ(), p.Env...), p.nextEnv...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	start := StartChild
	if p.EndsWithParent {
		// The kernel closes the other end when local ends, however it ends.
		if _, err := cmd.StdinPipe(); err != nil {
			return nil, err
		}
		start = func(cmd *exec.Cmd) error { return OnLauncherThread(cmd.Start) }
	}
	if err := start(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	p.pid, p.nextEnv = cmd.Process.Pid, nil
	p.starts++
	return cmd, nil
}

// Restart ends a process and waits until it is ready again.
func (p *Process) Restart(ctx context.Context, signal syscall.Signal) error {
	before := p.CurrentPID()
	p.Signal(signal)
	if err := p.StartedSince(ctx, before); err != nil {
		return err
	}
	return p.AwaitReady(ctx, false)
}

// StartedSince waits until the process is another one than before.
func (p *Process) StartedSince(ctx context.Context, before int) error {
	const within = 30 * time.Second
	if !Await(ctx, within, func() bool { now := p.CurrentPID(); return now != 0 && now != before }) {
		return fmt.Errorf("%s was not started again within %s", p.Name, within)
	}
	return nil
}

// KillStopped stops the process before it kills it, so that it leaves requests without an answer.
func (p *Process) KillStopped(ctx context.Context) {
	p.Signal(syscall.SIGSTOP)
	Pause(ctx, 200*time.Millisecond)
	p.Signal(syscall.SIGKILL)
}

// NextStartWith adds to the environment of the next start alone.
func (p *Process) NextStartWith(env ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nextEnv = env
}

// Stop asks the process to end, and ends it if it does not.
func (p *Process) Stop() {
	p.mu.Lock()
	p.stopping = true
	if p.starts == 0 {
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	p.Signal(syscall.SIGTERM)
	p.Signal(syscall.SIGCONT)
	select {
	case <-p.done:
	case <-time.After(stopWithin):
		p.Signal(syscall.SIGKILL)
		<-p.done
	}
}

// Signal sends a signal to the process if it runs.
func (p *Process) Signal(signal syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid != 0 {
		_ = syscall.Kill(p.pid, signal)
	}
}

// Release ends the supervision with the process: when it ends it is not started again. The channel is
// closed then.
func (p *Process) Release() (ended <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopping = true
	return p.done
}

// Replace makes the next start one of another program, with the same arguments.
func (p *Process) Replace(program string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Argv = append([]string{program}, p.Argv[1:]...)
}

// StartCount is how often the process was started.
func (p *Process) StartCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.starts
}

// Death is how the process ended the last time.
func (p *Process) Death() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lastDeath
}

func (p *Process) isStopping() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopping
}

func (p *Process) CurrentPID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// StopAll stops processes at once: none of them needs another to stop well.
func StopAll(processes []*Process) {
	done := make(chan struct{})
	for _, p := range processes {
		go func() { p.Stop(); done <- struct{}{} }()
	}
	for range processes {
		<-done
	}
}

// StartAll starts processes at once and waits until all are ready, or have failed.
func StartAll(ctx context.Context, processes []*Process) error {
	started := make(chan error)
	for _, p := range processes {
		go func() { started <- p.Start(ctx) }()
	}
	var err error
	for range processes {
		err = errors.Join(err, <-started)
	}
	return err
}

// KillAll ends processes, and not in order, until startAll starts them again.
func KillAll(processes []*Process) {
	for _, p := range processes {
		p.Signal(syscall.SIGKILL)
	}
	StopAll(processes)
}

// StartChild starts a command, the leader of its process group, that is killed when local ends, however
// it ends.
func StartChild(cmd *exec.Cmd) error {
	endWithParent(cmd.SysProcAttr)
	if err := OnLauncherThread(cmd.Start); err != nil {
		return err
	}
	if err := orphans.add(cmd.Process.Pid); err != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		return err
	}
	return nil
}

// OnLauncherThread runs all starts on one thread that never ends: the kernel sends a child its
// parent-death signal when the thread that started it ends, not the process.
func OnLauncherThread(start func() error) error {
	result := make(chan error)
	launches <- func() { result <- start() }
	return <-result
}

var launches = func() chan func() {
	jobs := make(chan func())
	go func() {
		runtime.LockOSThread()
		for job := range jobs {
			job()
		}
	}()
	return jobs
}()
