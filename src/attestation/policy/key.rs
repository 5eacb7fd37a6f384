//! Trusted keys with what they are trusted for.

use alloc::{string::String, sync::Arc, vec::Vec};
use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{PolicyError, Window, pattern::patterns};
use crate::{
    attestation::signature::TrustedKey,
    id::{MAX_ID_BYTES, WorkerId},
    time::Wall,
};

/// The most scoped keys of a policy. A node's own key comes with its pairing and not through here.
pub const MAX_POLICY_KEYS: usize = 128;

/// What a key may vouch for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyRole {
    /// A worker's evidence.
    Evidence,
    /// How an image was built.
    Builder,
    /// That a worker's traffic goes through it.
    EgressProxy,
}

/// Which workers a key may vouch for: `*`, an id, or the beginning of ids and a `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkerPattern {
    text: Arc<str>,
    prefix: bool,
}

impl WorkerPattern {
    /// Whether `worker` matches.
    ///
    /// ```
    /// use leasehold::attestation::policy::WorkerPattern;
    /// let pattern: WorkerPattern = "team-a-*".parse()?;
    /// assert!(pattern.matches(&"team-a-7".parse()?) && !pattern.matches(&"team-b-7".parse()?));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn matches(&self, worker: &WorkerId) -> bool {
        if self.prefix { worker.as_str().starts_with(&*self.text) } else { worker.as_str() == &*self.text }
    }

    /// Whether every worker matches.
    pub fn is_any(&self) -> bool {
        self.prefix && self.text.is_empty()
    }
}

impl FromStr for WorkerPattern {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let (text, prefix) = text.strip_suffix('*').map_or((text, false), |start| (start, true));
        let any = prefix && text.is_empty();
        if !any && (text.len() > MAX_ID_BYTES || WorkerId::new(text).is_err()) {
            return Err(PolicyError::new(
                "a worker pattern is *, a worker id, or the beginning of one and a *",
            ));
        }
        Ok(Self { text: Arc::from(text), prefix })
    }
}

impl TryFrom<String> for WorkerPattern {
    type Error = PolicyError;

    fn try_from(text: String) -> Result<Self, PolicyError> {
        text.parse()
    }
}

impl From<WorkerPattern> for String {
    fn from(pattern: WorkerPattern) -> Self {
        use alloc::string::ToString as _;
        pattern.to_string()
    }
}

impl fmt::Display for WorkerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.prefix { "*" } else { "" })
    }
}

/// A trusted key and the scope of the trust. What a list does not name is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopedKey {
    /// The key.
    pub key: TrustedKey,
    /// What it may vouch for.
    pub roles: Vec<KeyRole>,
    /// For which workers. Not asked for builders, whose statements name no worker.
    #[serde(default)]
    pub workers: Vec<WorkerPattern>,
    /// Under which predicate types. Not asked for egress proxies, whose bindings are no statements.
    #[serde(default)]
    pub predicates: Vec<String>,
    /// For builders: which `builder.id` it may speak for. An exact text, or a pattern in which `*` stands for whole
    /// segments: `https://ci.example/b@*` for any version, `https://ci.example/b@v1.*`, `https://ci.example/*` for all
    /// below.
    #[serde(default)]
    pub builders: Vec<String>,
    /// When.
    #[serde(default)]
    pub window: Window,
}

impl ScopedKey {
    pub(crate) fn has_role(&self, role: KeyRole) -> bool {
        self.roles.contains(&role)
    }

    pub(crate) fn is_current(&self, now: Wall) -> bool {
        self.window.contains(now)
    }

    /// Whether the key may vouch for `worker`. A worker that is not named is matched by `*` alone.
    pub(crate) fn covers(&self, worker: Option<&WorkerId>) -> bool {
        self.workers.iter().any(|pattern| worker.map_or(pattern.is_any(), |worker| pattern.matches(worker)))
    }

    pub(crate) fn allows_predicate(&self, predicate: &str) -> bool {
        self.predicates.iter().any(|allowed| allowed == predicate)
    }

    /// Whether the key may speak for the builder of this id.
    pub(crate) fn speaks_for(&self, builder: &str) -> bool {
        super::pattern::any(&self.builders, builder)
    }

    pub(super) fn check(&self) -> Result<(), PolicyError> {
        if self.roles.is_empty() || self.roles.len() > 8 {
            return Err(PolicyError::new("a scoped key has at least one role, each once"));
        }
        if self.workers.len() > 256 || self.predicates.len() > 16 || self.builders.len() > 64 {
            return Err(PolicyError::new(
                "a scoped key has at most 256 patterns, 16 predicates and 64 builders",
            ));
        }
        if self.predicates.iter().chain(&self.builders).any(|text| text.is_empty() || text.len() > 256) {
            return Err(PolicyError::new("a predicate type or a builder id has 1 to 256 bytes"));
        }
        patterns(&self.builders)?;
        if !self.window.is_possible() {
            return Err(PolicyError::new("a window begins before it ends"));
        }
        Ok(())
    }
}
