//! The registries flattened at compile time into sorted segments, so that judging an address is one binary search.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    AddressClass,
    registry::{AddressBlock, METADATA, V4, V6},
};

/// Every block begins one segment and ends another; one more begins at zero.
const fn room(blocks: &[AddressBlock]) -> usize {
    blocks.len().saturating_add(METADATA.len()).saturating_mul(2).saturating_add(1)
}

const V4_ROOM: usize = room(V4);
const V6_ROOM: usize = room(V6);

/// Segment `n` is from `starts[n]` up to the next start, and all of it has `classes[n]`.
struct Segments<Address, const N: usize> {
    starts: [Address; N],
    classes: [AddressClass; N],
}

static V4_SEGMENTS: Segments<u32, V4_ROOM> = narrow(flatten(V4, 32));
static V6_SEGMENTS: Segments<u128, V6_ROOM> = flatten(V6, 128);

/// The first octets under which some block or metadata address lies. Under the others everything is public.
static V4_SPECIAL: [bool; 256] = special_octets();
/// The first segments in `2000::/3` under which some block lies. Under the others everything is public.
static V6_SPECIAL: [u64; 128] = special_segments();

pub(super) fn class_v4(ip: Ipv4Addr) -> AddressClass {
    let [first, ..] = ip.octets();
    match V4_SPECIAL.get(usize::from(first)) {
        Some(false) => AddressClass::Public,
        _ => V4_SEGMENTS.class(ip.to_bits()),
    }
}

pub(super) fn class_v6(ip: Ipv6Addr) -> AddressClass {
    if is_plain_global(ip) { AddressClass::Public } else { V6_SEGMENTS.class(ip.to_bits()) }
}

/// Whether `ip` is global unicast with no block near it: most of what names lead to.
pub(super) fn is_plain_global(ip: Ipv6Addr) -> bool {
    let [high, low, ..] = ip.octets();
    let first = u16::from_be_bytes([high, low]);
    let special = V6_SPECIAL.get(usize::from((first & 0x1fff) >> 6)).copied().unwrap_or(u64::MAX);
    first >> 13 == 1 && special >> (first & 63) & 1 == 0
}

impl<Address: Copy + Ord, const N: usize> Segments<Address, N> {
    fn class(&self, address: Address) -> AddressClass {
        let after = self.starts.partition_point(|start| *start <= address);
        // The first segment begins at zero, so there always is one; if not, the address is not public.
        self.classes.get(after.saturating_sub(1)).copied().unwrap_or(AddressClass::Reserved)
    }
}

const fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => v4.to_bits() as u128,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The last address of the block of `width` bits that begins at `first` with `prefix` leading bits.
const fn last_of(first: u128, prefix: u8, width: u32) -> u128 {
    let host_bits = width.saturating_sub(prefix as u32);
    match 1_u128.checked_shl(host_bits) {
        Some(size) => first | size.saturating_sub(1),
        None => u128::MAX,
    }
}

const fn of_width(ip: IpAddr, width: u32) -> bool {
    matches!((ip, width), (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128))
}

// The compiler runs the functions below and nothing else does: a wrong index or an overflow does not compile.

/// The class at `point`: metadata, else the longest block that holds it, else what the rest of the family is.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
const fn class_at(blocks: &[AddressBlock], point: u128, width: u32) -> AddressClass {
    let mut at = 0;
    while at < METADATA.len() {
        if of_width(METADATA[at].address, width) && number(METADATA[at].address) == point {
            return AddressClass::Metadata;
        }
        at += 1;
    }
    let mut class = AddressClass::Public;
    let mut longest: i16 = -1;
    at = 0;
    while at < blocks.len() {
        let first = number(blocks[at].network);
        let prefix = blocks[at].prefix_len;
        if first <= point && point <= last_of(first, prefix, width) && prefix as i16 > longest {
            longest = prefix as i16;
            class = blocks[at].class;
        }
        at += 1;
    }
    class
}

/// Puts `point` in its place among the first `len` starts, which are sorted; a repeat changes nothing.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
const fn insert<const N: usize>(mut starts: [u128; N], len: usize, point: u128) -> ([u128; N], usize) {
    let mut at = len;
    while at > 0 && starts[at - 1] > point {
        at -= 1;
    }
    if at > 0 && starts[at - 1] == point {
        return (starts, len);
    }
    let mut hole = len;
    while hole > at {
        starts[hole] = starts[hole - 1];
        hole -= 1;
    }
    starts[at] = point;
    (starts, len + 1)
}

#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
const fn flatten<const N: usize>(blocks: &[AddressBlock], width: u32) -> Segments<u128, N> {
    let highest = last_of(0, 0, width);
    let mut starts = [0; N];
    let mut len = 1;
    let mut at = 0;
    while at < blocks.len() + METADATA.len() {
        let (network, prefix) = if at < blocks.len() {
            (blocks[at].network, blocks[at].prefix_len)
        } else {
            (METADATA[at - blocks.len()].address, width as u8)
        };
        if of_width(network, width) {
            let first = number(network);
            let last = last_of(first, prefix, width);
            (starts, len) = insert(starts, len, first);
            if last < highest {
                (starts, len) = insert(starts, len, last + 1);
            }
        }
        at += 1;
    }
    let mut classes = [AddressClass::Reserved; N];
    at = 0;
    while at < N {
        if at >= len {
            // Unused places repeat the last segment, so that the search needs no length.
            starts[at] = starts[len - 1];
        }
        classes[at] = class_at(blocks, starts[at], width);
        at += 1;
    }
    Segments { starts, classes }
}

#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
const fn narrow<const N: usize>(wide: Segments<u128, N>) -> Segments<u32, N> {
    let mut starts = [0; N];
    let mut at = 0;
    while at < N {
        starts[at] = wide.starts[at] as u32;
        at += 1;
    }
    Segments { starts, classes: wide.classes }
}

#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
const fn special_octets() -> [bool; 256] {
    let mut special = [false; 256];
    let mut at = 0;
    while at < V4.len() + METADATA.len() {
        let (network, prefix) = if at < V4.len() {
            (V4[at].network, V4[at].prefix_len)
        } else {
            (METADATA[at - V4.len()].address, 32)
        };
        if of_width(network, 32) {
            let last = last_of(number(network), prefix, 32) >> 24;
            let mut octet = number(network) >> 24;
            while octet <= last {
                special[octet as usize] = true;
                octet += 1;
            }
        }
        at += 1;
    }
    special
}

/// Whether a block is within one /16 of global unicast. A wider one, or metadata there, does not compile.
#[allow(clippy::arithmetic_side_effects)]
const fn is_within_global(network: IpAddr, prefix: u8) -> bool {
    let global = of_width(network, 128) && number(network) >> 125 == 1;
    assert!(!global || prefix >= 16 || prefix == 3);
    global && prefix >= 16
}

/// A bit for each first segment of global unicast: whether some block lies under it.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
const fn special_segments() -> [u64; 128] {
    let mut special = [0; 128];
    let mut at = 0;
    while at < V6.len() + METADATA.len() {
        let (network, prefix) = if at < V6.len() {
            (V6[at].network, V6[at].prefix_len)
        } else {
            (METADATA[at - V6.len()].address, 128)
        };
        if is_within_global(network, prefix) {
            let segment = (number(network) >> 112) as usize & 0x1fff;
            special[segment >> 6] |= 1 << (segment & 63);
        }
        at += 1;
    }
    special
}
