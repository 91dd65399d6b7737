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

// halted knows which wallets were found damaged: operations are missing between the last one applied and the
// last one accepted, or the next one cannot be understood. Batches continue without them, and offsets move past
// their messages. Their next message and the sweeps try them again, so that a repaired wallet, or one whose
// operations a newer worker applies, continues by itself.
type halted struct {
	log *slog.Logger

	mu      sync.Mutex
	foundAt map[uuid.UUID]time.Time
	newer   map[uuid.UUID]bool // those of them that only a newer release can apply
}

func newHalted(log *slog.Logger) *halted {
	return &halted{log: log, foundAt: map[uuid.UUID]time.Time{}, newer: map[uuid.UUID]bool{}}
}

func (h *halted) add(damaged []damage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range damaged {
		if _, known := h.foundAt[d.walletID]; !known {
			h.log.Error("wallet halted: "+d.what, "wallet", d.walletID)
		}
		if len(h.foundAt) < haltedLimit {
			h.foundAt[d.walletID] = time.Now()
			delete(h.newer, d.walletID)
			if d.newer {
				h.newer[d.walletID] = true
			}
		}
	}
}

// has reports whether a wallet was found damaged not long ago.
func (h *halted) has(id uuid.UUID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, known := h.foundAt[id]
	return known && time.Since(at) <= haltedMemory
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
			delete(h.newer, id)
		}
	}
}

// count returns how many wallets are known to be damaged.
func (h *halted) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget()
	return len(h.foundAt)
}

// unknown returns how many of them have to wait for a newer release.
func (h *halted) unknown() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget()
	return len(h.newer)
}

func (h *halted) forget() {
	for id, at := range h.foundAt {
		if time.Since(at) > haltedMemory {
			delete(h.foundAt, id)
			delete(h.newer, id)
		}
	}
}
