//! Judging IP addresses: the class of an address, and whether a request may reach it without a declared endpoint.
//!
//! The class comes from the longest matching block of [`blocks`]; every IPv4 address hidden in an IPv6 address is
//! taken out and judged too.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::code::Code;
use embedded::Hidden;

mod class;
mod embedded;
mod literal;
mod registry;
mod segment;
mod translator;

pub use class::AddressClass;
pub use literal::{LiteralError, parse_literal};
pub use registry::{AddressBlock, METADATA, METADATA_DATE, MetadataAddress, REGISTRY_DATE, blocks};
pub use translator::Nat64Prefix;

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
    /// The class that puts it under the floor: its own, or that of an address inside.
    pub floor_class: Option<AddressClass>,
    /// What a connector dials: the IPv4 address for a mapped one, else the address itself.
    pub pinned: IpAddr,
    /// What was judged: the address inside a mapped one, or inside a NAT64 one where the policy looks there.
    pub judged: IpAddr,
}

/// The translators that reach IPv4 for the own network, as a policy declares them.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs)]
pub struct Translators<'a> {
    /// How `64:ff9b::/96` is judged.
    pub well_known: Nat64,
    /// Prefixes of its own, none within another.
    pub prefixes: &'a [Nat64Prefix],
}

/// Judges `ip`, with NAT64 addresses refused. Cost: a few searches of a table of about 80 rows at most.
///
/// ```
/// use leasehold::egress::address::{AddressClass, classify};
/// assert!(classify("93.184.216.34".parse()?).public);
/// let hidden = classify("::ffff:10.0.0.1".parse()?);
/// assert_eq!((hidden.class, hidden.public), (AddressClass::Private, false));
/// # Ok::<(), core::net::AddrParseError>(())
/// ```
pub fn classify(ip: IpAddr) -> AddressVerdict {
    classify_with(ip, Translators::default())
}

/// Judges `ip`. An address behind one of `translators` is judged as the IPv4 address that it reaches.
pub fn classify_with(ip: IpAddr, translators: Translators<'_>) -> AddressVerdict {
    match ip {
        IpAddr::V4(v4) => of_v4(v4, None, ip),
        IpAddr::V6(v6) => of_v6(v6, translators),
    }
}

/// Every IPv4 address that `ip` may lead to: itself, what it maps to, or what is hidden in it. Behind one of
/// `translators` that is the one that it reaches; in translator prefixes that nobody declared, one for each layout of
/// RFC 6052; of a Teredo address, client and server.
pub fn leads_to(ip: IpAddr, translators: Translators<'_>) -> impl Iterator<Item = Ipv4Addr> {
    let (own, hidden) = match ip {
        IpAddr::V4(v4) => (Some(v4), Hidden::default()),
        IpAddr::V6(v6) => match (v6.to_ipv4_mapped(), reached(v6, translators)) {
            (Some(inner), _) | (None, Some(Some(inner))) => (Some(inner), Hidden::default()),
            (None, Some(None)) => (None, Hidden::default()),
            (None, None) if is_ordinary(v6) => (None, Hidden::default()),
            (None, None) => (None, embedded::find(v6, segment::class_v6(v6))),
        },
    };
    own.into_iter().chain(hidden.all())
}

fn of_v4(v4: Ipv4Addr, embedded: Option<Ipv4Addr>, pinned: IpAddr) -> AddressVerdict {
    let class = segment::class_v4(v4);
    AddressVerdict {
        class,
        code: class.code(),
        public: matches!(class, AddressClass::Public),
        embedded,
        floor: class.is_floor(),
        floor_class: class.is_floor().then_some(class),
        pinned,
        judged: IpAddr::V4(v4),
    }
}

/// Global unicast that hides nothing: most of what names lead to.
fn is_ordinary(v6: Ipv6Addr) -> bool {
    segment::is_plain_global(v6) && !embedded::has_isatap_mark(v6)
}

/// What a declared prefix of `translators` reaches for `v6`; see [`Nat64Prefix::reaches`].
fn reached(v6: Ipv6Addr, translators: Translators<'_>) -> Option<Option<Ipv4Addr>> {
    translators.prefixes.iter().find_map(|prefix| prefix.reaches(v6))
}

/// A verdict on `v6` itself.
fn plain(v6: Ipv6Addr, class: AddressClass, embedded: Option<Ipv4Addr>) -> AddressVerdict {
    let ip = IpAddr::V6(v6);
    AddressVerdict {
        class,
        code: class.code(),
        public: matches!(class, AddressClass::Public),
        embedded,
        floor: class.is_floor(),
        floor_class: class.is_floor().then_some(class),
        pinned: ip,
        judged: ip,
    }
}

fn of_v6(v6: Ipv6Addr, translators: Translators<'_>) -> AddressVerdict {
    if translators.prefixes.is_empty() && is_ordinary(v6) {
        return plain(v6, AddressClass::Public, None);
    }
    match (segment::class_v6(v6), reached(v6, translators)) {
        (AddressClass::Metadata, _) | (_, None) => of_special_v6(v6, translators.well_known),
        (_, Some(Some(inner))) => of_v4(inner, Some(inner), IpAddr::V6(v6)),
        (_, Some(None)) => plain(v6, AddressClass::Nat64, None),
    }
}

fn of_special_v6(v6: Ipv6Addr, nat64: Nat64) -> AddressVerdict {
    if let Some(inner) = v6.to_ipv4_mapped() {
        // The kernel opens an IPv4 connection for this address, so it is that address in every respect.
        return of_v4(inner, Some(inner), IpAddr::V4(inner));
    }
    let mut class = segment::class_v6(v6);
    let hidden = embedded::find(v6, class);
    if let (AddressClass::Nat64, Nat64::JudgeInner, Some(inner)) = (class, nat64, hidden.shown) {
        return of_v4(inner, Some(inner), IpAddr::V6(v6));
    }
    if let (true, AddressClass::Public, Some(inner)) = (hidden.isatap, class, hidden.shown)
        && !matches!(segment::class_v4(inner), AddressClass::Public)
    {
        class = AddressClass::Isatap;
    }
    let mut verdict = plain(v6, class, hidden.shown);
    // What is reached by declaration only may lie behind a translator that nobody declared.
    let carried = (!verdict.public && translator::may_carry_metadata(v6)).then_some(AddressClass::Metadata);
    let inside = || hidden.all().map(segment::class_v4).find(|inner| inner.is_floor());
    verdict.floor_class = verdict.floor_class.or(carried).or_else(inside);
    verdict.floor = verdict.floor_class.is_some();
    verdict
}

#[cfg(test)]
mod tests;
