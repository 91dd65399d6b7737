// Package machine measures what processes use, and what the machine can do.
package machine

import (
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Kernel is the operating system's, with its release.
func Kernel() (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	return unix.ByteSliceToString(name.Sysname[:]) + " " + unix.ByteSliceToString(name.Release[:]), nil
}

// MeasureFdatasync is the time that the disk takes to keep what a small transaction writes.
func MeasureFdatasync() (p50Ms float64, err error) {
	file, err := os.CreateTemp("", "fdatasync-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	const rounds = 1000
	block := make([]byte, 8192)
	if _, err := file.Write(make([]byte, 16<<20)); err != nil {
		return 0, err
	}
	if err := file.Sync(); err != nil {
		return 0, err
	}
	var took []time.Duration
	for i := range int64(rounds) {
		started := time.Now()
		if _, err := file.WriteAt(block, i*int64(len(block))); err != nil {
			return 0, err
		}
		if err := fdatasync(file); err != nil {
			return 0, err
		}
		took = append(took, time.Since(started))
	}
	slices.Sort(took)
	return float64(took[rounds/2].Microseconds()) / 1000, nil
}
