//! IPv4 addresses in the prefixes of translators: the layouts of RFC 6052 section 2.2, and the prefixes that a policy
//! declares.

use core::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;

use super::{AddressClass, segment};

/// The lengths of prefixes that have a layout.
pub(super) const LAYOUTS: [u8; 6] = [32, 40, 48, 56, 64, 96];

/// The 32 bits of `bits` that begin at bit `at`, counted from the left.
fn field(bits: u128, at: u8) -> Ipv4Addr {
    let [.., a, b, c, d] = (bits >> 96_u32.saturating_sub(at.into())).to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

/// The IPv4 address that `v6` carries behind a prefix of `length` bits, one of [`LAYOUTS`]. Bits 64 to 71 are skipped.
pub(super) fn inner(v6: Ipv6Addr, length: u8) -> Ipv4Addr {
    let bits = v6.to_bits();
    // The bits before the skipped octet move into it, so that the address is in one piece.
    let before = bits & !(u128::MAX >> 64);
    let after = bits & (u128::MAX >> 72);
    match length {
        96 => field(bits, 96),
        64 => field(bits, 72),
        shorter => field(before >> 8 | after, shorter.saturating_add(8)),
    }
}

/// Whether the octet that every layout skips is zero, as RFC 6052 section 2.2 demands.
fn skips_zero(v6: Ipv6Addr) -> bool {
    v6.octets().get(8) == Some(&0)
}

/// A prefix behind which a translator of the own network reaches IPv4 (RFC 6052, network-specific).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nat64Prefix(Ipv6Net);

impl Nat64Prefix {
    /// Takes a prefix of 32, 40, 48, 56, 64 or 96 bits that lies in global unicast, unique-local or translator space
    /// and has zeros in bits 64 to 71.
    pub fn new(net: Ipv6Net) -> Option<Self> {
        let (network, length) = (net.network(), net.prefix_len());
        let class = segment::class_v6(network);
        let is_for_hosts = matches!(
            class,
            AddressClass::Public | AddressClass::UniqueLocal | AddressClass::Nat64 | AddressClass::Nat64Local
        );
        let fits = LAYOUTS.contains(&length) && is_for_hosts && skips_zero(network) && net.trunc() == net;
        fits.then_some(Self(net))
    }

    /// Whether one of the prefixes lies in the other.
    pub fn overlaps(self, other: Self) -> bool {
        self.0.contains(&other.0.network()) || other.0.contains(&self.0.network())
    }

    /// The IPv4 address that the translator reaches for `v6`; none where `v6` is not behind this prefix. The inner
    /// `None`: it is behind it and has no translated form.
    pub(super) fn reaches(self, v6: Ipv6Addr) -> Option<Option<Ipv4Addr>> {
        let behind = self.0.contains(&v6);
        behind.then(|| skips_zero(v6).then(|| inner(v6, self.0.prefix_len())))
    }
}

/// Whether some layout finds a metadata address in `v6`, whatever its prefix: for addresses that are reached by
/// declaration only, and may lie behind a translator that nobody declared.
pub(super) fn may_carry_metadata(v6: Ipv6Addr) -> bool {
    let is_metadata = |length| segment::class_v4(inner(v6, length)) == AddressClass::Metadata;
    LAYOUTS.into_iter().any(is_metadata)
}
