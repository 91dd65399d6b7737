// Ctl is the operator's command: what a person does to the system by hand, rarely.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
)

// A command is called by its words, which its arguments follow.
type command struct {
	words, args, does string
	run               func(ctx context.Context, c *call) error
}

var commands = []command{
	{"status", "[--json] [--watch]", "how everything is, on one screen", status},
	{"wallet", "ID [--json]", "a wallet, its last operations, and what the cache says of it", showWallet},
	{"operation", "ID [--kafka] [--json]", "where an operation is: accepted, published, applied", showOperation},
	{"verify", "[--wallet ID] [--json]", "audit the database, and the cache if REDIS_URL is set, while everything runs", verify},
	{"actions", "[--last N]", "list what operators did: who, when, what, why", listActions},
	{"topic create", "NAME --partitions N", "create a topic at Kafka and register it for the outbox", topicCreate},
	{"relay pause", "--reason TEXT", "stop publishing", relayPause},
	{"relay resume", "--reason TEXT", "go on publishing", relayResume},
	{"relay replay", "--since TIME|--wallet ID --reason TEXT", "publish again what the outbox still has", relayReplay},
	{"relay park", "ID --reason TEXT", "let the relays pass over an outbox row, which is then never published", relayPark},
	{"relay parked", "", "list the rows that are passed over", relayParked},
	{"relay unpark", "ID --reason TEXT", "publish a parked row after all, if no relay has passed it yet", relayUnpark},
	{"relay rebase", "--reason TEXT", "after restoring a dump: publish again everything that is in the outbox", relayRebase},
	{"relay lost", "--since TIME [--json]", "after a failover: list the operations that Kafka tells of and the database has lost", relayLost},
	{"cache renew", "--reason TEXT", "after a failover or restore: make everything that is cached unreadable", cacheRenew},
	{"keys create", "CLIENT [--scopes LIST]", "make an API key for a client and print it", keysCreate},
	{"keys list", "", "list the API keys", keysList},
	{"keys revoke", "ID --reason TEXT", "end an API key", keysRevoke},
}

// A call is one run of a command.
type call struct {
	words  string
	flags  *flag.FlagSet
	args   []string
	env    map[string]string
	stdin  io.Reader
	stdout io.Writer
}

// usageError is a mistake of the caller: exit code 2.
type usageError string

func (e usageError) Error() string { return string(e) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	walletcache.Silence() // the command says itself what failed
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// run returns the exit code: 0 done, 1 not done, 2 called wrongly.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	for _, cmd := range commands {
		words := strings.Fields(cmd.words)
		if len(args) < len(words) || strings.Join(args[:len(words)], " ") != cmd.words {
			continue
		}
		c := &call{words: cmd.words, flags: flag.NewFlagSet(cmd.words, flag.ContinueOnError), args: args[len(words):], env: map[string]string{}, stdin: stdin, stdout: stdout}
		c.flags.SetOutput(stderr)
		c.flags.Usage = func() {
			fmt.Fprintf(stderr, "usage: ctl %s\n  %s\n", strings.TrimSpace(cmd.words+" "+cmd.args), cmd.does)
			c.flags.PrintDefaults()
		}
		for _, pair := range environ {
			name, value, _ := strings.Cut(pair, "=")
			c.env[name] = value
		}
		err := errors.Join(readFiles(c.env)...)
		if err != nil {
			err = usageError(err.Error())
		} else {
			err = cmd.run(ctx, c)
		}
		var usage usageError
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		case errors.As(err, &usage):
			fmt.Fprintf(stderr, "ctl %s: %v\nusage: ctl %s %s\n", cmd.words, err, cmd.words, cmd.args)
			return 2
		}
		fmt.Fprintf(stderr, "ctl %s: %v\n", cmd.words, err)
		return 1
	}
	if len(args) == 1 && args[0] == "--version" {
		fmt.Fprintln(stdout, "ctl", release())
		return 0
	}
	fmt.Fprintln(stderr, "usage: ctl COMMAND; those with --reason ask before they act, unless there is --yes")
	for _, cmd := range commands {
		fmt.Fprintf(stderr, "  %-60s %s\n", strings.TrimSpace(cmd.words+" "+cmd.args), cmd.does)
	}
	return 2
}

// parse reads flags and exactly the named arguments, in any order.
func (c *call) parse(names ...string) ([]string, error) {
	var values []string
	for rest := c.args; len(rest) > 0; {
		if err := c.flags.Parse(rest); errors.Is(err, flag.ErrHelp) {
			return nil, err
		} else if err != nil {
			return nil, usageError(err.Error())
		}
		if rest = c.flags.Args(); len(rest) > 0 {
			values, rest = append(values, rest[0]), rest[1:]
		}
	}
	if len(values) != len(names) {
		return nil, usageError(fmt.Sprintf("want %d arguments (%s), got %d", len(names), strings.Join(names, " "), len(values)))
	}
	return values, nil
}

// text is a setting, or its default.
func (c *call) text(name, otherwise string) string { return cmp.Or(c.env[name], otherwise) }

// connect opens the database as the owner of its tables.
func (c *call) connect(ctx context.Context) (*pgx.Conn, error) {
	if c.env["DATABASE_URL"] == "" {
		return nil, usageError("DATABASE_URL is required: the login that owns the tables")
	}
	config, err := db.Config(c.env["DATABASE_URL"])
	if err != nil {
		return nil, usageError("DATABASE_URL: " + err.Error())
	}
	// What publishes again reads all that the outbox holds. Locks are still given up in 3 s.
	config.ConnConfig.RuntimeParams["statement_timeout"] = "5min"
	// An operator looks at a server whose standby is missing, too.
	conn, err := db.ConnectUnconfirmed(ctx, config.ConnConfig)
	if err != nil {
		return nil, fmt.Errorf("connect to postgres: %w", err)
	}
	return conn, nil
}

// readFiles gives the settings that are secrets their values from files: NAME_FILE says which.
func readFiles(env map[string]string) (mistakes []error) {
	for name, path := range env {
		setting, isFile := strings.CutSuffix(name, "_FILE")
		if !isFile || path == "" || setting != "DATABASE_URL" && setting != "REDIS_URL" && !strings.HasPrefix(setting, "RDKAFKA_") {
			continue
		}
		text, err := os.ReadFile(path)
		value := strings.TrimSpace(string(text))
		switch {
		case err == nil && env[setting] != "":
			err = fmt.Errorf("is set, and %s too", setting)
		case err == nil && value == "":
			err = errors.New("is an empty file")
		}
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s: %w", name, err))
		}
		env[setting] = value
		delete(env, name)
	}
	return mistakes
}
