package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
)

// A name that was well when the endpoint was registered, and resolves to something else by the next delivery, leads
// nowhere: not to this machine, not as one of several addresses, and not as what stands for one.
func TestANameThatIsReboundLeadsNowhere(t *testing.T) {
	t.Parallel()
	const name = "rebound.example"
	var reached atomic.Int64
	internal := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	t.Cleanup(internal.Close)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(internal.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	b, r := newBed(t, 1), newReceiver(t)
	allowed, err := net.Listen("tcp", "127.0.0.2:"+port) // the receiver, at the same port of the address that is let in
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: r.Config.Handler, ReadHeaderTimeout: time.Second}
	server.SetKeepAlivesEnabled(false) // each delivery resolves the name
	go func() { _ = server.Serve(allowed) }()
	t.Cleanup(func() { _ = server.Close() })

	names.set(name, "127.0.0.2")
	id := b.endpointAt(fmt.Sprintf("http://%s:%s/", name, port), r)
	b.start("HOOKS_ALLOW=127.0.0.2/32")
	b.awaitBegun(id)
	b.produce(1, 1)
	testkit.Until(t, "it has arrived", r.has(b))
	for _, addrs := range [][]string{{"127.0.0.1"}, {"::1"}, {"::ffff:127.0.0.1"}, {"64:ff9b::7f00:1"}, {"169.254.169.254"}, {"0.0.0.0"}, {"10.0.0.1", "127.0.0.1"}} {
		names.set(name, addrs...)
		before, refusals := names.asked(name), b.state(id, "failures")
		b.produce(1, 1)
		testkit.Until(t, fmt.Sprintf("a delivery to %s is refused", addrs), func() error {
			failed := b.state(id, "last_error")
			return testkit.Unless(names.asked(name) >= before+2 && b.state(id, "failures") != refusals && failed != "", "asked %d times, %q", names.asked(name)-before, failed)
		})
		if why := b.state(id, "last_error"); !strings.Contains(why, "not public") && !strings.Contains(why, "find their own secrets") {
			t.Errorf("%s: %s", addrs, why)
		}
		names.set(name, "127.0.0.2")
		testkit.Until(t, "it has arrived after all", r.has(b))
	}
	// Of several addresses only the one that is let in is called.
	names.set(name, "127.0.0.1", "127.0.0.2")
	b.produce(1, 1)
	testkit.Until(t, "it has arrived at the one that is let in", r.has(b))
	if n := reached.Load(); n > 0 {
		t.Errorf("%d requests came to an address that is not let in", n)
	}
}
