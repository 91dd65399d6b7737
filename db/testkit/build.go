package testkit

import (
	"runtime/debug"
	"slices"
)

// BuildFlags are those of a program under test: it has failpoints, and the race detector if the tests have it.
func BuildFlags() []string {
	flags := []string{"-tags=failpoints"}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		flags = append(flags, "-race")
	}
	return flags
}
