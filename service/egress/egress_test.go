package egress

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
)

// registries are IANA's two registries of special addresses, whole, with their column "Globally Reachable", of
// which N/A is false.
var registries = []struct {
	network   string
	name      string
	reachable bool
}{
	{"0.0.0.0/8", "This network", false},
	{"0.0.0.0/32", "This host on this network", false},
	{"10.0.0.0/8", "Private-Use", false},
	{"100.64.0.0/10", "Shared Address Space", false},
	{"127.0.0.0/8", "Loopback", false},
	{"169.254.0.0/16", "Link Local", false},
	{"172.16.0.0/12", "Private-Use", false},
	{"192.0.0.0/24", "IETF Protocol Assignments", false},
	{"192.0.0.0/29", "IPv4 Service Continuity Prefix", false},
	{"192.0.0.8/32", "IPv4 dummy address", false},
	{"192.0.0.9/32", "Port Control Protocol Anycast", true},
	{"192.0.0.10/32", "TURN Anycast", true},
	{"192.0.0.170/32", "NAT64/DNS64 Discovery", false},
	{"192.0.0.171/32", "NAT64/DNS64 Discovery", false},
	{"192.0.2.0/24", "Documentation (TEST-NET-1)", false},
	{"192.31.196.0/24", "AS112-v4", true},
	{"192.52.193.0/24", "AMT", true},
	{"192.88.99.0/24", "Deprecated (6to4 Relay Anycast)", false},
	{"192.88.99.2/32", "6a44-relay anycast address", false},
	{"192.168.0.0/16", "Private-Use", false},
	{"192.175.48.0/24", "Direct Delegation AS112 Service", true},
	{"198.18.0.0/15", "Benchmarking", false},
	{"198.51.100.0/24", "Documentation (TEST-NET-2)", false},
	{"203.0.113.0/24", "Documentation (TEST-NET-3)", false},
	{"240.0.0.0/4", "Reserved", false},
	{"255.255.255.255/32", "Limited Broadcast", false},

	{"::1/128", "Loopback Address", false},
	{"::/128", "Unspecified Address", false},
	{"64:ff9b:1::/48", "IPv4-IPv6 Translat.", false},
	{"100::/64", "Discard-Only Address Block", false},
	{"100:0:0:1::/64", "Dummy IPv6 Prefix", false},
	{"2001::/23", "IETF Protocol Assignments", false},
	{"2001::/32", "TEREDO", false},
	{"2001:1::1/128", "Port Control Protocol Anycast", true},
	{"2001:1::2/128", "TURN Anycast", true},
	{"2001:1::3/128", "DNS-SD Service Registration Protocol Anycast", true},
	{"2001:2::/48", "Benchmarking", false},
	{"2001:3::/32", "AMT", true},
	{"2001:4:112::/48", "AS112-v6", true},
	{"2001:10::/28", "Deprecated (previously ORCHID)", false},
	{"2001:20::/28", "ORCHIDv2", true},
	{"2001:30::/28", "Drone Remote ID Protocol Entity Tags", true},
	{"2001:db8::/32", "Documentation", false},
	{"2002::/16", "6to4", false},
	{"2620:4f:8000::/48", "Direct Delegation AS112 Service", true},
	{"3fff::/20", "Documentation", false},
	{"5f00::/16", "Segment Routing (SRv6) SIDs", false},
	{"fc00::/7", "Unique-Local", false},
	{"fe80::/10", "Link-Local Unicast", false},

	// Not in these registries, and not unicast of anybody.
	{"224.0.0.0/4", "Multicast", false},
	{"ff00::/8", "Multicast", false},
	{"fec0::/10", "Site-Local, deprecated", false},
	{"::/96", "IPv4-Compatible, deprecated", false},
	{"::ffff:0:0:0/96", "IPv4-translated, deprecated", false},
	{"4000::/3", "Unallocated", false},
}

