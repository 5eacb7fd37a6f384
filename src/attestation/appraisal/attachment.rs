//! Why an attachment does not count: which one, what was found in it, and what was due.

use alloc::{string::String, vec::Vec};
use core::fmt;

use super::Measurement;
use crate::{
    attestation::{
        dsse::DsseError,
        evidence::PAYLOAD_TYPE,
        excerpt::Excerpt,
        keyless::IdentityError,
        provenance::{ContainerError, ProvenanceError},
    },
    code::{self, Code, Coded},
    digest::Sha256Digest,
};

/// The most attachments that may come with evidence.
pub const MAX_ATTACHMENTS: usize = 8;

/// The most envelopes in all of them: an attachment may be lines of several.
pub const MAX_ENVELOPES: usize = 32;

/// Where an envelope came in a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttachmentPlace {
    /// Which attachment, from 0.
    pub attachment: usize,
    /// Which line of it, from 1, where it has several documents.
    pub line: Option<usize>,
}

impl fmt::Display for AttachmentPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attachment {}", self.attachment)?;
        self.line.map_or(Ok(()), |line| write!(f, ", line {line}"))
    }
}

/// What became of an envelope that came with evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentFinding {
    /// Where it came.
    pub place: AttachmentPlace,
    /// What it vouches for, or why it was passed over.
    pub outcome: Result<Vouched, AttachmentError>,
}

/// What a builder's statement vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// The builder that the statement names.
    pub builder: Excerpt,
    /// What it names by a digest that is claimed.
    pub of: Vec<Measurement>,
}

impl fmt::Display for Vouched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.of.iter().map(|what| what.name()).collect();
        write!(f, "builder {} vouches for {}", self.builder, names.join(" and "))
    }
}

/// Why an envelope that came with evidence does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttachmentError {
    /// There is no envelope in it.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// More envelopes than are looked at.
    #[error("more than {0} envelopes come with the evidence, and this one is not looked at")]
    TooMany(usize),
    /// No builder key signed it.
    #[error("as builders' provenance: {0}")]
    Signature(DsseError),
    /// Nobody is known to have signed it.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The signed payload is of another type.
    #[error("the payload is of type {0}; `{PAYLOAD_TYPE}` is due")]
    PayloadType(Excerpt),
    /// It is no provenance, or not what the policy asks for.
    #[error(transparent)]
    Provenance(#[from] ProvenanceError),
    /// The builder's key is revoked.
    #[error("builder key {0} is revoked")]
    KeyRevoked(String),
    /// The builder's key is trusted at another time.
    #[error("builder key {0} is trusted at another time")]
    KeyTime(String),
    /// The signer may not sign this predicate type.
    #[error("{signer} may not sign predicates of type {found}; its scope names {due}")]
    Predicate {
        /// The key, or the owner of the identity.
        signer: String,
        /// The predicate type.
        found: &'static str,
        /// Those that it may sign.
        due: Excerpt,
    },
    /// The signer may not speak for this builder.
    #[error("{signer} may not speak for builder {found}; its scope names {due}")]
    Builder {
        /// The key, or the owner of the identity.
        signer: String,
        /// The builder id of the statement.
        found: Excerpt,
        /// Those that it may speak for.
        due: Excerpt,
    },
    /// It names nothing that is claimed.
    #[error("none of its {have} subjects is what is claimed: it names {first}{}; due is {}", more(*.have), claimed(.due))]
    Subject {
        /// How many subjects it has.
        have: usize,
        /// The first one's digest.
        first: String,
        /// What was claimed.
        due: Vec<(Measurement, Option<Sha256Digest>)>,
    },
}

fn more(subjects: usize) -> &'static str {
    if subjects > 1 { " and others" } else { "" }
}

fn claimed(due: &[(Measurement, Option<Sha256Digest>)]) -> String {
    let one = |(what, digest): &(Measurement, Option<Sha256Digest>)| match digest {
        Some(digest) => alloc::format!("the {} {digest}", what.name()),
        None => alloc::format!("the {}, which the evidence does not state", what.name()),
    };
    due.iter().map(one).collect::<Vec<_>>().join(" or ")
}

impl Coded for AttachmentError {
    fn code(&self) -> Code {
        match self {
            Self::Container(error) => error.code(),
            Self::TooMany(_) => code::ATTESTATION_TOO_MANY_ATTACHMENTS,
            Self::Signature(error) => error.code(),
            Self::Identity(error) => error.code(),
            Self::PayloadType(_) => code::ATTESTATION_PAYLOAD_TYPE,
            Self::Provenance(error) => error.code(),
            Self::KeyRevoked(_) => code::ATTESTATION_KEY_REVOKED,
            Self::KeyTime(_) => code::ATTESTATION_KEY_TIME,
            Self::Predicate { .. } => code::STATEMENT_PREDICATE_TYPE,
            Self::Builder { .. } => code::ATTESTATION_PROVENANCE_BUILDER,
            Self::Subject { .. } => code::ATTESTATION_PROVENANCE_SUBJECT,
        }
    }
}
