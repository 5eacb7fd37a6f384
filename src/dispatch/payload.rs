//! The bytes of a request or a result: opaque, shared, and never printed.

use alloc::{string::String, sync::Arc, vec::Vec};
use core::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The bytes of a request or a result. Cloning increments a reference count.
///
/// `Debug` shows only the length, because what a device is asked for can be secret. The JSON form is padded
/// base64 (RFC 4648, section 4); binary formats hold the bytes. The policy's limits are checked where a
/// payload is used, so a frame codec must bound what it reads before that.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Payload(Arc<[u8]>);

impl Payload {
    /// A payload with these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(Arc::from(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn size(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&STANDARD.encode(&self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            STANDARD.decode(text).map(|bytes| Self(bytes.into())).map_err(de::Error::custom)
        } else {
            struct Bytes;
            impl<'de> de::Visitor<'de> for Bytes {
                type Value = Payload;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("bytes")
                }
                fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Payload, E> {
                    Ok(Payload::new(bytes))
                }
                fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Payload, E> {
                    Ok(Payload(bytes.into()))
                }
            }
            deserializer.deserialize_bytes(Bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn a_payload_is_never_shown_and_survives_both_serde_forms() {
        let payload = Payload::new(b"hunter2");
        assert_eq!(format!("{payload:?}"), "Payload(7 bytes)");
        let json = serde_json::to_string(&payload).unwrap();
        assert_eq!(serde_json::from_str::<Payload>(&json).unwrap(), payload);
        let bytes = postcard::to_allocvec(&payload).unwrap();
        assert_eq!(bytes.len(), 8);
        assert_eq!(postcard::from_bytes::<Payload>(&bytes).unwrap(), payload);
        assert!(serde_json::from_str::<Payload>("\"aGk\"").is_err(), "unpadded");
    }
}
