//! Values that several fuzz bodies use.
#![allow(clippy::unwrap_used)]

use std::{format, vec, vec::Vec};

use crate::id::RequestId;

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    let mut out = if length < 128 { vec![tag, length] } else { vec![tag, 0x81, length] };
    out.extend_from_slice(content);
    out
}

/// A certificate in form, for a key of one byte.
pub(super) fn leaf() -> Vec<u8> {
    leaf_of(&[1])
}

/// A certificate in form, for a key of these few bytes.
pub(super) fn leaf_of(key: &[u8]) -> Vec<u8> {
    let algorithm = tlv(0x30, &tlv(6, &[42, 3]));
    let validity = tlv(0x30, &[tlv(0x17, b"250101000000Z"), tlv(0x17, b"491231235959Z")].concat());
    let key = tlv(0x30, &[algorithm.clone(), tlv(3, &[&[0], key].concat())].concat());
    let empty = tlv(0x30, b"");
    let body = [tlv(2, &[1]), algorithm.clone(), empty.clone(), validity, empty, key].concat();
    tlv(0x30, &[tlv(0x30, &body), algorithm, tlv(3, &[0, 1])].concat())
}

pub(super) fn text<T>(made: impl FnOnce(&str) -> Option<T>, name: &str) -> T {
    made(name).unwrap()
}

pub(super) fn request(n: u8) -> RequestId {
    text(|name| RequestId::new(name).ok(), &format!("r{}", n % 6))
}
