//! Boot documents: what each process is told on the first line of its standard input.

use std::{path::PathBuf, sync::Arc};

use leasehold::{
    digest::Sha256Digest,
    id::{DeviceId, WorkerId},
};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    hexed::Bytes,
    jobs::{Job, Ports},
    tls::{self, Identity, Root},
};

/// A server of the fleet, as its clients know it.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Its port on loopback.
    pub port: u16,
    /// The SHA-256 of its certificate.
    pub fingerprint: Sha256Digest,
}

/// A device of the fleet, as it was paired.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paired {
    /// The device.
    pub device: DeviceId,
    /// The worker that may run on it.
    pub worker: WorkerId,
    /// Its certificate, as DER.
    pub certificate: Bytes,
    /// The public half of the key that the node signs evidence with.
    pub evidence_key: Bytes,
    /// Where its scratch directories are, so that the coordinator can look, too.
    pub scratch: PathBuf,
}

impl Paired {
    /// The SHA-256 of its certificate.
    pub fn fingerprint(&self) -> Sha256Digest {
        Sha256Digest::of(&self.certificate.0)
    }
}

/// The enforcement point of egress, as the coordinator knows it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// The certificate of the proxy, which may follow the leases, as DER.
    pub proxy: Bytes,
    /// The public half of the key that the proxy signs bindings with.
    pub key: Bytes,
    /// Where the local origin is, which the egress policy names.
    pub origin: Ports,
}

/// What the coordinator is told.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coordinator {
    /// Its certificate and key.
    pub identity: Identity,
    /// What client certificates chain to.
    pub clients: Root,
    /// The devices of the fleet.
    pub devices: Vec<Paired>,
    /// Who enforces egress; where nobody does, leases have none, and the policy says so.
    pub egress: Option<Egress>,
    /// Devices may pair while it runs.
    pub pairing: bool,
    /// The executable that workers must be, as the supervisor measured it.
    pub image: Sha256Digest,
    /// What is to be done.
    pub jobs: Vec<Job>,
    /// Where journal and epoch are kept.
    pub state: PathBuf,
    /// The port on loopback that it had before, where it was started before.
    pub port: Option<u16>,
    /// It is killed again and again, and may take its time for everything else.
    pub drill: bool,
}

/// What the egress proxy is told.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// Its certificate and key, as a server and as the coordinator's client.
    pub identity: Identity,
    /// What the certificates of the fleet chain to.
    pub root: Root,
    /// Whose lease feed it follows.
    pub coordinator: Server,
    /// The devices whose requests it judges.
    pub devices: Vec<Paired>,
    /// The seed of the key that it signs bindings with.
    pub signing_seed: Bytes,
    /// Where the local origin is.
    pub origin: Ports,
}

/// What a worker is told.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// Which device it is.
    pub paired: Paired,
    /// That device's certificate and key.
    pub identity: Identity,
    /// The seed of the key that it signs evidence with.
    pub evidence_seed: Bytes,
    /// The executable that it is, as the supervisor measured it before it started it.
    pub image: Sha256Digest,
    /// What the certificates of the fleet's servers chain to. A device that was paired knows its coordinator's
    /// certificate, and no chain.
    pub root: Option<Root>,
    /// Whom it works for.
    pub coordinator: Server,
    /// Its way to the network, where it has one.
    pub network: Option<Network>,
}

/// A worker's way to the network.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The proxy.
    pub proxy: Server,
    /// What the certificates of origins chain to.
    pub origins: Root,
}

impl Worker {
    /// How somebody with `identity` calls the servers of the fleet. Their fingerprints are compared in any case.
    pub fn config_of(&self, identity: &Identity) -> Result<Arc<ClientConfig>, Failure> {
        match &self.root {
            Some(root) => tls::client(Some(identity), root),
            None => tls::pinning_client(Some(identity)),
        }
    }
}
