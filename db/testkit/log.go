package testkit

import (
	"strings"
	"sync"
	"testing"
)

// Log is what a program logs, for a test to look into. Many goroutines may write to it.
type Log struct {
	mu   sync.Mutex
	text strings.Builder
	read int // bytes that Take has returned
}

// NewLog returns a log that is shown if the test fails.
func NewLog(t testing.TB, of string) *Log {
	l := &Log{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", of, l)
		}
	})
	return l
}

func (l *Log) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(text)
}

// String is all of it.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Take is what was written since the last Take.
func (l *Log) Take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.text.String()[l.read:]
	l.read += len(taken)
	return taken
}

// Lines are the lines that contain a text.
func (l *Log) Lines(text string) (found []string) {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, text) {
			found = append(found, strings.TrimSuffix(line, "\n"))
		}
	}
	return found
}

// Count is how many lines contain a text.
func (l *Log) Count(text string) int { return len(l.Lines(text)) }

// Has returns a condition for Until: a line contains the text. It is for what only the log says; for
// everything else there are Admin's conditions.
func (l *Log) Has(text string) func() error {
	return func() error { return Unless(l.Count(text) > 0, "%q is not in the log", text) }
}
