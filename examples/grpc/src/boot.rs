//! Boot documents: what each process is told on the first line of its standard input.

use std::path::PathBuf;

use leasehold::{
    digest::Sha256Digest,
    id::{DeviceId, WorkerId},
};
use serde::{Deserialize, Serialize};

use crate::{
    hexed::Bytes,
    jobs::Job,
    tls::{Identity, Root},
};

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
    /// The executable that workers must be, as the supervisor measured it.
    pub image: Sha256Digest,
    /// What is to be done.
    pub jobs: Vec<Job>,
    /// Where journal and epoch are kept.
    pub state: PathBuf,
}

/// What a worker is told.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// Which device it is.
    pub paired: Paired,
    /// The certificate and key that it shows.
    pub identity: Identity,
    /// The seed of the key that it signs evidence with.
    pub evidence_seed: Bytes,
    /// The executable that it is, as the supervisor measured it before it started it.
    pub image: Sha256Digest,
    /// What the certificates of the fleet chain to.
    pub root: Root,
    /// The coordinator's port on loopback.
    pub port: u16,
    /// The SHA-256 of the coordinator's certificate.
    pub coordinator: Sha256Digest,
}
