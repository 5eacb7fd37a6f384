//! The keys that the supervisor makes for everybody.
//!
//! Where the state is kept for a next start, so are these: a device that comes back is the same device, and its key is
//! on its own disk as in earnest. Here all of them are in one file that only its owner can read.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use leasehold::attestation::signature::Ed25519Signer;
use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    boot::Paired,
    hexed::Bytes,
    run_directory::RunDirectory,
    tls::{self, Authority, Identity, Purpose, Root},
};

/// The device beyond the fleet's own workers, for whoever has no good intentions.
pub const INTRUDER: &str = "intruder";

/// A device with the keys that only it has.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    pub paired: Paired,
    pub identity: Identity,
    pub evidence_seed: Bytes,
}

/// The keys and certificates of a fleet.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    pub root: Root,
    pub coordinator: Identity,
    pub proxy: Identity,
    pub proxy_seed: Bytes,
    pub devices: Vec<Device>,
    pub unpaired: Identity,
}

fn device(name: &str, authority: &Authority, directory: &Path) -> Result<Device, Failure> {
    let identity = authority.issue(name, Purpose::Client)?;
    let seed = tls::entropy::<32>()?;
    let paired = Paired {
        device: format!("device-of-{name}").parse().map_err(Failure::coded)?,
        worker: name.parse().map_err(Failure::coded)?,
        certificate: identity.certificate(),
        evidence_key: Bytes(Ed25519Signer::from_seed(name, &seed).public_key().to_vec()),
        scratch: directory.join("scratch").join(name),
    };
    Ok(Device { paired, identity, evidence_seed: Bytes(seed.to_vec()) })
}

impl Keys {
    /// The keys that are kept in `place`, or new ones, for so many workers.
    pub fn of(directory: &RunDirectory, workers: u32) -> Result<Self, Failure> {
        let path = directory.path().join("keys.json");
        let keys: Self = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let keys = Self::make(directory.path(), workers)?;
                if directory.is_kept() {
                    // Complete under its name, or not there.
                    let draft = path.with_extension("draft");
                    let mut file = OpenOptions::new()
                        .write(true)
                        .create(true)
                        .truncate(true)
                        .mode(0o600)
                        .open(&draft)?;
                    file.write_all(&serde_json::to_vec(&keys)?)?;
                    file.sync_all()?;
                    fs::rename(&draft, &path)?;
                }
                keys
            }
            Err(error) => return Err(error.into()),
        };
        if keys.devices.len() != workers as usize + 1 {
            let had = keys.devices.len().saturating_sub(1);
            return Err(Failure::new(format!(
                "the fleet that is kept there has {had} workers: say --workers {had}"
            )));
        }
        Ok(keys)
    }

    fn make(directory: &Path, workers: u32) -> Result<Self, Failure> {
        let authority = Authority::new("leasehold fleet")?;
        let names = (1..=workers).map(|number| format!("worker-{number}")).chain([INTRUDER.to_owned()]);
        Ok(Self {
            root: authority.root(),
            coordinator: authority.issue(tls::COORDINATOR, Purpose::Server)?,
            proxy: authority.issue(tls::PROXY, Purpose::Both)?,
            proxy_seed: Bytes(tls::entropy::<32>()?.to_vec()),
            devices: names.map(|name| device(&name, &authority, directory)).collect::<Result<_, _>>()?,
            unpaired: authority.issue("worker-1", Purpose::Client)?,
        })
    }
}
