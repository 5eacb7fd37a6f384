//! The proxy with the show's own policy and one lease.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use leasehold::{
    attestation::signature::Ed25519Signer,
    egress::{EgressProxyPolicyService, LeaseCheck, LeaseRefusal, LeaseStanding},
    id::WorkerId,
    lease::{EgressScope, Epoch, Fence, SecretScope},
    time::{Mono, Now},
};

use crate::{
    Failure,
    duplex::Duplex,
    fetch::{self, Route},
    gatekeeper,
    origin::Origin,
    policy,
    proxy::{Identities, Proxy, wire},
    tls::{self, Authority, Purpose},
    work::Fetched,
};

/// How long a head may take.
const HEAD: Duration = Duration::from_secs(5);

/// One worker's one lease, until it is over.
struct OneLease {
    live: AtomicBool,
    egress: EgressScope,
}

impl LeaseCheck for OneLease {
    fn standing(&self, fence: Fence, _: Mono) -> Result<LeaseStanding, LeaseRefusal> {
        match fence == Fence::new(Epoch(1), 7) {
            false => Err(LeaseRefusal::Unknown),
            true if !self.live.load(Ordering::Relaxed) => Err(LeaseRefusal::Ended),
            true => Ok(LeaseStanding {
                worker: WorkerId::new("worker-1").map_err(|_| LeaseRefusal::Unknown)?,
                expires: Mono::NEVER,
                egress: self.egress.clone(),
                secrets: SecretScope::none(),
            }),
        }
    }
}

struct World {
    proxy: Arc<Proxy>,
    leases: Arc<OneLease>,
    route: Route,
    other: Route,
    origin: Origin,
}

fn world() -> Result<World, Failure> {
    let (fleet, origins) = (Authority::new("fleet")?, Authority::new("origins")?);
    let origin = Origin::start(&origins.issue(policy::ORIGIN, Purpose::Server)?)?;
    let leases = Arc::new(OneLease { live: AtomicBool::new(true), egress: policy::egress_scope()? });
    let devices = [fleet.issue("worker-1", Purpose::Client)?, fleet.issue("worker-2", Purpose::Client)?];
    let names = ["worker-1", "worker-2"].map(WorkerId::new);
    let names = names.into_iter().collect::<Result<Vec<_>, _>>().map_err(Failure::coded)?;
    let egress = policy::egress(origin.ports)?;
    let workers = devices.iter().map(tls::Identity::fingerprint).zip(names).collect();
    let mut setup = gatekeeper::setup(
        EgressProxyPolicyService::compile(&egress).map_err(Failure::coded)?,
        Identities { workers, keys: Vec::new() },
        Arc::clone(&leases) as Arc<dyn LeaseCheck + Send + Sync>,
        Arc::new(Now::new(1, 1)),
        Ed25519Signer::from_seed("proxy", &[7; 32]),
        tls::client(None, &origins.root())?,
    );
    setup.sink = Box::new(drop);
    let proxy = Proxy::new(setup);
    let identity = fleet.issue(tls::PROXY, Purpose::Both)?;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address: SocketAddr = listener.local_addr()?;
    let route = |device| {
        Ok::<_, Failure>(Route {
            address,
            config: tls::client(Some(device), &fleet.root())?,
            fingerprint: identity.fingerprint(),
            origins: tls::client(None, &origins.root())?,
        })
    };
    let (mine, other) = (route(&devices[0])?, route(&devices[1])?);
    proxy.listen(listener, Some(tls::mutual_server(&identity, &fleet.root())?))?;
    Ok(World { proxy, leases, route: mine, other, origin })
}

fn code(fetched: Result<Fetched, Failure>) -> String {
    match fetched {
        Ok(Fetched::Refused { code, .. }) => code,
        Ok(Fetched::Answer { status, body }) => format!("{status} {}", body.len()),
        Err(failure) => format!("cut: {failure}"),
    }
}

