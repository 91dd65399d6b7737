package testkit

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Addresses are handed out from below the ports that systems give to outgoing connections (32768 and more
// on Linux, 49152 and more on macOS): tests open many of these, and one would take the port meanwhile.
const firstPort, lastPort = 20_000, 32_000

var (
	handedOut   = map[int]bool{}
	handedOutMu sync.Mutex
)

// FreeAddr returns an address of this machine where nobody listens, once in a process. It is for what
// must be known before somebody listens there; everybody else listens on port 0.
func FreeAddr(t testing.TB) *net.TCPAddr {
	t.Helper()
	handedOutMu.Lock()
	defer handedOutMu.Unlock()
	for range 100 {
		addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: firstPort + rand.IntN(lastPort-firstPort)}
		if handedOut[addr.Port] {
			continue
		}
		listener, err := net.ListenTCP("tcp", addr)
		if err != nil {
			continue
		}
		_ = listener.Close()
		handedOut[addr.Port] = true
		return addr
	}
	t.Fatal("no free port after 100 tries")
	return nil
}
