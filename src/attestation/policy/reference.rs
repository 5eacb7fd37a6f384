//! Reference values: the digests that a measurement may have.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Label, PolicyError, Window};
use crate::{digest::Sha256Digest, time::Wall};

/// The most values, and the most denied digests, of one set.
pub const MAX_REFERENCES: usize = 65_536;

/// A digest that is trusted for a time. Several may be, so that roll-outs overlap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceValue {
    /// The digest.
    pub digest: Sha256Digest,
    /// What it is called: a version, a build number.
    pub label: Label,
    /// When it is trusted.
    #[serde(default)]
    pub window: Window,
}

/// Trusted and denied digests of one measurement. Denied wins.
///
/// In documents: `{"values":[{"digest":"...","label":"...","window":{}}],"denied":["..."]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SetForm", into = "SetForm")]
pub struct ReferenceSet {
    values: Vec<ReferenceValue>,
    denied: Vec<Sha256Digest>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetForm {
    #[serde(default)]
    values: Vec<ReferenceValue>,
    #[serde(default)]
    denied: Vec<Sha256Digest>,
}

impl TryFrom<SetForm> for ReferenceSet {
    type Error = PolicyError;

    fn try_from(form: SetForm) -> Result<Self, PolicyError> {
        Self::new(form.values, form.denied)
    }
}

impl From<ReferenceSet> for SetForm {
    fn from(set: ReferenceSet) -> Self {
        Self { values: set.values, denied: set.denied }
    }
}

/// How a digest stands to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing<'a> {
    /// The set trusts nothing.
    NoReference,
    /// The digest is on the deny list.
    Denied,
    /// No value has this digest.
    Unknown,
    /// A value has this digest, at another time.
    OutsideWindow(&'a ReferenceValue),
    /// Trusted by this value: of several, the one that lasts longest.
    Trusted(&'a ReferenceValue),
}

impl ReferenceSet {
    /// A set. The order of the values does not matter.
    ///
    /// # Errors
    /// [`PolicyError`] over [`MAX_REFERENCES`], or for a window without an instant in it.
    pub fn new(mut values: Vec<ReferenceValue>, mut denied: Vec<Sha256Digest>) -> Result<Self, PolicyError> {
        if values.len() > MAX_REFERENCES || denied.len() > MAX_REFERENCES {
            return Err(PolicyError::new("a reference set has at most 65536 values and denied digests"));
        }
        if !values.iter().all(|value| value.window.is_possible()) {
            return Err(PolicyError::new("a window begins before it ends"));
        }
        values.sort_unstable();
        values.dedup();
        denied.sort_unstable();
        denied.dedup();
        Ok(Self { values, denied })
    }

    /// The trusted values, in the order of their digests.
    pub fn values(&self) -> &[ReferenceValue] {
        &self.values
    }

    /// The denied digests, in order.
    pub fn denied(&self) -> &[Sha256Digest] {
        &self.denied
    }

    /// How `digest` stands at `now`. Cost: O(log values + log denied).
    pub fn standing(&self, digest: Sha256Digest, now: Wall) -> Standing<'_> {
        if self.denied.binary_search(&digest).is_ok() {
            return Standing::Denied;
        }
        if self.values.is_empty() {
            return Standing::NoReference;
        }
        let first = self.values.partition_point(|value| value.digest < digest);
        let same = || self.values.iter().skip(first).take_while(|value| value.digest == digest);
        match same().filter(|value| value.window.contains(now)).max_by_key(|value| value.window.end()) {
            Some(value) => Standing::Trusted(value),
            None => same().next().map_or(Standing::Unknown, Standing::OutsideWindow),
        }
    }
}
