//! From bytes to claims, in both forms.

use super::{
    Claim, DOCUMENT_VERSION, EVIDENCE_PREDICATE, EvidenceLimits, WorkerAttestation, form,
    statement::{Statement, StatementError},
};
use crate::{
    attestation::strict::{Outline, StrictError},
    code::{self, Code, Coded},
};

/// Why bytes are not evidence at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The plain document is not the JSON that it must be.
    #[error("the document: {0}")]
    Json(#[from] StrictError),
    /// The plain document states another version, or none.
    #[error("the document is not of version {DOCUMENT_VERSION}")]
    Version,
    /// The signed payload is not the statement that is due.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The subjects are not `image`, `build` and `artifact`, each at most once.
    #[error("the subjects are not image, build and artifact, each once")]
    Subjects,
    /// The predicate has members of the plain document, which say the same things a second time.
    #[error("the predicate repeats what the subjects say")]
    Repeated,
}

impl Coded for EvidenceError {
    fn code(&self) -> Code {
        match self {
            Self::Json(error) => error.code(),
            Self::Version => code::EVIDENCE_VERSION,
            Self::Statement(error) => error.code(),
            Self::Subjects => code::EVIDENCE_SUBJECTS,
            Self::Repeated => code::EVIDENCE_REPEATED,
        }
    }
}

impl WorkerAttestation {
    /// Reads the plain document. Unknown members are refused; `extensions` is the place for those.
    ///
    /// # Errors
    /// [`EvidenceError::Json`] and [`EvidenceError::Version`].
    pub fn from_document(bytes: &[u8], limits: &EvidenceLimits) -> Result<Self, EvidenceError> {
        let outline = Outline::read(bytes, &limits.json())?;
        let read = form::read(outline.top(), limits)?;
        if read.version != Some(DOCUMENT_VERSION) {
            return Err(EvidenceError::Version);
        }
        let mut claims = read.claims;
        limits.bound(&mut claims);
        Ok(claims)
    }

    /// Reads the statement, which is the payload of the signed form. Verify the envelope first.
    ///
    /// # Errors
    /// [`EvidenceError`] for anything but a Statement v1 of our predicate with exactly our subjects.
    pub fn from_statement(bytes: &[u8], limits: &EvidenceLimits) -> Result<Self, EvidenceError> {
        let outline = Outline::read(bytes, &limits.json()).map_err(StatementError::from)?;
        let statement = Statement::read(outline.top(), EVIDENCE_PREDICATE)?;
        let read = form::read(statement.predicate, limits).map_err(StatementError::from)?;
        if read.document {
            return Err(EvidenceError::Repeated);
        }
        let mut claims = read.claims;
        for subject in statement.subjects {
            let slot = match &*subject.name {
                "image" => &mut claims.image,
                "build" => &mut claims.build,
                "artifact" => &mut claims.artifact,
                _ => return Err(EvidenceError::Subjects),
            };
            if *slot != Claim::Absent {
                return Err(EvidenceError::Subjects);
            }
            // A subject that stands there without a SHA-256 has been named and not measured.
            *slot = match subject.sha256 {
                Claim::Absent => Claim::Malformed,
                claim => claim,
            };
        }
        limits.bound(&mut claims);
        Ok(claims)
    }
}
