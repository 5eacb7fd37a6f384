//! Leases from a file, for a proxy that is tried or run alone: the operator's word in place of a coordinator's.
//!
//! It fails closed: a file that others can write, that is malformed, or that is gone holds no lease, and what moved
//! under its leases is cut.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use leasehold::{
    attestation::strict,
    egress::{Bearer, LeaseCheck, LeaseRefusal, LeaseStanding, TokenKey},
    id::{RuleId, WorkerId},
    lease::{EgressScope, Epoch, Fence, SecretRef, SecretScope},
    shell::{Entropy as _, OsEntropy, SystemClock},
    time::{Clock as _, Mono, Now, Wall},
};
use serde::{Deserialize, Serialize};

use crate::{files, options};

/// The longest that a lease of a file lasts from when it is read: a day.
const LONGEST_MS: u64 = 24 * 3600 * 1000;

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// The key of the tokens, 64 hex digits.
    token_key: String,
    leases: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    worker: WorkerId,
    epoch: u64,
    counter: u64,
    /// Milliseconds since the Unix epoch.
    expires: u64,
    /// The rules, or the word `all`.
    #[serde(default)]
    egress: EgressScope,
    /// The secrets, or the word `all`.
    #[serde(default)]
    secrets: SecretScope,
}

/// The leases of a file, as they were when it was read last.
pub struct FileLeases {
    path: PathBuf,
    key: TokenKey,
    held: Mutex<BTreeMap<Fence, LeaseStanding>>,
}

impl FileLeases {
    /// The leases of the file at `path`.
    pub fn open(path: PathBuf, now: Now) -> Result<Self, String> {
        let (key, leases) = read(&path, now)?;
        Ok(Self { path, key, held: Mutex::new(leases) })
    }

    /// The key of the tokens, as it was at the start.
    pub fn key(&self) -> TokenKey {
        self.key.clone()
    }

    /// Reads the file again. A bad one holds nothing. The key stays the one of the start.
    pub fn reload(&self, now: Now) -> Result<usize, String> {
        let read = read(&self.path, now);
        let (outcome, leases) = match read {
            Ok((_, leases)) => (Ok(leases.len()), leases),
            Err(why) => (Err(why), BTreeMap::new()),
        };
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = leases;
        outcome
    }
}

impl LeaseCheck for FileLeases {
    fn standing(&self, fence: Fence, now: Mono) -> Result<LeaseStanding, LeaseRefusal> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = held.get(&fence).ok_or(LeaseRefusal::Unknown)?;
        if standing.expires > now { Ok(standing.clone()) } else { Err(LeaseRefusal::Expired) }
    }
}

fn read(path: &std::path::Path, now: Now) -> Result<(TokenKey, BTreeMap<Fence, LeaseStanding>), String> {
    let document = document(path)?;
    let key = key(&document.token_key).ok_or("token_key is 64 hex digits")?;
    let mut leases = BTreeMap::new();
    for entry in document.leases {
        let fence = Fence::new(Epoch(entry.epoch), entry.counter);
        // The wall says how much is left, and the monotonic line counts it.
        let left = Wall(entry.expires).since(now.wall).0.min(LONGEST_MS);
        let standing = LeaseStanding {
            worker: entry.worker,
            expires: now.mono.plus(leasehold::time::Millis(left)),
            egress: entry.egress,
            secrets: entry.secrets,
        };
        if leases.insert(fence, standing).is_some() {
            return Err(format!("two leases have the fence {fence}"));
        }
    }
    Ok((key, leases))
}

fn document(path: &std::path::Path) -> Result<Document, String> {
    let bytes = files::read(path)?;
    strict::read(&bytes, &strict::Limits::GENERAL).map_err(|error| format!("{}: {error}", path.display()))
}

/// The key in 64 hex digits.
pub fn key(text: &str) -> Option<TokenKey> {
    let digest: leasehold::digest::Sha256Digest = text.parse().ok()?;
    Some(TokenKey::new(*digest.as_bytes()))
}

/// Writes a lease into a file and prints its token.
pub fn write(wanted: &options::Lease) -> Result<(), String> {
    let coded = |error: &dyn std::fmt::Display| error.to_string();
    let now = SystemClock::start().now();
    let mut document = if wanted.leases.exists() {
        document(&wanted.leases)?
    } else {
        let mut bytes = [0; 32];
        let filled = OsEntropy::open().and_then(|mut entropy| entropy.fill(&mut bytes));
        filled.map_err(|error| coded(&error))?;
        let key = leasehold::digest::Sha256Digest::from_bytes(bytes).to_string();
        Document { token_key: key, leases: Vec::new() }
    };
    document.leases.retain(|entry| entry.expires > now.wall.0);
    let worker = WorkerId::new(&wanted.worker).map_err(|error| coded(&error))?;
    let rules = wanted.rule.iter().map(|rule| RuleId::new(rule)).collect::<Result<Vec<_>, _>>();
    let secrets = wanted.secret.iter().map(|secret| SecretRef::new(secret)).collect::<Result<Vec<_>, _>>();
    let entry = Entry {
        worker: worker.clone(),
        // Later files have later epochs, so that no fence comes twice.
        epoch: now.wall.0,
        counter: document.leases.len() as u64,
        expires: now.wall.0.saturating_add(wanted.minutes.saturating_mul(60_000)),
        egress: match rules.map_err(|error| coded(&error))? {
            rules if rules.is_empty() => EgressScope::all(),
            rules => EgressScope::only(rules).map_err(|error| coded(&error))?,
        },
        secrets: match secrets.map_err(|error| coded(&error))? {
            secrets if secrets.is_empty() => SecretScope::all(),
            secrets => SecretScope::only(secrets).map_err(|error| coded(&error))?,
        },
    };
    let bearer = Bearer { worker, fence: Fence::new(Epoch(entry.epoch), entry.counter) };
    let key = key(&document.token_key).ok_or("token_key is 64 hex digits")?;
    document.leases.push(entry);
    let bytes = serde_json::to_vec_pretty(&document).map_err(|error| coded(&error))?;
    files::replace(&wanted.leases, &bytes)?;
    println!("{}", key.token(&bearer));
    Ok(())
}
