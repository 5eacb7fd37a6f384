//! Capability names and sets: what a worker can do, what a grant allows, and what a request needs.

use alloc::{string::String, sync::Arc, vec::Vec};
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    code::{self, Code, Coded},
    id::{self, IdError},
};

/// How many names a set has at most.
pub const MAX_CAPABILITIES: usize = 64;

/// The name of a capability, such as `tool:hash`. It has the same grammar as an id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CapabilityName(Arc<str>);

impl CapabilityName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`IdError`], with the code `id.malformed`.
    pub fn new(text: &str) -> Result<Self, IdError> {
        id::check(text)?;
        Ok(Self(Arc::from(text)))
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CapabilityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CapabilityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for CapabilityName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for CapabilityName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Why names do not make a set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CapabilityError {
    /// A name is malformed.
    #[error(transparent)]
    Name(#[from] IdError),
    /// There are more than [`MAX_CAPABILITIES`] different names.
    #[error("a capability set has at most {MAX_CAPABILITIES} names, this has {0}")]
    TooMany(usize),
}

impl Coded for CapabilityError {
    fn code(&self) -> Code {
        match self {
            Self::Name(error) => error.code(),
            Self::TooMany(_) => code::CAPABILITY_TOO_MANY,
        }
    }
}

/// A set of capability names: sorted, without duplicates, at most [`MAX_CAPABILITIES`], cheap to clone.
///
/// ```
/// use leasehold::capability::CapabilitySet;
/// let worker = CapabilitySet::parse(["tool:hash", "os:linux"])?;
/// let asked = CapabilitySet::parse(["tool:hash"])?;
/// assert!(asked.is_subset_of(&worker));
/// # Ok::<(), leasehold::capability::CapabilityError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CapabilitySet(Arc<[CapabilityName]>);

impl CapabilitySet {
    /// Equality that is fast if both are copies of one set.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self == other
    }

    /// The set of `names`. Duplicates are removed.
    ///
    /// # Errors
    /// [`CapabilityError::TooMany`], with the code `capability.too_many`.
    pub fn new(names: impl IntoIterator<Item = CapabilityName>) -> Result<Self, CapabilityError> {
        let mut sorted: Vec<CapabilityName> = names.into_iter().collect();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() > MAX_CAPABILITIES {
            return Err(CapabilityError::TooMany(sorted.len()));
        }
        Ok(Self(sorted.into()))
    }

    /// The set of the names in `texts`.
    ///
    /// # Errors
    /// [`CapabilityError`] if a name is malformed or there are too many.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, CapabilityError> {
        let names: Result<Vec<_>, _> = texts.into_iter().map(CapabilityName::new).collect();
        Self::new(names?)
    }

    /// Whether every name of this set is in `other`. Cost: a binary search for each name.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.excess_over(other).next().is_none()
    }

    /// The names of this set that are not in `other`.
    pub fn excess_over<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a CapabilityName> {
        self.iter().filter(move |name| other.0.binary_search(name).is_err())
    }

    /// Whether `name` is in the set.
    pub fn contains(&self, name: &CapabilityName) -> bool {
        self.0.binary_search(name).is_ok()
    }

    /// The names in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &CapabilityName> {
        self.0.iter()
    }

    /// The number of names.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for CapabilitySet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for CapabilitySet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::<CapabilityName>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
