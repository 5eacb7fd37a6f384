//! What addresses are for, by the registries.

use crate::code::{self, Code};

macro_rules! classes {
    ($($(#[$meta:meta])* $name:ident = $text:literal, $code:ident;)*) => {
        /// What an address is for. The class of the longest matching block of the registries.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum AddressClass {
            $($(#[$meta])* $name,)*
        }

        impl AddressClass {
            /// The class's text, as `explain` prints it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The class's stable code.
            pub const fn code(self) -> Code {
                match self { $(Self::$name => code::$code,)* }
            }
        }
    };
}

classes! {
    /// Globally reachable unicast.
    Public = "public", EGRESS_ADDRESS_PUBLIC;
    /// `0.0.0.0` and `::`.
    Unspecified = "unspecified", EGRESS_ADDRESS_UNSPECIFIED;
    /// The rest of `0.0.0.0/8`.
    ThisNetwork = "this_network", EGRESS_ADDRESS_THIS_NETWORK;
    /// Loopback.
    Loopback = "loopback", EGRESS_ADDRESS_LOOPBACK;
    /// RFC 1918.
    Private = "private", EGRESS_ADDRESS_PRIVATE;
    /// RFC 6598, between carrier and customer.
    Shared = "shared", EGRESS_ADDRESS_SHARED;
    /// Link-local unicast.
    LinkLocal = "link_local", EGRESS_ADDRESS_LINK_LOCAL;
    /// RFC 4193.
    UniqueLocal = "unique_local", EGRESS_ADDRESS_UNIQUE_LOCAL;
    /// RFC 3879, deprecated.
    SiteLocal = "site_local", EGRESS_ADDRESS_SITE_LOCAL;
    /// Cloud metadata services and host agents; see [`METADATA`](super::METADATA).
    Metadata = "metadata", EGRESS_ADDRESS_METADATA;
    /// Multicast.
    Multicast = "multicast", EGRESS_ADDRESS_MULTICAST;
    /// `255.255.255.255`.
    Broadcast = "broadcast", EGRESS_ADDRESS_BROADCAST;
    /// Class E, and IPv6 outside global unicast.
    Reserved = "reserved", EGRESS_ADDRESS_RESERVED;
    /// IETF protocol assignments.
    Protocol = "protocol_assignment", EGRESS_ADDRESS_PROTOCOL;
    /// Globally reachable by the registries, and yet nothing that an HTTP client needs: PCP, TURN, AS112, AMT,
    /// ORCHIDv2, DRIP, DNS-SD.
    Service = "service", EGRESS_ADDRESS_SERVICE;
    /// Documentation.
    Documentation = "documentation", EGRESS_ADDRESS_DOCUMENTATION;
    /// Benchmarks of network devices.
    Benchmarking = "benchmarking", EGRESS_ADDRESS_BENCHMARKING;
    /// Allocations that have ended.
    Deprecated = "deprecated", EGRESS_ADDRESS_DEPRECATED;
    /// Discard-only and dummy prefixes.
    Discard = "discard", EGRESS_ADDRESS_DISCARD;
    /// SRv6 segment identifiers.
    SegmentRouting = "segment_routing", EGRESS_ADDRESS_SEGMENT_ROUTING;
    /// `::/96`.
    Ipv4Compatible = "ipv4_compatible", EGRESS_ADDRESS_IPV4_COMPATIBLE;
    /// `::ffff:0:0:0/96`.
    Ipv4Translated = "ipv4_translated", EGRESS_ADDRESS_IPV4_TRANSLATED;
    /// `64:ff9b::/96` where the policy does not judge the inner address.
    Nat64 = "nat64", EGRESS_ADDRESS_NAT64;
    /// `64:ff9b:1::/48`.
    Nat64Local = "nat64_local", EGRESS_ADDRESS_NAT64_LOCAL;
    /// `2002::/16`.
    SixToFour = "6to4", EGRESS_ADDRESS_SIX_TO_FOUR;
    /// `2001::/32`.
    Teredo = "teredo", EGRESS_ADDRESS_TEREDO;
    /// A public prefix with an ISATAP interface id around a non-public IPv4 address.
    Isatap = "isatap", EGRESS_ADDRESS_ISATAP;
}

impl AddressClass {
    /// Whether this class is under the floor that no policy can declare reachable.
    pub(super) const fn is_floor(self) -> bool {
        matches!(self, Self::Unspecified | Self::Multicast | Self::Broadcast | Self::Metadata)
    }
}
