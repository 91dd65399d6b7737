package system

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// ownMounts gives the processes that the launcher's thread will start mounts of their own. It takes
// root.
func ownMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	return unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "")
}

// mountMemory mounts a file system in memory.
func mountMemory(folder, options string) error {
	return unix.Mount("tmpfs", folder, "tmpfs", 0, options)
}

// limitMemory changes how much such a file system may hold: 0 is what it holds now.
func limitMemory(folder string, bytes uint64) error {
	if bytes == 0 {
		var now unix.Statfs_t
		if err := unix.Statfs(folder, &now); err != nil {
			return err
		}
		bytes = (now.Blocks - now.Bfree) * uint64(now.Bsize)
	}
	return unix.Mount("", folder, "", unix.MS_REMOUNT, fmt.Sprintf("size=%d", bytes))
}
