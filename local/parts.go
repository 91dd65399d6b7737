package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// parts are the three servers that the services work with. One whose address was given is used as it
// is; the others are children.
type parts struct {
	databaseURL  string
	redisURL     string
	kafkaBrokers string
	// kafka is apache or kfake, for brokers that are started; of the latter there is always one.
	kafka   string
	brokers int
	// kafkaListeners are further doors to Apache Kafka, by broker.
	kafkaListeners [][]listener
	// postgresEnv is for Postgres alone.
	postgresEnv []string
	// secure makes them speak TLS and ask for passwords; nil: they do not.
	secure *secured

	processes []*process
}

var errInterrupted = errors.New("interrupted")

// start starts the parts that have no address yet, all at once, and waits until they are ready.
func (p *parts) start(ctx context.Context, s *state, out io.Writer, changed func(name, what string)) error {
	parent := ctx
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	type made struct {
		process *process
		err     error
	}
	results := make(chan made)
	begin := func(make func() (*process, error)) {
		started := time.Now()
		go func() {
			process, err := make()
			if err != nil {
				results <- made{nil, err}
				return
			}
			process.changed = func(what string) { changed(process.name, what) }
			if err = process.start(ctx); err == nil {
				fmt.Fprintf(out, "  %-9s ready in %4.1f s  %s\n", process.name, time.Since(started).Seconds(), process.about)
			}
			results <- made{process, err}
		}()
	}
	waiting := 0
	if p.databaseURL == "" {
		waiting++
		begin(func() (process *process, err error) {
			process, p.databaseURL, err = postgresPart(s, p.postgresEnv, p.secure)
			return
		})
	}
	if p.redisURL == "" {
		waiting++
		begin(func() (process *process, err error) { process, p.redisURL, err = redisPart(s, p.secure); return })
	}
	if p.kafkaBrokers == "" {
		nodes, err := kafkaNodes(max(1, p.brokers), p.kafkaListeners)
		if err != nil {
			return err
		}
		p.kafkaBrokers = nodes.addresses()
		for i := range nodes {
			waiting++
			begin(func() (*process, error) { return kafkaPart(ctx, s, p.kafka, nodes, i, p.secure) })
		}
	}
	var errs []error
	slow := time.NewTicker(5 * time.Second)
	defer slow.Stop()
	for ; waiting > 0; waiting-- {
		var result made
		for received := false; !received; {
			select {
			case result = <-results:
				received = true
			case <-slow.C:
				fmt.Fprintf(out, "  waiting for %d more; the first time they are downloaded\n", waiting)
			}
		}
		if result.err != nil {
			errs = append(errs, result.err)
			cancel()
			continue
		}
		p.processes = append(p.processes, result.process)
	}
	if len(errs) > 0 {
		p.stop()
		if parent.Err() != nil {
			return errInterrupted
		}
		// The others only report that they were cancelled.
		return errs[0]
	}
	// In whatever order they came: a seed of the fault campaign chooses the same ones again.
	slices.SortFunc(p.processes, func(a, b *process) int { return strings.Compare(a.name, b.name) })
	return nil
}

func (p *parts) stop() {
	stopAll(p.processes)
	p.processes = nil
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

// runWithParts runs a command with three fresh servers, whose addresses it finds in TEST_DATABASE_URL,
// TEST_REDIS_URL and TEST_KAFKA_BROKERS; one that is set already is left as it is. It returns the
// command's exit code.
func runWithParts(ctx context.Context, kafka string, argv []string) (int, error) {
	s, err := temporaryState()
	if err != nil {
		return 1, err
	}
	defer s.close()
	p := &parts{
		databaseURL:  os.Getenv("TEST_DATABASE_URL"),
		redisURL:     os.Getenv("TEST_REDIS_URL"),
		kafkaBrokers: os.Getenv("TEST_KAFKA_BROKERS"),
		kafka:        kafka,
	}
	if err := p.start(ctx, s, os.Stderr, func(name, what string) { fmt.Fprintln(os.Stderr, "local:", name, what) }); err != nil {
		return 1, err
	}
	defer p.stop()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "TEST_DATABASE_URL="+p.databaseURL, "TEST_REDIS_URL="+p.redisURL, "TEST_KAFKA_BROKERS="+p.kafkaBrokers)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := startChild(cmd); err != nil {
		return 1, err
	}
	// The command has a process group of its own: what it started and left behind ends with it, and
	// a Ctrl-C reaches all of it.
	group := -cmd.Process.Pid
	stopForwarding := context.AfterFunc(ctx, func() { _ = syscall.Kill(group, syscall.SIGINT) })
	defer stopForwarding()
	err = cmd.Wait()
	_ = syscall.Kill(group, syscall.SIGKILL)
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return max(1, exit.ExitCode()), nil
	}
	return 0, err
}

// untilSignal is cancelled by the first Ctrl-C or SIGTERM; the second one kills local, and with it
// the kernel its children.
func untilSignal() (context.Context, context.CancelFunc) {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel)
	return ctx, cancel
}

// self is this program, for the parts that it runs as children.
func self() string {
	path, err := os.Executable()
	if err != nil {
		panic(err) // /proc is not there
	}
	return path
}

// isPart reports whether the arguments are those of a child that self starts.
func isPart(args []string) bool {
	return len(args) > 0 && slices.Contains([]string{"postgres", "miniredis", "kfake", "nothing", "reaper"}, args[0])
}

// servePart runs one.
func servePart(args []string) error {
	switch {
	case args[0] == "postgres" && len(args) >= 3:
		return servePostgres(args[1], args[2], args[3:]...)
	case args[0] == "miniredis" && len(args) == 2:
		return serveMiniredis(args[1])
	case args[0] == "kfake" && len(args) == 3:
		return serveKfake(args[1], args[2])
	case args[0] == "reaper":
		return serveReaper(os.Stdin)
	case args[0] == "nothing" && len(args) == 2:
		return serveNothing(args[1])
	}
	return fmt.Errorf("unknown part %q", args)
}
