// Package freeport finds ports for servers of tests and of the local stack, where they must be known before
// the server listens, or have to stay the same while it restarts.
package freeport

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync"
)

// Ports are below those that systems give to outgoing connections (32768 and more on Linux, 49152 and more
// on macOS), of which one could take the port while no server listens on it.
const first, last = 20_000, 32_000

// reserved are open UDP sockets: no other process that asks here gets the same number before this one ends.
// TCP servers are not disturbed by them.
var (
	mu       sync.Mutex
	reserved []net.PacketConn
)

// Find returns a TCP port of 127.0.0.1 that nobody listens on. No process gets it again while this one lives.
func Find() (int, error) {
	for range 1000 {
		port := first + rand.IntN(last-first)
		reservation, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			continue
		}
		listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			_ = reservation.Close()
			continue
		}
		_ = listener.Close()
		mu.Lock()
		defer mu.Unlock()
		reserved = append(reserved, reservation)
		return port, nil
	}
	return 0, errors.New("no free port between 20000 and 32000")
}
