package main

import (
	"fmt"
	"os"
)

// self is this program, for the servers that it runs as children.
func self() string {
	path, err := os.Executable()
	if err != nil {
		panic(err) // /proc is not there
	}
	return path
}

// roles are what self does when it is started as a child, by its first argument. The reaper is among
// them in every program.
type roles map[string]func(args []string) error

// serve plays one of them and ends the process, or returns if the arguments name none.
func (r roles) serve(args []string) {
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