func TestAddressesAreJudgedAsTheRegistriesSay(t *testing.T) {
	for _, row := range registries {
		prefix := netip.MustParsePrefix(row.network)
		for _, addr := range []netip.Addr{prefix.Addr(), middle(prefix), last(prefix)} {
			want := row.reachable
			if deeper := deepest(addr); deeper != row.network {
				continue // another row says what this address is
			}
			if err := (Policy{}).Judge(addr); (err == nil) != want {
				t.Errorf("%s of %s (%s): %v, reachable is %v", addr, row.network, row.name, err, want)
			}
		}
	}
	for _, public := range []string{
		"1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "172.15.255.255", "172.32.0.0",
		"192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2000::1", "2001:200::1", "2606:4700:4700::1111", "3ffe::1", "3fff:1000::",
	} {
		if err := (Policy{}).Judge(netip.MustParseAddr(public)); err != nil {
			t.Errorf("%s: %v", public, err)
		}
	}
	if err := (Policy{}).Judge(netip.Addr{}); err == nil {
		t.Error("no address is let in")
	}
}

// deepest is the smallest network of the registries with the address.
func deepest(addr netip.Addr) string {
	found, bits := "", -1
	for _, row := range registries {
		if prefix := netip.MustParsePrefix(row.network); prefix.Contains(addr) && prefix.Bits() > bits {
			found, bits = row.network, prefix.Bits()
		}
	}
	return found
}

// last is the last address of a network, middle the first of its second half.
func last(p netip.Prefix) netip.Addr   { return fill(p, 0xff) }
func middle(p netip.Prefix) netip.Addr { return fill(p, 0) }

func fill(p netip.Prefix, rest byte) netip.Addr {
	bytes := p.Addr().AsSlice()
	for i := p.Bits(); i < len(bytes)*8; i++ {
		bit := byte(1) << (7 - i%8)
		if i == p.Bits() || rest&bit != 0 {
			bytes[i/8] |= bit
		}
	}
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}

