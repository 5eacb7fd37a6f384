//! The proxy's process: what the options say put together, files read again when they change, and the way to its end.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::Engine as _;
use leasehold::{
    digest::Sha256Digest,
    egress::{LeaseCheck, PolicyWarning, TokenKey},
    gate::ViewRules,
    id::WorkerId,
    shell::{Entropy as _, OsEntropy, SystemClock},
    time::{Clock, Millis},
};
use rustls::{ServerConfig, pki_types::ServerName};
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, interval, sleep},
};

use crate::{
    admin,
    escape::shown,
    feed::{Feed, Leases},
    files::{self, Stamp},
    leases::{self, FileLeases},
    log::Log,
    metrics::Metrics,
    names::{Names, Source as NameSource},
    options::Options,
    policy,
    proxy::{Identities, Proxy, Setup, Times, Upstream, admission::Bounds, parent::Parent},
    secrets::FileSecrets,
    tls,
};

/// How often files are looked at, and streams whose leases are over are cut.
const TICK: Duration = Duration::from_millis(100);
/// How early a lease of a feed ends on this clock.
const CLOCK_BUDGET: Millis = Millis(200);
/// The most leases in view.
const MAX_LEASES: usize = 100_000;
/// Descriptors that are no connections: files, listeners, questions about names.
const RESERVED: usize = 128;
/// The most connections where nobody says otherwise.
const CONNECTIONS: usize = 16_384;

type SharedClock = Arc<dyn Clock + Send + Sync>;

/// Where leases come from.
enum Source {
    File(Arc<FileLeases>),
    Feed(Arc<Leases>),
}

/// Runs until it is told to stop.
pub fn run(options: Options) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let ended = runtime.block_on(Running::start(options));
    // What could not be ended in time ends with the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

/// A running proxy, and what is read again.
struct Running {
    options: Options,
    clock: SharedClock,
    log: Arc<Log>,
    proxy: Arc<Proxy>,
    source: Source,
    tls: Option<watch::Sender<Arc<ServerConfig>>>,
    watched: Watched,
}

impl Running {
    async fn start(options: Options) -> Result<(), String> {
        let mut signals = Signals::open()?;
        let clock: SharedClock = Arc::new(SystemClock::start());
        let metrics = Arc::new(Metrics::default());
        let log = Log::open(options.log.as_deref(), options.sample, Arc::clone(&clock), Arc::clone(&metrics));
        let log = Arc::new(log?);
        // The stamps first: what changes after the reading is read again.
        let watched = Watched::of(&options);
        let policy_path = options.policy.as_deref().ok_or("--policy is required")?;
        let (policy, warnings) = policy::load(policy_path)?;
        let digest = policy.digest();
        let (source, keys) = source(&options, &clock)?;
        let bounds = bounds(&options, &log)?;
        let recorder = Arc::clone(&log);
        let proxy = Proxy::new(Setup {
            policy,
            names: Names::open(options.dns.unwrap_or(NameSource::Configured))?,
            identities: Identities { workers: workers(options.workers.as_deref())?, keys },
            leases: match &source {
                Source::File(leases) => Arc::clone(leases) as Arc<dyn LeaseCheck + Send + Sync>,
                Source::Feed(leases) => Arc::clone(leases) as Arc<dyn LeaseCheck + Send + Sync>,
            },
            secrets: Arc::new(FileSecrets::open(options.secrets.as_deref())?),
            upstream: upstream(&options)?,
            parent: options.parent.as_deref().map(|url| parent(url, &options)).transpose()?,
            clock: Arc::clone(&clock),
            sink: Box::new(move |record| recorder.record(record)),
            times: times(&options),
            budget: serde_json::from_str(&options.budget).map_err(|error| format!("--budget: {error}"))?,
            max_body: options.max_body,
            max_signed_body: options.max_signed_body,
            bounds,
            pooled: options.pool,
            name: name(&options)?,
        });
        let tls = server(&options)?.map(watch::Sender::new);
        for address in &options.listen {
            let listener = TcpListener::bind(address).await.map_err(|error| format!("{address}: {error}"))?;
            let address = listener.local_addr().map_err(|error| error.to_string())?;
            let tls = tls.as_ref().map(watch::Sender::subscribe);
            proxy.listen(listener, tls).map_err(|error| error.to_string())?;
            println!("listening on {address}");
        }
        log.line(json!({ "event": "policy", "digest": digest, "in_force": true }));
        warn(&log, &warnings);
        let mut running = Self { options, clock, log, proxy, source, tls, watched };
        running.serve_admin(metrics).await?;
        running.follow()?;
        running.until_stopped(&mut signals).await;
        Ok(())
    }

