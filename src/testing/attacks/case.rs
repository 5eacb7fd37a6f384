//! A case: a question, and what its answer must be.

use alloc::{boxed::Box, collections::BTreeMap, string::String, vec::Vec};

use serde::{Deserialize, Serialize};

/// What must be true of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Due {
    /// The request is refused.
    Refused,
    /// The last hop, a redirect, is not followed.
    RedirectRefused,
    /// The request is refused, or goes out without this header as the client wrote it.
    Withheld {
        /// The header, in lower case.
        header: String,
    },
    /// The request is refused, or this header goes out once and was put in by the policy.
    Replaced {
        /// The header, in lower case.
        header: String,
    },
    /// A control: the request is what the policy is for, and is allowed.
    Allowed,
}

/// One row of the catalogue, made for one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Case {
    /// Its name: the family, the attack, and what it is tried on.
    pub name: String,
    /// The invariant of ARCHITECTURE.md that an answer of another kind breaks.
    pub invariant: u8,
    /// What must be true of the answer.
    pub due: Due,
    /// Why somebody would try it.
    pub why: String,
    /// The question.
    pub question: Question,
}

/// A question in the line protocol of `explain`, kind `egress`, less the policy, which all cases share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Question {
    /// The request.
    pub request: QuestionRequest,
    /// What names resolve to.
    pub dns: BTreeMap<String, Lookup>,
    /// The redirects that answer it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redirects: Vec<QuestionRedirect>,
}

/// The addresses of a name, as text.
pub type Lookup = Vec<String>;

/// A request: to a URL, or for a tunnel to an authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QuestionRequest {
    /// The method.
    pub method: String,
    /// The URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The authority of a tunnel, `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// Header fields, name and value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
}

/// An answer of an origin that sends the client elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QuestionRedirect {
    /// The status, such as 302.
    pub status: u16,
    /// The `Location`.
    pub location: String,
}

impl Case {
    pub(super) fn new(name: String, due: Due, why: &str, question: Question) -> Self {
        Self { name, invariant: 9, due, why: why.into(), question }
    }

    /// Secrets reach the upstream only (invariant 10).
    pub(super) fn of_secrets(self) -> Self {
        Self { invariant: 10, ..self }
    }
}

impl Question {
    pub(super) fn get(url: &str) -> Self {
        Self::new("GET", url)
    }

    pub(super) fn new(method: &str, url: &str) -> Self {
        let request =
            QuestionRequest { method: method.into(), url: Some(url.into()), ..QuestionRequest::default() };
        Self { request, dns: BTreeMap::new(), redirects: Vec::new() }
    }

    pub(super) fn tunnel(authority: &str) -> Self {
        let request = QuestionRequest {
            method: "CONNECT".into(),
            authority: Some(authority.into()),
            ..QuestionRequest::default()
        };
        Self { request, dns: BTreeMap::new(), redirects: Vec::new() }
    }

    pub(super) fn resolves(mut self, name: &str, addresses: &[&str]) -> Self {
        self.dns.insert(name.into(), addresses.iter().map(|address| String::from(*address)).collect());
        self
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.request.headers.push((name.into(), value.into()));
        self
    }

    pub(super) fn redirected(mut self, status: u16, location: &str) -> Self {
        self.redirects.push(QuestionRedirect { status, location: location.into() });
        self
    }

    /// The question as `explain` takes it, on one line.
    ///
    /// # Errors
    /// Where the policy cannot be written as JSON.
    pub fn line(
        &self,
        name: &str,
        policy: &crate::egress::EgressPolicy,
    ) -> Result<String, serde_json::Error> {
        #[derive(Serialize)]
        struct Line<'a> {
            kind: &'a str,
            id: &'a str,
            policy: &'a crate::egress::EgressPolicy,
            #[serde(flatten)]
            question: &'a Question,
        }
        serde_json::to_string(&Line { kind: "egress", id: name, policy, question: self })
    }
}

/// An error of a program under test, as text.
pub(super) type NoAnswer = Box<str>;
