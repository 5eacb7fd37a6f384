//! in-toto Statement v1 (in-toto/attestation, spec/v1), with its rules taken exactly.

use alloc::{borrow::Cow, collections::BTreeMap, string::String, vec::Vec};

use serde::{Deserialize, Serialize, de::DeserializeOwned, de::IgnoredAny};

use super::Claim;
use crate::{
    attestation::strict::{self, Limits, Node, StrictError, StrictErrorKind},
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

/// A statement with a foreign predicate, as serde reads and writes it. Unknown members are ignored at this level, as the specification says.
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

/// A statement whose predicate is not read yet, in the document that it was found in.
pub(super) struct Statement<'d> {
    pub(super) subjects: Vec<Subject<'d>>,
    pub(super) predicate: Node<'d>,
}

impl<'d> Statement<'d> {
    /// Takes a statement with a predicate of type `predicate_type` apart.
    pub(super) fn read(node: Node<'d>, predicate_type: &str) -> Result<Self, StatementError> {
        let (mut kind, mut subjects, mut stated, mut predicate) = (None, None, None, None);
        for (name, member) in node.members()? {
            match &*name {
                "_type" => kind = Some(member.text()?),
                "subject" => subjects = Some(Subject::all(member)?),
                "predicateType" => stated = Some(member.text()?),
                "predicate" => predicate = Some(member),
                _ => {}
            }
        }
        let (Some(kind), Some(subjects), Some(stated), Some(predicate)) = (kind, subjects, stated, predicate)
        else {
            return Err(node.shape().into());
        };
        let measured = !subjects.is_empty() && subjects.iter().all(|subject| subject.measured);
        check(&kind, measured, &stated, predicate_type)?;
        Ok(Self { subjects, predicate })
    }
}

/// What a statement is about.
pub(super) struct Subject<'d> {
    pub(super) name: Cow<'d, str>,
    /// Whether there is any digest.
    measured: bool,
    pub(super) sha256: Claim<Sha256Digest>,
}

impl<'d> Subject<'d> {
    fn all(node: Node<'d>) -> Result<Vec<Self>, StrictError> {
        // Ours are three.
        let mut subjects = Vec::with_capacity(3);
        for element in node.elements()? {
            subjects.push(Self::read(element)?);
        }
        Ok(subjects)
    }

    fn read(node: Node<'d>) -> Result<Self, StrictError> {
        let mut subject = Self { name: Cow::Borrowed(""), measured: false, sha256: Claim::Absent };
        for (name, member) in node.members()? {
            match &*name {
                "name" => subject.name = member.text()?,
                "digest" => {
                    for (algorithm, digest) in member.members()? {
                        let digest = digest.text()?;
                        subject.measured = true;
                        if algorithm == "sha256" {
                            subject.sha256 = digest.parse().map_or(Claim::Malformed, Claim::Stated);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(subject)
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
        let measured =
            !self.subject.is_empty() && self.subject.iter().all(|subject| !subject.digest.is_empty());
        check(&self.kind, measured, &self.predicate_type, predicate_type)
    }
}

fn check(kind: &str, measured: bool, stated: &str, due: &str) -> Result<(), StatementError> {
    if kind != STATEMENT_TYPE {
        return Err(StatementError::Type);
    }
    if !measured {
        return Err(StatementError::Subject);
    }
    if stated != due {
        return Err(StatementError::PredicateType);
    }
    Ok(())
}
