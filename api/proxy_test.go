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

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
)

// cutHere in the reference of a wallet makes the proxy know the round trip that creates it.
const cutHere = "cut here"

// proxy stands between the api and Postgres and breaks connections at the worst moment: around the
// round trip that inserts and commits, which it knows by an operation's message.
type proxy struct {
	*testkit.Proxy

	mu     sync.Mutex
	insert func(testkit.Packet) (pass bool) // for the next insert
	answer net.Conn                         // of the insert whose answer is to be lost
	cut    func()                           // runs when an insert or its answer is lost
	held   chan struct{}                    // closed by release
}

func newProxy(t *testing.T, databaseURL string) *proxy {
	t.Helper()
	p := &proxy{Proxy: testkit.NewProxy(t, databaseURL)}
	p.Meet = p.meet
	p.Open(t)
	return p
}

// meet loses or holds what cutInsert and holdInsert said.
func (p *proxy) meet(packet testkit.Packet) (pass bool) {
	p.mu.Lock()
	insert, lost := p.insert, p.answer == packet.Client && !packet.ToServer
	isInsert := bytes.Contains(packet.Bytes, []byte(`"operationId"`)) || bytes.Contains(packet.Bytes, []byte(cutHere))
	if insert != nil && packet.ToServer && isInsert {
		p.insert = nil
		p.mu.Unlock()
		return insert(packet)
	}
	if lost {
		p.answer = nil
	}
	p.mu.Unlock()
	if lost {
		p.cut()
	}
	return !lost
}

// cutInsert cuts the connection of the next insert, after the server has committed or before it got
// to see it. If the proxy is to stay closed, nothing gets through any longer.
func (p *proxy) cutInsert(committed, stayClosed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = func() {}
	if stayClosed {
		p.cut = p.Cut
	}
	p.insert = func(insert testkit.Packet) (pass bool) {
		if !committed {
			p.cut()
			return false
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.answer = insert.Client
		return true
	}
}

// spent reports whether the insert that was to be cut, and the answer that was to be lost, have come.
func (p *proxy) spent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.insert == nil && p.answer == nil
}

// holdInsert keeps the next insert back until release, so that its transaction stays open. The
// channel is closed when it is there.
func (p *proxy) holdInsert() <-chan struct{} {
	reached, held := make(chan struct{}), make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = held
	p.insert = func(testkit.Packet) (pass bool) {
		close(reached)
		<-held
		return true
	}
	return reached
}

func (p *proxy) release() { close(p.held) }

// passInsert lets the next insert through, and does something then.
func (p *proxy) passInsert(do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.insert = func(testkit.Packet) (pass bool) {
		do()
		return true
	}
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
	p := testkit.ProxyAt("127.0.0.1:0", server)
	p.Delay = delay
	if err := p.Listen(); err != nil {
		panic(err)
	}
	fmt.Println(p.Addr)
	_, _ = io.Copy(io.Discard, os.Stdin)
}
