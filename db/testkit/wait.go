// Package testkit has what tests of several modules need: waiting for a condition, free ports, a proxy
// that can be cut and held, a Redis server, a log to look into, a service's admin port, and query plans.
// It imports nothing but what module db needs anyway, so that every module can use it as it is; what
// needs migrations is in testdb.
package testkit

import (
	"fmt"
	"testing"
	"time"
)

// limit is how long Until waits. A test that passes never waits that long: it is for a machine that is
// busy with everything else.
const limit = 30 * time.Second

// Until waits for a condition, which returns nil once it holds and else what is missing. If that takes
// too long the test ends, and says what it waited for and the last that was missing.
func Until(t testing.TB, what string, missing func() error) {
	t.Helper()
	Within(t, limit, what, missing)
}

// Within is Until with a limit of its own, for what is slow by itself or has to be quick.
func Within(t testing.TB, limit time.Duration, what string, missing func() error) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		err := missing()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
	}
}

// Unless returns nil if a condition holds, and else an error that describes the state.
func Unless(holds bool, format string, state ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, state...)
}
