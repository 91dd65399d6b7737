package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// cutHere in the reference of a wallet makes the proxy know the round trip that creates it.
const cutHere = "cut here"

// proxy stands between the api and Postgres and breaks connections at the worst moment: around the
// round trip that inserts and commits, which it knows by an operation's message.
type proxy struct {
	url    string        // connects through the proxy
	server string        // Postgres
	delay  time.Duration // of everything on its way to Postgres, as on a long line
	addr   string

	mu       sync.Mutex
	listener net.Listener
	conns    []net.Conn
	armed    func(client, server net.Conn, packet []byte) // for the next insert
	answered chan struct{}                                // closed, and the connection cut, at the next answer
	held     chan struct{}                                // closed by release
}

// slowProxyURL returns databaseURL by way of a proxy that delays what goes to Postgres. It is a process of
// its own, so that a test which is busy does not delay it more.
func slowProxyURL(t *testing.T, databaseURL string, delay time.Duration) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "SLOW_PROXY="+u.Host, "SLOW_PROXY_DELAY="+delay.String())
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close(); _ = child.Wait() })
	if _, err := fmt.Fscan(stdout, &u.Host); err != nil {
		t.Fatal(err)
	}
	return u.String()
}

// serveSlowProxy is that process. It ends with its parent, whose pipe stdin is.
func serveSlowProxy(server string) {
	delay, err := time.ParseDuration(os.Getenv("SLOW_PROXY_DELAY"))
	if err != nil {
		panic(err)
	}
	p := &proxy{server: server, delay: delay, addr: "127.0.0.1:0"}
	if err := p.listen(); err != nil {
		panic(err)
	}
	fmt.Println(p.addr)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func newProxy(t *testing.T, databaseURL string) *proxy {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{server: u.Host, addr: "127.0.0.1:0"}
	p.open(t)
	u.Host = p.addr
	p.url = u.String()
	t.Cleanup(p.close)
	return p
}

// open lets connections through.
func (p *proxy) open(t *testing.T) {
	t.Helper()
	if err := p.listen(); err != nil {
		t.Fatal(err)
	}
}

func (p *proxy) listen() error {
	listener, err := net.Listen("tcp", p.addr)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.listener, p.addr = listener, listener.Addr().String()
	p.mu.Unlock()
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", p.server)
			if err != nil {
				_ = client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, server)
			p.mu.Unlock()
			if p.delay > 0 {
				go p.copyLate(client, server)
			} else {
				go p.copy(client, server)
			}
			go p.copy(server, client)
		}
	}()
	return nil
}

// close ends all connections and takes no new ones.
func (p *proxy) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.listener.Close()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	p.conns = nil
}

func (p *proxy) copy(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	packet := make([]byte, 1<<20)
	for {
		n, err := from.Read(packet)
		if err != nil {
			return
		}
		if act := p.action(packet[:n]); act != nil {
			act(from, to, packet[:n])
			continue
		}
		if p.swallow() {
			continue
		}
		if _, err := to.Write(packet[:n]); err != nil {
			return
		}
	}
}

// copyLate delays everything by the same time, however much is on its way.
func (p *proxy) copyLate(from, to net.Conn) {
	type packet struct {
		due   time.Time
		bytes []byte
	}
	line := make(chan packet, 1000)
	go func() {
		defer close(line)
		for {
			bytes := make([]byte, 64<<10)
			n, err := from.Read(bytes)
			if err != nil {
				return
			}
			line <- packet{time.Now().Add(p.delay), bytes[:n]}
		}
	}()
	for next := range line {
		time.Sleep(time.Until(next.due))
		if _, err := to.Write(next.bytes); err != nil {
			_ = from.Close()
		}
	}
	_ = from.Close()
	_ = to.Close()
}

// action returns what is to be done with an insert, once.
func (p *proxy) action(packet []byte) (act func(client, server net.Conn, packet []byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if bytes.Contains(packet, []byte(`"operationId"`)) || bytes.Contains(packet, []byte(cutHere)) {
		act, p.armed = p.armed, nil
	}
	return act
}

// swallow reports whether the packet is the answer that is to be lost.
func (p *proxy) swallow() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answered == nil {
		return false
	}
	close(p.answered)
	p.answered = nil
	return true
}

// cutInsert cuts the connection of the next insert, after the server has committed or before it got
// to see it. If the proxy is to stay closed, nothing gets through any longer.
func (p *proxy) cutInsert(committed, stayClosed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = func(client, server net.Conn, packet []byte) {
		if committed {
			answered := make(chan struct{})
			p.mu.Lock()
			p.answered = answered
			p.mu.Unlock()
			_, _ = server.Write(packet)
			<-answered
		}
		if stayClosed {
			p.close()
		}
		_ = client.Close()
		_ = server.Close()
	}
}

// holdInsert keeps the next insert back until release, so that its transaction stays open. The
// channel is closed when it is there.
func (p *proxy) holdInsert() <-chan struct{} {
	reached, held := make(chan struct{}), make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = held
	p.armed = func(_, server net.Conn, packet []byte) {
		close(reached)
		<-held
		_, _ = server.Write(packet)
	}
	return reached
}

func (p *proxy) release() { close(p.held) }
