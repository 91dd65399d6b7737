// Ctl is the operator's command: what a person does to the system by hand, rarely. It has no
// state of its own, so that one that was killed is run again.
package main

import (
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
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service"
)

// A command is called by its words, which its arguments follow.
type command struct {
	words, usage, does string
	needs              needs  // what is connected, or has to be set, before it does anything
	reads              string // the settings that it reads, besides those of what it needs
	parse              func(c *call) (task, error)
}

// A task is what a command does, once it has understood its arguments and what it needs is there.
type task func(ctx context.Context) error

// needs are the servers that a command works with.
type needs int

const nothing needs = 0

const (
	onPostgres   needs = 1 << iota // c.conn and c.q are connected
	onKafka                        // KAFKA_BROKERS is set
	onRedis                        // c.cache is connected
	onRedisIfSet                   // c.cache is connected, or nil without REDIS_URL
)

var commands = []command{
	{"status", "[--json] [--watch]", "how everything is, on one screen, and what to do about it; exits 1 unless all is well", nothing, "DATABASE_URL KAFKA_BROKERS RDKAFKA_* REDIS_URL TOPIC EVENTS_TOPIC KAFKA_GROUP NO_COLOR", showStatus},
	{"migrate", "[--wait TIME]", "bring the database's schema up to date; any number of them at once do it one after the other", nothing, "DATABASE_URL", migrate},
	{"wallet", "ID [--json]", "a wallet, its last operations, and what the cache says of it", onPostgres | onRedisIfSet, "", showWallet},
	{"operation", "ID [--kafka] [--json]", "where an operation is: accepted, published, applied, and of a transfer settled", onPostgres, "KAFKA_BROKERS RDKAFKA_* TOPIC NO_COLOR", showOperation},
	{"verify", "[--wallet ID] [--json]", "audit the database, and the cache if REDIS_URL is set, while everything runs", onPostgres | onRedisIfSet, "TOPIC EVENTS_TOPIC", verify},
	{"actions", "[--last N]", "list what operators did: who, when, what, why", onPostgres, "", listActions},
	{"topic create", "NAME... --partitions N", "create topics at Kafka and register them for the outbox", onPostgres | onKafka, "", topicCreate},
	{"relay pause", "--reason TEXT", "stop publishing", onPostgres, "RELAY_NAME ACTOR", relayPause},
	{"relay resume", "--reason TEXT", "go on publishing", onPostgres, "RELAY_NAME ACTOR", relayResume},
	{"relay replay", "--since TIME|--wallet ID [--topic NAME] --reason TEXT", "publish again what the outbox still has", onPostgres, "ACTOR", relayReplay},
	{"relay park", "ID --reason TEXT", "let the relays pass over an outbox row, which is then never published", onPostgres, "TOPIC ACTOR", relayPark},
	{"relay parked", "", "list the rows that are passed over", onPostgres, "", relayParked},
	{"relay unpark", "ID --reason TEXT", "publish a parked row after all, if no relay has passed it yet", onPostgres, "TOPIC ACTOR", relayUnpark},
	{"relay rebase", "--reason TEXT", "after restoring a dump: publish again everything that is in the outbox", onPostgres, "ACTOR", relayRebase},
	{"relay lost", "--since TIME [--json]", "after a failover: list the operations that Kafka tells of and the database has lost", onPostgres | onKafka, "TOPIC", relayLost},
	{"cache renew", "--reason TEXT", "after a failover or restore: make everything that is cached unreadable", onPostgres | onRedis, "ACTOR", cacheRenew},
	{"keys create", "CLIENT [--tenant NAME|--all-tenants] [--scopes LIST] [--hash HEX]", "make an API key for a client and print it, or the key of another cell", onPostgres, "", keysCreate},
	{"keys list", "[--hashes]", "list the API keys", onPostgres, "", keysList},
	{"keys revoke", "ID --reason TEXT", "end an API key", onPostgres, "ACTOR", keysRevoke},
	{"tenants list", "", "list the tenants", onPostgres, "", tenantsList},
	{"tenants disable", "NAME --reason TEXT", "refuse a tenant's keys", onPostgres, "ACTOR", tenantsDisable},
	{"tenants enable", "NAME --reason TEXT", "let a tenant's keys in again", onPostgres, "ACTOR", tenantsEnable},
	{"hooks list", "[--tenant NAME]", "list the webhooks and how they fare", onPostgres, "", hooksList},
	{"hooks disable", "ID --reason TEXT", "stop delivering to a webhook", onPostgres, "ACTOR", hooksDisable},
	{"hooks enable", "ID --reason TEXT", "go on delivering to a webhook", onPostgres, "ACTOR", hooksEnable},
}

// A call is one run of a command.
type call struct {
	command
	settings
	flags  *flag.FlagSet
	args   []string
	stdin  io.Reader
	stdout io.Writer

	conn  *pgx.Conn
	q     *walletdb.Queries // of conn
	cache redis.UniversalClient
}

// usageError is a mistake of the caller: exit code 2.
type usageError string

func (e usageError) Error() string { return string(e) }

