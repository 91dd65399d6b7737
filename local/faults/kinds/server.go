package kinds

import (
	"context"
	"errors"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/faults/system"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

func fullDisk(f *system.System) system.Fault {
	k := system.Fault{
		Name: "disk full for 4 s", Holds: 4 * time.Second, Within: system.OfService,
		Throw: func(context.Context) error { return f.Disk.Allow(0) },
		Heal:  func(context.Context) error { return f.Disk.Allow(system.SmallDiskBytes) },
	}
	if f.Disk == nil {
		k.NotPossible = "there is no small disk"
	} else if f.Disk.Err != nil {
		k.NotPossible = f.Disk.Err.Error()
	}
	return k
}

func clockStep(f *system.System, name, offset string) system.Fault {
	k := system.Fault{
		Name: name, Holds: 4 * time.Second, Within: system.OfService, MovesClock: true,
		Throw: func(ctx context.Context) error {
			if err := f.SetClock(offset); err != nil {
				return err
			}
			moved := func() bool {
				var now time.Time
				err := f.Pool.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now)
				return err == nil && time.Until(now).Abs() > 50*time.Minute
			}
			if !proc.Await(ctx, 5*time.Second, moved) {
				return errors.New("the clock does not move")
			}
			return nil
		},
		Heal: func(context.Context) error { return f.SetClock("+0") },
	}
	if f.Clock == "" {
		k.NotPossible = "libfaketime is not installed (Debian: apt-get install libfaketime)"
	}
	return k
}
