//! Every block's edges, every way of hiding IPv4, and the literal grammar.

use alloc::{format, string::String, vec, vec::Vec};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::code;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn bits(ip: IpAddr) -> (u128, u32) {
    match ip {
        IpAddr::V4(v4) => (v4.to_bits().into(), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

fn from_bits(value: u128, width: u32) -> IpAddr {
    if width == 32 { Ipv4Addr::from_bits(value as u32).into() } else { Ipv6Addr::from_bits(value).into() }
}

/// First, last, one before, one after every block, and every metadata address with its neighbours.
fn edges() -> Vec<IpAddr> {
    let ranges = blocks()
        .map(|block| (block.network, block.prefix_len))
        .chain(METADATA.iter().map(|own| (own.address, if own.address.is_ipv4() { 32 } else { 128 })));
    let mut edges = Vec::new();
    for (network, prefix) in ranges {
        let (first, width) = bits(network);
        let highest = if width == 32 { u128::from(u32::MAX) } else { u128::MAX };
        let last = first | highest.checked_shr(prefix.into()).unwrap_or(0);
        for point in [Some(first), Some(last), first.checked_sub(1), last.checked_add(1)] {
            edges.extend(point.filter(|p| *p <= highest).map(|p| from_bits(p, width)));
        }
    }
    edges
}

/// A second opinion on IPv4, written as the table of the specification reads: no search, no segments.
fn naive_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, d] = v4.octets();
    let special = match a {
        0 | 10 | 127 => true,
        100 => b & 0xc0 == 64,
        168 => [b, c, d] == [63, 129, 16],
        169 => b == 254,
        172 => b & 0xf0 == 16,
        192 => b == 168 || matches!((b, c), (0, 0) | (0, 2) | (31, 196) | (52, 193) | (88, 99) | (175, 48)),
        198 => b == 18 || b == 19 || (b, c) == (51, 100),
        203 => (b, c) == (0, 113),
        _ => a >= 224,
    };
    !special
}

/// A second opinion on IPv6.
fn naive_public_v6(v6: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let quad = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    if [a, b, c, d, e, f] == [0, 0, 0, 0, 0, 0xffff] {
        return naive_public_v4(quad(g, h));
    }
    let special = match a {
        0x2001 => b < 0x200 || b == 0xdb8,
        0x2002 => true,
        0x2620 => (b, c) == (0x4f, 0x8000),
        0x3fff => b < 0x1000,
        _ => a & 0xe000 != 0x2000,
    };
    let isatap = matches!((e, f), (0 | 0x200, 0x5efe)) && !naive_public_v4(quad(g, h));
    !special && !isatap
}

fn naive_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => naive_public_v4(v4),
        IpAddr::V6(v6) => naive_public_v6(v6),
    }
}

/// The class by the longest block, found the slow way.
fn naive_class(ip: IpAddr) -> AddressClass {
    if METADATA.iter().any(|known| known.address == ip) {
        return AddressClass::Metadata;
    }
    let (point, width) = bits(ip);
    blocks()
        .filter(|block| {
            let (first, of_width) = bits(block.network);
            let shift = of_width - u32::from(block.prefix_len);
            let high = |n: u128| n.checked_shr(shift).unwrap_or(0);
            of_width == width && high(point) == high(first)
        })
        .max_by_key(|block| block.prefix_len)
        .map_or(AddressClass::Public, |block| block.class)
}

/// Attack E3, every special-purpose block: the compiled segments agree with two slower readings at every edge.
#[test]
fn e3_every_edge_of_every_block_is_judged_rightly() {
    let edges = edges();
    assert!(edges.len() > 280, "{}", edges.len());
    for ip in edges {
        let verdict = classify(ip);
        assert_eq!(verdict.public, naive_public(ip), "{ip}: {verdict:?}");
        assert_eq!(verdict.code, verdict.class.code());
        let mapped = matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        if !mapped && verdict.class != AddressClass::Isatap {
            assert_eq!(verdict.class, naive_class(ip), "{ip}");
        }
        if verdict.floor {
            assert!(!verdict.public, "{ip} is under the floor and public");
        }
    }
}

