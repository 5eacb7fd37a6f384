//! From bytes to claims, in both forms.

use super::{
    Claim, DOCUMENT_VERSION, EVIDENCE_PREDICATE, EvidenceLimits, Sha512Claims, WorkerAttestation, form,
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
    #[error("the document's member `version` is not {DOCUMENT_VERSION}, which is due")]
    Version,
    /// The signed payload is not the statement that is due.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The subjects are not `image`, `build` and `artifact`, each at most once.
    #[error("the subjects are not those that are due: `image`, `build` and `artifact`, each at most once")]
    Subjects,
    /// The predicate has members of the plain document, which say the same things a second time.
    #[error(
        "the predicate has members that belong to the subjects and the predicate type: image, build, artifact or version"
    )]
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
        let mut sha512 = Sha512Claims::default();
        for subject in statement.subjects {
            let (slot, long) = match &*subject.name {
                "image" => (&mut claims.image, &mut sha512.image),
                "build" => (&mut claims.build, &mut sha512.build),
                "artifact" => (&mut claims.artifact, &mut sha512.artifact),
                _ => return Err(EvidenceError::Subjects),
            };
            *long = subject.sha512.and_then(|text| text.digest());
            if *slot != Claim::Absent {
                return Err(EvidenceError::Subjects);
            }
            // A subject that stands there without a SHA-256 has been named and not measured.
            *slot = match subject.sha256 {
                Claim::Absent => Claim::Malformed,
                claim => claim,
            };
        }
        claims.sha512 = sha512.boxed();
        limits.bound(&mut claims);
        Ok(claims)
    }
}
