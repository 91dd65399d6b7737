package testkit

import (
	"runtime/debug"
	"slices"
)

// Race reports whether the tests have the race detector, which makes everything five to ten times as slow.
func Race() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// BuildFlags are those of a program under test: it has failpoints, and the race detector if the tests have it.
func BuildFlags() []string {
	flags := []string{"-tags=failpoints"}
	if Race() {
		flags = append(flags, "-race")
	}
	return flags
}