    async fn serve_admin(&self, metrics: Arc<Metrics>) -> Result<(), String> {
        let Some(address) = self.options.admin else { return Ok(()) };
        let listener = TcpListener::bind(address).await.map_err(|error| format!("{address}: {error}"))?;
        println!("admin on {}", listener.local_addr().map_err(|error| error.to_string())?);
        let (proxy, clock) = (Arc::clone(&self.proxy), Arc::clone(&self.clock));
        let feed = match &self.source {
            Source::Feed(leases) => Some(Arc::clone(leases)),
            Source::File(_) => None,
        };
        let health: admin::Health = Box::new(move || {
            if proxy.is_draining() {
                return Err("draining");
            }
            match feed.as_ref().is_none_or(|leases| leases.is_fresh(clock.now().mono)) {
                true => Ok(()),
                false => Err("nothing was heard about leases for too long"),
            }
        });
        tokio::spawn(admin::serve(listener, Arc::clone(&self.proxy), metrics, health));
        Ok(())
    }

    fn follow(&self) -> Result<(), String> {
        let Source::Feed(leases) = &self.source else { return Ok(()) };
        let options = &self.options;
        let wanted = options.coordinator.zip(options.coordinator_cert.as_deref());
        let (address, certificate) = wanted.ok_or("--coordinator and --coordinator-cert go together")?;
        let identity = options.cert.as_deref().zip(options.key.as_deref());
        let feed = Feed {
            address,
            name: options.coordinator_name.clone(),
            fingerprint: fingerprint(certificate)?,
            config: tls::client(options.roots.as_deref(), identity, &[])?,
            clock: Arc::clone(&self.clock),
            leases: Arc::clone(leases),
        };
        let proxy = Arc::clone(&self.proxy);
        tokio::spawn(async move { feed.follow(|| proxy.cut()).await });
        Ok(())
    }

    async fn until_stopped(&mut self, signals: &mut Signals) {
        let mut ticks = interval(TICK);
        let mut judge_at: Option<Instant> = None;
        loop {
            let asked = tokio::select! {
                _ = ticks.tick() => false,
                asked = signals.next() => match asked {
                    Signal::Reload => true,
                    Signal::Stop => break,
                },
            };
            if self.reload(asked) {
                judge_at = Some(Instant::now() + Duration::from_millis(self.options.policy_grace));
            }
            if judge_at.is_some_and(|at| Instant::now() >= at) {
                judge_at = None;
                self.proxy.judge_again();
            }
            self.proxy.cut();
        }
        self.drain(signals).await;
    }

    async fn drain(&self, signals: &mut Signals) {
        self.log.line(json!({ "event": "drain", "within_ms": self.options.drain }));
        self.proxy.drain();
        let deadline = Instant::now() + Duration::from_millis(self.options.drain);
        let is_idle = || self.proxy.counts().iter().all(|(name, count)| *name != "streams" || *count == 0);
        while !is_idle() && Instant::now() < deadline {
            tokio::select! {
                () = sleep(TICK) => {}
                // The second one ends what is under way.
                Signal::Stop = signals.next() => break,
            }
            self.proxy.cut();
        }
        let streams = self.proxy.stop();
        // What was cut says so in the log.
        sleep(TICK).await;
        self.log.line(json!({ "event": "stopped", "cut": streams }));
        self.log.finish();
    }

    /// Reads again what has changed, or everything where that was `asked` for. True where another policy came into force.
    fn reload(&mut self, asked: bool) -> bool {
        let changed = self.watched.changed();
        let is = |what: What| asked || changed.contains(&what);
        let replaced = is(What::Policy) && self.reload_policy(asked);
        if let (Source::File(leases), true) = (&self.source, is(What::Leases)) {
            let outcome = leases.reload(self.clock.now());
            self.log.line(match outcome {
                Ok(count) => json!({ "event": "leases", "live": count }),
                Err(why) => json!({ "event": "leases", "live": 0, "message": shown(&why) }),
            });
        }
        if is(What::Secrets) && self.options.secrets.is_some() {
            let read = FileSecrets::open(self.options.secrets.as_deref());
            let read = read.map(|secrets| self.proxy.replace(None, Some(Arc::new(secrets)), None));
            self.say("secrets", read);
        }
        if is(What::Identities) && (self.options.workers.is_some() || self.options.token_key.is_some()) {
            let read = self.identities();
            let read = read.map(|identities| self.proxy.replace(Some(identities), None, None));
            self.say("identities", read);
        }
        if is(What::Tls) && self.tls.is_some() {
            let read = server(&self.options).map(|config| {
                if let (Some(tls), Some(config)) = (&self.tls, config) {
                    tls.send_replace(config);
                }
            });
            self.say("tls", read);
        }
        if is(What::Roots) && self.options.roots.is_some() {
            let read = upstream(&self.options).map(|upstream| self.proxy.replace(None, None, Some(upstream)));
            self.say("roots", read);
        }
        replaced
    }

