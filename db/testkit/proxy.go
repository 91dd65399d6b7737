package testkit

import (
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// Proxy is a TCP server in front of another one. It can be cut, as a cable or a killed server is, and
// held, as a network that swallows everything: no connection is closed, no answer comes.
type Proxy struct {
	// Addr is where it listens, and URL the server's by way of it. They stay the same.
	Addr, URL string
	// Delay keeps back everything on its way to the server by the same time, as a long line does.
	Delay time.Duration
	// Meet sees what is sent before it is passed on, and may wait, or close the proxy. If it returns false,
	// the packet is lost and its connection cut. It is called by many goroutines.
	Meet func(packet Packet) (pass bool)

	server string

	mu       sync.Mutex
	listener net.Listener // nil while it is cut
	conns    map[net.Conn]bool
	held     chan struct{} // closed unless it is held
}

// Packet is what one side of a connection has sent and the other has not received yet.
type Packet struct {
	Client   net.Conn // says which connection it is
	ToServer bool
	Bytes    []byte
}

// NewProxy returns a proxy in front of the server that a URL names. It is cut until Open, and again when
// the test ends.
func NewProxy(t testing.TB, serverURL string) *Proxy {
	t.Helper()
	u, err := url.Parse(serverURL)
	if err != nil {
		t.Fatal(err)
	}
	p := ProxyAt(FreeAddr(t).String(), u.Host)
	u.Host = p.Addr
	p.URL = u.String()
	t.Cleanup(p.Cut)
	return p
}

// ProxyAt is NewProxy at a host:port for a server's host:port, in a process without a test.
func ProxyAt(addr, server string) *Proxy {
	p := &Proxy{Addr: addr, server: server, conns: map[net.Conn]bool{}, held: make(chan struct{})}
	close(p.held)
	return p
}

// Open lets connections through.
func (p *Proxy) Open(t testing.TB) {
	t.Helper()
	if err := p.Listen(); err != nil {
		t.Fatal(err)
	}
}

// Listen is Open for a process without a test.
func (p *Proxy) Listen() error {
	listener, err := net.Listen("tcp", p.Addr)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.listener, p.Addr = listener, listener.Addr().String()
	p.mu.Unlock()
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go p.connect(listener, client)
		}
	}()
	return nil
}

// Cut ends all connections and takes no new ones.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	for conn := range p.conns {
		_ = conn.Close()
	}
	clear(p.conns)
	p.release()
}

// Hold passes nothing on any longer, not even that a connection was closed, until Release or Cut.
func (p *Proxy) Hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.held:
		p.held = make(chan struct{})
	default: // It holds already.
	}
}

// Release passes on what was held back, and what comes.
func (p *Proxy) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release()
}

func (p *Proxy) release() {
	select {
	case <-p.held:
	default:
		close(p.held)
	}
}

// connect serves a connection that was accepted before the proxy was cut, if it was.
func (p *Proxy) connect(listener net.Listener, client net.Conn) {
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != listener {
		_ = client.Close()
		_ = server.Close()
		return
	}
	p.conns[client], p.conns[server] = true, true
	go p.pass(client, server, client)
	go p.pass(server, client, client)
}

// sent is a packet, or the end of a connection, and when it is due.
type sent struct {
	due   time.Time
	bytes []byte
	end   bool
}

// pass passes on what comes, in order, until either side is closed or Meet cuts the connection.
func (p *Proxy) pass(from, to, client net.Conn) {
	toServer := from == client
	var delay time.Duration
	if toServer {
		delay = p.Delay
	}
	line, over := make(chan sent, 1000), make(chan struct{})
	defer close(over)
	go func() {
		for {
			bytes := make([]byte, 64<<10)
			n, err := from.Read(bytes)
			select {
			case line <- sent{due: time.Now().Add(delay), bytes: bytes[:n], end: err != nil}:
			case <-over:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	defer p.forget(from, to)
	for next := range line {
		time.Sleep(time.Until(next.due))
		p.mu.Lock()
		held := p.held
		p.mu.Unlock()
		<-held
		if len(next.bytes) > 0 {
			if p.Meet != nil && !p.Meet(Packet{Client: client, ToServer: toServer, Bytes: next.bytes}) {
				return
			}
			if _, err := to.Write(next.bytes); err != nil {
				return
			}
		}
		if next.end {
			return
		}
	}
}

// forget closes both sides of a connection.
func (p *Proxy) forget(sides ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, side := range sides {
		_ = side.Close()
		delete(p.conns, side)
	}
}
