//! Redirects: a pure function from an answer to the next request. The next request is judged from the beginning.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use super::{
    ConnectPlan, EgressRequest, HeaderField, RedirectError, Scheme, header::is_same_field, hops::Chain,
    policy::Credential,
};

impl ConnectPlan {
    /// Follows an answer with `status` and Location; `fields` are the worker's own of this request.
    ///
    /// # Errors
    /// [`RedirectError`] where the redirect is not followed.
    pub fn redirect(
        &self,
        status: u16,
        location: Option<&str>,
        fields: &[HeaderField<'_>],
    ) -> Result<NextRequest, RedirectError> {
        follow(self, status, location, fields)
    }
}

/// The request that follows a redirect. It is judged like any other, and counts as one hop.
#[derive(Clone, PartialEq, Eq)]
pub struct NextRequest {
    method: String,
    url: String,
    headers: Vec<(String, Vec<u8>)>,
    body_bytes: Option<u64>,
    keeps_body: bool,
    same_origin: bool,
    chain: Chain,
}

/// The header fields without their values.
impl fmt::Debug for NextRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextRequest")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("headers", &self.fields())
            .field("keeps_body", &self.keeps_body)
            .field("same_origin", &self.same_origin)
            .field("hops", &self.chain.hops)
            .finish_non_exhaustive()
    }
}

impl NextRequest {
    /// The first request of a chain.
    pub(super) fn first<'a>(
        method: &str,
        url: &str,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        body_bytes: Option<u64>,
    ) -> Self {
        Self {
            method: method.to_string(),
            url: url.to_string(),
            headers: headers.into_iter().map(|(name, value)| (name.to_string(), value.to_vec())).collect(),
            body_bytes,
            keeps_body: body_bytes != Some(0),
            same_origin: true,
            chain: Chain::FIRST,
        }
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The URL, in its canonical spelling.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether the body is sent again.
    pub fn keeps_body(&self) -> bool {
        self.keeps_body
    }

    /// Whether the origin is that of the request before.
    pub fn is_same_origin(&self) -> bool {
        self.same_origin
    }

    /// The worker's header fields that go along. What was dropped at a change of origin does not come back.
    pub fn fields(&self) -> Vec<HeaderField<'_>> {
        self.headers.iter().map(|(name, value)| HeaderField { name, value }).collect()
    }

    /// The request to judge, with [`NextRequest::fields`].
    pub fn request<'a>(&'a self, fields: &'a [HeaderField<'a>]) -> EgressRequest<'a> {
        let mut request = EgressRequest::url(&self.method, &self.url).headers(fields);
        request.chain = self.chain;
        match (self.keeps_body, self.body_bytes) {
            (true, Some(bytes)) => request.body_bytes(bytes),
            (true, None) => request.body_of_unknown_size(),
            (false, _) => request.body_bytes(0),
        }
    }
}

/// Follows an answer with `status` and `location` to a request with `headers`, of which `plan` is the plan.
///
/// 303, and 301 and 302 after POST, become GET without a body (RFC 9110 section 15.4). To another origin go neither
/// credentials nor cookies nor a body.
pub(super) fn follow(
    plan: &ConnectPlan,
    status: u16,
    location: Option<&str>,
    headers: &[HeaderField<'_>],
) -> Result<NextRequest, RedirectError> {
    let to_get = match status {
        303 => plan.method() != "HEAD",
        301 | 302 => plan.method() == "POST",
        307 | 308 => false,
        other => return Err(RedirectError::Status(other)),
    };
    let from = plan.judged();
    if from.is_tunnel() {
        return Err(RedirectError::Tunnel);
    }
    let chain = Chain { hops: plan.chain().hops.saturating_add(1) };
    let limit = plan.service().max_redirects();
    if chain.hops > limit {
        return Err(RedirectError::TooMany(limit));
    }
    let location = location.ok_or(RedirectError::Location(None))?;
    let to = from.follow(location).map_err(|error| RedirectError::Location(Some(error)))?;
    if from.scheme() == Scheme::Https && to.scheme() == Scheme::Http {
        return Err(RedirectError::Downgrade);
    }
    let same_origin = from.same_origin(&to);
    // An upstream that repeats its query in the Location would show the secret to whoever sees the next URL.
    let bound: Vec<&str> = plan.credentials().iter().flat_map(Credential::parameters).collect();
    let to = to.without_parameters(&bound);
    let has_body = plan.body_bytes() != Some(0);
    let keeps_body = has_body && !to_get;
    if keeps_body && !same_origin {
        return Err(RedirectError::Body);
    }
    let bound = |name: &str| {
        plan.credentials().iter().flat_map(Credential::headers).any(|own| is_same_field(own, name))
    };
    let goes_along = |name: &str| {
        let personal = ["authorization", "cookie", "cookie2", "proxy-authorization"];
        let personal = personal.iter().any(|known| name.eq_ignore_ascii_case(known)) || bound(name);
        let of_body = name.get(..8).is_some_and(|head| head.eq_ignore_ascii_case("content-"))
            || name.eq_ignore_ascii_case("transfer-encoding")
            || name.eq_ignore_ascii_case("expect");
        // The Host of the request before says nothing about this one.
        (same_origin || !personal) && (keeps_body || !of_body) && !name.eq_ignore_ascii_case("host")
    };
    let kept = headers.iter().filter(|field| goes_along(field.name));
    Ok(NextRequest {
        method: if to_get { "GET".to_string() } else { plan.method().to_string() },
        url: to.text().to_string(),
        headers: kept.map(|field| (field.name.to_string(), field.value.to_vec())).collect(),
        body_bytes: plan.body_bytes(),
        keeps_body,
        same_origin,
        chain,
    })
}
