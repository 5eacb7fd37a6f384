//! Address ranges of a policy: strict prefixes, merged and sorted when built.

use alloc::{boxed::Box, vec::Vec};
use core::net::IpAddr;

use ipnet::IpNet;

use crate::egress::address::parse_literal;

/// Reads `a.b.c.d/n` or a single address. `ipnet`'s own parser takes leading zeros and host bits; this one does not.
pub(super) fn parse_net(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/').map_or((text, None), |(a, n)| (a, Some(n)));
    let written = parse_literal(address).ok()?;
    let ip = written.to_canonical();
    let full: u8 = if written.is_ipv4() { 32 } else { 128 };
    let mut prefix = match length {
        None => full,
        Some(digits) => {
            let canonical =
                digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
            digits.parse().ok().filter(|n| canonical && *n <= full)?
        }
    };
    if ip != written {
        // A mapped prefix means the IPv4 addresses, because that is what mapped addresses are judged as.
        prefix = prefix.checked_sub(96)?;
    }
    IpNet::new(ip, prefix).ok().filter(|net| net.trunc() == *net)
}

/// A set of addresses. Membership costs one binary search.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressRanges {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

fn merged<T: Copy + Ord>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    let mut out: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match out.last_mut() {
            Some(held) if first <= held.1 => held.1 = held.1.max(last),
            _ => out.push((first, last)),
        }
    }
    out.into_boxed_slice()
}

fn holds<T: Copy + Ord>(ranges: &[(T, T)], point: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= point);
    after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|(_, last)| point <= *last)
}

impl AddressRanges {
    pub(super) fn new(nets: impl IntoIterator<Item = IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self { v4: merged(v4), v6: merged(v6) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(v4) => holds(&self.v4, v4.to_bits()),
            IpAddr::V6(v6) => holds(&self.v6, v6.to_bits()),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use core::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_canonical_prefixes_parse() {
        for text in [
            "",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "010.0.0.0/8",
            "10.1.2.3/8",
            "10/8",
            "10.0.0.0/8/8",
            "fd00::/129",
            "fd00::1/64",
            "fd00::%1/64",
            "10.0.0.0/8 ",
            "::ffff:10.0.0.0/90",
        ] {
            assert_eq!(parse_net(text), None, "{text}");
        }
        for (text, want) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("fd00::/8", "fd00::/8"),
            ("::1", "::1/128"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ] {
            assert_eq!(parse_net(text).unwrap().to_string(), want);
        }
    }

    proptest! {
        #[test]
        fn a_merged_set_holds_what_its_prefixes_hold(
            nets in prop::collection::vec((any::<u32>(), 20_u8..=32), 0..20),
            point: u32,
            near in any::<prop::sample::Index>(),
        ) {
            // Few distinct high bits, so that prefixes touch and nest.
            let nets: Vec<IpNet> = nets
                .iter()
                .map(|(n, len)| IpNet::new(Ipv4Addr::from_bits(n & 0x0003_ffff).into(), *len).unwrap().trunc())
                .collect();
            let set = AddressRanges::new(nets.iter().copied());
            let mut points = alloc::vec![IpAddr::V4(Ipv4Addr::from_bits(point & 0x0003_ffff))];
            if !nets.is_empty() {
                let net = nets[near.index(nets.len())];
                points.extend([net.network(), net.broadcast()]);
            }
            for point in points {
                prop_assert_eq!(set.contains(point), nets.iter().any(|net| net.contains(&point)));
            }
            prop_assert!(!set.contains(Ipv6Addr::LOCALHOST.into()));
        }
    }
}
