//! What a builder's statement says, as far as policies ask.

use alloc::{
    borrow::Cow,
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use super::{PROVENANCE_PREDICATE, ProvenanceVersion};
use crate::{
    attestation::{
        evidence::{
            Claim, StatementError,
            statement::{Statement, Versions},
        },
        excerpt::Excerpt,
        policy::{OtherParameters, ParameterRule, ProvenanceRule, pattern},
        strict::{Limits, Node, Outline},
    },
    code::{self, Code, Coded},
    digest::{Sha256Digest, Sha512Digest},
};

/// The longest builder id, in bytes.
const MAX_BUILDER_BYTES: usize = 512;

/// The most external parameters that are compared.
const MAX_PARAMETERS: usize = 1024;

/// The longest pointer of a parameter, in bytes.
const MAX_POINTER_BYTES: usize = 1024;

/// What a statement says that its builders may be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Provenance {
    pub(crate) version: ProvenanceVersion,
    pub(crate) builder: String,
    pub(crate) subjects: Vec<SubjectDigests>,
}

/// The digests of one subject of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubjectDigests {
    sha256: Option<Sha256Digest>,
    sha512: Option<Sha512Digest>,
}

impl SubjectDigests {
    /// Its SHA-256, where that is stated and can be read.
    pub const fn sha256(&self) -> Option<Sha256Digest> {
        self.sha256
    }

    /// Its SHA-512, where that is stated and can be read.
    pub const fn sha512(&self) -> Option<Sha512Digest> {
        self.sha512
    }

    /// Whether the subject is what these digests are of. Every digest that both sides state must be the same.
    pub(crate) fn is(&self, sha256: Sha256Digest, sha512: Option<Sha512Digest>) -> bool {
        let long = self.sha512.zip(sha512).map(|(one, other)| one == other);
        match self.sha256 {
            Some(short) => short == sha256 && long != Some(false),
            None => long == Some(true),
        }
    }

    /// A digest to show.
    pub(crate) fn shown(&self) -> String {
        match (self.sha256, self.sha512) {
            (Some(digest), _) => format!("sha256 {digest}"),
            (None, Some(digest)) => format!("sha512 {digest}"),
            (None, None) => "a digest of another algorithm".to_string(),
        }
    }
}

/// Why a statement says nothing about a build, or not what the policy asks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProvenanceError {
    /// It is no statement, or none of provenance.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// It names no builder.
    #[error("the predicate states no builder of 1 to {MAX_BUILDER_BYTES} bytes at `{0}`, which is due")]
    NoBuilder(&'static str),
    /// The build is of another type.
    #[error("the build type is {found}; {due} is due")]
    BuildType {
        /// What it is.
        found: Excerpt,
        /// What it may be.
        due: Excerpt,
    },
    /// The source is another one, or none is stated.
    #[error("the source is {found}; {due} is due")]
    Source {
        /// What it is.
        found: Excerpt,
        /// What it may be.
        due: Excerpt,
    },
    /// A parameter has another value than it may have.
    #[error("the external parameter {name} is {found}; {due} is due")]
    Parameter {
        /// Its JSON pointer.
        name: Excerpt,
        /// Its value, or that it is not there.
        found: Excerpt,
        /// What it may be.
        due: Excerpt,
    },
    /// A parameter that the policy does not name.
    #[error("the external parameter {0} is none that the policy expects")]
    UnknownParameter(Excerpt),
    /// More parameters than are compared.
    #[error("there are more than {MAX_PARAMETERS} external parameters")]
    TooManyParameters,
}

impl Coded for ProvenanceError {
    fn code(&self) -> Code {
        match self {
            Self::Statement(error) => error.code(),
            Self::NoBuilder(_) => code::ATTESTATION_PROVENANCE_BUILDER,
            Self::BuildType { .. } => code::ATTESTATION_PROVENANCE_BUILD_TYPE,
            Self::Source { .. } => code::ATTESTATION_PROVENANCE_SOURCE,
            Self::Parameter { .. } | Self::UnknownParameter(_) | Self::TooManyParameters => {
                code::ATTESTATION_PROVENANCE_PARAMETERS
            }
        }
    }
}

