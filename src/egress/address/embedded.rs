//! Taking out the IPv4 addresses that IPv6 addresses hide.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::{AddressClass, translator::inner};

/// The layouts that a prefix within `64:ff9b:1::/48` may have (RFC 8215 leaves that to the operator).
const LOCAL_LAYOUTS: [u8; 4] = [48, 56, 64, 96];

/// The IPv4 addresses in an IPv6 address.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hidden {
    /// The address that an answer names.
    pub(super) shown: Option<Ipv4Addr>,
    /// All of them; of a translator's prefix that nobody declared, one for each layout.
    all: [Option<Ipv4Addr>; 4],
    /// Whether only one of them is meant, and nobody knows which.
    in_doubt: bool,
    /// RFC 5214 section 6.1: in the interface id of any prefix.
    pub(super) isatap: bool,
}

impl Hidden {
    fn one(inner: Ipv4Addr) -> Self {
        Self { shown: Some(inner), all: [Some(inner), None, None, None], ..Self::default() }
    }

    /// Every address that may be meant. Where several layouts are possible, zeros are what another layout leaves empty,
    /// and count only where there is nothing else.
    pub(super) fn all(self) -> impl Iterator<Item = Ipv4Addr> {
        let found = || self.all.into_iter().flatten();
        let zeros_count = !self.in_doubt || found().all(|inner| inner.is_unspecified());
        found().filter(move |inner| zeros_count || !inner.is_unspecified())
    }
}

/// Whether the interface id is one of ISATAP. The universal bit may be set or not: 0000:5efe and 0200:5efe.
pub(super) fn has_isatap_mark(v6: Ipv6Addr) -> bool {
    let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = v6.octets();
    u32::from_be_bytes([a, b, c, d]) & !0x0200_0000 == 0x0000_5efe
}

/// The 32 bits of `v6` that begin at bit `at`, counted from the left.
fn bits(v6: Ipv6Addr, at: u32) -> Ipv4Addr {
    let [.., a, b, c, d] = (v6.to_bits() >> 96_u32.saturating_sub(at)).to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

/// Finds what `v6` of `class` hides.
pub(super) fn find(v6: Ipv6Addr, class: AddressClass) -> Hidden {
    match class {
        AddressClass::Ipv4Compatible | AddressClass::Ipv4Translated | AddressClass::Nat64 => {
            Hidden::one(bits(v6, 96))
        }
        AddressClass::SixToFour => Hidden::one(bits(v6, 16)),
        AddressClass::Teredo => {
            // RFC 4380 section 4: the server in the clear, the client with every bit inverted.
            let (server, client) = (bits(v6, 32), Ipv4Addr::from_bits(!bits(v6, 96).to_bits()));
            Hidden { shown: Some(client), all: [Some(client), Some(server), None, None], ..Hidden::default() }
        }
        AddressClass::Nat64Local => {
            let all = LOCAL_LAYOUTS.map(|length| Some(inner(v6, length)));
            Hidden { shown: Some(inner(v6, likely_layout(v6))), all, in_doubt: true, isatap: false }
        }
        _ if has_isatap_mark(v6) => Hidden { isatap: true, ..Hidden::one(bits(v6, 96)) },
        _ => Hidden::default(),
    }
}

/// The layout that an address in `64:ff9b:1::/48` most likely has: the shortest prefix whose suffix is zero, unless only
/// the last 32 bits are set.
fn likely_layout(v6: Ipv6Addr) -> u8 {
    let bits = v6.to_bits();
    let zeros = bits.trailing_zeros();
    let only_last = bits & (u128::MAX >> 48) >> 32 << 32 == 0;
    match zeros {
        _ if only_last => 96,
        40.. => 48,
        32.. => 56,
        24.. => 64,
        _ => 96,
    }
}
