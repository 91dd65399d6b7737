package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/receiver"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// runWithServers runs a command with three fresh servers, whose addresses it finds in TEST_DATABASE_URL,
// TEST_REDIS_URL and TEST_KAFKA_BROKERS; one that is set already is left as it is. It returns the
// command's exit code.
func runWithServers(ctx context.Context, kafka string, argv []string) (int, error) {
	s, err := proc.TemporaryState()
	if err != nil {
		return 1, err
	}
	defer s.Close()
	p := &servers.Backing{
		DatabaseURL:  os.Getenv("TEST_DATABASE_URL"),
		RedisURL:     os.Getenv("TEST_REDIS_URL"),
		KafkaBrokers: os.Getenv("TEST_KAFKA_BROKERS"),
		Kafka:        kafka,
	}
	if err := p.Start(ctx, s, os.Stderr, func(name, what string) { fmt.Fprintln(os.Stderr, "local:", name, what) }); err != nil {
		return 1, err
	}
	defer p.Stop()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "TEST_DATABASE_URL="+p.DatabaseURL, "TEST_REDIS_URL="+p.RedisURL, "TEST_KAFKA_BROKERS="+p.KafkaBrokers)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := proc.StartChild(cmd); err != nil {
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

// runUntilStopped keeps the stack in the foreground.
func runUntilStopped(ctx context.Context, c stack.Config, out io.Writer) error {
	root, err := stack.Workspace()
	if err != nil {
		return err
	}
	state, err := proc.KeptState(filepath.Join(root, ".local"))
	if err != nil {
		return err
	}
	defer state.Close()
	bin := filepath.Join(root, "bin")
	if err := stack.Build(ctx, root, bin, out); err != nil {
		return err
	}
	if c.Cells > 1 {
		return runCells(ctx, state, c, bin, out)
	}
	s := stack.New(state, c, bin, out)
	if err := s.Start(ctx, c); err != nil {
		return err
	}
	defer s.Stop()
	fmt.Fprintf(out, `
  API       %[1]s
  Console   %[1]s/console/
  key       %[2]s
  Swagger   %[1]s/swagger/
  Postgres  %[3]s
  Redis     %[4]s
  Kafka     %[5]s, topics %[6]s
  logs      %[7]s
  all of it %[8]s

`, s.APIURLs[0], s.APIKey, s.Backing.DatabaseURL, s.Backing.RedisURL, s.Backing.KafkaBrokers, s.Topics(), filepath.Join(state.Dir, "logs"), filepath.Join(state.Dir, "stack.json"))
	fmt.Fprintf(out, "  Open a wallet, pay something in, look at it:\n\n%s\n", payIn(s))
	if c.Hooks > 0 && s.EventsTopic != "" {
		r, err := listenForWebhooks(state, out)
		if err != nil {
			return err
		}
		defer r.Close()
		fmt.Fprintf(out, "  See a webhook arrive, here, of the next thing that happens to a wallet:\n\n%s\n", register(s, r))
	}
	fmt.Fprintln(out, "  Ctrl-C stops everything; the data stays.")
	<-ctx.Done()
	fmt.Fprintln(out, "\n  stopping")
	return nil
}

// payIn are commands for a shell, of which each line is one.
func payIn(s *stack.Stack) string {
	return fmt.Sprintf(`    KEY=%[2]s
    W=$(curl -s -X POST %[1]s/api/v1/wallets -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -d '{}' | sed 's/.*"walletId":"\([^"]*\)".*/\1/')
    curl -s -X POST %[1]s/api/v1/wallet -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -H 'Idempotency-Key: first' -d '{"walletId":"'$W'","operationType":"DEPOSIT","amount":1000}'; echo
    curl -s %[1]s/api/v1/wallets/$W -H "Authorization: Bearer $KEY"; echo
`, s.APIURLs[0], s.APIKey)
}

// register are further commands: they have a webhook sent to the receiver, and pay in more.
func register(s *stack.Stack, r *receiver.Receiver) string {
	return fmt.Sprintf(`    curl -s -X POST %[1]s/api/v1/webhooks -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -H 'Idempotency-Key: %[2]s' -d '{"url":"%[2]s"}'; echo
    curl -s -X POST %[1]s/api/v1/wallet -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -d '{"walletId":"'$W'","operationType":"DEPOSIT","amount":500}'; echo
`, s.APIURLs[0], r.URL)
}

// listenForWebhooks prints those that come. It listens where it did the last time: what was registered then goes on.
func listenForWebhooks(state *proc.State, out io.Writer) (*receiver.Receiver, error) {
	path := filepath.Join(state.Dir, "receiver")
	last, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	r, err := receiver.Listen(cmp.Or(string(last), "127.0.0.1:0"), receiver.Print(out))
	if err != nil {
		return nil, err
	}
	return r, os.WriteFile(path, []byte(r.Addr), 0o644)
}
