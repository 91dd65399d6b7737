package service

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// quietTime is how long further lines of the same message are counted instead of logged.
const quietTime = time.Minute

// Repeats logs what may come thousands of times a second: the first line at once, and then once a
// minute, as the last of them, how many more there were.
type Repeats struct {
	log *slog.Logger

	mu    sync.Mutex
	lines map[string]*repeated // by message
}

type repeated struct {
	level slog.Level
	args  []any
	times int
}

// NewRepeats logs to log.
func NewRepeats(log *slog.Logger) *Repeats {
	return &Repeats{log: log, lines: map[string]*repeated{}}
}

// Log takes what slog.Logger.Log takes. Lines of the same message are alike.
func (r *Repeats) Log(level slog.Level, message string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if line := r.lines[message]; line != nil {
		line.level, line.args = level, args
		line.times++
		return
	}
	r.log.Log(context.Background(), level, message, args...)
	r.lines[message] = &repeated{}
	time.AfterFunc(quietTime, func() { r.sum(message) })
}

func (r *Repeats) sum(message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := r.lines[message]
	if line.times == 0 {
		delete(r.lines, message)
		return
	}
	r.log.Log(context.Background(), line.level, message, append(line.args, "times", line.times)...)
	line.times = 0
	time.AfterFunc(quietTime, func() { r.sum(message) })
}
