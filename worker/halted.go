package main

import (
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	haltedLimit = 10_000 // wallets that are remembered
	// haltedMemory is how long a wallet counts as damaged after it was last found so: another worker
	// may have applied what was repaired.
	haltedMemory = 10 * time.Minute
)

// halted knows which wallets were found damaged, because operations are missing between the last one
// applied and the last one accepted. Batches continue without them, and offsets move past their messages.
// Their next message and the sweeps try them again, so that a repaired wallet continues by itself.
type halted struct {
	log *slog.Logger

	mu      sync.Mutex
	foundAt map[uuid.UUID]time.Time
}

func newHalted(log *slog.Logger) *halted {
	return &halted{log: log, foundAt: map[uuid.UUID]time.Time{}}
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
