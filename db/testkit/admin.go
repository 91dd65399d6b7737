package testkit

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Admin is the host:port of a service's admin port.
type Admin string

// State is what /readyz says.
type State struct {
	Ready    bool
	Role     string
	Degraded []string
	Reasons  []string // why it is not ready
}

// Says reports whether a problem's text contains a text.
func (s State) Says(text string) bool {
	return strings.Contains(strings.Join(append(s.Degraded, s.Reasons...), "\n"), text)
}

// Well reports whether the service is ready and lacks nothing.
func (s State) Well() bool { return s.Ready && len(s.Degraded) == 0 }

// State asks /readyz.
func (a Admin) State() (s State, err error) {
	text, err := a.get("/readyz")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(text), &s)
}

// Metric is the value of a metric, named with its labels as /metrics shows it; "" if it is not there.
func (a Admin) Metric(name string) (string, error) {
	text, err := a.get("/metrics")
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			return strings.TrimSpace(value), err
		}
	}
	return "", err
}

// Is returns a condition for Until: what /readyz says is as wanted.
func (a Admin) Is(wanted func(State) bool) func() error {
	return func() error {
		s, err := a.State()
		if err != nil {
			return err
		}
		return Unless(wanted(s), "/readyz says %+v", s)
	}
}

// Says returns a condition for Until: /readyz names a problem that contains the text.
func (a Admin) Says(text string) func() error {
	return a.Is(func(s State) bool { return s.Says(text) })
}

// Counts returns a condition for Until: a metric has a value.
func (a Admin) Counts(name, value string) func() error {
	return func() error {
		got, err := a.Metric(name)
		if err != nil {
			return err
		}
		return Unless(got == value, "%s is %q, not %s", name, got, value)
	}
}

// UntilWell waits until the service is ready and lacks nothing.
func (a Admin) UntilWell(t testing.TB) {
	t.Helper()
	Until(t, "the service is well", a.Is(State.Well))
}

func (a Admin) get(path string) (string, error) {
	response, err := http.Get(fmt.Sprintf("http://%s%s", string(a), path))
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}
