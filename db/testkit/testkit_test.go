package testkit_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
)

// failing is a test whose failure another one looks at.
type failing struct {
	testing.TB
	says string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.says = fmt.Sprintf(format, args...)
	panic(f)
}

func TestAWaitThatIsOverSaysWhatWasMissingLast(t *testing.T) {
	t.Parallel()
	asked := 0
	fails := &failing{TB: t}
	func() {
		defer func() { _ = recover() }()
		testkit.Within(fails, time.Millisecond, "all is read", func() error {
			asked++
			time.Sleep(time.Millisecond) // longer than the limit
			return testkit.Unless(false, "%d rows of 10", asked)
		})
	}()
	if want := "all is read: not within 1ms: 1 rows of 10"; fails.says != want {
		t.Errorf("says %q, want %q", fails.says, want)
	}
	asked = 0
	testkit.Until(t, "the third look", func() error {
		asked++
		return testkit.Unless(asked == 3, "it is look %d", asked)
	})
	if asked != 3 {
		t.Errorf("looked %d times", asked)
	}
}

// echo answers each line with itself.
func echo(t *testing.T) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					_, _ = fmt.Fprintln(conn, lines.Text())
				}
			}()
		}
	}()
	return listener.Addr().String()
}

func TestAProxyIsOpenedCutAndHeld(t *testing.T) {
	t.Parallel()
	p := testkit.NewProxy(t, "echo://user@"+echo(t)+"/x")
	p.Meet = func(packet testkit.Packet) bool { return !strings.Contains(string(packet.Bytes), "poison") }
	if p.URL != "echo://user@"+p.Addr+"/x" {
		t.Errorf("the URL is %s", p.URL)
	}
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", p.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	hear := func(conn net.Conn, within time.Duration) (string, error) {
		_ = conn.SetReadDeadline(time.Now().Add(within))
		return bufio.NewReader(conn).ReadString('\n')
	}
	say := func(conn net.Conn, line string) (string, error) {
		_, _ = fmt.Fprintln(conn, line)
		return hear(conn, 10*time.Second)
	}
	if _, err := net.Dial("tcp", p.Addr); err == nil {
		t.Error("it is open at the start")
	}
	p.Open(t)
	first, second := dial(), dial()
	for _, conn := range []net.Conn{first, second} {
		if got, err := say(conn, "hello"); got != "hello\n" {
			t.Fatalf("heard %q, %v", got, err)
		}
	}
	if got, err := say(second, "poison"); err == nil {
		t.Errorf("heard %q of a packet that was not to pass", got)
	}

	p.Hold()
	_, _ = fmt.Fprintln(first, "held")
	var timeout net.Error
	if got, err := hear(first, 100*time.Millisecond); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("while it is held: %q, %v", got, err)
	}
	p.Release()
	if got, err := hear(first, 10*time.Second); got != "held\n" {
		t.Errorf("afterwards: %q, %v", got, err)
	}

	p.Cut()
	if got, err := say(first, "cut"); err == nil {
		t.Errorf("heard %q by way of a connection that was cut", got)
	}
	if _, err := net.Dial("tcp", p.Addr); err == nil {
		t.Error("it takes connections although it is cut")
	}
	p.Open(t)
	if got, err := say(dial(), "again"); got != "again\n" {
		t.Errorf("opened again: %q, %v", got, err)
	}
}
