package kinds

import (
	"context"
	"fmt"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/faults/system"
)

// networkFaults need doors.
func networkFaults(f *system.System) []system.Fault {
	cut := func(d system.Door, holds time.Duration) system.Fault {
		return system.Fault{
			Name: fmt.Sprintf("%s cut off from %s for %s", d.Service, d.Server, holds), Holds: holds, Within: system.OfService,
			Throw: func(context.Context) error { f.Doors[d].Stop(); return nil },
			Heal:  func(context.Context) error { return f.Doors[d].Start() },
		}
	}
	// Both sides believe that the other one is only slow.
	silent := func(d system.Door, holds, within time.Duration) system.Fault {
		return system.Fault{
			Name: fmt.Sprintf("silence between %s and %s for %s", d.Service, d.Server, holds), Holds: holds, Within: within,
			Throw: func(context.Context) error { return f.Swallow(d, 0, "upstream", "downstream") },
			Heal:  f.LetThrough(d),
		}
	}
	// What was asked for happens, and whoever asked does not learn of it: a COMMIT, an acknowledgement.
	unanswered := func(d system.Door) system.Fault {
		const holds, closeAfter = 2 * time.Second, 200 * time.Millisecond
		return system.Fault{
			Name: fmt.Sprintf("answers of %s to %s lost for %s", d.Server, d.Service, holds), Holds: holds, Within: system.OfService,
			Throw: func(context.Context) error { return f.Swallow(d, closeAfter, "downstream") },
			Heal:  f.LetThrough(d),
		}
	}
	const short, long = 4 * time.Second, 7 * time.Second
	return []system.Fault{
		cut(system.Door{Service: "api", Server: "postgres"}, short).Reporting("api", "postgres"),
		silent(system.Door{Service: "api", Server: "postgres"}, short, system.OfService),
		unanswered(system.Door{Service: "api", Server: "postgres"}),
		cut(system.Door{Service: "relay", Server: "postgres"}, short).Reporting("relay", "postgres"),
		silent(system.Door{Service: "relay", Server: "postgres"}, short, system.OfService),
		cut(system.Door{Service: "worker", Server: "postgres"}, short).Reporting("worker", "postgres"),
		silent(system.Door{Service: "worker", Server: "postgres"}, short, system.OfService),
		unanswered(system.Door{Service: "worker", Server: "postgres"}),
		cut(system.Door{Service: "relay", Server: "kafka"}, short),
		silent(system.Door{Service: "relay", Server: "kafka"}, long, system.OfService),
		unanswered(system.Door{Service: "relay", Server: "kafka"}),
		cut(system.Door{Service: "worker", Server: "kafka"}, short).Reporting("worker", "kafka"),
		silent(system.Door{Service: "worker", Server: "kafka"}, 11*time.Second, system.OfSession),
		silent(system.Door{Service: "api", Server: "redis"}, short, system.OfService).CuttingSome(),
		cut(system.Door{Service: "worker", Server: "redis"}, short).CuttingSome(),
		silent(system.Door{Service: "worker", Server: "redis"}, short, system.OfService).CuttingSome(),
	}
}
