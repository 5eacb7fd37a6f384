//! Taking out the IPv4 addresses that IPv6 addresses hide.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::AddressClass;

/// The IPv4 addresses in an IPv6 address, by the way in which they are hidden.
#[derive(Clone, Copy)]
pub(super) enum Hidden {
    None,
    /// In one known place.
    One(Ipv4Addr),
    /// RFC 4380 section 4: the server in the clear, the client with every bit inverted.
    Teredo {
        server: Ipv4Addr,
        client: Ipv4Addr,
    },
    /// RFC 8215 leaves the layout to the operator: the last 32 bits, or the /48 layout of RFC 6052 section 2.2.
    LocalNat64 {
        shown: Ipv4Addr,
        other: Ipv4Addr,
    },
    /// RFC 5214 section 6.1, in the interface id of any prefix.
    Isatap(Ipv4Addr),
}

impl Hidden {
    /// The address that an answer names.
    pub(super) fn shown(self) -> Option<Ipv4Addr> {
        self.all().next()
    }

    /// All of them, the one to name first.
    pub(super) fn all(self) -> impl Iterator<Item = Ipv4Addr> {
        let (first, second) = match self {
            Self::None => (None, None),
            Self::One(inner) | Self::Isatap(inner) => (Some(inner), None),
            Self::Teredo { server, client } => (Some(client), Some(server)),
            Self::LocalNat64 { shown, other } => (Some(shown), Some(other)),
        };
        first.into_iter().chain(second)
    }
}

/// The 32 bits of `v6` that begin at bit `at`, counted from the left.
fn bits(v6: Ipv6Addr, at: u32) -> Ipv4Addr {
    let [.., a, b, c, d] = (v6.to_bits() >> 96_u32.saturating_sub(at)).to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

/// Whether the interface id is one of ISATAP. The universal bit may be set or not: 0000:5efe and 0200:5efe.
pub(super) fn has_isatap_mark(v6: Ipv6Addr) -> bool {
    let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = v6.octets();
    u32::from_be_bytes([a, b, c, d]) & !0x0200_0000 == 0x0000_5efe
}

/// Finds what `v6` of `class` hides.
pub(super) fn find(v6: Ipv6Addr, class: AddressClass) -> Hidden {
    match class {
        AddressClass::Ipv4Compatible | AddressClass::Ipv4Translated | AddressClass::Nat64 => {
            Hidden::One(bits(v6, 96))
        }
        AddressClass::SixToFour => Hidden::One(bits(v6, 16)),
        AddressClass::Teredo => {
            Hidden::Teredo { server: bits(v6, 32), client: Ipv4Addr::from_bits(!bits(v6, 96).to_bits()) }
        }
        AddressClass::Nat64Local => {
            // RFC 6052 section 2.2: with a /48 prefix, bits 64 to 71 are skipped and zero, and a suffix follows.
            let high = bits(v6, 48).to_bits() & 0xffff_0000;
            let low = bits(v6, 72).to_bits() >> 16;
            let split = Ipv4Addr::from_bits(high | low);
            let last = bits(v6, 96);
            if v6.to_bits().trailing_zeros() >= 40 {
                Hidden::LocalNat64 { shown: split, other: last }
            } else {
                Hidden::LocalNat64 { shown: last, other: split }
            }
        }
        _ => {
            if has_isatap_mark(v6) {
                Hidden::Isatap(bits(v6, 96))
            } else {
                Hidden::None
            }
        }
    }
}
