//! Judging IP addresses: the class of an address, and whether a request may reach it without a declared endpoint.
//!
//! The class comes from the longest matching block of [`blocks`]; every IPv4 address hidden in an IPv6 address is
//! taken out and judged too.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::code::{self, Code};

mod embedded;
mod literal;
mod registry;
mod segment;

pub use literal::{LiteralError, parse_literal};
pub use registry::{AddressBlock, METADATA, REGISTRY_DATE, blocks};

use embedded::Hidden;

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
    /// Cloud metadata services and host agents; see [`METADATA`].
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
    const fn is_floor(self) -> bool {
        matches!(self, Self::Unspecified | Self::Multicast | Self::Broadcast | Self::Metadata)
    }
}

/// How addresses of the NAT64 well-known prefix `64:ff9b::/96` (RFC 6052) are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Nat64 {
    /// Refused, whatever is inside.
    #[default]
    Refuse,
    /// As the IPv4 address inside: for networks that reach IPv4 through DNS64.
    JudgeInner,
}

/// What is known about one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddressVerdict {
    /// The class of the address; of the address inside where that decides.
    pub class: AddressClass,
    /// The stable code of `class`.
    pub code: Code,
    /// Whether a request may reach it without a declared private endpoint.
    pub public: bool,
    /// The IPv4 address hidden in it. Of a Teredo address, the client's.
    pub embedded: Option<Ipv4Addr>,
    /// Under the floor: unspecified, multicast, broadcast or metadata, also when hidden inside. No policy can
    /// declare it reachable.
    pub floor: bool,
    /// What a connector dials: the IPv4 address for a mapped one, else the address itself.
    pub pinned: IpAddr,
    /// What was judged: the address inside a mapped one, or inside a NAT64 one where the policy looks there.
    pub judged: IpAddr,
}

/// Judges `ip`, with NAT64 addresses refused. Cost: two searches of a table of about 60 rows at most.
///
/// ```
/// use leasehold::egress::address::{AddressClass, classify};
/// assert!(classify("93.184.216.34".parse()?).public);
/// let hidden = classify("::ffff:10.0.0.1".parse()?);
/// assert_eq!((hidden.class, hidden.public), (AddressClass::Private, false));
/// # Ok::<(), core::net::AddrParseError>(())
/// ```
pub fn classify(ip: IpAddr) -> AddressVerdict {
    classify_with(ip, Nat64::Refuse)
}

/// Judges `ip`; `nat64` says what to do with `64:ff9b::/96`.
pub fn classify_with(ip: IpAddr, nat64: Nat64) -> AddressVerdict {
    match ip {
        IpAddr::V4(v4) => of_v4(v4, None, ip),
        IpAddr::V6(v6) => of_v6(v6, nat64),
    }
}

fn of_v4(v4: Ipv4Addr, embedded: Option<Ipv4Addr>, pinned: IpAddr) -> AddressVerdict {
    let class = segment::class_v4(v4);
    AddressVerdict {
        class,
        code: class.code(),
        public: matches!(class, AddressClass::Public),
        embedded,
        floor: class.is_floor(),
        pinned,
        judged: IpAddr::V4(v4),
    }
}

fn of_v6(v6: Ipv6Addr, nat64: Nat64) -> AddressVerdict {
    if segment::is_plain_global(v6) && !embedded::has_isatap_mark(v6) {
        let ip = IpAddr::V6(v6);
        let class = AddressClass::Public;
        let code = class.code();
        return AddressVerdict {
            class,
            code,
            public: true,
            embedded: None,
            floor: false,
            pinned: ip,
            judged: ip,
        };
    }
    of_special_v6(v6, nat64)
}

fn of_special_v6(v6: Ipv6Addr, nat64: Nat64) -> AddressVerdict {
    if let Some(inner) = v6.to_ipv4_mapped() {
        // The kernel opens an IPv4 connection for this address, so it is that address in every respect.
        return of_v4(inner, Some(inner), IpAddr::V4(inner));
    }
    let mut class = segment::class_v6(v6);
    let hidden = embedded::find(v6, class);
    let shown = hidden.shown();
    if let (AddressClass::Nat64, Nat64::JudgeInner, Some(inner)) = (class, nat64, shown) {
        return of_v4(inner, Some(inner), IpAddr::V6(v6));
    }
    if let (Hidden::Isatap(inner), AddressClass::Public) = (hidden, class)
        && !matches!(segment::class_v4(inner), AddressClass::Public)
    {
        class = AddressClass::Isatap;
    }
    AddressVerdict {
        class,
        code: class.code(),
        public: matches!(class, AddressClass::Public),
        embedded: shown,
        floor: class.is_floor() || hidden.all().any(|inner| segment::class_v4(inner).is_floor()),
        pinned: IpAddr::V6(v6),
        judged: IpAddr::V6(v6),
    }
}

#[cfg(test)]
mod tests;