/// Attack E3, every hiding place: the edges of all IPv4 blocks, hidden in every known way.
#[test]
fn e3_ipv4_is_found_in_every_hiding_place() {
    let v4s: Vec<Ipv4Addr> =
        edges().into_iter().filter_map(|ip| if let IpAddr::V4(v4) = ip { Some(v4) } else { None }).collect();
    for v4 in v4s {
        let inner = classify(v4.into());
        let n = u128::from(v4.to_bits());
        let (high, low) = (v4.to_bits() >> 16, v4.to_bits() & 0xffff);
        let at = |prefix: &str, shift: u32| IpAddr::V6(Ipv6Addr::from_bits(bits(ip(prefix)).0 | n << shift));

        let mapped = classify(at("::ffff:0:0", 0));
        assert_eq!((mapped.public, mapped.class), (inner.public, inner.class));
        assert_eq!((mapped.pinned, mapped.embedded), (IpAddr::V4(v4), Some(v4)));
        assert_eq!(mapped.floor, inner.floor);

        let nat64 = at("64:ff9b::", 0);
        assert_eq!((classify(nat64).public, classify(nat64).class), (false, AddressClass::Nat64));
        let judged = classify_with(nat64, Translators { well_known: Nat64::JudgeInner, prefixes: &[] });
        assert_eq!((judged.public, judged.class, judged.pinned), (inner.public, inner.class, nat64));

        let teredo = IpAddr::V6(Ipv6Addr::from_bits(bits(ip("2001:0:4136:e378::")).0 | (!n & 0xffff_ffff)));
        let local = ip(&format!("64:ff9b:1:{high:x}:{:x}:{:x}::", low >> 8, (low & 0xff) << 8));
        let mut never = vec![
            nat64,
            at("::ffff:0:0:0", 0),
            at("64:ff9b:1::", 0),
            local,
            at("2002::", 80),
            at("2002::1", 80),
            teredo,
        ];
        // The first two addresses of ::/96 have a meaning of their own.
        if n > 1 {
            never.push(at("::", 0));
        }
        for hidden in never {
            let verdict = classify(hidden);
            assert!(!verdict.public, "{hidden}");
            assert_eq!(verdict.embedded, Some(v4), "{hidden}");
            assert!(verdict.floor || !inner.floor, "{hidden} takes the floor away from {v4}");
        }

        for iid in ["0:5efe:0:0", "200:5efe:0:0"] {
            let inside = classify(at(&format!("2606:4700:1:2:{iid}"), 0));
            assert_eq!((inside.public, inside.embedded), (inner.public, Some(v4)));
            assert_eq!(inside.class == AddressClass::Isatap, !inner.public);
            let outside = classify(at(&format!("fe80:0:0:0:{iid}"), 0));
            assert_eq!((outside.class, outside.embedded), (AddressClass::LinkLocal, Some(v4)));
        }
    }
}

/// RFC 6052 section 2.4 has these examples, of `192.0.2.33` behind prefixes of each length.
#[test]
fn every_layout_of_rfc_6052_is_read() {
    for (net, address) in [
        ("2001:db8::/32", "2001:db8:c000:221::"),
        ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
        ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
    ] {
        let net: ipnet::Ipv6Net = net.parse().unwrap();
        let IpAddr::V6(v6) = ip(address) else { panic!("{address} is no IPv6 address") };
        assert_eq!(translator::inner(v6, net.prefix_len()), Ipv4Addr::new(192, 0, 2, 33), "{address}");
    }
}

/// Behind a declared prefix an address is what the translator reaches, and nothing else.
#[test]
fn a_declared_translator_is_looked_through() {
    let prefix = |text: &str| Nat64Prefix::new(text.parse().unwrap());
    let declared = [prefix("2a00:1098:2b::/96").unwrap(), prefix("fd00:64:1::/48").unwrap()];
    let judge =
        |text| classify_with(ip(text), Translators { well_known: Nat64::Refuse, prefixes: &declared });
    for (text, class, public, floor) in [
        ("2a00:1098:2b::8.8.8.8", "public", true, false),
        ("2a00:1098:2b::10.0.0.1", "private", false, false),
        ("2a00:1098:2b::169.254.169.254", "metadata", false, true),
        ("2a00:1098:2b:0:100::8.8.8.8", "public", true, false),
        ("fd00:64:1:808:8:800::", "public", true, false),
        ("fd00:64:1:808:8:800:1:1", "public", true, false),
        ("fd00:64:1:a00:0:100::", "private", false, false),
        ("fd00:64:1:a9fe:a9:fe00::", "metadata", false, true),
        // The octet that every layout skips is not zero: no translator wrote that.
        ("fd00:64:1:808:108:800::", "nat64", false, false),
        ("2606:4700::1", "public", true, false),
        ("fd00:64:2::8.8.8.8", "unique_local", false, false),
        ("::ffff:10.0.0.1", "private", false, false),
        ("64:ff9b::8.8.8.8", "nat64", false, false),
    ] {
        let verdict = judge(text);
        assert_eq!((verdict.class.as_str(), verdict.public, verdict.floor), (class, public, floor), "{text}");
    }
    for text in [
        "::/96",
        "::ffff:0:0/96",
        "2002::/32",
        "2001::/32",
        "ff00::/32",
        "fe80::/64",
        "2001:db8::/33",
        "2001:db8::/128",
        "2a00:1098:2b:0:100::/96",
    ] {
        assert_eq!(prefix(text), None, "{text}");
    }
}

