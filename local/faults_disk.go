package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
)

// smallDisk is a file system in memory for the tables that grow fastest. It is full as soon as it is
// allowed no more than it holds. Only the stack's own processes see it, so it goes with them; it takes
// root to make it.
type smallDisk struct {
	folder string
	err    error
}

const smallDiskBytes = 8 << 30 // at most; it takes the memory of what is in it

// planSmallDisk gives the processes that will be started file systems of their own.
func (f *campaign) planSmallDisk() {
	f.disk = &smallDisk{}
	if os.Geteuid() != 0 {
		f.disk.err = errors.New("a file system of its own takes root")
		return
	}
	f.disk.err = proc.OnLauncherThread(ownMounts)
}

// moveToSmallDisk moves the outbox and the outcomes: neither can anything be accepted without the one
// nor applied without the other. What Postgres writes first, its log, stays where it was.
func (f *campaign) moveToSmallDisk(ctx context.Context) error {
	if f.disk.err != nil {
		return nil
	}
	dir, err := servers.PostgresDir(f.stack.State)
	if err != nil {
		return err
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		return err
	}
	f.disk.folder = filepath.Join(dir, "small")
	if err := os.Mkdir(f.disk.folder, 0o700); err != nil {
		return err
	}
	f.disk.err = proc.OnLauncherThread(func() error {
		options := fmt.Sprintf("size=%d,mode=0700,uid=%s,gid=%s", smallDiskBytes, nobody.Uid, nobody.Gid)
		return mountMemory(f.disk.folder, options)
	})
	if f.disk.err != nil {
		return nil
	}
	conn, err := pgx.Connect(ctx, f.stack.Backing.DatabaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, statement := range []string{
		fmt.Sprintf("CREATE TABLESPACE small LOCATION '%s'", f.disk.folder),
		"ALTER TABLE outbox SET TABLESPACE small",
		"ALTER TABLE outcomes SET TABLESPACE small",
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// allow changes how much the disk may hold: 0 is what it holds now.
func (d *smallDisk) allow(bytes uint64) error {
	return proc.OnLauncherThread(func() error { return limitMemory(d.folder, bytes) })
}

func (f *campaign) fullDisk() kind {
	k := kind{
		name: "disk full for 4 s", holds: 4 * time.Second, within: ofService,
		throw: func(context.Context) error { return f.disk.allow(0) },
		heal:  func(context.Context) error { return f.disk.allow(smallDiskBytes) },
	}
	if f.disk == nil {
		k.notPossible = "there is no small disk"
	} else if f.disk.err != nil {
		k.notPossible = f.disk.err.Error()
	}
	return k
}

// planClock lets the clock of Postgres be moved, if libfaketime is installed.
func (f *campaign) planClock() {
	libraries, _ := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if len(libraries) == 0 {
		return
	}
	f.clock = filepath.Join(f.stack.State.Dir, "clock")
	if err := f.setClock("+0"); err != nil {
		f.clock = ""
		return
	}
	f.stack.Backing.PostgresEnv = []string{
		"LD_PRELOAD=" + libraries[0], "FAKETIME_TIMESTAMP_FILE=" + f.clock,
		"FAKETIME_CACHE_DURATION=1", "FAKETIME_DONT_FAKE_MONOTONIC=1",
	}
}

// setClock replaces the file: a reader finds the old or the new one.
func (f *campaign) setClock(offset string) error {
	if err := os.WriteFile(f.clock+".new", []byte(offset+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(f.clock+".new", f.clock)
}

func (f *campaign) clockStep(name, offset string) kind {
	k := kind{
		name: name, holds: 4 * time.Second, within: ofService, movesClock: true,
		throw: func(ctx context.Context) error {
			if err := f.setClock(offset); err != nil {
				return err
			}
			moved := func() bool {
				var now time.Time
				err := f.pool.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now)
				return err == nil && time.Until(now).Abs() > 50*time.Minute
			}
			if !proc.Await(ctx, 5*time.Second, moved) {
				return errors.New("the clock does not move")
			}
			return nil
		},
		heal: func(context.Context) error { return f.setClock("+0") },
	}
	if f.clock == "" {
		k.notPossible = "libfaketime is not installed (Debian: apt-get install libfaketime)"
	}
	return k
}
