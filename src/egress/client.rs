//! One bearer's way out, in one value: what an adapter to an HTTP client holds.

use alloc::sync::Arc;
use core::{fmt, net::IpAddr, time::Duration};

use super::{
    Bearer, ConnectPlan, EgressProxyPolicyService, EgressRefusal, EgressRequest, EgressVerdict, LeaseCheck,
    PermitError, RedirectError, SecretStore, Step,
};
use crate::{
    code::{Code, Coded},
    time::{Clock, Now},
};

/// Why a client may not make a request: the verdict on it, the permit that it got, or a redirect of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// The verdict.
    #[error(transparent)]
    Refused(#[from] EgressRefusal),
    /// The permit.
    #[error(transparent)]
    Permit(#[from] PermitError),
    /// A redirect that is not followed.
    #[error(transparent)]
    Redirect(#[from] RedirectError),
}

impl Coded for Denied {
    fn code(&self) -> Code {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Permit(error) => error.code(),
            Self::Redirect(error) => error.code(),
        }
    }
}

impl Denied {
    /// The status with which a service answers whoever asked it to make the request.
    pub fn http_status(&self) -> u16 {
        match self {
            Self::Refused(refusal) => refusal.http_status(),
            Self::Permit(_) | Self::Redirect(_) => 403,
        }
    }

    /// The denial that `error` carries, where it carries one: adapters whose errors are I/O errors put it there.
    #[cfg(feature = "std")]
    pub fn within(error: &std::io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

/// For connectors and clients whose errors are I/O errors.
#[cfg(feature = "std")]
impl From<Denied> for std::io::Error {
    fn from(denied: Denied) -> Self {
        Self::new(std::io::ErrorKind::PermissionDenied, denied)
    }
}

/// One bearer's way out: policy, lease, clock and secrets in one value, which an adapter holds for as long as its bearer
/// may hold the lease. It resolves no name and opens no socket. Clones are cheap; a new policy is a new client.
///
/// ```
/// use std::sync::Arc;
/// use leasehold::egress::*;
/// use leasehold::{id::WorkerId, lease::*, time::{Mono, Now}};
/// # struct Leases(LeaseStanding);
/// # impl LeaseCheck for Leases {
/// #     fn standing(&self, _: Fence, _: Mono) -> Result<LeaseStanding, LeaseRefusal> { Ok(self.0.clone()) }
/// # }
/// # let worker = WorkerId::new("w1")?;
/// # let leases = Leases(LeaseStanding {
/// #     worker: worker.clone(), expires: Mono(60_000), egress: EgressScope::all(), secrets: SecretScope::none(),
/// # });
/// # let bearer = Bearer { worker, fence: Fence::new(Epoch(1), 7) };
/// let policy: EgressPolicy =
///     serde_json::from_str(r#"{"rules":[{"id":"api","hosts":["api.example.com"]}]}"#)?;
/// let policy = EgressProxyPolicyService::compile(&policy)?;
/// let client = EgressClient::new(policy, bearer, Arc::new(leases), Arc::new(Now::new(0, 0)));
///
/// let request = EgressRequest::url("GET", "https://api.example.com/v1");
/// let plan = client.plan(&request, |_| ["93.184.216.34".parse().unwrap()])?;
/// assert_eq!(plan.addresses(), ["93.184.216.34:443".parse()?]);
/// assert_eq!(client.time_left(&plan).as_secs(), 60);
///
/// let request = EgressRequest::url("GET", "https://169.254.169.254/");
/// let denied = std::io::Error::from(client.plan(&request, |_| None).unwrap_err());
/// assert_eq!(Denied::within(&denied).map(|denied| denied.http_status()), Some(403));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct EgressClient {
    policy: EgressProxyPolicyService,
    bearer: Bearer,
    leases: Arc<dyn LeaseCheck + Send + Sync>,
    clock: Arc<dyn Clock + Send + Sync>,
    secrets: Arc<dyn SecretStore + Send + Sync>,
}

impl fmt::Debug for EgressClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = self.policy.digest();
        f.debug_struct("EgressClient")
            .field("policy", &policy)
            .field("bearer", &self.bearer)
            .finish_non_exhaustive()
    }
}

impl EgressClient {
    /// The way out of `bearer` under `policy`, without secrets.
    pub fn new(
        policy: EgressProxyPolicyService,
        bearer: Bearer,
        leases: Arc<dyn LeaseCheck + Send + Sync>,
        clock: Arc<dyn Clock + Send + Sync>,
    ) -> Self {
        Self { policy, bearer, leases, clock, secrets: Arc::new(()) }
    }

