package testkit

import (
	"net"
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db/freeport"
)

// FreeAddr returns an address of this machine where nobody listens, and that is given to nobody else. It is for
// what must be known before somebody listens there; everybody else listens on port 0.
func FreeAddr(t testing.TB) *net.TCPAddr {
	t.Helper()
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
}
