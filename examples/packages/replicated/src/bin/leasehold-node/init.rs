//! Makes a cluster: certificates, keys and files for its nodes, its workers and its operator, and what it begins with.
//!
//! Everything lies in one directory then. To each machine goes what its program needs and nothing else: the directory of the node
//! or worker, the cluster's file, the founding and the fleet's certificate.

use std::{
    fmt::Write as _,
    fs::{self, DirBuilder, OpenOptions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use leasehold::{
    attestation::signature::{DefaultVerifier, Ed25519Signer},
    digest::Sha256Digest,
    fleet::{ManageDevice, Principal, Setup, WorkerFleetManager, WorkerFleetPolicy, WorkerFleetPolicyForm},
    id::{ClientId, DeviceId, WorkerId},
    identity::{DeviceCertificate, DeviceCommand, DeviceKind},
    lease::{CleanupRule, Epoch},
    shell::SystemClock,
    time::{Clock, Millis},
};
use replicated::{Members, NodeId, Snapshot, Store, Stored};

use crate::{
    Failure,
    certificates::{self, Pair},
    config::NodeAddress,
    jobs::{self, Ports},
    policy, tls,
};

/// What is made.
#[derive(Clone, clap::Args)]
pub struct Init {
    /// The directory to make it in; it must not exist, or be empty
    pub directory: PathBuf,
    /// How many nodes: 3 bear the loss of one, 5 of two
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=15))]
    pub nodes: u64,
    /// How many workers
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=64))]
    pub workers: u32,
    /// The host of a node, once for each node, or once for all of them
    #[arg(long = "host", value_name = "HOST", default_value = "127.0.0.1")]
    pub hosts: Vec<String>,
    /// The first port; a node takes two, and nodes of one host take the next ones
    #[arg(long, default_value_t = 7600)]
    pub port: u16,
    /// How many days the certificates are good for
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// The executable that workers are; this one where nothing is said
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// The jobs, one JSON object per line, as the main job has them
    #[arg(long, value_name = "FILE")]
    pub jobs: Option<PathBuf>,
    /// The number of nodes may be even
    #[arg(long)]
    pub even: bool,
    /// More lines for each node's file
    #[arg(skip)]
    pub more: String,
}

/// A worker's parts that the founding names.
struct Device {
    worker: WorkerId,
    device: DeviceId,
    certificate: Vec<u8>,
    evidence_key: Vec<u8>,
}

/// The rules of the main job with times for a cluster: a lease outlives the election of another leader.
fn fleet_policy(image: Sha256Digest, devices: &[Device]) -> Result<WorkerFleetPolicy, Failure> {
    let nodes: Vec<_> = devices
        .iter()
        .map(|device| policy::Node { worker: &device.worker, key: &device.evidence_key })
        .collect();
    // Nobody but the worker sees its directories: they are on another machine.
    let policy = policy::fleet_policy(image, &nodes, None, CleanupRule::Reported)?;
    let mut form = WorkerFleetPolicyForm::from(policy);
    form.lease.ttl_max_ms = Millis(6_000);
    form.lease.renew_every_ms = Millis(1_500);
    form.lease.longest_ms = Millis(9_000);
    form.lease.clock_budget_ms = Millis(300);
    form.lease.max_staleness_ms = Millis(2_000);
    form.lease.grace_ms = Millis(2_500);
    form.lease.start_ms = Millis(6_000);
    form.lease.acknowledge_ms = Millis(6_000);
    form.liveness.heartbeat_every_ms = Millis(500);
    form.liveness.offline_after_ms = Millis(4_000);
    form.limits.admission_per_device = 10_000;
    WorkerFleetPolicy::try_from(form).map_err(Failure::coded)
}

/// The state of a fleet in which these devices are registered, as a replica loads it.
fn founding(policy: WorkerFleetPolicy, devices: &[Device], fleet: Sha256Digest) -> Result<Vec<u8>, Failure> {
    let clock = SystemClock::start();
    let setup = Setup::new(tls::entropy()?, fleet, Box::new(DefaultVerifier));
    let mut manager =
        WorkerFleetManager::found(policy, setup, Epoch(1), clock.now()).map_err(Failure::coded)?;
    let operator = Principal::Operator(ClientId::new("init").map_err(Failure::coded)?);
    for device in devices {
        let certificate = DeviceCertificate::from_der(&device.certificate).map_err(Failure::coded)?;
        let (device, kind) = (device.device.clone(), DeviceKind::Worker);
        let register = ManageDevice::new(DeviceCommand::Register { device, kind, certificate });
        let prepared = manager.decide(&register, &operator, None, clock.now()).map_err(Failure::coded)?;
        // Nobody waits for the answer: what the manager holds is what is written below.
        let _ = manager.accept(prepared).map_err(Failure::coded)?;
    }
    while let Some(batch) = manager.take_journal() {
        manager.durable(batch.last).map_err(Failure::coded)?;
    }
    manager.snapshot().ok_or_else(|| Failure::new("a founding that is not written whole"))
}

