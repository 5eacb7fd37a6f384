//! An errand: a request and the redirects that it follows, as the loop of an HTTP client walks through them.

use core::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{ConnectPlan, Denied, EgressVerdict, NextRequest, OutgoingHeaders, Outlet, Step};

/// A request and the redirects that it follows. The client carries out one [`Leg`] after the other; each was judged from
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
/// # let outlet = Outlet::new(policy, bearer, Arc::new(leases), Arc::new(Now::new(0, 0)));
/// # fn resolve(_: &str) -> [std::net::IpAddr; 1] { ["93.184.216.34".parse().unwrap()] }
/// # fn send(leg: &Leg) -> (u16, Option<&'static [u8]>) {
/// #     assert_eq!(leg.plan().addresses().len(), 1);
/// #     if leg.plan().url().ends_with("/a") { (302, Some(b"/b")) } else { (200, None) }
/// # }
/// let mut errand = outlet.errand("GET", "https://api.example.com/a", [("accept", &b"*/*"[..])], Some(0));
/// let status = loop {
///     let leg = errand.plan(resolve)?;
///     // Dials `leg.plan().addresses()`, sends `leg.headers()`, and waits for no longer than `leg.time_left()`.
///     let (status, location) = send(&leg);
///     if !errand.follow(&leg, status, location)? {
///         break status;
///     }
/// };
/// assert_eq!(status, 200);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Errand {
    outlet: Outlet,
    next: NextRequest,
}

/// One request of an [`Errand`], ready to be sent.
#[derive(Debug)]
pub struct Leg {
    plan: ConnectPlan,
    headers: OutgoingHeaders,
    has_body: bool,
    time_left: Duration,
}

impl Errand {
    pub(super) const fn new(outlet: Outlet, first: NextRequest) -> Self {
        Self { outlet, next: first }
    }

    /// Judges the next request as far as that is possible without addresses: the way of clients that look names up
    /// asynchronously.
    pub fn judge(&self) -> Step {
        self.outlet.judge(&self.next.request(&self.next.fields()))
    }

    /// Turns the verdict on the next request into its leg.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn redeem(&self, verdict: EgressVerdict) -> Result<Leg, Denied> {
        let plan = self.outlet.redeem(verdict)?;
        let headers = plan.headers(&self.next.fields(), self.outlet.secrets())?;
        let time_left = self.outlet.time_left(&plan);
        Ok(Leg { plan, headers, has_body: self.next.keeps_body(), time_left })
    }

    /// [`Errand::judge`] and [`Errand::redeem`] in one, where `lookup` answers names at once. A lookup that failed
    /// answers nothing.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn plan<A: IntoIterator<Item = IpAddr>>(
        &self,
        lookup: impl FnOnce(&str) -> A,
    ) -> Result<Leg, Denied> {
        self.redeem(self.judge().with_answers(lookup))
    }

    /// Takes the answer to `leg`. True where it is a redirect that is followed: the next leg is to be planned. False
    /// where the answer is the end of the errand.
    ///
    /// # Errors
    /// [`Denied::Redirect`] where it is a redirect that is not followed.
    pub fn follow(&mut self, leg: &Leg, status: u16, location: Option<&[u8]>) -> Result<bool, Denied> {
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            return Ok(false);
        }
        // What is not UTF-8 is no Location.
        let location = location.and_then(|bytes| core::str::from_utf8(bytes).ok());
        let next = leg.plan.redirect(status, location, &self.next.fields()).map_err(Denied::Redirect)?;
        self.next = next;
        Ok(true)
    }
}

impl Leg {
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
        &self.headers
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
            outlet::tests::{End, outlet, public},
        },
        time::Mono,
    };

    fn sent(leg: &Leg) -> Vec<String> {
        leg.headers().iter().map(|field| format!("{field}")).collect()
    }

    /// ATTACKS E11: every hop is judged from the beginning, a literal is refused as one, and the limit holds.
    #[test]
    fn e11_an_errand_is_judged_leg_by_leg() {
        let end: End = Arc::new(Mutex::new(Some(Mono(1_100))));
        let fields = [("accept", &b"*/*"[..]), ("x-key", b"mine"), ("content-type", b"text/plain")];
        let mut errand = outlet(&end).errand("POST", "https://api.example.com/a", fields, Some(3));
        let leg = errand.plan(public).unwrap();
        assert_eq!(sent(&leg), ["accept: */*", "content-type: text/plain", "x-key: ***"], "the secret, once");
        assert_eq!((leg.has_body(), leg.time_left()), (true, Duration::from_millis(1_000)));
        assert!(leg.confirm(leg.plan().addresses()[0]).is_ok());
        assert_eq!(leg.confirm(([127, 0, 0, 1], 443).into()).unwrap_err(), Denied::Permit(PermitError::Peer));
        assert!(!errand.follow(&leg, 200, None).unwrap() && !errand.follow(&leg, 304, Some(b"/b")).unwrap());
        assert!(errand.follow(&leg, 303, Some(b"/b")).unwrap());

        let leg = errand.plan(public).unwrap();
        assert_eq!((leg.plan().method(), leg.plan().url()), ("GET", "https://api.example.com/b"));
        assert_eq!((leg.has_body(), sent(&leg).len()), (false, 2), "the body is gone, and what described it");
        let mut astray = errand.clone();
        assert!(astray.follow(&leg, 302, Some(b"https://169.254.169.254/")).unwrap());
        let denied = astray.plan(public).unwrap_err();
        assert_eq!((denied.code().as_str(), denied.http_status()), ("egress.host.not_allowed", 403));

        assert!(errand.follow(&leg, 302, Some(b"/c")).unwrap());
        let leg = errand.plan(public).unwrap();
        let denied = errand.follow(&leg, 302, Some(b"/d")).unwrap_err();
        assert_eq!(denied, Denied::Redirect(RedirectError::TooMany(2)));
        let denied = errand.follow(&leg, 302, Some(b"/\xff")).unwrap_err();
        assert_eq!(denied.code(), RedirectError::TooMany(2).code(), "nothing is followed any more");
    }

    /// ATTACKS E10: nothing is looked up for a request that is refused anyway, nor for a literal.
    #[test]
    fn e10_a_refused_leg_looks_nothing_up() {
        let end: End = Arc::new(Mutex::new(Some(Mono(1_100))));
        for url in ["https://elsewhere.example/", "https://127.0.0.1/", "http://api.example.com/"] {
            let errand = outlet(&end).errand("GET", url, [], Some(0));
            let lookup = |_: &str| -> [IpAddr; 0] { panic!("{url} was looked up") };
            assert!(errand.plan(lookup).is_err(), "{url}");
        }
    }
}
