//! Provenance as builders publish it: what stands around an envelope, and what a statement in it says.
//!
//! Taken are DSSE envelopes, sigstore bundles (v0.1 to v0.3) with an envelope inside, and JSON lines of either; Statement
//! v0.1 and v1; SLSA provenance v0.2 and v1. Members that those formats do not know are ignored, as they say, and obey
//! the strict reader all the same.

mod container;
mod statement;

use serde::{Deserialize, Serialize};

pub use self::{
    container::ContainerError,
    statement::{ProvenanceError, SubjectDigests},
};
pub(crate) use self::{
    container::{Carried, Content, open},
    statement::Provenance,
};

/// The predicate type of SLSA provenance v1 (slsa.dev/spec/v1.0/provenance).
pub const PROVENANCE_PREDICATE: &str = "https://slsa.dev/provenance/v1";

/// The predicate type of SLSA provenance v0.2 (slsa.dev/provenance/v0.2).
pub const PROVENANCE_PREDICATE_V02: &str = "https://slsa.dev/provenance/v0.2";

/// Which version of SLSA provenance a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ProvenanceVersion {
    /// v0.2.
    #[serde(rename = "v0.2")]
    V02,
    /// v1.
    #[serde(rename = "v1")]
    V1,
}

impl ProvenanceVersion {
    /// The predicate type of the version.
    pub const fn predicate(self) -> &'static str {
        match self {
            Self::V02 => PROVENANCE_PREDICATE_V02,
            Self::V1 => PROVENANCE_PREDICATE,
        }
    }

    fn of(predicate: &str) -> Option<Self> {
        [Self::V02, Self::V1].into_iter().find(|version| version.predicate() == predicate)
    }
}
