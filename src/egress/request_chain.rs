//! An chain: a request and the redirects that it follows, as the loop of an HTTP client walks through them.

use alloc::string::String;
use core::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use zeroize::Zeroizing;

use super::{
    ConnectPlan, Denied, EgressClient, EgressVerdict, NextRequest, OutgoingHeaders, OutgoingRequest,
    PermitError, SignedBody, Step, echo::EchoError,
};

/// A request and the redirects that it follows. The client carries out one [`PlannedRequest`] after the other; each was judged from
/// the beginning.
///
/// ```
/// # use std::sync::Arc;
/// # use leasehold::egress::*;
/// # use leasehold::{id::WorkerId, lease::*, time::{Mono, Now}};
/// # struct Leases(LeaseStanding);
/// # impl LeaseCheck for Leases {
/// #     fn standing(&self, _: Fence, _: Mono) -> Result<LeaseStanding, LeaseRefusal> { Ok(self.0.clone()) }
/// # }
/// # let worker = WorkerId::new("w1")?;
/// # let leases = Leases(LeaseStanding {
/// #     worker: worker.clone(), expires: Mono(60_000), egress: EgressScope::all(), secrets: SecretScope::none(),
/// # });
/// # let bearer = Bearer { worker, fence: Fence::new(Epoch(1), 7) };
/// # let policy = r#"{"rules":[{"id":"api","hosts":["api.example.com"]}],"max_redirects":5}"#;
/// # let policy = EgressProxyPolicyService::compile(&serde_json::from_str(policy)?)?;
/// # let client = EgressClient::new(policy, bearer, Arc::new(leases), Arc::new(Now::new(0, 0)));
/// # fn resolve(_: &str) -> [std::net::IpAddr; 1] { ["93.184.216.34".parse().unwrap()] }
/// # fn send(planned: &PlannedRequest) -> (u16, Option<&'static [u8]>) {
/// #     assert_eq!(planned.plan().addresses().len(), 1);
/// #     if planned.plan().url().ends_with("/a") { (302, Some(b"/b")) } else { (200, None) }
/// # }
/// let mut chain = client.chain("GET", "https://api.example.com/a", [("accept", &b"*/*"[..])], Some(0));
/// let status = loop {
///     let planned = chain.plan(resolve)?;
///     // Dials `planned.plan().addresses()`, sends `planned.headers()`, and waits for no longer than `planned.time_left()`.
///     let (status, location) = send(&planned);
///     if !chain.follow(&planned, status, location)? {
///         break status;
///     }
/// };
/// assert_eq!(status, 200);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct RequestChain {
    client: EgressClient,
    next: NextRequest,
}

/// One request of an [`RequestChain`], ready to be sent.
#[derive(Debug)]
pub struct PlannedRequest {
    plan: ConnectPlan,
    request: OutgoingRequest,
    has_body: bool,
    time_left: Duration,
}

impl EgressClient {
    /// Begins an chain: a request and the redirects that it follows. `body_bytes` is `None` where the size of the body
    /// is not known before its end.
    pub fn chain<'a>(
        &self,
        method: &str,
        url: &str,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        body_bytes: Option<u64>,
    ) -> RequestChain {
        RequestChain::new(self.clone(), NextRequest::first(method, url, headers, body_bytes))
    }
}

impl RequestChain {
    pub(super) const fn new(client: EgressClient, first: NextRequest) -> Self {
        Self { client, next: first }
    }

    /// Judges the next request as far as that is possible without addresses: the way of clients that look names up
    /// asynchronously.
    pub fn judge(&self) -> Step {
        self.client.judge(&self.next.request(&self.next.fields()))
    }

    /// Turns the verdict on the next request into its planned. A signature over a body is not made here, since an chain has no
    /// body: such a request is refused. So is one whose answer is to be masked, which a client does not do.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn redeem(&self, verdict: EgressVerdict) -> Result<PlannedRequest, Denied> {
        let plan = self.client.redeem(verdict)?;
        // The client that carries it out hands the answer to its caller as it comes.
        if plan.masks_echoes() {
            return Err(PermitError::from(EchoError::Needed).into());
        }
        let has_body = self.next.keeps_body();
        let body = if has_body { SignedBody::Streamed } else { SignedBody::Whole(&[]) };
        let request =
            plan.request(&self.next.fields(), body, self.client.now().wall, self.client.secrets())?;
        let time_left = self.client.time_left(&plan);
        Ok(PlannedRequest { plan, request, has_body, time_left })
    }

    /// [`RequestChain::judge`] and [`RequestChain::redeem`] in one, where `lookup` answers names at once. A lookup that failed
    /// answers nothing.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn plan<A: IntoIterator<Item = IpAddr>>(
        &self,
        lookup: impl FnOnce(&str) -> A,
    ) -> Result<PlannedRequest, Denied> {
        self.redeem(self.judge().with_answers(lookup))
    }

    /// Takes the answer to `planned`. True where it is a redirect that is followed: the next planned is to be planned. False
    /// where the answer is the end of the chain.
    ///
    /// # Errors
    /// [`Denied::Redirect`] where it is a redirect that is not followed.
    pub fn follow(
        &mut self,
        planned: &PlannedRequest,
        status: u16,
        location: Option<&[u8]>,
    ) -> Result<bool, Denied> {
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            return Ok(false);
        }
        // What is not UTF-8 is no Location.
        let location = location.and_then(|bytes| core::str::from_utf8(bytes).ok());
        let next = planned.plan.redirect(status, location, &self.next.fields()).map_err(Denied::Redirect)?;
        self.next = next;
        Ok(true)
    }
}