/// A list of texts as one excerpt, for messages.
pub(crate) fn alternatives(list: &[String]) -> Excerpt {
    Excerpt::of(&list.join(" or "))
}

impl Provenance {
    /// Reads the payload of a verified envelope, and judges what the rule asks of every statement.
    ///
    /// # Errors
    /// [`ProvenanceError`]: the first thing that is not as it is due.
    pub(crate) fn read(
        payload: &[u8],
        limits: &Limits,
        rule: &ProvenanceRule,
    ) -> Result<Self, ProvenanceError> {
        let outline = Outline::read(payload, limits).map_err(StatementError::from)?;
        let statement = Statement::of_any_type(outline.top(), Versions::Both)?;
        let Some(version) = ProvenanceVersion::of(&statement.predicate_type) else {
            return Err(StatementError::PredicateType {
                found: Excerpt::of(&statement.predicate_type),
                due: Excerpt::of(PROVENANCE_PREDICATE),
            }
            .into());
        };
        let predicate = Predicate::new(version, statement.predicate);
        let builder = predicate.builder()?;
        predicate.judge(rule)?;
        let digests = statement.subjects.iter().map(|subject| SubjectDigests {
            sha256: match &subject.sha256 {
                Claim::Stated(digest) => Some(*digest),
                _ => None,
            },
            sha512: subject.sha512.as_ref().and_then(|text| text.digest()),
        });
        Ok(Self { version, builder: builder.into_owned(), subjects: digests.collect() })
    }
}

/// A predicate of either version, with its parts where they are.
struct Predicate<'d> {
    version: ProvenanceVersion,
    whole: Node<'d>,
    /// The build definition of v1, the predicate itself in v0.2.
    definition: Option<Node<'d>>,
    /// What external parameters are in.
    external: Option<Node<'d>>,
}

impl<'d> Predicate<'d> {
    fn new(version: ProvenanceVersion, whole: Node<'d>) -> Self {
        let definition = match version {
            ProvenanceVersion::V02 => Some(whole),
            ProvenanceVersion::V1 => whole.member("buildDefinition"),
        };
        let external = definition.and_then(|definition| match version {
            ProvenanceVersion::V02 => definition.member("invocation"),
            ProvenanceVersion::V1 => definition.member("externalParameters"),
        });
        Self { version, whole, definition, external }
    }

