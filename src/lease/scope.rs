//! Scopes: which egress rules and which secrets a lease may use.

use alloc::{string::String, sync::Arc, vec::Vec};
use core::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeOwned},
};

use crate::{
    code::{self, Code, Coded},
    id::RuleId,
};

/// The longest secret reference, in bytes.
pub const MAX_SECRET_REF_BYTES: usize = 256;
/// How many entries a scope has at most.
pub const MAX_SCOPE: usize = 256;

/// Why a text is not a secret reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretRefError {
    /// The source is not `vault`. Environment variables, files and commands are not sources.
    #[error("a secret reference begins with `vault:`; no other source is read")]
    Source,
    /// The text is longer than [`MAX_SECRET_REF_BYTES`].
    #[error("a secret reference has at most {MAX_SECRET_REF_BYTES} bytes")]
    TooLong,
    /// The path is not segments of `[A-Za-z0-9._-]` between slashes, a segment is `.` or `..`, or there is
    /// more than one `#field`.
    #[error(
        "the path of a secret reference is segments of [A-Za-z0-9._-] between slashes, and `#field` at most"
    )]
    Path,
}

impl Coded for SecretRefError {
    fn code(&self) -> Code {
        match self {
            Self::Source => code::EGRESS_SECRET_SOURCE,
            Self::TooLong | Self::Path => code::EGRESS_SECRET_MALFORMED,
        }
    }
}

/// The name of a secret in a vault, such as `vault:team/models` or `vault:team/models#token`. It is never the
/// secret itself.
///
/// ```
/// use leasehold::lease::SecretRef;
/// assert!(SecretRef::new("vault:team/models").is_ok());
/// assert!(SecretRef::new("env:TOKEN").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretRef(Arc<str>);

fn is_segment(text: &str) -> bool {
    let grammar = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !matches!(text, "" | "." | "..") && text.bytes().all(grammar)
}

impl SecretRef {
    /// Parses a secret reference.
    ///
    /// # Errors
    /// [`SecretRefError`], with the codes `egress.secret.source` and `egress.secret.malformed`.
    pub fn new(text: &str) -> Result<Self, SecretRefError> {
        let rest = text.strip_prefix("vault:").ok_or(SecretRefError::Source)?;
        if text.len() > MAX_SECRET_REF_BYTES {
            return Err(SecretRefError::TooLong);
        }
        let (path, field) = rest.split_once('#').map_or((rest, None), |(path, field)| (path, Some(field)));
        if !path.split('/').all(is_segment) || !field.is_none_or(is_segment) {
            return Err(SecretRefError::Path);
        }
        Ok(Self(Arc::from(text)))
    }

    /// The reference's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretRef {
    type Err = SecretRefError;
    fn from_str(text: &str) -> Result<Self, SecretRefError> {
        Self::new(text)
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// A scope has more than [`MAX_SCOPE`] entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scope has at most {MAX_SCOPE} entries, this has {0}")]
pub struct ScopeError(usize);

impl Coded for ScopeError {
    fn code(&self) -> Code {
        code::EGRESS_SCOPE_TOO_MANY
    }
}

/// A sorted list without duplicates, or explicitly everything.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
enum Allowed<T> {
    Only(Arc<[T]>),
    All,
}

impl<T: Ord> Allowed<T> {
    fn only(entries: impl IntoIterator<Item = T>) -> Result<Self, ScopeError> {
        let mut sorted: Vec<T> = entries.into_iter().collect();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() > MAX_SCOPE { Err(ScopeError(sorted.len())) } else { Ok(Self::Only(sorted.into())) }
    }

    fn contains(&self, entry: &T) -> bool {
        match self {
            Self::All => true,
            Self::Only(list) => list.binary_search(entry).is_ok(),
        }
    }

    fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::All) => true,
            (Self::All, Self::Only(_)) => false,
            (Self::Only(list), Self::Only(_)) => list.iter().all(|entry| other.contains(entry)),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Allowed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Only(list) => f.debug_set().entries(list.iter()).finish(),
        }
    }
}

/// The form in documents: the word `all`, or a list.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Document<T> {
    Word(All),
    List(Vec<T>),
}

#[derive(Serialize, Deserialize)]
enum All {
    #[serde(rename = "all")]
    All,
}

/// The form in binary records, which the derived serialisation of [`Allowed`] writes.
#[derive(Deserialize)]
enum Record<T> {
    Only(Vec<T>),
    All,
}

fn serialize<T: Serialize, S: Serializer>(allowed: &Allowed<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match allowed {
        _ if !serializer.is_human_readable() => allowed.serialize(serializer),
        Allowed::All => All::All.serialize(serializer),
        Allowed::Only(list) => list.serialize(serializer),
    }
}

fn deserialize<'de, T, D>(deserializer: D) -> Result<Allowed<T>, D::Error>
where
    T: Ord + DeserializeOwned,
    D: Deserializer<'de>,
{
    let list = if deserializer.is_human_readable() {
        match Document::<T>::deserialize(deserializer)? {
            Document::Word(All::All) => return Ok(Allowed::All),
            Document::List(list) => list,
        }
    } else {
        match Record::<T>::deserialize(deserializer)? {
            Record::All => return Ok(Allowed::All),
            Record::Only(list) => list,
        }
    };
    // The list is sorted again, because a document or a record may hold it in another order.
    Allowed::only(list).map_err(de::Error::custom)
}