/// A directory for this user only.
fn directory(path: &Path) -> Result<(), Failure> {
    Ok(DirBuilder::new().mode(0o700).recursive(true).create(path)?)
}

fn write(path: &Path, mode: u32, content: &[u8]) -> Result<(), Failure> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    Ok(file.sync_all()?)
}

/// The certificate as `NAME.crt` and the key, which only its owner may read, as `NAME.key`.
fn pair(directory: &Path, name: &str, pair: &Pair) -> Result<(), Failure> {
    write(&directory.join(format!("{name}.crt")), 0o644, pair.certificate_pem.as_bytes())?;
    write(&directory.join(format!("{name}.key")), 0o600, pair.key_pem.as_bytes())
}

/// The addresses of the nodes.
fn addresses(init: &Init, certificates: &[Pair]) -> Result<Vec<NodeAddress>, Failure> {
    let count = init.nodes as usize;
    if init.hosts.len() != 1 && init.hosts.len() != count {
        return Err(Failure::new(format!(
            "init.hosts: there are {} hosts for {count} nodes: say --host once for each, or once",
            init.hosts.len()
        )));
    }
    let node = |(at, pair): (usize, &Pair)| {
        let host = init.hosts.get(at).or(init.hosts.first()).cloned().unwrap_or_default();
        let before = init.hosts.iter().take(at).filter(|other| **other == host).count();
        // One host for all of them is the host of each.
        let before = if init.hosts.len() == 1 { at } else { before };
        let port = |offset: usize| {
            let port = u16::try_from(2 * before + offset).ok().and_then(|more| init.port.checked_add(more));
            port.ok_or_else(|| Failure::new("init.port: the last port is over 65535: say a lower --port"))
        };
        Ok(NodeAddress {
            id: at as u64 + 1,
            peers: format!("{host}:{}", port(0)?),
            clients: format!("{host}:{}", port(1)?),
            certificate: Sha256Digest::of(&pair.certificate),
        })
    };
    certificates.iter().enumerate().map(node).collect()
}

/// A cluster that can be made: the arguments are judged, and nothing is written yet.
pub struct Plan<'a> {
    init: &'a Init,
    jobs: Option<String>,
    image: Sha256Digest,
    nodes: Vec<Pair>,
    addresses: Vec<NodeAddress>,
}

/// Judges the arguments.
///
/// # Errors
/// The arguments, or files that they name, cannot work.
pub fn plan(init: &Init) -> Result<Plan<'_>, Failure> {
    let root = &init.directory;
    if fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::new(format!(
            "init.exists: {} is not empty: name another directory",
            root.display()
        )));
    }
    if init.nodes.is_multiple_of(2) && !init.even {
        let (count, fewer) = (init.nodes, init.nodes - 1);
        return Err(Failure::new(format!(
            "config.even: {count} nodes bear the loss of as many as {fewer} do: say one more or one less, or --even"
        )));
    }
    let jobs = init.jobs.as_deref().map(runnable).transpose()?;
    let image = match &init.image {
        Some(image) => image.clone(),
        None => std::env::current_exe()?,
    };
    let read = fs::read(&image)
        .map_err(|error| Failure::new(format!("config.read: {}: {error}", image.display())))?;
    let image = tls::measure(&read)?;
    let make = |id| certificates::make(&format!("node {id}"), init.days);
    let nodes = (1..=init.nodes).map(make).collect::<Result<Vec<_>, _>>()?;
    let addresses = addresses(init, &nodes)?;
    Ok(Plan { init, jobs, image, nodes, addresses })
}

impl Plan<'_> {
    /// Makes everything.
    ///
    /// # Errors
    /// Something cannot be written.
    pub fn make(&self) -> Result<(), Failure> {
        let Self { init, addresses, .. } = self;
        let root = &init.directory;
        directory(root)?;
        let make = |name: &str| certificates::make(name, init.days);
        let (fleet, operator) = (make("the fleet")?, make("an operator")?);
        let mut devices = Vec::new();
        for number in 1..=init.workers {
            devices.push(worker(root, &format!("worker-{number}"), &make(&format!("worker {number}"))?)?);
        }
        let policy = fleet_policy(self.image, &devices)?;
        let state = founding(policy, &devices, Sha256Digest::of(&fleet.certificate))?;
        let about = addresses.iter().map(|node| Ok((NodeId(node.id), serde_json::to_vec(node)?)));
        let members = Members::founders(about.collect::<Result<Vec<_>, Failure>>()?);
        let founding = begin(root, members, state)?;
        cluster(root, init, addresses, &founding, &fleet, &operator)?;
        if let Some(jobs) = &self.jobs {
            write(&root.join("jobs.jsonl"), 0o644, jobs.as_bytes())?;
        }
        for (address, certificate) in addresses.iter().zip(&self.nodes) {
            node(root, init, address.id, certificate, &fleet)?;
            let mut store = Store::open(
                &root.join(format!("node-{}/store.redb", address.id)),
                founding.0,
                NodeId(address.id),
            )
            .map_err(|error| Failure::new(format!("{}: {error}", error.code())))?;
            store.found(&founding.1).map_err(|error| Failure::new(format!("{}: {error}", error.code())))?;
        }
        println!("{} nodes and {} workers in {}", init.nodes, init.workers, root.display());
        Ok(())
    }
}