    fn identities(&self) -> Result<Identities, String> {
        let keys = match &self.source {
            // The key of a lease file stays the one of the start.
            Source::File(leases) => vec![leases.key()],
            Source::Feed(_) => token_keys(self.options.token_key.as_deref())?,
        };
        Ok(Identities { workers: workers(self.options.workers.as_deref())?, keys })
    }

    /// What was read is in force, or what was in force before stays.
    fn say(&self, event: &str, read: Result<(), String>) {
        self.log.line(match read {
            Ok(()) => json!({ "event": event, "in_force": true }),
            Err(why) => json!({ "event": event, "in_force": false, "message": shown(&why) }),
        });
    }

    /// A bad policy leaves the old one in force, and says so.
    fn reload_policy(&self, asked: bool) -> bool {
        let Some(path) = self.options.policy.as_deref() else { return false };
        match policy::load(path) {
            Ok((new, warnings)) => {
                let digest = new.digest();
                let old = self.proxy.swap(new);
                let another = old.digest() != digest;
                if asked || another {
                    self.log.line(
                        json!({ "event": "policy", "digest": digest, "before": old.digest(), "in_force": true }),
                    );
                    warn(&self.log, &warnings);
                }
                another
            }
            Err(why) => {
                let held = self.proxy.policy().digest();
                let why = shown(&why);
                self.log
                    .line(json!({ "event": "policy", "in_force": false, "message": why, "digest": held }));
                false
            }
        }
    }
}

fn warn(log: &Log, warnings: &[PolicyWarning]) {
    for warning in warnings {
        log.line(json!({
            "event": "warning", "code": warning.code, "rule": shown(&warning.rule), "message": shown(&warning.message),
        }));
    }
}

fn fingerprint(path: &Path) -> Result<Sha256Digest, String> {
    Ok(Sha256Digest::of(tls::certificates(path)?.first().ok_or("no certificate of the coordinator")?))
}

fn token_keys(path: Option<&Path>) -> Result<Vec<TokenKey>, String> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let text = String::from_utf8(files::read(path)?).map_err(|error| error.to_string())?;
    Ok(vec![leases::key(text.trim()).ok_or("a token key is 64 hex digits")?])
}

fn source(options: &Options, clock: &SharedClock) -> Result<(Source, Vec<TokenKey>), String> {
    if let Some(path) = &options.leases {
        let leases = FileLeases::open(path.clone(), clock.now())?;
        let keys = vec![leases.key()];
        return Ok((Source::File(Arc::new(leases)), keys));
    }
    let path = options.coordinator_cert.as_deref().ok_or("--coordinator-cert is required")?;
    let rules = ViewRules::new(Millis(options.max_staleness), CLOCK_BUDGET, MAX_LEASES);
    let leases = Leases::new(fingerprint(path)?, rules.map_err(|error| error.to_string())?);
    Ok((Source::Feed(leases), token_keys(options.token_key.as_deref())?))
}

fn times(options: &Options) -> Times {
    Times {
        head: Duration::from_millis(options.head),
        connect: Duration::from_millis(options.connect),
        first_byte: Duration::from_millis(options.first_byte),
        idle: Duration::from_millis(options.idle),
        tunnel_idle: Duration::from_millis(options.tunnel_idle),
        exchange: Duration::from_millis(options.exchange),
        keep_alive: Duration::from_millis(options.keep_alive),
        pool: Duration::from_millis(options.pool_idle),
    }
}

fn upstream(options: &Options) -> Result<Upstream, String> {
    let roots = options.roots.as_deref();
    Ok(Upstream {
        h1: tls::client(roots, None, &["http/1.1"])?,
        h2: tls::client(roots, None, &["h2", "http/1.1"])?,
    })
}

