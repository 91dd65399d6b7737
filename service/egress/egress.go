// Package egress judges which addresses the system may call for a client: webhooks go to URLs that clients
// choose, and must not reach what only we can (server-side request forgery).
//
// What counts is the address that a connection really goes to: Control judges it when its name is resolved
// already, so a name that resolves to something else by then passes nothing. URL judges it before, so that a
// client hears of it at once.
package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/legendary-wallet/legendary-wallet/service"
)

const (
	lookupTimeout = 5 * time.Second
	dialTimeout   = 5 * time.Second

	// maxAllowed is how many networks HOOKS_ALLOW may name.
	maxAllowed = 100
)

// Refused says why an address or a URL may not be called. It does not name the address: clients are not told
// what internal names resolve to. An error of net, which wraps it, names it: clients are shown the Refused only.
type Refused string

func (r Refused) Error() string { return string(r) }

const (
	notPublic = Refused("the host has no address, or one that is not public")
	metadata  = Refused("the host has an address at which machines find their own secrets")
	httpsOnly = Refused("the URL must begin with https://")
)

// Policy says which addresses may be called: public ones, and those that HOOKS_ALLOW lets in besides. The zero
// value is for public ones only.
type Policy struct {
	allowed []netip.Prefix

	// Lookup resolves names; nil is net.DefaultResolver.LookupNetIP.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Read reads HOOKS_ALLOW.
func Read(env *service.Env) Policy {
	policy, err := ParsePolicy(env.Optional("HOOKS_ALLOW", "10.1.0.0/16,fd00:1::/32",
		`Networks with commas between, whose addresses webhooks may call although they are not public, by http
		too. Without it they go to public addresses only, by https. Link-local addresses and those of clouds'
		metadata stay refused.`))
	env.Check("HOOKS_ALLOW", err)
	return policy
}

// ParsePolicy reads the networks that are let in besides: CIDRs with commas between.
func ParsePolicy(text string) (Policy, error) {
	var p Policy
	if strings.TrimSpace(text) == "" {
		return p, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		prefix, err := netip.ParsePrefix(part)
		switch {
		case err != nil:
			return Policy{}, fmt.Errorf("%q must be a network, such as 10.1.0.0/16", part)
		case prefix != prefix.Masked():
			return Policy{}, fmt.Errorf("%s has bits behind its length: the network is %s", part, prefix.Masked())
		case prefix.Addr().Is4In6(), nat64.Contains(prefix.Addr()):
			return Policy{}, fmt.Errorf("%s contains IPv4 addresses: write their own network", part)
		}
		p.allowed = append(p.allowed, prefix)
	}
	if len(p.allowed) > maxAllowed {
		return Policy{}, fmt.Errorf("at most %d networks", maxAllowed)
	}
	return p, nil
}

// Judge returns a Refused if an address may not be called.
func (p Policy) Judge(addr netip.Addr) error {
	addr = plain(addr)
	switch {
	case isMetadata(addr):
		return metadata
	case p.allows(addr) || isPublic(addr):
		return nil
	}
	return notPublic
}

// judgePlain is Judge for a connection without TLS: only HOOKS_ALLOW lets that in.
func (p Policy) judgePlain(addr netip.Addr) error {
	if err := p.Judge(addr); err != nil {
		return err
	}
	if !p.allows(plain(addr)) {
		return httpsOnly
	}
	return nil
}

func (p Policy) allows(addr netip.Addr) bool { return contains(p.allowed, addr) }

// Control is for net.Dialer: it judges the address that is about to be connected to.
func (p Policy) Control(_, address string, _ syscall.RawConn) error {
	return control(address, p.Judge)
}

func control(address string, judge func(netip.Addr) error) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("judge %s: %w", address, err)
	}
	return judge(addr.Addr())
}

// Transport sends requests as base does, but dials directly, whatever proxy the environment names, and only
// what the policy allows: http to the addresses of HOOKS_ALLOW only.
func (p Policy) Transport(base *http.Transport) http.RoundTripper {
	return &transport{
		secure: dialing(base, p.Judge),
		plain:  dialing(base, p.judgePlain),
	}
}

func dialing(base *http.Transport, judge func(netip.Addr) error) *http.Transport {
	dialer := &net.Dialer{
		Timeout: dialTimeout,
		Control: func(_, address string, _ syscall.RawConn) error { return control(address, judge) },
	}
	t := base.Clone()
	t.Proxy, t.DialContext, t.DialTLSContext = nil, dialer.DialContext, nil
	return t
}

type transport struct{ secure, plain *http.Transport }

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "https" {
		return t.secure.RoundTrip(r)
	}
	return t.plain.RoundTrip(r)
}

func (t *transport) CloseIdleConnections() {
	t.secure.CloseIdleConnections()
	t.plain.CloseIdleConnections()
}

// URL returns a Refused if a URL may not be called: by its form, or because its host is or resolves to a
// refused address now. A host that does not resolve is refused in the same words; another error says that nobody can tell
// for the moment.
func (p Policy) URL(ctx context.Context, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Opaque != "" {
		return Refused("the URL must be https://host/path")
	}
	switch {
	case u.Scheme != "https" && (u.Scheme != "http" || len(p.allowed) == 0):
		return httpsOnly
	case u.User != nil:
		return Refused("the URL must not contain a user or a password")
	case strings.Contains(text, "#"):
		return Refused("the URL must not have a fragment")
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return Refused("the URL's port must be a number from 1 to 65535")
		}
	}
	addrs, err := p.resolve(ctx, u.Hostname())
	if err != nil {
		return err
	}
	for _, addr := range addrs {
		if u.Scheme == "https" {
			err = p.Judge(addr)
		} else {
			err = p.judgePlain(addr)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// resolve returns at least one address.
func (p Policy) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	lookup := p.Lookup
	if lookup == nil {
		lookup = net.DefaultResolver.LookupNetIP
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addrs, err := lookup(ctx, "ip", host)
	var failure *net.DNSError
	if errors.Is(err, context.Canceled) || errors.As(err, &failure) && (failure.IsTemporary || failure.IsTimeout) {
		return nil, err // nothing is known of the name
	}
	if err != nil || len(addrs) == 0 {
		return nil, notPublic
	}
	return addrs, nil
}
