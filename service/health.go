package service

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Condition is something that may be wrong with a process.
type Condition struct {
	Name string // as /readyz and the log show it
	// Dependency is what the process has to do without meanwhile: postgres, redis or kafka; "" if nothing.
	Dependency string
	// NotReady takes the process out of service. That is for what another replica does not have: if all
	// were not ready for the same reason, none would be left.
	NotReady bool
}

// The conditions that services share.
var (
	Postgres   = Condition{Name: "postgres", Dependency: "postgres"}
	Redis      = Condition{Name: "redis", Dependency: "redis"}
	Kafka      = Condition{Name: "kafka", Dependency: "kafka"}
	standby    = Condition{Name: "standby"}
	migrations = Condition{Name: "migrations are pending", NotReady: true}
)

// Health is what a process says of itself, on /readyz, in metrics and in the log. The log has one line
// when a condition begins and one when it ends. If it begins and ends all the time there is one line a
// minute, with the number of times.
type Health struct {
	log *slog.Logger

	mu         sync.Mutex
	starting   bool
	draining   bool
	role       string
	pending    int // migrations
	conditions map[string]*condition
}

// condition is one that has been met, now or earlier.
type condition struct {
	Condition
	err   error     // nil: it is over
	since time.Time // when it began
	// said is whether the log says that it is met, and hushed whether it may say no more for now.
	said, hushed bool
	times        int // that it began while hushed
}

// NewHealth says of a process that it is starting. Its gauges of the dependencies and of all the rest are
// registered with registry.
func NewHealth(log *slog.Logger, registry prometheus.Registerer, dependencies ...string) *Health {
	h := &Health{log: log, starting: true, conditions: map[string]*condition{}}
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value))
	}
	gauge("wallet_ready", "1 if /readyz says so.", nil, func() float64 { return number(h.State().Ready) })
	gauge("wallet_migrations_pending", "Migrations that this program needs and the database lacks.", nil, func() float64 {
		h.mu.Lock()
		defer h.mu.Unlock()
		return float64(h.pending)
	})
	for _, dependency := range dependencies {
		gauge("wallet_dependency_up", "0 while the service has to do without.", prometheus.Labels{"dependency": dependency},
			func() float64 { return number(!h.lacks(dependency)) })
	}
	return h
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Set says that a condition is met, and why, or with nil that it is not.
func (h *Health) Set(c Condition, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	known := h.conditions[c.Name]
	if known == nil {
		if err == nil {
			return
		}
		known = &condition{}
		h.conditions[c.Name] = known
	}
	before := known.err
	known.Condition, known.err = c, err
	switch {
	case before == nil && err != nil:
		known.since = time.Now()
		if known.hushed {
			known.times++
			return
		}
		h.say(known)
	case before != nil && err == nil && known.said:
		known.said = false
		h.log.Info("recovered: "+c.Name, "condition", c.Name, "after", time.Since(known.since).Round(time.Millisecond).String())
	}
}

// say logs that a condition is met, and is the last to do so for a while.
func (h *Health) say(c *condition) {
	level, message := slog.LevelWarn, "degraded: "
	if c.NotReady {
		level, message = slog.LevelError, "not ready: "
	}
	args := []any{"condition", c.Name, "error", c.err.Error()}
	if c.times > 0 {
		args = append(args, "times", c.times)
	}
	h.log.Log(context.Background(), level, message+c.Name, args...)
	c.said, c.hushed, c.times = true, true, 0
	time.AfterFunc(quietTime, func() { h.speakAgain(c) })
}

// speakAgain makes up for the lines that were left out.
func (h *Health) speakAgain(c *condition) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.hushed = false
	switch {
	case c.err != nil && !c.said:
		h.say(c)
	case c.times > 0:
		h.log.Warn("came and went: "+c.Name, "condition", c.Name, "times", c.times)
		c.times = 0
	}
}

// Started says that the process has reached once all that it needs.
func (h *Health) Started() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.starting = false
}

// Drain says that the process has to end.
func (h *Health) Drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
}

// Draining reports whether the process has to end.
func (h *Health) Draining() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.draining
}

// SetRole says as what the process stands in for others: leader or standby.
func (h *Health) SetRole(role string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.role = role
}

func (h *Health) setPending(names []string) {
	h.mu.Lock()
	h.pending = len(names)
	h.mu.Unlock()
	var err error
	if len(names) > 0 {
		err = errors.New(strings.Join(names, " "))
	}
	h.Set(migrations, err)
}

// State is the answer of /readyz.
type State struct {
	Ready    bool     `json:"ready"`
	Role     string   `json:"role,omitempty"`
	Degraded []string `json:"degraded"`
	Reasons  []string `json:"reasons"`
}

// State lists what is wrong now: reasons why the process is not ready, and what it goes on without.
func (h *Health) State() State {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := State{Role: h.role, Degraded: []string{}, Reasons: []string{}}
	for _, c := range h.conditions {
		switch {
		case !h.met(c):
		case c.NotReady:
			s.Reasons = append(s.Reasons, c.Name+": "+c.err.Error())
		default:
			s.Degraded = append(s.Degraded, c.Name+": "+c.err.Error())
		}
	}
	if h.starting {
		s.Reasons = append(s.Reasons, "starting")
	}
	if h.draining {
		s.Reasons = append(s.Reasons, "draining")
	}
	slices.Sort(s.Degraded)
	slices.Sort(s.Reasons)
	s.Ready = len(s.Reasons) == 0
	return s
}

// met reports whether a condition is met now. A connection that waits for a standby looks like a server
// that does not answer: while standbys are missing, they are the reason.
func (h *Health) met(c *condition) bool {
	if c.err == nil {
		return false
	}
	missing := h.conditions[standby.Name]
	return c.Name != Postgres.Name || missing == nil || missing.err == nil
}

// lacks reports whether a condition that is met means that this dependency is missing.
func (h *Health) lacks(dependency string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conditions {
		if c.Dependency == dependency && h.met(c) {
			return true
		}
	}
	return false
}
