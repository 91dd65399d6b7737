package main

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
	readyWithin  = 60 * time.Second
	probeEvery   = 20 * time.Millisecond
	restartPause = 50 * time.Millisecond
	longestPause = 2 * time.Second
	// A process that lived for livedLong did not die of how it starts.
	livedLong = 500 * time.Millisecond
)

// errInterrupted is what a command ends with that a signal has ended.
var errInterrupted = errors.New("interrupted")

// process is one supervised child: it is started again whenever it dies, until stop. It runs in a
// process group of its own, so that Ctrl-C in the terminal reaches only local, which then stops
// everything in order.
type process struct {
	name string
	argv []string
	env  []string
	log  string
	// about is for the person who watches the start.
	about string
	// adminURL is empty for the parts (Postgres, Redis, Kafka).
	adminURL string
	// endsWithParent is for a child that watches its standard input and must clean up when local is
	// gone. Any other child is killed by the kernel with local.
	endsWithParent bool
	// ready returns nil once the process does its work.
	ready func(context.Context) error
	// changed is told of every start and end.
	changed func(what string)

	mu        sync.Mutex
	pid       int
	starts    int
	stopping  bool
	nextEnv   []string
	lastDeath string
	done      chan struct{}
}

// start returns when the process is ready. A process that dies before that is not retried: what
// stopped it is in its log, whose end is part of the error.
func (p *process) start(ctx context.Context) error {
	if err := p.begin(); err != nil {
		return err
	}
	if err := p.awaitReady(ctx, true); err != nil {
		p.stop()
		return fmt.Errorf("%s: %w\n%s", p.name, err, lastLines(p.log, 15))
	}
	return nil
}

// begin starts the process and its supervision without waiting until it is ready.
func (p *process) begin() error {
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

// awaitReady waits until the process is ready. With atOnce its first end is an error.
func (p *process) awaitReady(ctx context.Context, atOnce bool) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		probe, cancelProbe := context.WithTimeout(ctx, 2*time.Second)
		err := p.ready(probe)
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

func (p *process) supervise(cmd *exec.Cmd) {
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
		p.changed("ended (" + cmd.ProcessState.String() + "), starting it again")
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
			p.changed(err.Error())
		}
		p.changed("")
	}
}

// launch starts the process once.
func (p *process) launch() (*exec.Cmd, error) {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Env = append(append(os.Environ(), p.env...), p.nextEnv...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	start := startChild
	if p.endsWithParent {
		// The kernel closes the other end when local ends, however it ends.
		if _, err := cmd.StdinPipe(); err != nil {
			return nil, err
		}
		start = func(cmd *exec.Cmd) error { return onLauncherThread(cmd.Start) }
	}
	if err := start(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	p.pid, p.nextEnv = cmd.Process.Pid, nil
	p.starts++
	return cmd, nil
}

// restart ends a process and waits until it is ready again.
func (p *process) restart(ctx context.Context, signal syscall.Signal) error {
	before := p.currentPID()
	p.signal(signal)
	if err := p.startedSince(ctx, before); err != nil {
		return err
	}
	return p.awaitReady(ctx, false)
}

// startedSince waits until the process is another one than before.
func (p *process) startedSince(ctx context.Context, before int) error {
	const within = 30 * time.Second
	if !await(ctx, within, func() bool { now := p.currentPID(); return now != 0 && now != before }) {
		return fmt.Errorf("%s was not started again within %s", p.name, within)
	}
	return nil
}

// killStopped stops the process before it kills it, so that it leaves requests without an answer.
func (p *process) killStopped(ctx context.Context) {
	p.signal(syscall.SIGSTOP)
	pause(ctx, 200*time.Millisecond)
	p.signal(syscall.SIGKILL)
}

// nextStartWith adds to the environment of the next start alone.
func (p *process) nextStartWith(env ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nextEnv = env
}

// stop asks the process to end, and ends it if it does not.
func (p *process) stop() {
	p.mu.Lock()
	p.stopping = true
	if p.starts == 0 {
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	p.signal(syscall.SIGTERM)
	p.signal(syscall.SIGCONT)
	select {
	case <-p.done:
	case <-time.After(stopWithin):
		p.signal(syscall.SIGKILL)
		<-p.done
	}
}

// signal sends a signal to the process if it runs.
func (p *process) signal(signal syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid != 0 {
		_ = syscall.Kill(p.pid, signal)
	}
}

// release ends the supervision with the process: when it ends it is not started again. The channel is
// closed then.
func (p *process) release() (ended <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopping = true
	return p.done
}

// replace makes the next start one of another program, with the same arguments.
func (p *process) replace(program string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.argv = append([]string{program}, p.argv[1:]...)
}

// startCount is how often the process was started.
func (p *process) startCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.starts
}

// death is how the process ended the last time.
func (p *process) death() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lastDeath
}

func (p *process) isStopping() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopping
}

func (p *process) currentPID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// stopAll stops processes at once: none of them needs another to stop well.
func stopAll(processes []*process) {
	done := make(chan struct{})
	for _, p := range processes {
		go func() { p.stop(); done <- struct{}{} }()
	}
	for range processes {
		<-done
	}
}

// startAll starts processes at once and waits until all are ready, or have failed.
func startAll(ctx context.Context, processes []*process) error {
	started := make(chan error)
	for _, p := range processes {
		go func() { started <- p.start(ctx) }()
	}
	var err error
	for range processes {
		err = errors.Join(err, <-started)
	}
	return err
}

// killAll ends processes, and not in order, until startAll starts them again.
func killAll(processes []*process) {
	for _, p := range processes {
		p.signal(syscall.SIGKILL)
	}
	stopAll(processes)
}

// startChild starts a command, the leader of its process group, that is killed when local ends, however
// it ends.
func startChild(cmd *exec.Cmd) error {
	endWithParent(cmd.SysProcAttr)
	if err := onLauncherThread(cmd.Start); err != nil {
		return err
	}
	if err := orphans.add(cmd.Process.Pid); err != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		return err
	}
	return nil
}

// onLauncherThread runs all starts on one thread that never ends: the kernel sends a child its
// parent-death signal when the thread that started it ends, not the process.
func onLauncherThread(start func() error) error {
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
