package main

import "runtime/debug"

// version is set when a release is built: -ldflags "-X main.version=v0.1.0".
var version string

// release is what --version prints. Without a version it is the commit, which Go notes when it builds
// in a clone.
func release() string {
	if version != "" {
		return version
	}
	info, _ := debug.ReadBuildInfo()
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return setting.Value
		}
	}
	return "unreleased"
}
