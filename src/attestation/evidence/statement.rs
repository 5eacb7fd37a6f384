//! in-toto statements (in-toto/attestation, spec/v1 and spec/v0.1.0), with their rules taken exactly.

use alloc::{borrow::Cow, collections::BTreeMap, string::String, vec::Vec};

use serde::{Deserialize, Serialize, de::DeserializeOwned, de::IgnoredAny};

use super::Claim;
use crate::{
    attestation::{
        excerpt::Excerpt,
        strict::{self, Limits, Node, StrictError, StrictErrorKind},
    },
    code::{self, Code, Coded},
    digest::{Sha256Digest, Sha512Digest},
};

/// The `_type` of a Statement v1, case and all. Evidence and summaries are of no earlier version.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// The `_type` of a Statement v0.1, which has the members that v1 has. Provenance is often published in it.
pub const STATEMENT_TYPE_V01: &str = "https://in-toto.io/Statement/v0.1";

/// The payload type of a statement in an envelope. What kind of statement it is only its predicate type says.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Why bytes are not the statement that is due.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// The bytes are not the JSON that they must be.
    #[error("the statement: {0}")]
    Json(#[from] StrictError),
    /// `_type` is none that is taken here.
    #[error("_type is {found}; `{due}` is due")]
    Type {
        /// What it is.
        found: Excerpt,
        /// What it must be: the newest of those that are taken.
        due: &'static str,
    },
    /// There is no subject.
    #[error("the statement has no subject; at least one is due, each with a digest")]
    NoSubject,
    /// A subject has no digest.
    #[error("subject {0}, counted from 0, has no digest; every subject has one")]
    Subject(usize),
    /// The predicate is of a type, or a major version, that is not known.
    #[error("the predicate is of type {found}; {due} is due")]
    PredicateType {
        /// What it is.
        found: Excerpt,
        /// What it must be.
        due: Excerpt,
    },
}

impl Coded for StatementError {
    fn code(&self) -> Code {
        match self {
            Self::Json(error) => error.code(),
            Self::Type { .. } => code::STATEMENT_TYPE,
            Self::NoSubject | Self::Subject(_) => code::STATEMENT_SUBJECT,
            Self::PredicateType { .. } => code::STATEMENT_PREDICATE_TYPE,
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

/// Which of the two versions a statement is of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Versions {
    /// v1 alone.
    One,
    /// v1 and v0.1.
    Both,
}

/// A statement whose predicate is not read yet, in the document that it was found in.
pub(crate) struct Statement<'d> {
    pub(crate) subjects: Vec<Subject<'d>>,
    pub(crate) predicate_type: Cow<'d, str>,
    pub(crate) predicate: Node<'d>,
}

impl<'d> Statement<'d> {
    /// Takes a Statement v1 with a predicate of type `predicate_type` apart.
    pub(super) fn read(node: Node<'d>, predicate_type: &str) -> Result<Self, StatementError> {
        let statement = Self::of_any_type(node, Versions::One)?;
        if statement.predicate_type != predicate_type {
            return Err(other_predicate(&statement.predicate_type, predicate_type));
        }
        Ok(statement)
    }

    /// Takes a statement apart, whatever its predicate is.
    pub(crate) fn of_any_type(node: Node<'d>, versions: Versions) -> Result<Self, StatementError> {
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
        let (Some(kind), Some(subjects), Some(predicate_type), Some(predicate)) =
            (kind, subjects, stated, predicate)
        else {
            return Err(node.shape().into());
        };
        check(&kind, versions, subjects.iter().map(|subject| subject.measured))?;
        Ok(Self { subjects, predicate_type, predicate })
    }
}

fn other_predicate(found: &str, due: &str) -> StatementError {
    StatementError::PredicateType { found: Excerpt::of(found), due: Excerpt::of(due) }
}

/// What a statement is about.
pub(crate) struct Subject<'d> {
    pub(crate) name: Cow<'d, str>,
    /// Whether there is any digest.
    measured: bool,
    pub(crate) sha256: Claim<Sha256Digest>,
    pub(crate) sha512: Option<Sha512Text<'d>>,
}

/// A SHA-512 digest as it is written: read where somebody asks for it.
pub(crate) struct Sha512Text<'d>(Cow<'d, str>);

impl Sha512Text<'_> {
    /// The digest, where the text is one.
    pub(crate) fn digest(&self) -> Option<Sha512Digest> {
        self.0.parse().ok()
    }
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
        let mut subject =
            Self { name: Cow::Borrowed(""), measured: false, sha256: Claim::Absent, sha512: None };
        for (name, member) in node.members()? {
            match &*name {
                "name" => subject.name = member.text()?,
                "digest" => {
                    for (algorithm, digest) in member.members()? {
                        let digest = digest.text()?;
                        subject.measured = true;
                        match &*algorithm {
                            "sha256" => {
                                subject.sha256 = digest.parse().map_or(Claim::Malformed, Claim::Stated);
                            }
                            "sha512" => subject.sha512 = Some(Sha512Text(digest)),
                            _ => {}
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
        check(&self.kind, Versions::One, self.subject.iter().map(|subject| !subject.digest.is_empty()))?;
        if self.predicate_type != predicate_type {
            return Err(other_predicate(&self.predicate_type, predicate_type));
        }
        Ok(())
    }
}

/// Whether a statement is of one of `versions`, and has subjects which are all measured.
fn check(
    kind: &str,
    versions: Versions,
    mut measured: impl ExactSizeIterator<Item = bool>,
) -> Result<(), StatementError> {
    if kind != STATEMENT_TYPE && !(versions == Versions::Both && kind == STATEMENT_TYPE_V01) {
        return Err(StatementError::Type { found: Excerpt::of(kind), due: STATEMENT_TYPE });
    }
    if measured.len() == 0 {
        return Err(StatementError::NoSubject);
    }
    match measured.position(|measured| !measured) {
        Some(nth) => Err(StatementError::Subject(nth)),
        None => Ok(()),
    }
}
