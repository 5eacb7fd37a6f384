//! The files of a cluster, a node, a worker and an operator: read, and judged before anything is opened or bound.
//!
//! A path in a file is relative to the file. What cannot work is refused with a code and with what to change.

use std::{
    collections::BTreeMap,
    fmt, fs,
    net::{SocketAddr, ToSocketAddrs as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use leasehold::digest::Sha256Digest;
use replicated::{Config, NodeId};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::tls::Identity;

/// The largest file that is read.
const MAX_FILE: u64 = 64 << 20;
/// The fewest milliseconds of a tick: below, a node does little else.
const MIN_TICK: u64 = 5;

/// A file, or something that it names, which cannot work.
#[derive(Debug)]
pub struct BadConfig {
    code: &'static str,
    file: PathBuf,
    what: String,
}

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.code, self.file.display(), self.what)
    }
}

/// A refusal of `file`.
pub fn bad(code: &'static str, file: &Path, what: impl Into<String>) -> BadConfig {
    BadConfig { code, file: file.to_path_buf(), what: what.into() }
}

/// What every node, worker and operator of a cluster knows: `cluster.toml`. Nothing in it is secret.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// The state and the members that the cluster begins with, the same file at every node.
    pub founding: PathBuf,
    /// The SHA-256 of that file: which cluster this is.
    pub founding_sha256: Sha256Digest,
    /// The SHA-256 of the certificate that every node shows to workers, gates and operators.
    pub fleet_certificate: Sha256Digest,
    /// The SHA-256 of the operator's certificate.
    pub operator: Sha256Digest,
    /// The number of voters may be even, which costs a vote and gains nothing.
    #[serde(default)]
    pub even: bool,
    /// The nodes.
    pub nodes: Vec<NodeAddress>,
}

/// A node, as others reach it and know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeAddress {
    /// Its number, which no other node ever had.
    pub id: u64,
    /// Where it takes packets of other nodes: `host:port`.
    pub peers: String,
    /// Where it takes workers, gates and operators: `host:port`.
    pub clients: String,
    /// The SHA-256 of the certificate that it shows to other nodes.
    pub certificate: Sha256Digest,
}

/// `node.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeFile {
    id: u64,
    cluster: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    fleet_certificate: PathBuf,
    fleet_key: PathBuf,
    store: PathBuf,
    jobs: Option<PathBuf>,
    #[serde(default)]
    listen: Listen,
    #[serde(default)]
    times: Times,
    #[serde(default)]
    log: LogRules,
    /// Other ways to peers, by their number, where the address in the cluster's file does not reach them from here.
    #[serde(default)]
    dial: BTreeMap<String, String>,
}

/// Where a node listens, where that is not the address by which it is reached.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listen {
    peers: Option<String>,
    clients: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Times {
    tick_ms: u64,
    election_ticks: usize,
    heartbeat_ticks: usize,
    hold_ms: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self { tick_ms: 50, election_ticks: 10, heartbeat_ticks: 2, hold_ms: 2_000 }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogRules {
    compact_bytes: Option<usize>,
    keep: Option<u64>,
}

/// `worker.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkerFile {
    worker: String,
    device: String,
    cluster: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    evidence_seed: PathBuf,
    /// Where leases have their directories, and where the highest epoch is kept.
    directory: PathBuf,
}

/// `operator.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OperatorFile {
    cluster: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

/// A node's files, judged.
pub struct Node {
    pub id: NodeId,
    pub cluster: Cluster,
    /// Which cluster this is.
    pub founding: Sha256Digest,
    pub identity: Identity,
    pub fleet: Identity,
    pub store: PathBuf,
    pub jobs: Option<PathBuf>,
    pub listen_peers: String,
    pub listen_clients: String,
    pub dial: BTreeMap<NodeId, String>,
    pub tick_ms: u64,
    pub hold_ms: u64,
    pub config: Config,
}

/// A worker's files, judged.
pub struct Worker {
    pub worker: String,
    pub device: String,
    pub cluster: Cluster,
    pub identity: Identity,
    pub seed: [u8; 32],
    pub directory: PathBuf,
}

/// An operator's files, judged.
pub struct Operator {
    pub cluster: Cluster,
    pub identity: Identity,
}

fn bytes(file: &Path) -> Result<Vec<u8>, BadConfig> {
    let unreadable = |error: &dyn fmt::Display| bad("config.read", file, error.to_string());
    let size = fs::metadata(file).map_err(|error| unreadable(&error))?.len();
    if size > MAX_FILE {
        return Err(unreadable(&format!("it has {size} bytes, and {MAX_FILE} are the most")));
    }
    fs::read(file).map_err(|error| unreadable(&error))
}