/// The lines of a job file that a fleet without a gate can run.
fn runnable(path: &Path) -> Result<String, Failure> {
    let read = jobs::read(path, Ports { http: 0, https: 0 })?;
    if let Some(bad) = read.bad.first() {
        return Err(Failure::new(format!("config.jobs: {}:{}: {}", path.display(), bad.number, bad.reason)));
    }
    let fetches = |line: &&str| line.contains("\"fetch\"");
    let text = fs::read_to_string(path)?;
    let left_out = text.lines().filter(fetches).count();
    if left_out > 0 {
        println!("{left_out} jobs that fetch are left out: this fleet has no way to the network");
    }
    Ok(text.lines().filter(|line| !fetches(line)).fold(String::new(), |all, line| all + line + "\n"))
}

/// Writes what the cluster begins with, and gives it with its digest.
fn begin(root: &Path, members: Members, state: Vec<u8>) -> Result<(Sha256Digest, Stored), Failure> {
    let stored = Stored::founding(members, state, 1);
    let mut bytes = Vec::new();
    if let Some(snapshot) = &stored.snapshot {
        Snapshot::encode(snapshot, &mut bytes);
    }
    write(&root.join("founding.bin"), 0o644, &bytes)?;
    Ok((Sha256Digest::of(&bytes), stored))
}

fn cluster(
    root: &Path,
    init: &Init,
    addresses: &[NodeAddress],
    founding: &(Sha256Digest, Stored),
    fleet: &Pair,
    operator: &Pair,
) -> Result<(), Failure> {
    let digest = |pair: &Pair| Sha256Digest::of(&pair.certificate);
    let mut text = format!(
        "# What every node, worker and operator of this cluster knows. Nothing in it is secret.\n\
         founding = \"founding.bin\"\n\
         founding_sha256 = \"{}\"\n\
         fleet_certificate = \"{}\"\n\
         operator = \"{}\"\n",
        founding.0,
        digest(fleet),
        digest(operator)
    );
    if init.even {
        text += "even = true\n";
    }
    for node in addresses {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n[[nodes]]\nid = {}\npeers = \"{}\"\nclients = \"{}\"\ncertificate = \"{}\"\n",
            node.id, node.peers, node.clients, node.certificate
        );
    }
    write(&root.join("cluster.toml"), 0o644, text.as_bytes())?;
    write(&root.join("fleet.crt"), 0o644, fleet.certificate_pem.as_bytes())?;
    let own = root.join("operator");
    directory(&own)?;
    pair(&own, "operator", operator)?;
    let text = "cluster = \"../cluster.toml\"\ncertificate = \"operator.crt\"\nkey = \"operator.key\"\n";
    write(&own.join("operator.toml"), 0o600, text.as_bytes())
}

fn node(root: &Path, init: &Init, id: u64, certificate: &Pair, fleet: &Pair) -> Result<(), Failure> {
    let own = root.join(format!("node-{id}"));
    directory(&own)?;
    pair(&own, "node", certificate)?;
    write(&own.join("fleet.key"), 0o600, fleet.key_pem.as_bytes())?;
    let jobs = if init.jobs.is_some() { "jobs = \"../jobs.jsonl\"\n" } else { "" };
    let text = format!(
        "id = {id}\ncluster = \"../cluster.toml\"\ncertificate = \"node.crt\"\nkey = \"node.key\"\n\
         fleet_certificate = \"../fleet.crt\"\nfleet_key = \"fleet.key\"\nstore = \"store.redb\"\n{jobs}{}",
        init.more
    );
    write(&own.join("node.toml"), 0o600, text.as_bytes())
}

fn worker(root: &Path, name: &str, certificate: &Pair) -> Result<Device, Failure> {
    let own = root.join(name);
    directory(&own)?;
    pair(&own, "worker", certificate)?;
    let seed = tls::entropy::<32>()?;
    let hex = Sha256Digest::from_bytes(seed).to_string();
    write(&own.join("evidence.seed"), 0o600, format!("{hex}\n").as_bytes())?;
    let device = format!("device-of-{name}");
    let text = format!(
        "worker = \"{name}\"\ndevice = \"{device}\"\ncluster = \"../cluster.toml\"\ncertificate = \"worker.crt\"\n\
         key = \"worker.key\"\nevidence_seed = \"evidence.seed\"\ndirectory = \".\"\n"
    );
    write(&own.join("worker.toml"), 0o600, text.as_bytes())?;
    Ok(Device {
        worker: name.parse().map_err(Failure::coded)?,
        device: device.parse().map_err(Failure::coded)?,
        certificate: certificate.certificate.clone(),
        evidence_key: Ed25519Signer::from_seed(name, &seed).public_key().to_vec(),
    })
}
