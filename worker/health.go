package main

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// health is what /readyz tells. A problem is logged when it begins and when it ends, not each time
// it is met.
type health struct {
	log *slog.Logger

	pending atomic.Int64 // migrations

	mu       sync.Mutex
	starting bool
	draining bool
	problems map[string]problem
}

type problem struct {
	text     string
	degraded bool // the worker is as ready as it can be
}

func newHealth(log *slog.Logger) *health {
	return &health{log: log, starting: true, problems: map[string]problem{}}
}

// degrade says that something the worker needs is away, which another worker would miss too.
func (h *health) degrade(name string, err error) { h.set(name, problem{err.Error(), true}) }

// fail says that the worker does not do its work.
func (h *health) fail(name string, err error) { h.set(name, problem{err.Error(), false}) }

func (h *health) set(name string, p problem) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.problems[name]; !known {
		h.log.Warn(name+" has a problem", "error", p.text)
	}
	h.problems[name] = p
}

// ok says that a problem, if there was one, is over.
func (h *health) ok(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.problems[name]; known {
		h.log.Info(name + " works again")
		delete(h.problems, name)
	}
}

// started says that the worker has reached everything it needs once.
func (h *health) started() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.starting = false
}

// lacks reports whether there is a problem with this dependency, for any of its uses.
func (h *health) lacks(dependency string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name := range h.problems {
		if first, _, _ := strings.Cut(name, " "); first == dependency {
			return true
		}
	}
	return false
}

// drain says that the worker was told to end.
func (h *health) drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
}

// state lists the problems.
func (h *health) state() (degraded, reasons []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	degraded, reasons = []string{}, []string{}
	for name, p := range h.problems {
		if line := name + ": " + p.text; p.degraded {
			degraded = append(degraded, line)
		} else {
			reasons = append(reasons, line)
		}
	}
	if h.starting {
		reasons = append(reasons, "starting")
	}
	if h.draining {
		reasons = append(reasons, "draining")
	}
	slices.Sort(degraded)
	slices.Sort(reasons)
	return degraded, reasons
}