fn toml<T: DeserializeOwned>(file: &Path) -> Result<T, BadConfig> {
    let text =
        String::from_utf8(bytes(file)?).map_err(|_| bad("config.toml", file, "it is no UTF-8 text"))?;
    toml::from_str(&text).map_err(|error| bad("config.toml", file, error.to_string()))
}

/// What `file` means by `path`.
fn beside(file: &Path, path: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new(".")).join(path)
}

/// What only its owner may read.
fn secret(file: &Path) -> Result<Vec<u8>, BadConfig> {
    let facts = fs::metadata(file).map_err(|error| bad("config.read", file, error.to_string()))?;
    match facts.permissions().mode() & 0o077 {
        0 => bytes(file),
        _ => Err(bad(
            "config.mode",
            file,
            "others than its owner may read it: `chmod 600` it, and think of whether they did",
        )),
    }
}

fn identity(certificate: &Path, key: &Path) -> Result<Identity, BadConfig> {
    let leaf = CertificateDer::from_pem_slice(&bytes(certificate)?)
        .map_err(|error| bad("config.certificate", certificate, format!("no certificate in PEM: {error}")))?;
    let private = PrivateKeyDer::from_pem_slice(&secret(key)?)
        .map_err(|error| bad("config.certificate", key, format!("no private key in PEM: {error}")))?;
    match private {
        PrivateKeyDer::Pkcs8(private) => {
            Ok(Identity::new(leaf.to_vec(), private.secret_pkcs8_der().to_vec()))
        }
        _ => Err(bad("config.certificate", key, "the key is not in PKCS #8: convert it, or make a new one")),
    }
}

fn shows(identity: &Identity, file: &Path, known: Sha256Digest, whose: &str) -> Result<(), BadConfig> {
    match identity.fingerprint() == known {
        true => Ok(()),
        false => Err(bad(
            "config.certificate",
            file,
            format!(
                "this is not the certificate that the cluster knows {whose} by ({known}): put that one there"
            ),
        )),
    }
}

/// Whether `address` is `host:port`, with a port that others can dial.
fn address(file: &Path, address: &str) -> Result<(), BadConfig> {
    let port =
        address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse().ok());
    match port {
        Some(1..=u16::MAX) => Ok(()),
        _ => Err(bad(
            "config.address",
            file,
            format!("`{address}` is not host:port with a port from 1 to 65535"),
        )),
    }
}

/// Where `address` leads now.
pub fn resolve(address: &str) -> Option<SocketAddr> {
    address.to_socket_addrs().ok()?.next()
}

impl Cluster {
    /// The cluster's file at `file`.
    pub fn read(file: &Path) -> Result<Self, BadConfig> {
        let mut cluster: Self = toml(file)?;
        cluster.founding = beside(file, &cluster.founding);
        let mut numbers = BTreeMap::new();
        let mut addresses = BTreeMap::new();
        let mut certificates = BTreeMap::new();
        for node in &cluster.nodes {
            if node.id == 0 || numbers.insert(node.id, ()).is_some() {
                let what = format!("node {}: a number is at least 1, and of one node only", node.id);
                return Err(bad("config.id", file, what));
            }
            for place in [&node.peers, &node.clients] {
                address(file, place)?;
                if let Some(other) = addresses.insert(place.clone(), node.id) {
                    let id = node.id;
                    let what = match other == id {
                        true => format!("node {id} has {place} twice: peers and clients need a port each"),
                        false => {
                            format!("nodes {other} and {id} both have {place}: give each its own address")
                        }
                    };
                    return Err(bad("config.address", file, what));
                }
            }
            if let Some(other) = certificates.insert(node.certificate, node.id) {
                let what = format!(
                    "nodes {other} and {} have one certificate: a node is known by its own, so make one for each",
                    node.id
                );
                return Err(bad("config.certificate", file, what));
            }
        }
        if certificates.contains_key(&cluster.fleet_certificate)
            || certificates.contains_key(&cluster.operator)
        {
            let what = "a node has the fleet's or the operator's certificate: make one for each";
            return Err(bad("config.certificate", file, what));
        }
        match cluster.nodes.len() {
            0 => Err(bad("config.nodes", file, "it names no node")),
            count if count.is_multiple_of(2) && !cluster.even => {
                let what = format!(
                    "{count} nodes bear the loss of as many as {} do: name one more or one less, or say `even = true`",
                    count - 1
                );
                Err(bad("config.even", file, what))
            }
            _ => Ok(cluster),
        }
    }

