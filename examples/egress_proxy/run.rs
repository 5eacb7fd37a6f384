//! The proxy's process: what the options say put together, and files read again when they change.

use std::{
    collections::BTreeMap,
    net::{IpAddr, TcpListener},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use leasehold::{
    digest::Sha256Digest,
    egress::{LeaseCheck, TokenKey},
    gate::{GateEvent, ViewRules},
    id::WorkerId,
    shell::{Entropy as _, OsEntropy, Resolver as _, SystemClock, SystemResolver},
    time::{Clock, Millis},
};
use serde_json::json;

use crate::{
    dns,
    leases::{self, FileLeases},
    log::Log,
    options::Options,
    owned::{self, Stamp},
    pem, policy,
    proxy::{
        Identities, Names, Proxy, Refused, Setup, Times,
        feed::{Feed, Leases},
        refused::NO_SUCH_PAGE,
    },
    secrets::FileSecrets,
};

/// How often files are looked at, and streams whose leases are over are cut.
const TICK: Duration = Duration::from_millis(100);
/// How early a lease of a feed ends on this clock.
const CLOCK_BUDGET: Millis = Millis(200);
/// The most leases in view.
const MAX_LEASES: usize = 100_000;

type SharedClock = Arc<dyn Clock + Send + Sync>;

/// Where leases come from.
enum Source {
    File(Arc<FileLeases>),
    Feed(Arc<Leases>),
}

/// Runs until it is told to stop.
pub fn run(options: &Options) -> Result<(), String> {
    let said = |error: &dyn ToString| error.to_string();
    let policy_path = options.policy.as_deref().ok_or("--policy is required")?;
    let clock: SharedClock = Arc::new(SystemClock::start());
    let log = Arc::new(Log::open(options.log.as_deref(), options.sample, Arc::clone(&clock))?);
    let signals = signals().map_err(|error| said(&error))?;
    // The stamps first: what changes after the reading is read again.
    let mut policy_stamp = owned::stamp(policy_path);
    let first = policy::load(policy_path)?;
    let (source, keys) = source(options, &clock)?;
    let mut lease_stamp = options.leases.as_deref().map(owned::stamp);
    let digest = first.digest();
    let recorder = Arc::clone(&log);
    let proxy = Proxy::new(Setup {
        policy: first,
        names: names(options),
        identities: Identities { workers: workers(options.workers.as_deref())?, keys },
        leases: match &source {
            Source::File(leases) => Arc::clone(leases) as Arc<dyn LeaseCheck + Send + Sync>,
            Source::Feed(leases) => Arc::clone(leases) as Arc<dyn LeaseCheck + Send + Sync>,
        },
        secrets: Box::new(FileSecrets::open(options.secrets.as_deref())?),
        upstream: pem::client(options.roots.as_deref(), None)?,
        clock: Arc::clone(&clock),
        pages: Box::new(|_| {
            Err(Refused::new(404, NO_SUCH_PAGE, "no such page here; a route is /r/RULE/path"))
        }),
        sink: Box::new(move |record| recorder.record(record)),
        times: Times {
            head: Duration::from_millis(options.head),
            idle: Duration::from_millis(options.idle),
            first_byte: Duration::from_millis(options.idle),
            ..Times::default()
        },
        budget: serde_json::from_str(&options.budget).map_err(|error| format!("--budget: {error}"))?,
        max_body: options.max_body,
        connections: options.connections,
        name: name(options)?,
    });
    let tls = match (&options.cert, &options.key) {
        (Some(chain), Some(key)) => Some(pem::server(chain, key, options.client_ca.as_deref())?),
        _ => None,
    };
    for address in &options.listen {
        let listener = TcpListener::bind(address).map_err(|error| format!("{address}: {error}"))?;
        let address = listener.local_addr().map_err(|error| said(&error))?;
        proxy.listen(listener, tls.clone()).map_err(|error| said(&error))?;
        println!("listening on {address}");
    }
    log.line(json!({ "event": "policy", "digest": digest, "in_force": true }));
    if let Source::Feed(leases) = &source {
        follow(options, &clock, leases, &proxy)?;
    }
    while !signals.stop.load(Ordering::Relaxed) {
        std::thread::sleep(TICK);
        let asked = signals.reload.swap(false, Ordering::Relaxed);
        if changed(&mut policy_stamp, owned::stamp(policy_path)) || asked {
            reload_policy(&proxy, policy_path, &log, asked);
        }
        if let (Source::File(leases), Some(path), Some(stamp)) = (&source, &options.leases, &mut lease_stamp)
            && (changed(stamp, owned::stamp(path)) || asked)
        {
            let outcome = leases.reload(clock.now());
            log.line(match outcome {
                Ok(count) => json!({ "event": "leases", "live": count }),
                Err(why) => json!({ "event": "leases", "live": 0, "message": why }),
            });
        }
        proxy.cut();
    }
    Ok(())
}

fn changed(held: &mut Stamp, now: Stamp) -> bool {
    let other = *held != now;
    *held = now;
    other
}

/// A bad policy leaves the old one in force, and says so.
fn reload_policy(proxy: &Proxy, path: &Path, log: &Log, asked: bool) {
    match policy::load(path) {
        Ok(new) => {
            let digest = new.digest();
            let old = proxy.swap(new);
            if asked || old.digest() != digest {
                log.line(
                    json!({ "event": "policy", "digest": digest, "before": old.digest(), "in_force": true }),
                );
            }
        }
        Err(why) => {
            let held = proxy.policy().digest();
            log.line(json!({ "event": "policy", "in_force": false, "message": why, "digest": held }));
        }
    }
}

fn source(options: &Options, clock: &SharedClock) -> Result<(Source, Vec<TokenKey>), String> {
    if let Some(path) = &options.leases {
        let (leases, key) = FileLeases::open(path.clone(), clock.now())?;
        return Ok((Source::File(Arc::new(leases)), vec![key]));
    }
    let path = options.coordinator_cert.as_deref().ok_or("--coordinator-cert is required")?;
    let certificate = pem::certificates(path)?;
    let fingerprint = Sha256Digest::of(certificate.first().ok_or("no certificate of the coordinator")?);
    let rules = ViewRules::new(Millis(options.max_staleness), CLOCK_BUDGET, MAX_LEASES);
    let leases = Leases::new(fingerprint, rules.map_err(|error| error.to_string())?);
    let keys = match &options.token_key {
        None => Vec::new(),
        Some(path) => {
            let text = String::from_utf8(owned::read(path)?).map_err(|error| error.to_string())?;
            vec![leases::key(text.trim()).ok_or("a token key is 64 hex digits")?]
        }
    };
    Ok((Source::Feed(leases), keys))
}

fn follow(
    options: &Options,
    clock: &SharedClock,
    leases: &Arc<Leases>,
    proxy: &Arc<Proxy>,
) -> Result<(), String> {
    let wanted = || options.coordinator.zip(options.coordinator_cert.as_deref());
    let (address, certificate) = wanted().ok_or("--coordinator and --coordinator-cert go together")?;
    let identity = options.cert.as_deref().zip(options.key.as_deref());
    let certificates = pem::certificates(certificate)?;
    let feed = Feed {
        address,
        name: options.coordinator_name.clone(),
        fingerprint: Sha256Digest::of(certificates.first().ok_or("no certificate of the coordinator")?),
        config: pem::client(options.roots.as_deref(), identity)?,
        clock: Arc::clone(clock),
        leases: Arc::clone(leases),
    };
    let proxy = Arc::clone(proxy);
    let followed = feed.follow(move |event| {
        if matches!(event, GateEvent::LeaseEnded { .. }) {
            proxy.cut();
        }
    });
    followed.map_err(|error| error.to_string())
}

/// A lookup that failed answers nothing, and a request for that name is refused.
fn names(options: &Options) -> Names {
    match options.dns {
        Some(server) => {
            Box::new(move |name: &str| -> Vec<IpAddr> { dns::resolve(server, name).unwrap_or_default() })
        }
        None => Box::new(|name: &str| SystemResolver.resolve(name).unwrap_or_default()),
    }
}

fn workers(path: Option<&Path>) -> Result<BTreeMap<Sha256Digest, WorkerId>, String> {
    let Some(path) = path else { return Ok(BTreeMap::new()) };
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut workers = BTreeMap::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let pair =
            line.split_once(' ').and_then(|(one, two)| Some((one.parse().ok()?, WorkerId::new(two).ok()?)));
        let (certificate, worker) =
            pair.ok_or_else(|| format!("{}:{}: not `SHA256 WORKER`", path.display(), at + 1))?;
        workers.insert(certificate, worker);
    }
    Ok(workers)
}

/// A name of its own for each process, so that only a real loop is taken for one.
fn name(options: &Options) -> Result<String, String> {
    if let Some(name) = &options.name {
        let plain = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        return if plain {
            Ok(name.clone())
        } else {
            Err("a name has letters, digits, hyphens and dots".into())
        };
    }
    let mut bytes = [0; 4];
    let filled = OsEntropy::open().and_then(|mut entropy| entropy.fill(&mut bytes));
    filled.map_err(|error| error.to_string())?;
    Ok(format!("leasehold-{:08x}", u32::from_be_bytes(bytes)))
}

#[derive(Default)]
struct Signals {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

#[cfg(unix)]
fn signals() -> std::io::Result<Signals> {
    use signal_hook::{consts, flag};
    let signals = Signals::default();
    flag::register(consts::SIGHUP, Arc::clone(&signals.reload))?;
    for signal in [consts::SIGINT, consts::SIGTERM] {
        // The second one ends the process at once.
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&signals.stop))?;
        flag::register(signal, Arc::clone(&signals.stop))?;
    }
    Ok(signals)
}

#[cfg(not(unix))]
fn signals() -> std::io::Result<Signals> {
    Ok(Signals::default())
}