func policy(t *testing.T, text string) Policy {
	t.Helper()
	p, err := ParsePolicy(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMappedAndTranslatedAddressesAreJudgedByWhatTheyContain(t *testing.T) {
	for _, form := range []string{"::ffff:%", "64:ff9b::%"} {
		for contained, public := range map[string]bool{"1.1.1.1": true, "10.0.0.1": false, "127.0.0.1": false, "169.254.169.254": false, "192.0.0.9": true} {
			addr := netip.MustParseAddr(strings.Replace(form, "%", contained, 1))
			if err := (Policy{}).Judge(addr); (err == nil) != public {
				t.Errorf("%s: %v", addr, err)
			}
		}
		addr := netip.MustParseAddr(strings.Replace(form, "%", "10.0.0.1", 1))
		if err := policy(t, "10.0.0.0/8").Judge(addr); err != nil {
			t.Errorf("%s with 10.0.0.0/8 let in: %v", addr, err)
		}
		if err := policy(t, "::/0").Judge(addr); err == nil {
			t.Errorf("%s is let in by ::/0", addr)
		}
	}
}

func TestNothingLetsMetadataIn(t *testing.T) {
	all := policy(t, "0.0.0.0/0,::/0")
	for _, addr := range []string{
		"169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42", "fd00:c1::a9fe:a9fe", "100.100.100.200", "192.0.0.192", "168.63.129.16",
		"fe80::a9fe:a9fe", "fe80::1%eth0", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "64:ff9b:1::169.254.169.254",
	} {
		if err := all.Judge(netip.MustParseAddr(addr)); !errors.Is(err, metadata) {
			t.Errorf("%s: %v", addr, err)
		}
	}
	for _, addr := range []string{"10.0.0.1", "127.0.0.1", "fd00::1", "::1", "64:ff9b:1::10.0.0.1"} {
		if err := all.Judge(netip.MustParseAddr(addr)); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestWrongNetworksAreNamed(t *testing.T) {
	for _, text := range []string{"10.0.0.1", "10.0.0.1/8", "10.0.0.0/33", "localhost", "10.0.0.0/8,", "::ffff:10.0.0.0/104", "64:ff9b::/96", strings.Repeat("10.0.0.0/8,", 100) + "10.0.0.0/8"} {
		if _, err := ParsePolicy(text); err == nil {
			t.Errorf("%.60s is taken", text)
		}
	}
}

// names resolves names without a network.
func names(ctx context.Context, _, host string) ([]netip.Addr, error) {
	switch host {
	case "public.example":
		return []netip.Addr{netip.MustParseAddr("1.1.1.1"), netip.MustParseAddr("2606:4700:4700::1111")}, nil
	case "private.example":
		return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
	case "both.example":
		return []netip.Addr{netip.MustParseAddr("1.1.1.1"), netip.MustParseAddr("10.0.0.1")}, nil
	case "mapped.example":
		return []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")}, nil
	case "metadata.example":
		return []netip.Addr{netip.MustParseAddr("169.254.169.254")}, nil
	case "empty.example":
		return nil, nil
	case "2130706433", "0x7f.1", "0177.0.0.1", "127.1": // as the C library does
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func TestURLs(t *testing.T) {
	for _, row := range []struct {
		url, allow string
		want       error
	}{
		{"https://public.example/hook?x=1", "", nil},
		{"https://public.example:8443", "", nil},
		{"https://1.1.1.1/hook", "", nil},
		{"https://[2606:4700:4700::1111]/", "", nil},
		{"https://[64:ff9b::1.1.1.1]/", "", nil},
		{"https://private.example/", "", notPublic},
		{"https://both.example/", "", notPublic},
		{"https://mapped.example/", "", notPublic},
		{"https://metadata.example/", "", metadata},
		{"https://metadata.example/", "0.0.0.0/0", metadata},
		{"https://empty.example/", "", notPublic},
		{"https://nobody.example/", "", notPublic},
		{"https://127.0.0.1/", "", notPublic},
		{"https://127.0.0.1:8443/", "127.0.0.0/8", nil},
		{"https://127.1/", "", notPublic},
		{"https://2130706433/", "", notPublic},
		{"https://0x7f.1/", "", notPublic},
		{"https://0177.0.0.1/", "", notPublic},
		{"https://0.0.0.0/", "", notPublic},
		{"https://[::1]/", "", notPublic},
		{"https://[::]/", "", notPublic},
		{"https://[::ffff:7f00:1]/", "", notPublic},
		{"https://[64:ff9b::7f00:1]/", "", notPublic},
		{"https://[fe80::1%25eth0]/", "", metadata},
		{"https://private.example/", "10.0.0.0/8", nil},
		{"http://private.example/", "10.0.0.0/8", nil},
		{"http://both.example/", "10.0.0.0/8", httpsOnly},
		{"http://public.example/", "10.0.0.0/8", httpsOnly},
		{"http://private.example/", "", httpsOnly},
		{"http://private.example/", "192.168.0.0/16", notPublic},
		{"ftp://public.example/", "0.0.0.0/0", httpsOnly},
		{"file:///etc/passwd", "", Refused("the URL must be https://host/path")},
		{"https:public.example", "", Refused("the URL must be https://host/path")},
		{"https:///hook", "", Refused("the URL must be https://host/path")},
		{"https://public.example:port/", "", Refused("the URL must be https://host/path")},
		{"//public.example/", "", httpsOnly},
		{"https://user@public.example/", "", Refused("the URL must not contain a user or a password")},
		{"https://public.example@127.0.0.1/", "", Refused("the URL must not contain a user or a password")},
		{"https://public.example/#x", "", Refused("the URL must not have a fragment")},
		{"https://public.example/#", "", Refused("the URL must not have a fragment")},
		{"https://public.example:0/", "", Refused("the URL's port must be a number from 1 to 65535")},
		{"https://public.example:65536/", "", Refused("the URL's port must be a number from 1 to 65535")},
		{"https://public.example:/", "", Refused("the URL's port must be a number from 1 to 65535")},
	} {
		p := policy(t, row.allow)
		p.Lookup = names
		if err := p.URL(t.Context(), row.url); !errors.Is(err, row.want) {
			t.Errorf("%s, with %q let in: %v, want %v", row.url, row.allow, err, row.want)
		}
	}
	away := Policy{Lookup: func(context.Context, string, string) ([]netip.Addr, error) {
		return nil, &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	}}
	var refused Refused
	if err := away.URL(t.Context(), "https://public.example/"); err == nil || errors.As(err, &refused) {
		t.Errorf("while no name can be resolved: %v", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	p := Policy{Lookup: func(ctx context.Context, _, _ string) ([]netip.Addr, error) { return nil, ctx.Err() }}
	if err := p.URL(canceled, "https://public.example/"); !errors.Is(err, context.Canceled) {
		t.Errorf("a request that ended: %v", err)
	}
}

func TestATransportDialsWhatThePolicyAllows(t *testing.T) {
	var calls atomic.Int32
	count := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) })
	plain, secure := httptest.NewServer(count), httptest.NewTLSServer(count)
	defer plain.Close()
	defer secure.Close()
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the proxy was asked") }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("HTTPS_PROXY", proxy.URL)

	base := secure.Client().Transport.(*http.Transport).Clone()
	base.Proxy = http.ProxyFromEnvironment
	base.DialContext = func(context.Context, string, string) (net.Conn, error) {
		t.Error("the base's dialer was used")
		return nil, errors.New("dialled")
	}
	// As after rebinding: whatever the name resolved to when it was registered, it resolves to the loopback now.
	byName := func(url string) string { return strings.Replace(url, "127.0.0.1", "localhost", 1) }
	for _, row := range []struct {
		url, allow string
		want       error
	}{
		{plain.URL, "", notPublic},
		{secure.URL, "", notPublic},
		{byName(plain.URL), "", notPublic},
		{byName(secure.URL), "10.0.0.0/8", notPublic},
		{plain.URL, "127.0.0.0/8", nil},
		{secure.URL, "127.0.0.0/8", nil},
		{byName(plain.URL), "127.0.0.0/8", nil},
	} {
		before := calls.Load()
		client := http.Client{Transport: policy(t, row.allow).Transport(base)}
		answer, err := client.Get(row.url)
		if err == nil {
			answer.Body.Close()
		}
		client.CloseIdleConnections()
		var refused Refused
		switch {
		case row.want == nil && (err != nil || calls.Load() != before+1):
			t.Errorf("%s, with %q let in: %v", row.url, row.allow, err)
		case row.want != nil && (!errors.As(err, &refused) || !errors.Is(refused, row.want) || calls.Load() != before):
			t.Errorf("%s, with %q let in: %v, %d calls", row.url, row.allow, err, calls.Load()-before)
		}
	}
}

// http may go to the addresses of HOOKS_ALLOW only, although https may go to public ones too.
func TestControlKnowsHTTPFromHTTPS(t *testing.T) {
	p := policy(t, "10.0.0.0/8")
	for _, row := range []struct {
		address string
		judge   func(netip.Addr) error
		want    error
	}{
		{"1.1.1.1:443", p.Judge, nil},
		{"1.1.1.1:80", p.judgePlain, httpsOnly},
		{"10.0.0.1:80", p.judgePlain, nil},
		{"[::ffff:10.0.0.1]:80", p.judgePlain, nil},
		{"127.0.0.1:80", p.judgePlain, notPublic},
		{"[fe80::1%eth0]:443", p.Judge, metadata},
	} {
		if err := control(row.address, row.judge); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", row.address, err, row.want)
		}
	}
	if err := p.Control("tcp", "1.1.1.1:443", nil); err != nil {
		t.Error(err)
	}
	if err := p.Control("tcp", "127.0.0.1:443", nil); !errors.Is(err, notPublic) {
		t.Error(err)
	}
	if err := p.Control("unix", "/run/docker.sock", nil); err == nil {
		t.Error("a socket in the file system is let in")
	}
}