    /// The node of this number.
    pub fn node(&self, id: u64) -> Option<&NodeAddress> {
        self.nodes.iter().find(|node| node.id == id)
    }

    fn founding(&self) -> Result<Sha256Digest, BadConfig> {
        let file = &self.founding;
        let bytes = bytes(file)?;
        let digest = Sha256Digest::of(&bytes);
        if digest != self.founding_sha256 {
            let what = format!(
                "this is the founding of another cluster ({digest}): copy the file that was made with the cluster's file"
            );
            return Err(bad("config.founding", file, what));
        }
        Ok(digest)
    }
}

impl Node {
    /// The node's file at `file`, and what it names.
    pub fn read(file: &Path) -> Result<Self, BadConfig> {
        let read: NodeFile = toml(file)?;
        let at = |path: &Path| beside(file, path);
        let cluster = Cluster::read(&at(&read.cluster))?;
        let Some(own) = cluster.node(read.id).cloned() else {
            let what =
                format!("node {} is not in the cluster's file: add it there, with its certificate", read.id);
            return Err(bad("config.id", file, what));
        };
        let identity = identity(&at(&read.certificate), &at(&read.key))?;
        shows(&identity, &at(&read.certificate), own.certificate, &format!("node {}", read.id))?;
        let fleet = self::identity(&at(&read.fleet_certificate), &at(&read.fleet_key))?;
        shows(&fleet, &at(&read.fleet_certificate), cluster.fleet_certificate, "the fleet")?;
        let founding = cluster.founding()?;
        let (listen_peers, listen_clients) =
            (read.listen.peers.unwrap_or(own.peers), read.listen.clients.unwrap_or(own.clients));
        address(file, &listen_peers)?;
        address(file, &listen_clients)?;
        if listen_peers == listen_clients {
            let what = format!("{listen_peers} is to listen for peers and for clients: give each a port");
            return Err(bad("config.address", file, what));
        }
        let mut dial = BTreeMap::new();
        for (id, place) in &read.dial {
            address(file, place)?;
            let id = id.parse().ok().filter(|id| cluster.node(*id).is_some() && *id != read.id);
            let id =
                id.ok_or_else(|| bad("config.id", file, "`dial` names a node that is no peer of this one"))?;
            dial.insert(NodeId(id), place.clone());
        }
        let times = &read.times;
        if times.tick_ms < MIN_TICK {
            return Err(bad("config.times", file, format!("tick_ms is at least {MIN_TICK}")));
        }
        let usual = Config::new(NodeId(read.id));
        let config = Config {
            election: times.election_ticks,
            heartbeat: times.heartbeat_ticks,
            compact_bytes: read.log.compact_bytes.unwrap_or(usual.compact_bytes),
            keep: read.log.keep.unwrap_or(usual.keep),
            ..usual
        };
        config.check().map_err(|error| bad("config.times", file, error.to_string()))?;
        let jobs = read.jobs.map(|jobs| at(&jobs));
        Ok(Self {
            id: NodeId(read.id),
            founding,
            cluster,
            identity,
            fleet,
            store: at(&read.store),
            jobs,
            listen_peers,
            listen_clients,
            dial,
            tick_ms: times.tick_ms,
            hold_ms: times.hold_ms,
            config,
        })
    }
}

impl Worker {
    /// The worker's file at `file`, and what it names.
    pub fn read(file: &Path) -> Result<Self, BadConfig> {
        let read: WorkerFile = toml(file)?;
        let at = |path: &Path| beside(file, path);
        let cluster = Cluster::read(&at(&read.cluster))?;
        let identity = identity(&at(&read.certificate), &at(&read.key))?;
        let seed = at(&read.evidence_seed);
        let text = secret(&seed)?;
        let digest: Option<Sha256Digest> =
            std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().parse().ok());
        let digest = digest.ok_or_else(|| bad("config.seed", &seed, "a seed is 64 lowercase hex digits"))?;
        let (worker, device, directory) = (read.worker, read.device, at(&read.directory));
        Ok(Self { worker, device, cluster, identity, seed: *digest.as_bytes(), directory })
    }
}

impl Operator {
    /// The operator's file at `file`, and what it names.
    pub fn read(file: &Path) -> Result<Self, BadConfig> {
        let read: OperatorFile = toml(file)?;
        let cluster = Cluster::read(&beside(file, &read.cluster))?;
        let certificate = beside(file, &read.certificate);
        let identity = identity(&certificate, &beside(file, &read.key))?;
        shows(&identity, &certificate, cluster.operator, "the operator")?;
        Ok(Self { cluster, identity })
    }
}
