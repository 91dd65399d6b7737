package main

import (
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	// haltedLimit bounds what is remembered of damaged wallets. The others are tried every time.
	haltedLimit = 10_000
	// haltedMemory is how long a wallet counts as damaged after it was found so.
	haltedMemory = 10 * time.Minute
)

// halted remembers the wallets that were found damaged, because operations are missing between the
// last one applied and the last one accepted. Batches go on without them, and pass their offsets;
// the sweeps try them again, so that a wallet which was repaired goes on by itself.
type halted struct {
	pause time.Duration // how long batches pass a damaged wallet by
	log   *slog.Logger

	mu      sync.Mutex
	foundAt map[uuid.UUID]time.Time
}

func newHalted(pause time.Duration, log *slog.Logger) *halted {
	return &halted{pause: pause, log: log, foundAt: map[uuid.UUID]time.Time{}}
}

func (h *halted) add(damaged []uuid.UUID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range damaged {
		if _, known := h.foundAt[id]; !known {
			h.log.Error("wallet halted: operations are missing after the last one applied", "wallet", id)
		}
		if len(h.foundAt) < haltedLimit {
			h.foundAt[id] = time.Now()
		}
	}
}

func (h *halted) remove(healthy []uuid.UUID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.foundAt) == 0 {
		return
	}
	for _, id := range healthy {
		if _, known := h.foundAt[id]; known {
			h.log.Info("wallet goes on", "wallet", id)
			delete(h.foundAt, id)
		}
	}
}

// recently says that a wallet was found damaged a short while ago.
func (h *halted) recently(id uuid.UUID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, found := h.foundAt[id]
	return found && time.Since(at) < h.pause
}

// count returns how many wallets are known to be damaged.
func (h *halted) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, at := range h.foundAt {
		if time.Since(at) > haltedMemory {
			delete(h.foundAt, id)
		}
	}
	return len(h.foundAt)
}