fn server(options: &Options) -> Result<Option<Arc<ServerConfig>>, String> {
    match (&options.cert, &options.key) {
        (Some(chain), Some(key)) => tls::server(chain, key, options.client_ca.as_deref()).map(Some),
        _ => Ok(None),
    }
}

/// The parent proxy of a URL.
fn parent(url: &str, options: &Options) -> Result<Parent, String> {
    let wrong = || "--parent: not http://[USER:PASSWORD@]HOST:PORT or https://".to_owned();
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let rest = rest.trim_end_matches('/');
    let (user, address) = rest.rsplit_once('@').map_or((None, rest), |(user, address)| (Some(user), address));
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    port.parse::<u16>().map_err(|_| wrong())?;
    let tls = match scheme {
        "http" => None,
        "https" => {
            let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let name = ServerName::try_from(name).map_err(|_| wrong())?;
            Some((name, tls::client(options.roots.as_deref(), None, &[])?))
        }
        _ => return Err(wrong()),
    };
    let authorization =
        user.map(|user| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(user)));
    Ok(Parent { address: address.to_owned(), tls, authorization })
}

/// How much may be under way: no more than there are descriptors, of which a request takes two.
fn bounds(options: &Options, log: &Log) -> Result<Bounds, String> {
    let descriptors = descriptors();
    let room = descriptors.map(|limit| limit.saturating_sub(RESERVED + options.pool) / 2);
    let connections = match (options.connections, room) {
        (Some(asked), Some(room)) if asked > room => {
            log.line(json!({
                "event": "warning", "code": "proxy.descriptors",
                "message": format!(
                    "--connections {asked} and --pool {} need more descriptors than the limit of {} has: raise it (ulimit -n)",
                    options.pool, descriptors.unwrap_or(0)
                ),
            }));
            asked
        }
        (Some(asked), _) => asked,
        (None, Some(room)) => room.clamp(16, CONNECTIONS),
        (None, None) => 512,
    };
    let unproven = options.unproven.unwrap_or(connections / 4).max(1);
    if connections == 0 || options.per_lease == 0 {
        return Err("--connections and --per-lease are at least 1".into());
    }
    log.line(json!({
        "event": "bounds", "connections": connections, "unproven": unproven, "per_lease": options.per_lease,
        "descriptors": descriptors,
    }));
    Ok(Bounds { connections, unproven, lease: options.per_lease })
}

/// The limit of descriptors, raised as far as the system lets us.
#[cfg(unix)]
fn descriptors() -> Option<usize> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let mut raised = limit;
        raised.current = limit.maximum;
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = raised;
        }
    }
    limit.current.and_then(|limit| usize::try_from(limit).ok())
}

#[cfg(not(unix))]
fn descriptors() -> Option<usize> {
    None
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

/// What is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Policy,
    Leases,
    Secrets,
    Identities,
    Tls,
    Roots,
}

/// The files, and how they were when they were read last.
struct Watched(Vec<(What, PathBuf, Stamp)>);

impl Watched {
    fn of(options: &Options) -> Self {
        let files = [
            (What::Policy, &options.policy),
            (What::Leases, &options.leases),
            (What::Secrets, &options.secrets),
            (What::Identities, &options.workers),
            (What::Identities, &options.token_key),
            (What::Tls, &options.cert),
            (What::Tls, &options.key),
            (What::Tls, &options.client_ca),
            (What::Roots, &options.roots),
        ];
        let files = files.into_iter().filter_map(|(what, path)| Some((what, path.clone()?)));
        Self(files.map(|(what, path)| (what, path.clone(), files::stamp(&path))).collect())
    }

    fn changed(&mut self) -> Vec<What> {
        let mut changed = Vec::new();
        for (what, path, held) in &mut self.0 {
            let now = files::stamp(path);
            if *held != now {
                *held = now;
                changed.push(*what);
            }
        }
        changed
    }
}

/// What the process is asked to do.
enum Signal {
    Reload,
    Stop,
}

#[cfg(unix)]
struct Signals {
    reload: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn open() -> Result<Self, String> {
        use tokio::signal::unix::{SignalKind, signal};
        let open = |kind| signal(kind).map_err(|error| error.to_string());
        Ok(Self {
            reload: open(SignalKind::hangup())?,
            terminate: open(SignalKind::terminate())?,
            interrupt: open(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.reload.recv() => Signal::Reload,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn open() -> Result<Self, String> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        let _ = tokio::signal::ctrl_c().await;
        Signal::Stop
    }
}
