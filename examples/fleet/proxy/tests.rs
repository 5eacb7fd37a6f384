//! The socket side with a judge that knows one host and one lease.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::{
    fetch::{self, Fetched, Route},
    origin::{self, Origin},
    tls::{self, Authority, Purpose},
};

struct OneHost {
    origin: crate::jobs::Ports,
    live: AtomicBool,
}

impl Judge for OneHost {
    fn judge(&self, asked: &Asked) -> Result<Allowed, Refused> {
        if !self.live(asked.fence) {
            return Err(Refused::new(403, "test.lease", "no such lease"));
        }
        let target = asked.target.strip_prefix("http://").unwrap_or(&asked.target);
        let (authority, path) = target.split_at(target.find('/').unwrap_or(target.len()));
        let port = match authority.split_once(':') {
            Some((origin::NAME | "alias.test", port)) => port.parse().unwrap_or(0),
            _ => return Err(Refused::new(403, "test.host", authority)),
        };
        assert!(port == self.origin.http || port == self.origin.https);
        Ok(Allowed {
            rule: "test".into(),
            host: authority.split(':').next().unwrap_or_default().into(),
            authority: authority.into(),
            path: path.into(),
            addresses: vec![SocketAddr::from(([127, 0, 0, 1], port))],
            fields: asked.fields.clone(),
            max_request: 100_000,
            max_response: 100_000,
        })
    }

    fn live(&self, fence: Fence) -> bool {
        fence == Fence::new(Epoch(1), 7) && self.live.load(Ordering::Relaxed)
    }

    fn name(&self, _: Sha256Digest) -> String {
        "device".into()
    }
}

struct World {
    proxy: Arc<Proxy<OneHost>>,
    route: Route,
    origin: Origin,
}

fn world() -> Result<World, Failure> {
    let (fleet, origins) = (Authority::new("fleet")?, Authority::new("origins")?);
    let origin = Origin::start(&origins.issue(origin::NAME, Purpose::Server)?)?;
    let judge = OneHost { origin: origin.ports, live: AtomicBool::new(true) };
    let proxy = Proxy::new(judge, |_| {});
    let identity = fleet.issue(tls::PROXY, Purpose::Both)?;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let route = Route {
        address: listener.local_addr()?,
        config: tls::client(Some(&fleet.issue("device", Purpose::Client)?), &fleet.root())?,
        fingerprint: identity.fingerprint(),
        origins: tls::client(None, &origins.root())?,
    };
    proxy.listen(listener, tls::mutual_server(&identity, &fleet.root())?)?;
    Ok(World { proxy, route, origin })
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
    let get = |lease: &str, url: &str| code(fetch::get(&world.route, lease, url));
    let (http, https) = (world.origin.ports.http, world.origin.ports.https);
    let (live, plain) = ("Lease 1.7", format!("http://origin.test:{http}"));
    assert_eq!(get(live, &format!("{plain}/hello")), "200 22");
    assert_eq!(get(live, &format!("{plain}/chunks")), "200 13");
    assert_eq!(get(live, &format!("{plain}/nowhere")), "404 13");
    assert_eq!(get(live, &format!("https://origin.test:{https}/numbers")), "200 3893");
    assert_eq!(world.origin.served(), 4);
    assert_eq!(get(live, &format!("{plain}/cut")), "proxy.upstream.body");
    assert_eq!(get(live, &format!("{plain}/large")), "proxy.upstream.body");
    assert!(get(live, &format!("https://origin.test:{https}/large")).starts_with("cut"));
    let before = world.origin.served();
    assert_eq!(get("Lease 1.8", &format!("{plain}/hello")), "test.lease");
    for lease in ["", "Lease", "Lease 1", "Lease +1.7", "Lease 1.7 ", "Lease 1.7.1", "Bearer 1.7"] {
        // A field's value has no blanks around it: "Lease 1.7 " is the live lease.
        let want = if lease == "Lease 1.7 " { "200 22" } else { "proxy.lease.missing" };
        assert_eq!(get(lease, &format!("{plain}/hello")), want, "{lease:?}");
    }
    assert_eq!(get(live, "http://elsewhere.test/"), "test.host");
    assert_eq!(world.origin.served(), before + 1);
    Ok(())
}

/// DESIGN section 8: a tunnel to one host whose hello names another is closed before anything is dialled.
#[test]
fn a_hello_for_another_host_is_cut() -> Result<(), Failure> {
    let world = world()?;
    let port = world.origin.ports.https;
    // The judge allows the alias; the hello of the second try names the origin.
    let socket = TcpStream::connect(world.route.address)?;
    let client =
        Duplex::connect(socket, Arc::clone(&world.route.config), tls::PROXY, Some(world.route.fingerprint))?;
    let fields = "proxy-authorization: Lease 1.7\r\n";
    client.write_all(
        format!("CONNECT alias.test:{port} HTTP/1.1\r\nhost: alias.test\r\n{fields}\r\n").as_bytes(),
    )?;
    let opened = head::response(|buffer| client.read(buffer), HEAD)?;
    assert_eq!(opened.status, 200);
    let name = tls::server_name(origin::NAME)?;
    let mut inner = rustls::ClientConnection::new(Arc::clone(&world.route.origins), name)?;
    let mut hello = Vec::new();
    inner.write_tls(&mut hello)?;
    client.write_all(&hello)?;
    assert!(!matches!(client.read(&mut [0; 100]), Ok(count) if count > 0));
    assert_eq!(world.origin.served(), 0);
    Ok(())
}

/// Invariant 12: the end of a lease cuts what moves under it.
#[test]
fn the_end_of_a_lease_cuts_its_tunnels() -> Result<(), Failure> {
    let world = world()?;
    let url = format!("https://origin.test:{}/slow", world.origin.ports.https);
    let fetched = thread::scope(|scope| {
        let fetching = scope.spawn(|| code(fetch::get(&world.route, "Lease 1.7", &url)));
        while world.origin.served() == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        world.proxy.judge.live.store(false, Ordering::Relaxed);
        assert_eq!(world.proxy.cut(), 1);
        fetching.join().unwrap_or_default()
    });
    assert!(fetched.starts_with("cut"), "{fetched}");
    Ok(())
}
