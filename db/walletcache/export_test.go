package walletcache

import "time"

// Settling is short, for tests that begin with a new server.
const Settling = 300 * time.Millisecond

func init() { settling = Settling }
