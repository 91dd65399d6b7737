package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
)

// A door is the way from the processes of one service to one of the servers. It can be shut, and what
// goes through it can be swallowed.
type door struct{ service, server string }

var doors = []door{
	{"api", "postgres"},
	{"api", "redis"},
	{"relay", "postgres"},
	{"relay", "kafka"},
	{"worker", "postgres"},
	{"worker", "redis"},
	{"worker", "kafka"},
}

// planKafkaDoors gives each service its own listener of each broker, which sends its clients to the
// door: Kafka's clients connect to where the broker tells them.
func (f *campaign) planKafkaDoors() error {
	if f.stack.Backing.Kafka != "apache" {
		return nil
	}
	f.stack.Backing.KafkaListeners = make([][]servers.Listener, f.stack.Backing.Brokers)
	for i := range f.stack.Backing.KafkaListeners {
		for _, service := range []string{"relay", "worker"} {
			behind, err := proc.FreePort()
			if err != nil {
				return err
			}
			before, err := proc.FreePort()
			if err != nil {
				return err
			}
			f.stack.Backing.KafkaListeners[i] = append(f.stack.Backing.KafkaListeners[i], servers.Listener{Name: strings.ToUpper(service), Address: proc.Address(behind), Advertised: proc.Address(before)})
		}
	}
	return nil
}

// openDoors puts the doors up and leads the services to them.
func (f *campaign) openDoors(context.Context) error {
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	f.doors = map[door]way{}
	f.stack.ServiceEnv = map[string][]string{}
	if f.lying != nil {
		// Several batches of a partition in one wave: what happens to one must not harm the next.
		f.stack.ServiceEnv["relay"] = []string{"RDKAFKA_BATCH_NUM_MESSAGES=5"}
	}
	for _, d := range doors {
		const anywhere = "127.0.0.1:0"
		var listeners []servers.Listener
		switch d.server {
		case "postgres":
			listeners = []servers.Listener{{Address: servers.HostOf(f.stack.Backing.DatabaseURL), Advertised: anywhere}}
		case "redis":
			listeners = []servers.Listener{{Address: servers.HostOf(f.stack.Backing.RedisURL), Advertised: anywhere}}
		case "kafka":
			for _, l := range slices.Concat(f.stack.Backing.KafkaListeners...) {
				if l.Name == strings.ToUpper(d.service) {
					listeners = append(listeners, l)
				}
			}
		}
		if len(listeners) == 0 {
			continue
		}
		var doors []string
		for i, l := range listeners {
			proxy := toxiproxy.NewProxy(server, fmt.Sprintf("%s-%s-%d", d.service, d.server, i), l.Advertised, l.Address)
			if err := proxy.Start(); err != nil {
				return fmt.Errorf("open the door from %s to %s: %w", d.service, d.server, err)
			}
			f.doors[d] = append(f.doors[d], proxy)
			doors = append(doors, proxy.Listen)
		}
		setting := ""
		switch d.server {
		case "postgres":
			// The login is made later; its name and password are known.
			setting = fmt.Sprintf("DATABASE_URL=postgres://local_%s:local@%s/postgres?sslmode=disable", d.service, doors[0])
		case "redis":
			setting = "REDIS_URL=redis://" + doors[0] + "/0"
		case "kafka":
			setting = "KAFKA_BROKERS=" + strings.Join(doors, ",")
		}
		f.stack.ServiceEnv[d.service] = append(f.stack.ServiceEnv[d.service], setting)
	}
	return nil
}

// way is all that leads through a door: a proxy for each node of the server.
type way []*toxiproxy.Proxy

func (w way) stop() {
	for _, proxy := range w {
		proxy.Stop()
	}
}

func (w way) start() error {
	for _, proxy := range w {
		if err := proxy.Start(); err != nil {
			return err
		}
	}
	return nil
}

func (f *campaign) closeDoors() {
	for _, way := range f.doors {
		way.stop()
	}
}

// networkFaults need doors.
func (f *campaign) networkFaults() []kind {
	cut := func(d door, holds time.Duration) kind {
		return kind{
			name: fmt.Sprintf("%s cut off from %s for %s", d.service, d.server, holds), holds: holds, within: ofService,
			throw: func(context.Context) error { f.doors[d].stop(); return nil },
			heal:  func(context.Context) error { return f.doors[d].start() },
		}
	}
	// Both sides believe that the other one is only slow.
	silent := func(d door, holds, within time.Duration) kind {
		return kind{
			name: fmt.Sprintf("silence between %s and %s for %s", d.service, d.server, holds), holds: holds, within: within,
			throw: func(context.Context) error { return f.swallow(d, 0, "upstream", "downstream") },
			heal:  f.letThrough(d),
		}
	}
	// What was asked for happens, and whoever asked does not learn of it: a COMMIT, an acknowledgement.
	unanswered := func(d door) kind {
		const holds, closeAfter = 2 * time.Second, 200 * time.Millisecond
		return kind{
			name: fmt.Sprintf("answers of %s to %s lost for %s", d.server, d.service, holds), holds: holds, within: ofService,
			throw: func(context.Context) error { return f.swallow(d, closeAfter, "downstream") },
			heal:  f.letThrough(d),
		}
	}
	const short, long = 4 * time.Second, 7 * time.Second
	return []kind{
		cut(door{"api", "postgres"}, short).telling("api", "postgres"),
		silent(door{"api", "postgres"}, short, ofService),
		unanswered(door{"api", "postgres"}),
		cut(door{"relay", "postgres"}, short).telling("relay", "postgres"),
		silent(door{"relay", "postgres"}, short, ofService),
		cut(door{"worker", "postgres"}, short).telling("worker", "postgres"),
		silent(door{"worker", "postgres"}, short, ofService),
		unanswered(door{"worker", "postgres"}),
		cut(door{"relay", "kafka"}, short),
		silent(door{"relay", "kafka"}, long, ofService),
		unanswered(door{"relay", "kafka"}),
		cut(door{"worker", "kafka"}, short).telling("worker", "kafka"),
		silent(door{"worker", "kafka"}, 11*time.Second, ofSession),
		silent(door{"api", "redis"}, short, ofService).cuttingSome(),
		cut(door{"worker", "redis"}, short).cuttingSome(),
		silent(door{"worker", "redis"}, short, ofService).cuttingSome(),
	}
}

// swallow drops what goes through a door in the given directions. After closeAfter, if not 0, it
// closes the connections over which something should have gone.
func (f *campaign) swallow(d door, closeAfter time.Duration, directions ...string) error {
	for _, direction := range directions {
		toxic := fmt.Sprintf(`{"type": "timeout", "stream": %q, "attributes": {"timeout": %d}}`, direction, closeAfter.Milliseconds())
		for _, proxy := range f.doors[d] {
			if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
				return fmt.Errorf("swallow what goes %s between %s and %s: %w", direction, d.service, d.server, err)
			}
		}
	}
	return nil
}

// letThrough ends swallow. The connections that have lost something are closed.
func (f *campaign) letThrough(d door) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, proxy := range f.doors[d] {
			proxy.Toxics.ResetToxics(ctx)
		}
		return nil
	}
}