impl PlannedRequest {
    /// Where to connect, and within which limits.
    pub const fn plan(&self) -> &ConnectPlan {
        &self.plan
    }

    /// Checks the address that a connection reached; see [`ConnectPlan::confirm`].
    ///
    /// # Errors
    /// [`Denied::Permit`] where it is none of the pinned ones.
    pub fn confirm(&self, peer: SocketAddr) -> Result<(), Denied> {
        Ok(self.plan.confirm(peer)?)
    }

    /// The header fields to send. Host and framing are the client's to write.
    pub const fn headers(&self) -> &OutgoingHeaders {
        &self.request.headers
    }

    /// The URL to ask for, with the secrets that the rule puts into path and query. It is for the upstream alone; what may
    /// be shown is the plan's.
    pub fn expose_url(&self) -> Zeroizing<String> {
        let (authority, target) = (self.plan.authority(), self.request.target.expose());
        let scheme = self.plan.scheme().as_str();
        let parts = [scheme, "://", &authority, target];
        // Of the right size from the beginning, so that no copy is left behind by growing.
        let room = parts.iter().map(|part| part.len()).fold(0, usize::saturating_add);
        let mut url = Zeroizing::new(String::with_capacity(room));
        parts.iter().for_each(|part| url.push_str(part));
        url
    }

    /// Whether the body is sent. A redirect may have dropped it.
    pub const fn has_body(&self) -> bool {
        self.has_body
    }

    /// How long the lease has left: the exchange may last no longer.
    pub const fn time_left(&self) -> Duration {
        self.time_left
    }

    /// The most bytes of the answer's body; all that there are where the rule says nothing.
    pub fn max_response_bytes(&self) -> u64 {
        self.plan.limits().max_response_bytes.unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String, sync::Arc, vec::Vec};
    use std::sync::Mutex;

    use super::*;
    use crate::{
        code::Coded,
        egress::{
            PermitError, RedirectError,
            client::tests::{End, client, public},
        },
        time::Mono,
    };

    fn sent(planned: &PlannedRequest) -> Vec<String> {
        planned.headers().iter().map(|field| format!("{field}")).collect()
    }

    /// Attack E11: every hop is judged from the beginning, a literal is refused as one, and the limit holds.
    #[test]
    fn e11_an_errand_is_judged_leg_by_leg() {
        let end: End = Arc::new(Mutex::new(Some(Mono(1_100))));
        let fields = [("accept", &b"*/*"[..]), ("x-key", b"mine"), ("content-type", b"text/plain")];
        let mut chain = client(&end).chain("POST", "https://api.example.com/a", fields, Some(3));
        let planned = chain.plan(public).unwrap();
        assert_eq!(
            sent(&planned),
            ["accept: */*", "content-type: text/plain", "x-key: ***"],
            "the secret, once"
        );
        assert_eq!((planned.has_body(), planned.time_left()), (true, Duration::from_millis(1_000)));
        assert!(planned.confirm(planned.plan().addresses()[0]).is_ok());
        assert_eq!(
            planned.confirm(([127, 0, 0, 1], 443).into()).unwrap_err(),
            Denied::Permit(PermitError::Peer)
        );
        assert!(
            !chain.follow(&planned, 200, None).unwrap() && !chain.follow(&planned, 304, Some(b"/b")).unwrap()
        );
        assert!(chain.follow(&planned, 303, Some(b"/b")).unwrap());

        let planned = chain.plan(public).unwrap();
        assert_eq!((planned.plan().method(), planned.plan().url()), ("GET", "https://api.example.com/b"));
        assert_eq!(
            (planned.has_body(), sent(&planned).len()),
            (false, 2),
            "the body is gone, and what described it"
        );
        let mut astray = chain.clone();
        assert!(astray.follow(&planned, 302, Some(b"https://169.254.169.254/")).unwrap());
        let denied = astray.plan(public).unwrap_err();
        assert_eq!((denied.code().as_str(), denied.http_status()), ("egress.host.not_allowed", 403));

        assert!(chain.follow(&planned, 302, Some(b"/c")).unwrap());
        let planned = chain.plan(public).unwrap();
        let denied = chain.follow(&planned, 302, Some(b"/d")).unwrap_err();
        assert_eq!(denied, Denied::Redirect(RedirectError::TooMany(2)));
        let denied = chain.follow(&planned, 302, Some(b"/\xff")).unwrap_err();
        assert_eq!(denied.code(), RedirectError::TooMany(2).code(), "nothing is followed any more");
    }

    /// Attack E10: nothing is looked up for a request that is refused anyway, nor for a literal.
    #[test]
    fn e10_a_refused_leg_looks_nothing_up() {
        let end: End = Arc::new(Mutex::new(Some(Mono(1_100))));
        for url in ["https://elsewhere.example/", "https://127.0.0.1/", "http://api.example.com/"] {
            let chain = client(&end).chain("GET", url, [], Some(0));
            let lookup = |_: &str| -> [IpAddr; 0] { panic!("{url} was looked up") };
            assert!(chain.plan(lookup).is_err(), "{url}");
        }
    }
}
