//! Base64 as envelopes use it: both alphabets of RFC 4648, each strictly.

use alloc::{string::String, vec::Vec};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};

/// The bytes of `text` in the standard or the URL-safe alphabet (RFC 4648 sections 4 and 5): padded, without white
/// space, with zero pad bits, and not with both alphabets mixed.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    decode_after(&mut bytes, text)?;
    Some(bytes)
}

/// Writes the bytes of `text` after those that are in `buffer`, which is worth nothing where that fails.
pub(super) fn decode_after(buffer: &mut Vec<u8>, text: &str) -> Option<()> {
    let held = buffer.len();
    STANDARD.decode_vec(text, buffer).ok().or_else(|| {
        buffer.truncate(held);
        URL_SAFE.decode_vec(text, buffer).ok()
    })
}

/// How many bytes `text` stands for, if it is base64.
pub(super) const fn decoded_bytes(text: &str) -> usize {
    let padding = match text.as_bytes() {
        [.., b'=', b'='] => 2,
        [.., b'='] => 1,
        _ => 0,
    };
    (text.len() / 4).saturating_mul(3).saturating_sub(padding)
}

/// `bytes` in the standard alphabet.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_alphabets_strictly() {
        assert_eq!(decode("-_-_").unwrap(), decode("+/+/").unwrap());
        assert_eq!(decode("").unwrap(), b"");
        for good in ["", "YQ==", "YWE=", "YWFh", "YWFhYQ=="] {
            assert_eq!(decode(good).unwrap().len(), decoded_bytes(good), "{good}");
        }
        for bad in
            ["YQ", "YQ=", "YR==", "YQ==\n", " YQ==", "YQ==YQ==", "+_+_", "YQ===", "Y===", "=", "a\u{e9}=="]
        {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