// errUnwell ends a command that has printed what is wrong: exit code 1 and no more words.
var errUnwell = errors.New("not well")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	walletcache.Silence() // the command says itself what failed
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// run returns the exit code: 0 done, 1 not done or not well, 2 called wrongly.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	for _, cmd := range commands {
		words := strings.Fields(cmd.words)
		if len(args) < len(words) || strings.Join(args[:len(words)], " ") != cmd.words {
			continue
		}
		c := &call{command: cmd, flags: flag.NewFlagSet(cmd.words, flag.ContinueOnError), args: args[len(words):], stdin: stdin, stdout: stdout}
		err := c.run(ctx, environ)
		var usage usageError
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		case errors.Is(err, errUnwell):
			return 1
		case errors.As(err, &usage):
			fmt.Fprintf(stderr, "ctl %s: %v\nusage: ctl %s; more by --help\n", cmd.words, err, cmd.synopsis())
			return 2
		}
		fmt.Fprintf(stderr, "ctl %s: %v\n", cmd.words, err)
		return 1
	}
	env := service.NewEnv(environ)
	readSettings(env)
	switch {
	case len(args) == 1 && args[0] == "--version":
		fmt.Fprintln(stdout, "ctl", service.Version())
		return 0
	case len(args) == 1 && args[0] == "--settings":
		_ = service.WriteSettings(stdout, env.Declared())
		return 0
	}
	return overview(args, described(env), stdout, stderr)
}

// run understands the call, connects what the command needs, and does it.
func (c *call) run(ctx context.Context, environ []string) error {
	env := service.NewEnv(environ)
	c.settings = readSettings(env)
	c.flags.SetOutput(io.Discard) // run tells a mistake
	c.flags.Usage = func() { c.help(described(env)) }
	work, err := c.parse(c)
	if err != nil {
		return err
	}
	if err := errors.Join(append(c.missing(), env.Err())...); err != nil {
		return usageError(err.Error())
	}
	defer c.disconnect(context.WithoutCancel(ctx))
	if err := c.connectAll(ctx); err != nil {
		return err
	}
	return work(ctx)
}

// missing lists what the command needs and the settings do not have.
func (c *call) missing() (mistakes []error) {
	if c.needs&onPostgres != 0 && c.databaseURL == "" {
		mistakes = append(mistakes, errNoDatabase)
	}
	if c.needs&onKafka != 0 && c.kafkaBrokers == "" {
		mistakes = append(mistakes, errNoKafka)
	}
	if c.needs&onRedis != 0 && c.redisURL == "" {
		mistakes = append(mistakes, usageError("REDIS_URL is required"))
	}
	return mistakes
}

const (
	errNoDatabase = usageError("DATABASE_URL is required: the login that owns the tables")
	errNoKafka    = usageError("KAFKA_BROKERS is required: host:port[,host:port]")
)

func (c *call) connectAll(ctx context.Context) (err error) {
	if c.needs&(onRedis|onRedisIfSet) != 0 && c.redisURL != "" {
		if c.cache, err = walletcache.Open(c.redisURL); err != nil {
			return usageError("REDIS_URL: " + err.Error())
		}
	}
	if c.needs&onPostgres != 0 {
		// What publishes again reads all that the outbox holds. Locks are still given up in 3 s.
		if c.conn, err = c.connect(ctx, map[string]string{"statement_timeout": "5min"}); err != nil {
			return err
		}
		c.q = walletdb.New(c.conn)
	}
	return nil
}

func (c *call) disconnect(ctx context.Context) {
	if c.conn != nil {
		_ = c.conn.Close(ctx)
	}
	if c.cache != nil {
		_ = c.cache.Close()
	}
}

// connect opens the database as the owner of its tables.
func (c *call) connect(ctx context.Context, parameters map[string]string) (*pgx.Conn, error) {
	if c.databaseURL == "" {
		return nil, errNoDatabase
	}
	config, err := db.Config(c.databaseURL)
	if err != nil {
		return nil, usageError("DATABASE_URL: " + err.Error())
	}
	for name, value := range parameters {
		config.ConnConfig.RuntimeParams[name] = value
	}
	// An operator looks at a server whose standby is missing, too.
	conn, err := db.ConnectUnconfirmed(ctx, config.ConnConfig)
	if err != nil {
		return nil, fmt.Errorf("connect to postgres: %w", err)
	}
	return conn, nil
}

// given reports whether a flag stands in the call.
func (c *call) given(name string) (stands bool) {
	c.flags.Visit(func(f *flag.Flag) { stands = stands || f.Name == name })
	return stands
}

// arguments parses the flags, which may stand anywhere, and returns the arguments by these names.
func (c *call) arguments(names ...string) ([]string, error) {
	values, err := c.anyArguments()
	if err == nil && len(values) != len(names) {
		err = usageError(fmt.Sprintf("want %d arguments (%s), got %d", len(names), strings.Join(names, " "), len(values)))
	}
	return values, err
}

// anyArguments is arguments for any number of them.
func (c *call) anyArguments() (values []string, err error) {
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
	return values, nil
}
