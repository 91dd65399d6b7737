// Local runs the whole wallet on one machine, without Docker and as any user: Postgres, Redis and
// Kafka, the api, the relay, the worker and hooks, each in a process of its own.
//
// Nothing outlives it. The services and the backing services are children in process groups of their own, stopped in
// order at the end; if local is killed, the kernel kills them with it, and Postgres, whose server
// detaches itself, is stopped by its launcher, which notices that local is gone. A folder of temporary
// state that a killed local left is removed by the next one.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/local/bench"
	"github.com/legendary-wallet/legendary-wallet/local/demo"
	"github.com/legendary-wallet/legendary-wallet/local/faults"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

const usageText = `usage: local COMMAND

  demo                  run everything, send 1,000 operations a second to one wallet for 10 s, check
                        every promise; exit 0 if all hold
  run                   run everything until Ctrl-C; the state stays in .local/
  bench [FLAGS]         measure rates, latencies, CPU, memory and WAL by scenario, and the machine's own
                        limits; -list, -only REGEXP, -runs 3, -out FOLDER, -compare OLD.json NEW.json
  faults [FLAGS]        throw faults at everything under load and check every promise after each;
                        -seed N, -duration 10m, -times N, -only REGEXP, -report FOLDER; with
                        -drill measure how long each process is missed; with -mutations see that
                        programs that have lost one of their rules are found out
  parts -- COMMAND...   run a command with a fresh Postgres, Redis and Kafka, whose addresses it
                        finds in TEST_DATABASE_URL, TEST_REDIS_URL and TEST_KAFKA_BROKERS

Settings of demo, run and faults, in the environment:

  KAFKA=apache          Apache Kafka instead of a stand-in
  BROKERS=3             three brokers, every partition on all of them (with KAFKA=apache); for bench and faults too
  REDIS                 sentinel: a master, a replica and three Sentinels; cluster: three masters with a replica each
  SECURE=on             TLS and passwords between all of them (with KAFKA=apache)
  API, RELAY, WORKER, HOOKS
                        how many of each run (1; HOOKS=0 for none)
  CELLS=2               whole systems behind one HAProxy, for demo and run (1)
  STANDBYS              synchronous standbys of Postgres: 1, or 2 of which commits wait for either (0)
  HTTP_ADDR             where the first api listens (a free port)
  DATABASE_URL, REDIS_URL, KAFKA_BROKERS
                        use this server (Postgres: as its superuser) instead of starting one

Others, such as FLUSH_MAX or RDKAFKA_LINGER_MS, reach the services.
`

// children are what this program is when it is started by itself.
var children = proc.Roles{
	"postgres": servers.ServePostgres, "miniredis": servers.ServeMiniredis, "kfake": servers.ServeKfake, "nothing": bench.ServeNothing,
}

func main() {
	args := os.Args[1:]
	children.Serve(args)
	walletcache.Silence() // servers that start do not answer yet
	ctx, cancel := untilSignal()
	code, err := runCommand(ctx, args)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "local:", err)
		code = max(1, code)
	}
	os.Exit(code)
}

// runCommand returns the exit code: 2 for a wrong command line.
func runCommand(ctx context.Context, args []string) (int, error) {
	c, err := stack.ParseConfig(os.Getenv)
	if err != nil {
		return 2, err
	}
	switch {
	case len(args) == 1 && args[0] == "demo":
		return 0, demo.Run(ctx, c, os.Stdout)
	case len(args) == 1 && args[0] == "run":
		return 0, runUntilStopped(ctx, c, os.Stdout)
	case len(args) >= 1 && args[0] == "bench":
		return 0, bench.Run(ctx, c, args[1:], os.Stdout)
	case len(args) >= 1 && args[0] == "faults":
		return 0, faults.Run(ctx, c, args[1:], os.Stdout)
	case len(args) > 2 && args[0] == "parts" && args[1] == "--":
		return runWithServers(ctx, c.Kafka, args[2:])
	}
	fmt.Fprint(os.Stderr, usageText)
	return 2, nil
}

// untilSignal is cancelled by the first Ctrl-C or SIGTERM; the second one kills local, and with it
// the kernel its children.
func untilSignal() (context.Context, context.CancelFunc) {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel)
	return ctx, cancel
}
