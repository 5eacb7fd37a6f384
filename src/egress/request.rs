//! A request as the worker sent it, and its fingerprint.

use super::{Bearer, header::HeaderField, hops::Chain};
use crate::{
    digest::{FieldHasher, Sha256Digest},
    id::RuleId,
};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked<'a> {
    Url(&'a str),
    Authority(&'a str),
}

/// The size of the body as far as it is known before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// Nothing was said: as many bytes as Content-Length says, or none.
    Unsaid,
    Bytes(u64),
    Unknown,
}

/// A request to judge: borrowed, and not believed in anything.
///
/// ```
/// use leasehold::egress::EgressRequest;
/// let request = EgressRequest::url("GET", "https://api.example.com/v1/models").body_bytes(0);
/// # let _ = request;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct EgressRequest<'a> {
    pub(super) method: &'a str,
    pub(super) asked: Asked<'a>,
    pub(super) headers: &'a [HeaderField<'a>],
    pub(super) body: Body,
    pub(super) chain: Chain,
    pub(super) through: Option<&'a RuleId>,
}

impl<'a> EgressRequest<'a> {
    /// A request for a URL.
    pub const fn url(method: &'a str, url: &'a str) -> Self {
        Self::new(method, Asked::Url(url))
    }

    /// A request for a tunnel to `authority`, `host:port`. `method` is CONNECT.
    pub const fn tunnel(method: &'a str, authority: &'a str) -> Self {
        Self::new(method, Asked::Authority(authority))
    }

    const fn new(method: &'a str, asked: Asked<'a>) -> Self {
        Self { method, asked, headers: &[], body: Body::Unsaid, chain: Chain::FIRST, through: None }
    }

    /// With the worker's header fields.
    #[must_use]
    pub const fn headers(mut self, headers: &'a [HeaderField<'a>]) -> Self {
        self.headers = headers;
        self
    }

    /// With a body of exactly this many bytes.
    #[must_use]
    pub const fn body_bytes(mut self, bytes: u64) -> Self {
        self.body = Body::Bytes(bytes);
        self
    }

    /// With a body whose size is not known before its end. The rule's limit is counted while it is sent.
    #[must_use]
    pub const fn body_of_unknown_size(mut self) -> Self {
        self.body = Body::Unknown;
        self
    }

    /// Refused unless the rule `id` wins: for requests that came by the route of that rule.
    #[must_use]
    pub const fn through_rule(mut self, id: &'a RuleId) -> Self {
        self.through = Some(id);
        self
    }

    /// The digest of everything that the request says, of who asks, and of the policy that is asked.
    ///
    /// Every field has its length before it, so two different requests never have the same input.
    pub fn fingerprint(&self, bearer: &Bearer, policy: Sha256Digest) -> Sha256Digest {
        let (form, target) = match self.asked {
            Asked::Url(url) => (0, url),
            Asked::Authority(authority) => (1, authority),
        };
        let (size, bytes) = match self.body {
            Body::Unsaid => (0, 0),
            Body::Bytes(bytes) => (1, bytes),
            Body::Unknown => (2, 0),
        };
        let mut hasher = FieldHasher::new("egress.request.v1")
            .field(policy.as_bytes())
            .field(bearer.worker.as_str().as_bytes())
            .number(bearer.fence.epoch.0)
            .number(bearer.fence.counter)
            .field(self.method.as_bytes())
            .number(form)
            .field(target.as_bytes())
            .number(size)
            .number(bytes)
            .number(self.chain.hops.into())
            .number(u64::from(self.through.is_some()))
            .field(self.through.map_or("", RuleId::as_str).as_bytes())
            .number(u64::try_from(self.headers.len()).unwrap_or(u64::MAX));
        for field in self.headers {
            hasher = hasher.field(field.name.as_bytes()).field(field.value);
        }
        hasher.finish()
    }
}