    /// With the secrets that rules put into requests.
    #[must_use]
    pub fn with_secrets(mut self, secrets: Arc<dyn SecretStore + Send + Sync>) -> Self {
        self.secrets = secrets;
        self
    }

    /// Judges a request as far as that is possible without addresses; see [`EgressProxyPolicyService::judge`].
    pub fn judge(&self, request: &EgressRequest<'_>) -> Step {
        self.policy.judge(request, &self.bearer, &*self.leases, self.clock.now().mono)
    }

    /// Redeems the permit of an allowed verdict, with the lease as it is now.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn redeem(&self, verdict: EgressVerdict) -> Result<ConnectPlan, Denied> {
        let permit = verdict.into_permit()?;
        Ok(permit.redeem_under(&self.policy, &self.bearer, &*self.leases, self.clock.now().mono)?)
    }

    /// [`EgressClient::judge`] and [`EgressClient::redeem`] in one, where `lookup` answers names at once. A lookup that failed answers
    /// nothing.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn plan<A: IntoIterator<Item = IpAddr>>(
        &self,
        request: &EgressRequest<'_>,
        lookup: impl FnOnce(&str) -> A,
    ) -> Result<ConnectPlan, Denied> {
        self.redeem(self.judge(request).with_answers(lookup))
    }

    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    pub(super) fn secrets(&self) -> &dyn SecretStore {
        &*self.secrets
    }

    /// How long the lease has left, as it was known when the permit was redeemed: no exchange may last longer.
    pub fn time_left(&self, plan: &ConnectPlan) -> Duration {
        Duration::from_millis(plan.lease_expires().since(self.clock.now().mono).0)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{
        egress::{EgressPolicy, LeaseRefusal, LeaseStanding, Secret, SecretError},
        id::WorkerId,
        lease::{EgressScope, Epoch, Fence, SecretRef, SecretScope},
        time::{Mono, Now},
    };

    /// The end of the one lease that there is; `None` once it is over.
    pub(in crate::egress) type End = Arc<Mutex<Option<Mono>>>;

    struct Leases(End);

    impl LeaseCheck for Leases {
        fn standing(&self, _: Fence, _: Mono) -> Result<LeaseStanding, LeaseRefusal> {
            Ok(LeaseStanding {
                worker: WorkerId::new("w1").unwrap(),
                expires: self.0.lock().unwrap().ok_or(LeaseRefusal::Ended)?,
                egress: EgressScope::all(),
                secrets: SecretScope::all(),
            })
        }
    }

    struct Vault;

    impl SecretStore for Vault {
        fn secret(&self, _: &SecretRef) -> Result<Option<Secret>, SecretError> {
            Secret::new(b"hunter2".to_vec()).map(Some)
        }
    }

    pub(in crate::egress) fn client(end: &End) -> EgressClient {
        let policy: EgressPolicy = serde_json::from_str(
            r#"{"rules":[{"id":"api","hosts":["api.example.com"],"methods":["GET","POST"],
                "credentials":[{"header":"x-key","secret":"vault:key"}]}],"max_redirects":2}"#,
        )
        .unwrap();
        let bearer = Bearer { worker: WorkerId::new("w1").unwrap(), fence: Fence::new(Epoch(1), 1) };
        let policy = EgressProxyPolicyService::compile(&policy).unwrap();
        let leases = Arc::new(Leases(Arc::clone(end)));
        EgressClient::new(policy, bearer, leases, Arc::new(Now::new(100, 0))).with_secrets(Arc::new(Vault))
    }

    pub(in crate::egress) fn public(_: &str) -> [IpAddr; 1] {
        ["93.184.216.34".parse().unwrap()]
    }

    /// Invariant 9: the lease is asked when the request is judged and again when the permit is used.
    #[test]
    fn a_lease_that_ends_between_verdict_and_permit_denies() {
        let end: End = Arc::new(Mutex::new(Some(Mono(1_100))));
        let client = client(&end);
        let request = EgressRequest::url("GET", "https://api.example.com/");
        let plan = client.plan(&request, public).unwrap();
        assert_eq!(client.time_left(&plan), Duration::from_millis(1_000));
        let verdict = client.judge(&request).with_answers(public);
        *end.lock().unwrap() = None;
        let denied = client.redeem(verdict).unwrap_err();
        assert_eq!(denied, Denied::Permit(PermitError::Lease(LeaseRefusal::Ended)));
        assert_eq!(client.plan(&request, public).unwrap_err().code(), LeaseRefusal::Ended.code());
    }
}