/// No lease, no egress; what is allowed arrives whole; what is cut or too long is refused and not passed on.
#[test]
fn only_what_was_judged_leaves() -> Result<(), Failure> {
    let world = world()?;
    let get = |lease: &str, url: &str| code(fetch::get(Some(&world.route), lease, url));
    let (http, https) = (world.origin.ports.http, world.origin.ports.https);
    let (live, plain) = ("Lease 1.7", format!("http://origin.test:{http}"));
    assert_eq!(get(live, &format!("{plain}/hello")), "200 22");
    assert_eq!(get(live, &format!("{plain}/chunks")), "200 13");
    assert_eq!(get(live, &format!("{plain}/nowhere")), "404 13");
    assert_eq!(get(live, &format!("https://origin.test:{https}/numbers")), "200 3893");
    assert_eq!(world.origin.served(), 4);
    assert!(get(live, &format!("{plain}/cut")).starts_with("cut"), "what was cut never looks whole");
    assert_eq!(get(live, &format!("{plain}/large")), "proxy.response.too_large");
    assert!(get(live, &format!("https://origin.test:{https}/large")).starts_with("cut"));
    let before = world.origin.served();
    assert_eq!(get("Lease 1.8", &format!("{plain}/hello")), "egress.lease.unknown");
    let stolen = code(fetch::get(Some(&world.other), live, &format!("{plain}/hello")));
    assert_eq!(stolen, "egress.lease.other_worker");
    for lease in ["", "Lease", "Lease 1", "Lease +1.7", "Lease 1.7 ", "Lease 1.7.1", "Bearer 1.7"] {
        // A field's value has no blanks around it: "Lease 1.7 " is the live lease.
        let want = if lease == "Lease 1.7 " { "200 22" } else { "egress.token.malformed" };
        assert_eq!(get(lease, &format!("{plain}/hello")), want, "{lease:?}");
    }
    assert_eq!(get(live, "http://elsewhere.test/"), "egress.host.not_allowed");
    assert_eq!(get(live, "http://169.254.169.254/"), "egress.host.not_allowed");
    assert_eq!(get(live, "http://origin.test/hello"), "egress.port.not_allowed");
    assert_eq!(get(live, &format!("http://origin.test%00@127.0.0.1:{http}/hello")), "egress.url.userinfo");
    assert_eq!(world.origin.served(), before + 1);
    Ok(())
}

/// A tunnel to one host whose hello names another is closed before anything is dialled.
#[test]
fn a_hello_for_another_host_is_cut() -> Result<(), Failure> {
    let world = world()?;
    let port = world.origin.ports.https;
    let socket = TcpStream::connect(world.route.address)?;
    let client =
        Duplex::connect(socket, Arc::clone(&world.route.config), tls::PROXY, Some(world.route.fingerprint))?;
    let fields = "host: origin.test\r\nproxy-authorization: Lease 1.7\r\n";
    client.write_all(format!("CONNECT origin.test:{port} HTTP/1.1\r\n{fields}\r\n").as_bytes())?;
    let (opened, _) = wire::response(|buffer| client.read(buffer), HEAD)?;
    assert_eq!(opened.status, 200);
    let name = tls::server_name("elsewhere.test")?;
    let mut inner = rustls::ClientConnection::new(Arc::clone(&world.route.origins), name)?;
    let mut hello = Vec::new();
    inner.write_tls(&mut hello)?;
    client.write_all(&hello)?;
    let mut alert = [0; 100];
    let count = client.read(&mut alert)?;
    assert_eq!(&alert[..count], [0x15, 3, 3, 0, 2, 2, 49], "the alert, and nothing of an origin");
    assert!(!matches!(client.read(&mut alert), Ok(count) if count > 0));
    assert_eq!(world.origin.served(), 0);
    Ok(())
}

/// Invariant 12: the end of a lease cuts what moves under it.
#[test]
fn the_end_of_a_lease_cuts_its_tunnels() -> Result<(), Failure> {
    let world = world()?;
    let url = format!("https://origin.test:{}/slow", world.origin.ports.https);
    let fetched = thread::scope(|scope| {
        let fetching = scope.spawn(|| code(fetch::get(Some(&world.route), "Lease 1.7", &url)));
        while world.origin.served() == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        world.leases.live.store(false, Ordering::Relaxed);
        assert_eq!(world.proxy.cut(), 1);
        fetching.join().unwrap_or_default()
    });
    assert!(fetched.starts_with("cut"), "{fetched}");
    Ok(())
}

/// The proxy's word is about the worker whose certificate asks, whoever else it names.
#[test]
fn a_binding_is_signed_for_whoever_asks() -> Result<(), Failure> {
    let world = world()?;
    let mine = fetch::binding(&world.route, &[7; 32])?;
    let other = fetch::binding(&world.other, &[7; 32])?;
    assert!(!mine.is_empty() && mine != other);
    Ok(())
}
