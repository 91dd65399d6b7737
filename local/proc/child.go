package proc

import (
	"fmt"
	"os"
)

// Self is this program, for the servers that it runs as children.
func Self() string {
	path, err := os.Executable()
	if err != nil {
		panic(err) // /proc is not there
	}
	return path
}

// Roles are what self does when it is started as a child, by its first argument. The reaper is among
// them in every program.
type Roles map[string]func(args []string) error

// Serve plays one of them and ends the process, or returns if the arguments name none.
func (r Roles) Serve(args []string) {
	if len(args) == 0 {
		return
	}
	play, found := r[args[0]]
	if args[0] == "reaper" {
		play, found = func([]string) error { return serveReaper(os.Stdin) }, true
	}
	if !found {
		return
	}
	if err := play(args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