    fn builder(&self) -> Result<Cow<'d, str>, ProvenanceError> {
        let (details, place) = match self.version {
            ProvenanceVersion::V02 => (Some(self.whole), "predicate.builder.id"),
            ProvenanceVersion::V1 => (self.whole.member("runDetails"), "predicate.runDetails.builder.id"),
        };
        let id =
            details.and_then(|details| details.member("builder")).and_then(|node| node.member_text("id"));
        let fits = |id: &Cow<'_, str>| (1..=MAX_BUILDER_BYTES).contains(&id.len());
        id.filter(fits).ok_or(ProvenanceError::NoBuilder(place))
    }

    fn judge(&self, rule: &ProvenanceRule) -> Result<(), ProvenanceError> {
        if !rule.build_types.is_empty() {
            let found = self.definition.and_then(|node| node.member_text("buildType")).unwrap_or_default();
            if !pattern::any(&rule.build_types, &found) {
                let due = alternatives(&rule.build_types);
                return Err(ProvenanceError::BuildType { found: Excerpt::of(&found), due });
            }
        }
        if !rule.sources.is_empty() {
            let stated = self.sources();
            let other = stated.iter().find(|source| !pattern::any(&rule.sources, source));
            if stated.is_empty() || other.is_some() {
                let found = Excerpt::of(other.map_or("not stated", String::as_str));
                return Err(ProvenanceError::Source { found, due: alternatives(&rule.sources) });
            }
        }
        rule.parameters.as_ref().map_or(Ok(()), |rule| self.judge_parameters(rule))
    }

    /// The sources that the predicate states, without `git+`.
    fn sources(&self) -> Vec<String> {
        let plain = |text: &str| String::from(text.strip_prefix("git+").unwrap_or(text));
        if self.version == ProvenanceVersion::V02 {
            let config = self.external.and_then(|node| node.member("configSource"));
            let uri = config.and_then(|config| config.member_text("uri"));
            return uri.iter().map(|uri| plain(uri)).collect();
        }
        let mut stated = Vec::new();
        if let Some(external) = self.external {
            if let Some(source) = external.member("source") {
                let text = source.text().ok().or_else(|| source.member_text("uri"));
                stated.extend(text.iter().map(|text| plain(text)));
            }
            for name in ["workflow", "buildConfigSource"] {
                let Some(place) = external.member(name) else { continue };
                let Some(repository) = place.member_text("repository") else { continue };
                let repository = plain(&repository);
                stated.push(match place.member_text("ref") {
                    Some(reference) => format!("{repository}@{reference}"),
                    None => repository,
                });
            }
        }
        if stated.is_empty() {
            let list = self.definition.and_then(|node| node.member("resolvedDependencies"));
            let first = list.and_then(|list| list.elements().ok()?.next());
            let uri = first.and_then(|first| first.member_text("uri"));
            stated.extend(uri.iter().map(|uri| plain(uri)));
        }
        stated
    }

    fn judge_parameters(&self, rule: &ParameterRule) -> Result<(), ProvenanceError> {
        let mut leaves = Vec::new();
        if let Some(external) = self.external {
            // In v0.2 an invocation has internal parts, too.
            let parts: &[&str] = match self.version {
                ProvenanceVersion::V02 => &["configSource", "parameters"],
                ProvenanceVersion::V1 => &[],
            };
            if parts.is_empty() {
                gather(external, String::new(), &mut leaves)?;
            }
            for part in parts {
                if let Some(node) = external.member(part) {
                    gather(node, format!("/{part}"), &mut leaves)?;
                }
            }
        }
        for (name, values) in &rule.expected {
            let found = leaves.iter().find(|(held, _)| held == name).map(|(_, value)| value);
            if found.is_none_or(|found| !values.iter().any(|value| value == found)) {
                return Err(ProvenanceError::Parameter {
                    name: Excerpt::of(name),
                    found: Excerpt::of(found.map_or("not there", |found| found)),
                    due: alternatives(values),
                });
            }
        }
        let unknown = leaves.iter().find(|(name, _)| !rule.expected.contains_key(name));
        match unknown {
            Some((name, _)) if rule.others == OtherParameters::Refuse => {
                Err(ProvenanceError::UnknownParameter(Excerpt::of(name)))
            }
            _ => Ok(()),
        }
    }
}

/// Every value below `node` that is no container, with its pointer. Depth is bounded by the reader.
fn gather<'d>(
    node: Node<'d>,
    pointer: String,
    leaves: &mut Vec<(String, Cow<'d, str>)>,
) -> Result<(), ProvenanceError> {
    if leaves.len() >= MAX_PARAMETERS {
        return Err(ProvenanceError::TooManyParameters);
    }
    // A pointer is written down for each value below it, so a long one would be written often.
    if pointer.len() > MAX_POINTER_BYTES {
        return Err(ProvenanceError::UnknownParameter(Excerpt::of(&pointer)));
    }
    if let Some(value) = node.scalar() {
        leaves.push((pointer, value));
    } else if node.is_object() {
        for (name, member) in node.members().map_err(StatementError::from)? {
            let name = name.replace('~', "~0").replace('/', "~1");
            gather(member, format!("{pointer}/{name}"), leaves)?;
        }
    } else {
        for (at, element) in node.elements().map_err(StatementError::from)?.enumerate() {
            gather(element, format!("{pointer}/{at}"), leaves)?;
        }
    }
    Ok(())
}
