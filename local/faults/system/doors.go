package system

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/legendary-wallet/legendary-wallet/db/freeport"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
)

// A door is the way from the processes of one service to one of the servers. It can be shut, and what
// goes through it can be swallowed.
type Door struct{ Service, Server string }

var doors = []Door{
	{"api", "postgres"},
	{"api", "redis"},
	{"relay", "postgres"},
	{"relay", "kafka"},
	{"worker", "postgres"},
	{"worker", "redis"},
	{"worker", "kafka"},
	{"hooks", "postgres"},
	{"hooks", "kafka"},
}

// planKafkaDoors gives each service its own listener of each broker, which sends its clients to the
// door: Kafka's clients connect to where the broker tells them.
func (f *System) planKafkaDoors() error {
	if f.Stack.Backing.Kafka != "apache" {
		return nil
	}
	f.Stack.Backing.KafkaListeners = make([][]servers.Listener, f.Stack.Backing.Brokers)
	for i := range f.Stack.Backing.KafkaListeners {
		for _, service := range []string{"relay", "worker", "hooks"} {
			behind, err := freeport.Find()
			if err != nil {
				return err
			}
			before, err := freeport.Find()
			if err != nil {
				return err
			}
			f.Stack.Backing.KafkaListeners[i] = append(f.Stack.Backing.KafkaListeners[i], servers.Listener{Name: strings.ToUpper(service), Address: proc.Address(behind), Advertised: proc.Address(before)})
		}
	}
	return nil
}

// openDoors puts the doors up and leads the services to them.
func (f *System) openDoors(context.Context) error {
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	f.Doors = map[Door]way{}
	f.Stack.ServiceEnv = map[string][]string{}
	if f.Kfake != nil {
		// Several batches of a partition in one publish batch: what happens to one must not harm the next.
		f.Stack.ServiceEnv["relay"] = []string{"RDKAFKA_BATCH_NUM_MESSAGES=5"}
	}
	for _, d := range doors {
		var addresses []string
		for i, l := range f.behind(d) {
			proxy := toxiproxy.NewProxy(server, fmt.Sprintf("%s-%s-%d", d.Service, d.Server, i), l.Advertised, l.Address)
			if err := proxy.Start(); err != nil {
				return fmt.Errorf("open the door from %s to %s: %w", d.Service, d.Server, err)
			}
			f.Doors[d] = append(f.Doors[d], proxy)
			addresses = append(addresses, proxy.Listen)
		}
		if len(addresses) > 0 {
			f.Stack.ServiceEnv[d.Service] = append(f.Stack.ServiceEnv[d.Service], d.setting(addresses))
		}
	}
	return nil
}

// behind is where the server of a door listens, and where its proxies are to listen; none if it has no
// door.
func (f *System) behind(d Door) (listeners []servers.Listener) {
	const anywhere = "127.0.0.1:0"
	switch d.Server {
	case "postgres":
		return []servers.Listener{{Address: servers.HostOf(f.Stack.Backing.DatabaseURL), Advertised: anywhere}}
	case "redis":
		if f.Stack.Backing.Redis != "" {
			return nil // the services find the others behind it
		}
		return []servers.Listener{{Address: servers.HostOf(f.Stack.Backing.RedisURL), Advertised: anywhere}}
	}
	for _, l := range slices.Concat(f.Stack.Backing.KafkaListeners...) {
		if l.Name == strings.ToUpper(d.Service) {
			listeners = append(listeners, l)
		}
	}
	return listeners
}

// setting leads the service to the door.
func (d Door) setting(addresses []string) string {
	switch d.Server {
	case "postgres":
		// The login is made later; its name and password are known.
		return fmt.Sprintf("DATABASE_URL=postgres://local_%s:local@%s/postgres?sslmode=disable", d.Service, addresses[0])
	case "redis":
		return "REDIS_URL=redis://" + addresses[0] + "/0"
	}
	return "KAFKA_BROKERS=" + strings.Join(addresses, ",")
}

// way is all that leads through a door: a proxy for each node of the server.
type way []*toxiproxy.Proxy

func (w way) Stop() {
	for _, proxy := range w {
		proxy.Stop()
	}
}

func (w way) Start() error {
	for _, proxy := range w {
		if err := proxy.Start(); err != nil {
			return err
		}
	}
	return nil
}

func (f *System) closeDoors() {
	for _, way := range f.Doors {
		way.Stop()
	}
}

// Swallow drops what goes through a door in the given directions. After closeAfter, if not 0, it
// closes the connections over which something should have gone.
func (f *System) Swallow(d Door, closeAfter time.Duration, directions ...string) error {
	for _, direction := range directions {
		toxic := fmt.Sprintf(`{"type": "timeout", "stream": %q, "attributes": {"timeout": %d}}`, direction, closeAfter.Milliseconds())
		for _, proxy := range f.Doors[d] {
			if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
				return fmt.Errorf("swallow what goes %s between %s and %s: %w", direction, d.Service, d.Server, err)
			}
		}
	}
	return nil
}

// LetThrough ends swallow. The connections that have lost something are closed.
func (f *System) LetThrough(d Door) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, proxy := range f.Doors[d] {
			proxy.Toxics.ResetToxics(ctx)
		}
		return nil
	}
}
