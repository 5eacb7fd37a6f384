//! Base64 as envelopes use it: both alphabets of RFC 4648, each strictly.

use alloc::{string::String, vec::Vec};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};

/// The bytes of `text` in the standard or the URL-safe alphabet (RFC 4648 sections 4 and 5): padded, without white
/// space, with zero pad bits, and not with both alphabets mixed.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
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
        for bad in
            ["YQ", "YQ=", "YR==", "YQ==\n", " YQ==", "YQ==YQ==", "+_+_", "YQ===", "Y===", "=", "a\u{e9}=="]
        {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
