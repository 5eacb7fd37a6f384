//! in-toto Statement v1 (in-toto/attestation, spec/v1), with its rules taken exactly.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use serde::{Deserialize, Serialize, de::DeserializeOwned, de::IgnoredAny};

use super::Claim;
use crate::{
    attestation::strict::{self, Limits, StrictError, StrictErrorKind},
    code::{self, Code, Coded},
    digest::Sha256Digest,
};

/// The `_type` of a Statement v1, case and all. No earlier version is taken.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// The payload type of a statement in an envelope. What kind of statement it is only its predicate type says.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Why bytes are not the statement that is due.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// The bytes are not the JSON that they must be.
    #[error("the statement: {0}")]
    Json(#[from] StrictError),
    /// `_type` is not [`STATEMENT_TYPE`].
    #[error("_type is not {STATEMENT_TYPE}")]
    Type,
    /// There is no subject, or one without a digest.
    #[error("a statement has subjects, and every subject a digest")]
    Subject,
    /// The predicate is of a type, or a major version, that is not known.
    #[error("the predicate type is not known")]
    PredicateType,
}

impl Coded for StatementError {
    fn code(&self) -> Code {
        match self {
            Self::Json(error) => error.code(),
            Self::Type => code::STATEMENT_TYPE,
            Self::Subject => code::STATEMENT_SUBJECT,
            Self::PredicateType => code::STATEMENT_PREDICATE_TYPE,
        }
    }
}

/// A statement on the wire. Unknown members are ignored at this level, as the specification says.
#[derive(Serialize, Deserialize)]
pub(crate) struct StatementForm<P> {
    #[serde(rename = "_type")]
    pub(crate) kind: String,
    pub(crate) subject: Vec<SubjectForm>,
    #[serde(rename = "predicateType")]
    pub(crate) predicate_type: String,
    pub(crate) predicate: P,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct SubjectForm {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) digest: BTreeMap<String, String>,
}

impl SubjectForm {
    pub(crate) fn new(name: &str, digest: Sha256Digest) -> Self {
        use alloc::string::ToString as _;
        Self { name: name.into(), digest: [("sha256".into(), digest.to_string())].into() }
    }

    /// The one digest algorithm that is accepted here; the others are ignored, as the specification says.
    pub(crate) fn sha256(&self) -> Claim<Sha256Digest> {
        Claim::read(self.digest.get("sha256"), |text| text.parse())
    }
}

impl<P: DeserializeOwned> StatementForm<P> {
    /// Reads a statement with a predicate of type `predicate_type`.
    pub(crate) fn read(bytes: &[u8], predicate_type: &str) -> Result<Self, StatementError> {
        let statement: Self = match strict::read(bytes, &Limits::DOCUMENT) {
            Ok(statement) => statement,
            Err(error) if error.kind == StrictErrorKind::Shape => {
                // A predicate of another type has another shape: say which of both it is.
                let any: StatementForm<IgnoredAny> = strict::read(bytes, &Limits::DOCUMENT)?;
                any.check(predicate_type)?;
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        };
        statement.check(predicate_type)?;
        Ok(statement)
    }
}

impl<P> StatementForm<P> {
    fn check(&self, predicate_type: &str) -> Result<(), StatementError> {
        if self.kind != STATEMENT_TYPE {
            return Err(StatementError::Type);
        }
        if self.subject.is_empty() || self.subject.iter().any(|subject| subject.digest.is_empty()) {
            return Err(StatementError::Subject);
        }
        if self.predicate_type != predicate_type {
            return Err(StatementError::PredicateType);
        }
        Ok(())
    }
}
