//! Codes of the egress part.

use super::codes;

codes! { EGRESS:
    EGRESS_ADDRESS_PUBLIC = "egress.address.public", "the address is globally reachable unicast";
    EGRESS_ADDRESS_MALFORMED = "egress.address.malformed", "not a canonical dotted-quad IPv4 or RFC 4291 IPv6 literal";
    EGRESS_ADDRESS_UNSPECIFIED = "egress.address.unspecified", "the unspecified address, which stacks route to the local host";
    EGRESS_ADDRESS_THIS_NETWORK = "egress.address.this_network", "an address of \"this network\"";
    EGRESS_ADDRESS_LOOPBACK = "egress.address.loopback", "a loopback address";
    EGRESS_ADDRESS_PRIVATE = "egress.address.private", "an address for private use";
    EGRESS_ADDRESS_SHARED = "egress.address.shared", "an address of the carriers' shared space";
    EGRESS_ADDRESS_LINK_LOCAL = "egress.address.link_local", "a link-local address";
    EGRESS_ADDRESS_UNIQUE_LOCAL = "egress.address.unique_local", "a unique local address";
    EGRESS_ADDRESS_SITE_LOCAL = "egress.address.site_local", "a deprecated site-local address";
    EGRESS_ADDRESS_METADATA = "egress.address.metadata", "a cloud metadata or host-agent address";
    EGRESS_ADDRESS_MULTICAST = "egress.address.multicast", "a multicast address";
    EGRESS_ADDRESS_BROADCAST = "egress.address.broadcast", "the limited broadcast address";
    EGRESS_ADDRESS_RESERVED = "egress.address.reserved", "an address reserved by IANA or outside global unicast";
    EGRESS_ADDRESS_PROTOCOL = "egress.address.protocol_assignment", "an address of an IETF protocol assignment";
    EGRESS_ADDRESS_SERVICE = "egress.address.service", "an anycast or infrastructure service block of the registries";
    EGRESS_ADDRESS_DOCUMENTATION = "egress.address.documentation", "an address for documentation";
    EGRESS_ADDRESS_BENCHMARKING = "egress.address.benchmarking", "an address for benchmarks";
    EGRESS_ADDRESS_DEPRECATED = "egress.address.deprecated", "a block whose allocation has ended";
    EGRESS_ADDRESS_DISCARD = "egress.address.discard", "an address whose traffic is discarded";
    EGRESS_ADDRESS_SEGMENT_ROUTING = "egress.address.segment_routing", "a segment routing identifier";
    EGRESS_ADDRESS_IPV4_COMPATIBLE = "egress.address.ipv4_compatible", "a deprecated IPv4-compatible IPv6 address";
    EGRESS_ADDRESS_IPV4_TRANSLATED = "egress.address.ipv4_translated", "an IPv4-translated IPv6 address";
    EGRESS_ADDRESS_NAT64 = "egress.address.nat64", "a NAT64 address, and the policy does not judge the IPv4 inside";
    EGRESS_ADDRESS_NAT64_LOCAL = "egress.address.nat64_local", "a NAT64 address of local use";
    EGRESS_ADDRESS_SIX_TO_FOUR = "egress.address.6to4", "a 6to4 address";
    EGRESS_ADDRESS_TEREDO = "egress.address.teredo", "a Teredo address";
    EGRESS_ADDRESS_ISATAP = "egress.address.isatap", "an ISATAP interface id with a non-public IPv4 inside";
    EGRESS_ADDRESS_DENIED = "egress.address.denied", "an address on the policy's deny list";
}
