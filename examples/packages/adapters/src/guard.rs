//! Who is served: holders of live leases. The channel proves the worker by its certificate, and the field
//! `leasehold-lease: EPOCH.COUNTER` names the lease, which must be live in the view and that worker's own.

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::ConnectInfo;
use http::{Extensions, HeaderMap};
use leasehold::code::Coded;
use leasehold::egress::{Bearer, LeaseCheck, LeaseRefusal};
use leasehold::{digest::Sha256Digest, id::WorkerId, lease::Fence, lease::FenceError, time::Clock};
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};

use crate::mutual_tls::Peer;

/// Asks the view of leases about every request.
#[allow(missing_docs)]
#[derive(Clone)]
pub struct Guard {
    pub workers: Arc<BTreeMap<Sha256Digest, WorkerId>>,
    pub leases: Arc<dyn LeaseCheck + Send + Sync>,
    pub clock: Arc<dyn Clock + Send + Sync>,
}

/// Why a request is not served: the stable code, and words.
pub type Turned = (&'static str, String);

impl Guard {
    /// The holder of a live lease that a request with these fields, on this connection, comes from.
    ///
    /// # Errors
    /// [`Turned`].
    pub fn check(&self, fields: &HeaderMap, extensions: &Extensions) -> Result<Bearer, Turned> {
        let certificate = certificate(extensions)
            .ok_or(("service.no_certificate", "a certificate is required".to_owned()))?;
        let worker = self
            .workers
            .get(&certificate)
            .ok_or(("service.unknown_worker", "no worker has this certificate".to_owned()))?
            .clone();
        let mut fences = fields.get_all("leasehold-lease").iter().map(|value| value.to_str().unwrap_or(""));
        let coded = |refusal: &dyn Coded| (refusal.code().as_str(), refusal.to_string());
        let (fence, None) = (fences.next().unwrap_or(""), fences.next()) else {
            return Err(coded(&FenceError));
        };
        let fence: Fence = fence.parse().map_err(|error: FenceError| coded(&error))?;
        let bearer = Bearer { worker, fence };
        let live = bearer.standing(&*self.leases, self.clock.now().mono);
        live.map(|_| bearer).map_err(|refusal: LeaseRefusal| coded(&refusal))
    }
}

/// The SHA-256 of the certificate that a connection showed, to axum's listener or to tonic's.
fn certificate(extensions: &Extensions) -> Option<Sha256Digest> {
    if let Some(ConnectInfo(Peer(certificate))) = extensions.get::<ConnectInfo<Peer>>() {
        return *certificate;
    }
    let chain = extensions.get::<TlsConnectInfo<TcpConnectInfo>>()?.peer_certs()?;
    chain.first().map(|leaf| Sha256Digest::of(leaf))
}
