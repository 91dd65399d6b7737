package kinds

import (
	"context"
	"fmt"
	"net/http"
	"syscall"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/faults/system"
)

// hooksFaults are about those who deliver webhooks, and those who receive them. Nothing that they do may harm the
// others; that everything arrives is seen at the end of the round.
func hooksFaults(f *system.System) []system.Fault {
	if f.Receiver == nil {
		return nil
	}
	const short = 4 * time.Second
	receiver := func(name string, throw, heal func() error) system.Fault {
		return system.Fault{
			Name: name, Holds: short, Within: system.OfService,
			Throw: func(context.Context) error { return throw() },
			Heal:  func(context.Context) error { return heal() },
		}
	}
	var speak func()
	faults := []system.Fault{
		signalled(f, "kill -9 of a hooks", syscall.SIGKILL, system.OfService, "hooks"),
		signalled(f, "SIGTERM of a hooks", syscall.SIGTERM, system.OfService, "hooks"),
		{Name: "kill -9 of all hooks", Within: system.OfService, Throw: func(context.Context) error {
			for _, p := range f.Stack.Replicas("hooks") {
				p.Signal(syscall.SIGKILL)
			}
			return nil
		}},
		// Another one has its endpoints by then.
		stopped(f, "SIGSTOP of a hooks for 15 s", "hooks", 15*time.Second, system.OfService),
		receiver("the receiver of webhooks away for 4 s", func() error { f.Receiver.Leave(); return nil }, f.Receiver.Return),
		receiver("the receiver of webhooks refuses them for 4 s",
			func() error { f.Receiver.Refuse(http.StatusInternalServerError); return nil },
			func() error { f.Receiver.Refuse(0); return nil }),
		receiver("the receiver of webhooks silent for 4 s",
			func() error { speak = f.Receiver.FallSilent(); return nil },
			func() error { speak(); return nil }),
		{Name: "webhooks replayed since 10 s ago, and kill -9 of a hooks", Within: system.OfService, Throw: func(context.Context) error {
			api := f.API()
			defer api.Close()
			body := fmt.Sprintf(`{"since": %q}`, time.Now().Add(-10*time.Second).UTC().Format(time.RFC3339))
			r, err := api.Do(http.MethodPost, "/api/v1/webhooks/"+f.Webhook.String()+"/replay", "", []byte(body))
			if err != nil || r.Status != http.StatusAccepted {
				return fmt.Errorf("ask for a replay: %d %s, %w", r.Status, r.Body, err)
			}
			pick(f, "hooks").Signal(syscall.SIGKILL)
			return nil
		}},
	}
	for _, point := range []string{"hooks-after-take", "hooks-before-attempt", "hooks-after-delivery", "hooks-between-states-and-cursors", "hooks-after-save"} {
		faults = append(faults, dying(f, "hooks", point, system.OfService))
	}
	if f.Kfake != nil {
		return faults
	}
	return append(faults,
		cut(f, system.Door{Service: "hooks", Server: "postgres"}, short),
		silent(f, system.Door{Service: "hooks", Server: "postgres"}, 11*time.Second, system.OfService),
		unanswered(f, system.Door{Service: "hooks", Server: "postgres"}),
		cut(f, system.Door{Service: "hooks", Server: "kafka"}, short),
		silent(f, system.Door{Service: "hooks", Server: "kafka"}, 11*time.Second, system.OfService),
	)
}
