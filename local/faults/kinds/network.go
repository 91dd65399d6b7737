package kinds

import (
	"context"
	"fmt"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/faults/system"
)

// cut closes a door for some time.
func cut(f *system.System, d system.Door, holds time.Duration) system.Fault {
	return system.Fault{
		Name: fmt.Sprintf("%s cut off from %s for %s", d.Service, d.Server, holds), Holds: holds, Within: system.OfService,
		Throw: func(context.Context) error { f.Doors[d].Stop(); return nil },
		Heal:  func(context.Context) error { return f.Doors[d].Start() },
	}
}

// silent lets both sides believe that the other one is only slow.
func silent(f *system.System, d system.Door, holds, within time.Duration) system.Fault {
	return system.Fault{
		Name: fmt.Sprintf("silence between %s and %s for %s", d.Service, d.Server, holds), Holds: holds, Within: within,
		Throw: func(context.Context) error { return f.Swallow(d, 0, "upstream", "downstream") },
		Heal:  f.LetThrough(d),
	}
}

// unanswered lets what was asked for happen, and whoever asked does not learn of it: a COMMIT, an acknowledgement.
func unanswered(f *system.System, d system.Door) system.Fault {
	const holds, closeAfter = 2 * time.Second, 200 * time.Millisecond
	return system.Fault{
		Name: fmt.Sprintf("answers of %s to %s lost for %s", d.Server, d.Service, holds), Holds: holds, Within: system.OfService,
		Throw: func(context.Context) error { return f.Swallow(d, closeAfter, "downstream") },
		Heal:  f.LetThrough(d),
	}
}

// networkFaults need doors.
func networkFaults(f *system.System) []system.Fault {
	const short, long = 4 * time.Second, 7 * time.Second
	return []system.Fault{
		cut(f, system.Door{Service: "api", Server: "postgres"}, short).Reporting("api", "postgres"),
		silent(f, system.Door{Service: "api", Server: "postgres"}, short, system.OfService),
		unanswered(f, system.Door{Service: "api", Server: "postgres"}),
		cut(f, system.Door{Service: "relay", Server: "postgres"}, short).Reporting("relay", "postgres"),
		silent(f, system.Door{Service: "relay", Server: "postgres"}, short, system.OfService),
		cut(f, system.Door{Service: "worker", Server: "postgres"}, short).Reporting("worker", "postgres"),
		silent(f, system.Door{Service: "worker", Server: "postgres"}, short, system.OfService),
		unanswered(f, system.Door{Service: "worker", Server: "postgres"}),
		cut(f, system.Door{Service: "relay", Server: "kafka"}, short),
		silent(f, system.Door{Service: "relay", Server: "kafka"}, long, system.OfService),
		unanswered(f, system.Door{Service: "relay", Server: "kafka"}),
		cut(f, system.Door{Service: "worker", Server: "kafka"}, short).Reporting("worker", "kafka"),
		silent(f, system.Door{Service: "worker", Server: "kafka"}, 11*time.Second, system.OfSession),
		ofOneRedis(f, silent(f, system.Door{Service: "api", Server: "redis"}, short, system.OfService).CuttingSome()),
		ofOneRedis(f, cut(f, system.Door{Service: "worker", Server: "redis"}, short).CuttingSome()),
		ofOneRedis(f, silent(f, system.Door{Service: "worker", Server: "redis"}, short, system.OfService).CuttingSome()),
	}
}
