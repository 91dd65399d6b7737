package system

import (
	"os"
	"path/filepath"
)

// planClock lets the clock of Postgres be moved, if libfaketime is installed.
func (f *System) planClock() {
	libraries, _ := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if len(libraries) == 0 {
		return
	}
	f.Clock = filepath.Join(f.Stack.State.Dir, "clock")
	if err := f.SetClock("+0"); err != nil {
		f.Clock = ""
		return
	}
	f.Stack.Backing.PostgresEnv = []string{
		"LD_PRELOAD=" + libraries[0], "FAKETIME_TIMESTAMP_FILE=" + f.Clock,
		"FAKETIME_CACHE_DURATION=1", "FAKETIME_DONT_FAKE_MONOTONIC=1",
	}
}

// SetClock replaces the file: a reader finds the old or the new one.
func (f *System) SetClock(offset string) error {
	if err := os.WriteFile(f.Clock+".new", []byte(offset+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(f.Clock+".new", f.Clock)
}
