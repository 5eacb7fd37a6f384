//! Validated names. Every id from outside is bounded ASCII with one spelling, so that two ids are equal
//! exactly if their bytes are.

use alloc::{string::String, sync::Arc};
use core::{borrow::Borrow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::code::{self, Code, Coded};

/// The longest id, in bytes.
pub const MAX_ID_BYTES: usize = 128;

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// The text is empty.
    #[error("an id is never empty")]
    Empty,
    /// The text is longer than [`MAX_ID_BYTES`].
    #[error("an id has at most {MAX_ID_BYTES} bytes, this has {0}")]
    TooLong(usize),
    /// The byte at this offset is outside the grammar `[a-z0-9][a-z0-9._:-]*`.
    #[error("byte {0} is outside the id grammar [a-z0-9][a-z0-9._:-]*")]
    Grammar(usize),
}

impl Coded for IdError {
    fn code(&self) -> Code {
        code::ID_MALFORMED
    }
}

/// Checks `text` against the id grammar `[a-z0-9][a-z0-9._:-]*`, at most [`MAX_ID_BYTES`] bytes.
///
/// Only lower case is allowed, because ids that differ only in case would look like one name to people.
pub(crate) fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > MAX_ID_BYTES {
        return Err(IdError::TooLong(text.len()));
    }
    for (at, byte) in text.bytes().enumerate() {
        let letter = byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if !(letter || at > 0 && matches!(byte, b'.' | b'_' | b':' | b'-')) {
            return Err(IdError::Grammar(at));
        }
    }
    Ok(())
}

macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident)+) => {$(
        $(#[$meta])*
        ///
        /// Grammar `[a-z0-9][a-z0-9._:-]*`, 1 to [`MAX_ID_BYTES`] bytes. Cloning is a reference count.
        #[derive(Clone, Eq, PartialOrd, Ord, Hash)]
        #[allow(clippy::derived_hash_with_manual_eq, reason = "equal texts are equal, where they lie is looked at first")]
        pub struct $name(Arc<str>);

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
            }
        }

        impl $name {
            /// Parses an id.
            ///
            /// # Errors
            /// [`IdError`], with the code `id.malformed`, if `text` is empty, too long or outside of the
            /// grammar.
            pub fn new(text: &str) -> Result<Self, IdError> {
                check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The id's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = IdError;
            fn try_from(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(de::Error::custom)
            }
        }
    )+};
}

ids! {
    /// A fleet: the audience of evidence, grants and nonces.
    FleetId
    /// A worker of the fleet.
    WorkerId
    /// A device: it holds the private key of a paired certificate and runs at most one worker.
    DeviceId
    /// A run: one piece of work, across all its attempts.
    RunId
    /// A grant: the permission for one attempt of a run.
    GrantId
    /// A tool that runs can use.
    ToolId
    /// A client session: that of a service, an operator or a worker.
    ClientId
    /// An executor: a place where tools run, such as a sandbox of this host, a worker, a node or a tunnel.
    ExecutorId
    /// A container profile, or a workspace, of a placement policy.
    ProfileId
    /// An issuer whose signed grants a fleet accepts.
    IssuerId
    /// A rule of an egress policy.
    RuleId
    /// The name of a scope.
    ScopeId
    /// A capability request to a device.
    RequestId
    /// A pairing session.
    SessionId
    /// A standing order of an operator: an enrolment key, or a permission to renew certificates.
    OrderId
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    /// Attack F15: the type refuses spaces, control characters, upper case and a megabyte of text.
    #[test]
    fn f15_hostile_ids_are_refused_by_the_type() {
        let megabyte = "a".repeat(1 << 20);
        let cases: &[(&str, IdError)] = &[
            ("", IdError::Empty),
            ("a b", IdError::Grammar(1)),
            (" a", IdError::Grammar(0)),
            ("a\n", IdError::Grammar(1)),
            ("a\u{0}", IdError::Grammar(1)),
            ("Worker", IdError::Grammar(0)),
            ("wORKER", IdError::Grammar(1)),
            ("-a", IdError::Grammar(0)),
            ("..", IdError::Grammar(0)),
            ("a/b", IdError::Grammar(1)),
            ("\u{ff41}", IdError::Grammar(0)),
            (&megabyte, IdError::TooLong(1 << 20)),
        ];
        for (text, want) in cases {
            assert_eq!(WorkerId::new(text).unwrap_err(), *want, "{:.20}", text);
        }
        assert_eq!(WorkerId::new("w-1.eu:a_b").unwrap().to_string(), "w-1.eu:a_b");
    }

    #[test]
    fn serde_cannot_skip_the_check() {
        assert!(serde_json::from_str::<WorkerId>("\"a b\"").is_err());
        assert_eq!(serde_json::from_str::<WorkerId>("\"w1\"").unwrap().as_str(), "w1");
    }
}
