//! Texts on the wire: codes of another build, and bytes in base64.

use alloc::{string::String, sync::Arc, vec::Vec};
use core::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::code::Code;

const MAX_CODE_BYTES: usize = 64;

/// A code as a peer names it. A peer of another build may know codes that this one does not.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct WireCode(Arc<str>);

impl WireCode {
    /// The code's text: 1 to 64 of `[a-z0-9._]`, so it may be shown on a terminal.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is this code.
    pub fn is(&self, code: Code) -> bool {
        self.as_str() == code.as_str()
    }
}

impl WireCode {
    /// The code with this text, where it has the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._".contains(&b);
        let fits = (1..=MAX_CODE_BYTES).contains(&text.len());
        (fits && text.bytes().all(plain)).then(|| Self(Arc::from(text)))
    }
}

impl From<Code> for WireCode {
    fn from(code: Code) -> Self {
        Self(Arc::from(code.as_str()))
    }
}

impl fmt::Display for WireCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for WireCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for WireCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("not a code"))
    }
}

/// Bytes, as padded standard base64 (RFC 4648 section 4) in one spelling. Their `Debug` form is a length.
#[derive(Clone, PartialEq, Eq)]
pub struct WireBytes(pub Vec<u8>);

impl fmt::Debug for WireBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for WireBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for WireBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(|_| de::Error::custom("not base64"))
    }
}
