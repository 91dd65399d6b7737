package egress

import "net/netip"

// The registries that say which addresses are special, as of November 2026, and which of these are "Globally
// Reachable":
// https://www.iana.org/assignments/iana-ipv4-special-registry and .../iana-ipv6-special-registry.
// (code.dny.dev/ssrf v0.3.0 refuses the reachable ones too, and mapped and NAT64 addresses whatever they stand for.)

// special are networks that are not reachable, but for the exceptions. What the registry calls N/A
// (deprecated, or a tunnel to some other address) counts as not reachable, and so does multicast. 169.254.0.0/16
// is among the secrets.
var special = prefixes(
	"0.0.0.0/8",       // this network
	"10.0.0.0/8",      // private
	"100.64.0.0/10",   // shared, behind a carrier's NAT
	"127.0.0.0/8",     // loopback
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // protocol assignments
	"192.0.2.0/24",    // documentation
	"192.88.99.0/24",  // 6to4 relays, deprecated; 6a44 relay
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // benchmarks
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, and broadcast
	"2001::/23",       // protocol assignments: Teredo, benchmarks, ORCHID, …
	"2001:db8::/32",   // documentation
	"2002::/16",       // 6to4
	"3fff::/20",       // documentation
)

// exceptions are reachable networks within special ones.
var exceptions = prefixes(
	"192.0.0.9/32",    // Port Control Protocol
	"192.0.0.10/32",   // TURN
	"2001:1::1/128",   // Port Control Protocol
	"2001:1::2/128",   // TURN
	"2001:1::3/128",   // DNS-SD
	"2001:3::/32",     // AMT
	"2001:4:112::/48", // AS112
	"2001:20::/28",    // ORCHIDv2
	"2001:30::/28",    // Drone Remote ID
)

// unicast is the part of IPv6 from which public addresses are given out: all else is special, or nobody's.
var unicast = netip.MustParsePrefix("2000::/3")

// nat64 addresses stand for the IPv4 address in their last four bytes (RFC 6052). localNAT64 (RFC 8215) is a
// network's own, which may forward to any address.
var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")
	localNAT64 = netip.MustParsePrefix("64:ff9b:1::/48")
)

// secrets are where machines and containers of the large clouds find their credentials. HOOKS_ALLOW does not
// let them in, nor anything else that is link-local.
var secrets = prefixes(
	"169.254.0.0/16",         // 169.254.169.254 of most; AWS ECS and EKS; Scaleway; Tencent
	"fe80::/10",              // OpenStack
	"fd00:ec2::254/128",      // AWS EC2
	"fd00:ec2::23/128",       // AWS EKS
	"fd20:ce::254/128",       // Google Cloud
	"fd00:42::42/128",        // Scaleway
	"fd00:c1::a9fe:a9fe/128", // Oracle Cloud
	"100.100.100.200/32",     // Alibaba Cloud
	"192.0.0.192/32",         // Oracle Cloud
	"168.63.129.16/32",       // Azure's wire server, a public address
)

// plain is an address without a zone, and the IPv4 address that it stands for if it is mapped or translated.
func plain(addr netip.Addr) netip.Addr {
	addr = addr.WithZone("").Unmap()
	if nat64.Contains(addr) {
		return lastFour(addr)
	}
	return addr
}

func lastFour(addr netip.Addr) netip.Addr {
	bytes := addr.As16()
	return netip.AddrFrom4([4]byte(bytes[12:]))
}

func isMetadata(addr netip.Addr) bool {
	return contains(secrets, addr) || localNAT64.Contains(addr) && contains(secrets, lastFour(addr))
}

// isPublic reports whether a plain address is globally reachable.
func isPublic(addr netip.Addr) bool {
	if addr.Is6() && !unicast.Contains(addr) || !addr.IsValid() {
		return false
	}
	return !contains(special, addr) || contains(exceptions, addr)
}

func contains(networks []netip.Prefix, addr netip.Addr) bool {
	for _, network := range networks {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}
