//! What every part of a policy is made of: a rule that is required or waived, a label, a window of time.

use alloc::{string::String, sync::Arc};
use core::fmt;

use serde::{Deserialize, Serialize};

use super::PolicyError;
use crate::time::Wall;

/// A check that is required, or waived with a reason. There is no third way to pass.
///
/// In documents: `{"require":{...}}` or `{"waived":{"reason":"..."}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Rule<T> {
    /// The check is made. An empty requirement refuses.
    Require(T),
    /// The check is skipped, and every appraisal says so.
    Waived {
        /// Why.
        reason: Label,
    },
}

impl<T> Rule<T> {
    /// What is required, where the check is not waived.
    pub const fn required(&self) -> Option<&T> {
        match self {
            Self::Require(rule) => Some(rule),
            Self::Waived { .. } => None,
        }
    }
}

impl<T: Default> Default for Rule<T> {
    /// Required and empty: refuses.
    fn default() -> Self {
        Self::Require(T::default())
    }
}

/// A text for people: 1 to 256 bytes without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(Arc<str>);

impl Label {
    /// A label.
    ///
    /// # Errors
    /// [`PolicyError`] where the text is empty, too long, or has control characters.
    pub fn new(text: &str) -> Result<Self, PolicyError> {
        if text.is_empty() || text.len() > 256 || text.chars().any(char::is_control) {
            return Err(PolicyError::new("a label or a reason has 1 to 256 bytes and no control characters"));
        }
        Ok(Self(Arc::from(text)))
    }

    /// A label of our own, known to be one.
    pub(crate) fn fixed(text: &'static str) -> Self {
        Self(Arc::from(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Label {
    type Error = PolicyError;

    fn try_from(text: String) -> Result<Self, PolicyError> {
        Self::new(&text)
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        Self::from(&*label.0)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// From when until when something counts. A missing end is open. At `not_after_ms` it is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The first instant that counts.
    #[serde(default)]
    pub not_before_ms: Option<Wall>,
    /// The first instant that does not count any more.
    #[serde(default)]
    pub not_after_ms: Option<Wall>,
}

impl Window {
    /// Whether `now` is inside.
    pub fn contains(&self, now: Wall) -> bool {
        self.not_before_ms.is_none_or(|start| start <= now) && now < self.end()
    }

    /// The first instant that does not count any more.
    pub fn end(&self) -> Wall {
        self.not_after_ms.unwrap_or(Wall::NEVER)
    }

    /// Whether there is an instant inside.
    pub(super) fn is_possible(&self) -> bool {
        self.not_before_ms.unwrap_or(Wall::START) < self.end()
    }
}