macro_rules! scopes {
    ($($(#[$meta:meta])* $name:ident of $entry:ty;)+) => {$(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Allowed<$entry>);

        impl $name {
            /// A scope of exactly `entries`. Duplicates are removed.
            ///
            /// # Errors
            /// [`ScopeError`], with the code `egress.scope.too_many`, if there are more than [`MAX_SCOPE`]
            /// entries.
            pub fn only(entries: impl IntoIterator<Item = $entry>) -> Result<Self, ScopeError> {
                Allowed::only(entries).map(Self)
            }

            /// A scope of every entry that the policy has.
            pub const fn all() -> Self {
                Self(Allowed::All)
            }

            /// An empty scope.
            pub fn none() -> Self {
                Self(Allowed::Only(Arc::from([])))
            }

            /// Whether `entry` is in the scope. Cost: one binary search.
            pub fn contains(&self, entry: &$entry) -> bool {
                self.0.contains(entry)
            }

            /// Whether every entry of this scope is also in `other`.
            pub fn is_within(&self, other: &Self) -> bool {
                self.0.is_within(&other.0)
            }

            /// The entries in order; `None` if the scope is everything.
            pub fn entries(&self) -> Option<&[$entry]> {
                match &self.0 {
                    Allowed::All => None,
                    Allowed::Only(list) => Some(list),
                }
            }
        }

        /// An empty scope, so that a scope that nobody wrote allows nothing.
        impl Default for $name {
            fn default() -> Self {
                Self::none()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serialize(&self.0, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize(deserializer).map(Self)
            }
        }
    )+};
}

scopes! {
    /// The egress rules that a lease may use: a sorted list of at most [`MAX_SCOPE`] rule ids, or explicitly
    /// all rules. An empty scope allows no egress. In documents it is a list of rule ids or the word `"all"`.
    /// Cloning increments a reference count.
    EgressScope of RuleId;
    /// The secrets that a lease's requests may use, in the same form. A credential outside of the scope is
    /// never sent.
    SecretScope of SecretRef;
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString, vec};

    use super::*;

    /// Attack E16: a vault is the only source.
    #[test]
    fn e16_only_vault_references_parse() {
        for text in ["env:TOKEN", "file:/etc/passwd", "exec:id", "vaults:a", "Vault:a", "", "a/b", " vault:a"]
        {
            assert_eq!(SecretRef::new(text), Err(SecretRefError::Source), "{text}");
            assert!(serde_json::from_value::<SecretRef>(serde_json::Value::from(text)).is_err());
        }
        for text in [
            "vault:",
            "vault:/a",
            "vault:a/",
            "vault:a//b",
            "vault:../a",
            "vault:a/./b",
            "vault:a b",
            "vault:a#",
            "vault:a#b#c",
            "vault:a\n",
            "vault:\u{e9}",
        ] {
            assert_eq!(SecretRef::new(text), Err(SecretRefError::Path), "{text}");
        }
        assert_eq!(SecretRef::new(&format!("vault:{}", "a".repeat(300))), Err(SecretRefError::TooLong));
        assert_eq!(SecretRef::new("vault:team/models#token").unwrap().to_string(), "vault:team/models#token");
    }

    fn rules(texts: &[&str]) -> vec::Vec<RuleId> {
        texts.iter().map(|text| RuleId::new(text).unwrap()).collect()
    }

    #[test]
    fn a_scope_is_a_list_or_the_word_all_and_nothing_by_default() {
        let some = EgressScope::only(rules(&["b", "a", "b"])).unwrap();
        assert_eq!(serde_json::to_string(&some).unwrap(), r#"["a","b"]"#);
        assert_eq!(serde_json::to_string(&EgressScope::all()).unwrap(), r#""all""#);
        for scope in [some.clone(), EgressScope::all(), EgressScope::none()] {
            let text = serde_json::to_string(&scope).unwrap();
            assert_eq!(serde_json::from_str::<EgressScope>(&text).unwrap(), scope);
            let bytes = postcard::to_allocvec(&scope).unwrap();
            assert_eq!(postcard::from_bytes::<EgressScope>(&bytes).unwrap(), scope);
        }
        for text in [r#""ALL""#, "null", "true", r#"{"all":1}"#, r#"["A b"]"#] {
            assert!(serde_json::from_str::<EgressScope>(text).is_err(), "{text}");
        }
        let [a, c] = [&rules(&["a"])[0].clone(), &rules(&["c"])[0].clone()];
        assert!(some.contains(a) && !some.contains(c) && EgressScope::all().contains(c));
        assert!(!EgressScope::default().contains(a));
        assert!(some.is_within(&EgressScope::all()) && !EgressScope::all().is_within(&some));
        assert!(EgressScope::none().is_within(&some) && !some.is_within(&EgressScope::none()));
    }

    // Invariant 13.
    #[test]
    fn a_scope_is_bounded_in_code_and_in_documents() {
        let many: vec::Vec<RuleId> = (0..=MAX_SCOPE).map(|n| RuleId::new(&n.to_string()).unwrap()).collect();
        assert_eq!(EgressScope::only(many.clone()), Err(ScopeError(MAX_SCOPE + 1)));
        let text = serde_json::to_string(&many).unwrap();
        assert!(serde_json::from_str::<EgressScope>(&text).is_err());
    }
}