/// In prefixes that nobody declared every layout counts, to refuse and not to allow.
#[test]
fn an_undeclared_translator_is_read_in_every_layout() {
    let leads = |text| leads_to(ip(text), Translators::default()).collect::<Vec<_>>();
    let private = Ipv4Addr::new(10, 0, 0, 1);
    for text in
        ["64:ff9b:1:a00:0:100:0:1", "64:ff9b:1:0:0a:0:100::", "64:ff9b:1:a:0:1::", "64:ff9b:1::10.0.0.1"]
    {
        assert!(leads(text).contains(&private), "{text}: {:?}", leads(text));
        assert!(!classify(ip(text)).public, "{text}");
    }
    for text in [
        "64:ff9b:1:a9fe:a9:fe00:0:1",
        "64:ff9b:1:0:a9:fea9:fe00:0",
        "64:ff9b:1:a9:fe:a9fe::",
        "64:ff9b:1::169.254.169.254",
        "fd12:3456::169.254.169.254",
        "fd12:3456:789a:a9fe:a9:fe00::",
        "fe80::100.100.100.200",
    ] {
        assert_eq!(classify(ip(text)).floor_class, Some(AddressClass::Metadata), "{text}");
    }
    assert!(!classify(ip("64:ff9b:1::10.0.0.1")).floor);
    assert!(classify(ip("64:ff9b:1::")).floor);
    assert_eq!(
        leads("2001:0:a9fe:a9fe::f7f7:f7f7"),
        [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(169, 254, 169, 254)]
    );
}

#[test]
fn a_teredo_server_under_the_floor_counts_too() {
    assert!(classify(ip("2001:0:a9fe:a9fe::f7f7:f7f7")).floor);
    assert!(!classify(ip("2001:0:808:808::f7f7:f7f7")).floor);
}

#[test]
fn the_floor_is_exactly_unspecified_multicast_broadcast_and_metadata() {
    let under =
        ["0.0.0.0", "::", "224.0.0.1", "239.255.255.255", "255.255.255.255", "ff02::1", "169.254.169.254"];
    let above =
        ["0.0.0.1", "::1", "10.0.0.1", "127.0.0.1", "169.254.1.1", "240.0.0.1", "fd00::1", "100.100.100.201"];
    assert!(under.iter().all(|text| classify(ip(text)).floor));
    assert!(above.iter().all(|text| !classify(ip(text)).floor && !classify(ip(text)).public));
    assert!(METADATA.iter().all(|own| classify(own.address).floor));
}

#[test]
fn ordinary_addresses_are_public() {
    for text in
        ["8.8.8.8", "93.184.216.34", "168.63.129.15", "2606:4700::1111", "2001:4860:4860::8888", "2a00::1"]
    {
        let verdict = classify(ip(text));
        assert_eq!((verdict.public, verdict.code), (true, code::EGRESS_ADDRESS_PUBLIC), "{text}");
    }
}

/// Attack E4: spellings that other parsers read as addresses.
#[test]
fn e4_only_canonical_literals_parse() {
    let refused = [
        "",
        "1",
        "127.1",
        "1.2.3",
        "1.2.3.4.5",
        "01.2.3.4",
        "1.2.3.04",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "2130706433",
        "1.2.3.256",
        "1.2.3.4 ",
        " 1.2.3.4",
        "+1.2.3.4",
        "1.2.3.4.",
        "１.2.3.4",
        "[::1]",
        "::1%eth0",
        "fe80::1%25eth0",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "1::2::3",
        "12345::",
        ":::",
        ":1",
        "1:",
        "::ffff:01.2.3.4",
        "::ffff:1.2.3",
        "1:2:3:4:5:6:7::8",
        "::g",
        "1.2.3.4:80",
        "::1/128",
        "0:0:0:0:0:0:0:1.2.3.4",
    ];
    for text in refused {
        assert_eq!(parse_literal(text), Err(LiteralError), "{text}");
    }
    for text in [
        "1.2.3.4",
        "0.0.0.0",
        "::",
        "::1",
        "::FFFF:1.2.3.4",
        "2001:0DB8::1",
        "1:2:3:4:5:6:7::",
        "1:2:3:4:5:6:1.2.3.4",
    ] {
        assert!(parse_literal(text).is_ok(), "{text}");
    }
}

proptest! {
    #[test]
    fn any_address_is_judged_as_the_slow_readings_judge_it(seed: u128, prefix in any::<prop::sample::Index>()) {
        let all: Vec<_> = blocks().collect();
        let block = all[prefix.index(all.len())];
        let (first, width) = bits(block.network);
        let mask = u128::MAX.checked_shr(u32::from(block.prefix_len) + 128 - width).unwrap_or(0);
        for ip in [from_bits(first | seed & mask, width), from_bits(seed, width)] {
            prop_assert_eq!(classify(ip).public, naive_public(ip), "{}", ip);
        }
    }

    #[test]
    fn literals_come_back_as_they_were(seed: u128, short: u32) {
        for ip in [IpAddr::V6(Ipv6Addr::from_bits(seed)), IpAddr::V4(Ipv4Addr::from_bits(short))] {
            prop_assert_eq!(parse_literal(&format!("{ip}")), Ok(ip));
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text: String) {
        if let Ok(ip) = parse_literal(&text) {
            prop_assert_eq!(Ok(ip), parse_literal(&format!("{ip}")));
        }
    }
}
