//go:build !failpoints

// Package failpoint lets tests kill a service at a named point. It does nothing unless the service
// is built with the tag failpoints.
package failpoint

// Reach marks a point at which tests may kill the process.
func Reach(string) {}

// ReachIf is Reach if the condition holds.
func ReachIf(bool, string) {}
