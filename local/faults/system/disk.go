package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
)

// smallDisk is a file system in memory for the tables that grow fastest. It is full as soon as it is
// allowed no more than it holds. Only the stack's own processes see it, so it goes with them; it takes
// root to make it.
type smallDisk struct {
	folder string
	Err    error
}

const SmallDiskBytes = 8 << 30 // at most; it takes the memory of what is in it

// planSmallDisk gives the processes that will be started file systems of their own.
func (f *System) planSmallDisk() {
	f.Disk = &smallDisk{}
	if os.Geteuid() != 0 {
		f.Disk.Err = errors.New("a file system of its own takes root")
		return
	}
	f.Disk.Err = proc.OnLauncherThread(ownMounts)
}

// moveToSmallDisk moves the outbox and the outcomes: neither can anything be accepted without the one
// nor applied without the other. What Postgres writes first, its log, stays where it was.
func (f *System) moveToSmallDisk(ctx context.Context) error {
	if f.Disk.Err != nil {
		return nil
	}
	dir, err := servers.PostgresDir(f.Stack.State)
	if err != nil {
		return err
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		return err
	}
	f.Disk.folder = filepath.Join(dir, "small")
	if err := os.Mkdir(f.Disk.folder, 0o700); err != nil {
		return err
	}
	f.Disk.Err = proc.OnLauncherThread(func() error {
		options := fmt.Sprintf("size=%d,mode=0700,uid=%s,gid=%s", SmallDiskBytes, nobody.Uid, nobody.Gid)
		return mountMemory(f.Disk.folder, options)
	})
	if f.Disk.Err != nil {
		return nil
	}
	conn, err := pgx.Connect(ctx, f.Stack.Backing.DatabaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, statement := range []string{
		fmt.Sprintf("CREATE TABLESPACE small LOCATION '%s'", f.Disk.folder),
		"ALTER TABLE outbox SET TABLESPACE small",
		"ALTER TABLE outcomes SET TABLESPACE small",
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// Allow changes how much the disk may hold: 0 is what it holds now.
func (d *smallDisk) Allow(bytes uint64) error {
	return proc.OnLauncherThread(func() error { return limitMemory(d.folder, bytes) })
}
