//! What the three clients have in common, shown on each: attacks E2, E8, E10, E11.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use adapters::{hyper_client, reqwest_client, ureq_agent};
use leasehold::code::Coded;
use leasehold::egress::{Denied, EgressClient};
use rustls::crypto::ring;
use serde_json::json;

use crate::authority::Authority;
use crate::leases::{Leases, Names};
use crate::origin::Origin;

/// Status and body, or the code of the denial.
type Came = Result<(u16, String), String>;

fn code(error: &io::Error) -> String {
    match Denied::within(error) {
        Some(denied) => denied.code().to_string(),
        None => format!("not denied: {error:?}"),
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// One request to make, and everything that it is judged with.
struct Ask<'a> {
    authority: &'a Authority,
    egress: &'a EgressClient,
    names: &'a Names,
    method: &'static str,
    url: String,
    fields: &'a [(&'static str, &'static str)],
    body: &'static str,
}

impl<'a> Ask<'a> {
    fn get(authority: &'a Authority, egress: &'a EgressClient, names: &'a Names, url: &str) -> Self {
        let url = url.to_owned();
        Self { authority, egress, names, method: "GET", url, fields: &[("accept", "*/*")], body: "" }
    }

    fn request<B: From<&'static str>>(&self) -> http::Request<B> {
        let request = http::Request::builder().method(self.method).uri(&self.url);
        let request =
            self.fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(self.body.into()).unwrap()
    }
}

const CLIENTS: [(&str, fn(&Ask<'_>) -> Came); 3] = [("ureq", ureq), ("reqwest", reqwest), ("hyper", hyper)];

fn ureq(ask: &Ask<'_>) -> Came {
    let root = ureq::tls::Certificate::from_der(&ask.authority.certificate).to_owned();
    let tls = ureq::tls::TlsConfig::builder()
        .root_certs(ureq::tls::RootCerts::new_with_certs(&[root]))
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build();
    let judged = ureq_agent::judged(ask.egress.clone(), ask.names.lookup(), tls);
    let agent: ureq::Agent = ureq::Agent::config_builder().middleware(judged).build().into();
    let request = ask.request::<&'static str>();
    let answer = if ask.body.is_empty() { agent.run(request.map(|_| ())) } else { agent.run(request) };
    match answer {
        Ok(mut answer) => {
            let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
            Ok((answer.status().as_u16(), text))
        }
        Err(ureq::Error::Io(error)) => Err(code(&error)),
        Err(error) => Err(error.to_string()),
    }
}

fn reqwest(ask: &Ask<'_>) -> Came {
    let (request, tls) = (ask.request::<&'static str>().try_into().unwrap(), ask.authority.client(None));
    block_on(async {
        let answer = reqwest_client::execute(ask.egress, ask.names.lookup(), &tls, request).await;
        let answer = answer.map_err(|error| code(&error))?;
        Ok((answer.status().as_u16(), answer.text().await.map_err(|error| format!("{error:?}"))?))
    })
}

fn hyper(ask: &Ask<'_>) -> Came {
    let tls = ask.authority.client(None);
    let answer = hyper_client::request(ask.egress, ask.names.lookup(), &tls, ask.request());
    let answer = block_on(answer).map_err(|error| code(&error))?;
    Ok((answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned()))
}

/// The policy of all of these: one host on loopback, by its name.
fn policy(ports: &[u16]) -> serde_json::Value {
    json!({
        "rules": [{
            "id": "origin",
            "hosts": ["origin.test"],
            "schemes": ["http", "https"],
            "ports": ports,
            "methods": ["GET", "POST"],
            "private_addresses": ["127.0.0.1/32"],
            "max_response_bytes": 100,
            "credentials": [{"header": "x-key", "secret": "vault:key", "prefix": "Key ", "required": false}],
        }],
        "max_redirects": 3,
    })
}

fn names() -> Names {
    Names::default().with("origin.test", &["127.0.0.1"]).with("elsewhere.test", &["127.0.0.2"])
}

/// Everything that a permit promises, over plain HTTP: what is allowed comes back; what is not never reaches a socket.
#[test]
fn e11_each_client_follows_what_was_judged_and_nothing_else() {
    let authority = Authority::new();
    let forbidden = Origin::start("127.0.0.2", None, |_| (200, "you should not be here".into()));
    let (literal, by_name) =
        (format!("http://{}/", forbidden.address), format!("http://elsewhere.test:{}/", forbidden.port()));
    let [to_literal, to_name] = [literal.clone(), by_name.clone()];
    let origin = Origin::start("127.0.0.1", None, move |path| match path {
        "/hello" => (200, "hello".into()),
        "/gone" => (404, "gone".into()),
        "/not-modified" => (304, String::new()),
        "/moved" => (302, "hello#there".into()),
        "/again" => (307, "/hello".into()),
        "/endless" => (302, "/endless".into()),
        "/literal" => (302, to_literal.clone()),
        "/name" => (302, to_name.clone()),
        "/large" => (200, "x".repeat(101)),
        _ => (500, String::new()),
    });
    let policy = policy(&[origin.port(), forbidden.port()]);
    let at = |path: &str| format!("http://origin.test:{}{path}", origin.port());
    for (name, client) in CLIENTS {
        let mut leases = Leases::new();
        let (egress, names) = (leases.egress(&policy), names());
        let get = |url: &str| client(&Ask::get(&authority, &egress, &names, url));
        let ok = |status, body: &str| Ok((status, body.to_owned()));
        assert_eq!(get(&at("/hello")), ok(200, "hello"), "{name}");
        assert_eq!(get(&at("/gone")), ok(404, "gone"), "{name}: an answer is an answer");
        assert_eq!(get(&at("/moved")), ok(200, "hello"), "{name}");
        assert_eq!(get(&at("/not-modified")), ok(304, ""), "{name}: not every 3xx is a redirect");
        assert_eq!(get(&at("/endless")), Err("egress.redirect.too_many".into()), "{name}");
        assert!(get(&at("/large")).is_err(), "{name}: the rule's limit on answers holds");

        // A literal, in the URL and as the target of a redirect; a name that no rule has.
        for url in [&literal, &at("/literal"), &by_name, &at("/name")] {
            assert_eq!(get(url), Err("egress.host.not_allowed".into()), "{name} {url}");
        }
        let unknown: Vec<_> =
            names.asked.lock().unwrap().iter().filter(|name| *name != "origin.test").cloned().collect();
        assert_eq!(unknown, [""; 0], "{name}: E10, nothing is looked up for what is refused anyway");

        // A body goes where it was judged to go, and again where a redirect says so.
        let ask = Ask::get(&authority, &egress, &names, &at("/again"));
        let post = client(&Ask { method: "POST", body: "the body", ..ask });
        assert_eq!(post, ok(200, "hello"), "{name}");
        let heard = origin.heard();
        assert!(heard[heard.len() - 2].ends_with("the body") && heard[heard.len() - 1].ends_with("the body"));

        leases.end(1);
        assert_eq!(get(&at("/hello")), Err("egress.lease.unknown".into()), "{name}");
        assert_eq!(origin.heard().len(), heard.len(), "{name}: a lease that is over reaches nobody");
    }
    assert_eq!(forbidden.heard(), [""; 0]);
}

/// Attack E2: a name whose answer changes between lookups is dialled at the address that was judged.
/// Linux answers for all of 127.0.0.0/8; elsewhere the second address has to be set up first.
#[cfg(target_os = "linux")]
#[test]
fn e2_each_client_dials_the_judged_answer_and_refuses_the_rebound_one() {
    let authority = Authority::new();
    let origin = Origin::start("127.0.0.1", None, |_| (200, "judged".into()));
    // The same port, at an address that the rule does not declare.
    let trap = std::net::TcpListener::bind(("127.0.0.2", origin.port())).expect("a second loopback address");
    trap.set_nonblocking(true).unwrap();
    let url = format!("http://origin.test:{}/", origin.port());
    for (name, client) in CLIENTS {
        let egress = Leases::new().egress(&policy(&[origin.port()]));
        let names = Names::default().with("origin.test", &["127.0.0.1", "127.0.0.2"]);
        assert_eq!(
            client(&Ask::get(&authority, &egress, &names, &url)),
            Ok((200, "judged".into())),
            "{}",
            name
        );
        assert_eq!(*names.asked.lock().unwrap(), ["origin.test"], "{}: one lookup, one dial", name);
        let refused = client(&Ask::get(&authority, &egress, &names, &url));
        assert_eq!(refused, Err("egress.address.loopback".into()), "{}", name);
        assert!(trap.accept().is_err(), "{}: nobody came to the rebound address", name);
    }
}

/// Attack E8: over TLS the secret goes in, once and in place of the worker's own; to another origin it does not go.
#[test]
fn e8_each_client_injects_over_tls_only_and_to_the_bound_origin_only() {
    let authority = Authority::new();
    let tls = || Some(authority.server(&authority.issue("origin.test"), false));
    let plain = Origin::start("127.0.0.1", None, |_| (200, "plain".into()));
    let other = Origin::start("127.0.0.1", tls(), |_| (200, "other".into()));
    let to_other = format!("https://origin.test:{}/", other.port());
    let origin = Origin::start("127.0.0.1", tls(), move |path| match path {
        "/other" => (302, to_other.clone()),
        _ => (200, "bound".into()),
    });
    let mut policy = policy(&[origin.port(), plain.port()]);
    policy["rules"].as_array_mut().unwrap().push(json!({
        "id": "other", "hosts": ["origin.test"], "ports": [other.port()], "private_addresses": ["127.0.0.1/32"],
    }));
    for (name, client) in CLIENTS {
        let (egress, names) = (Leases::new().egress(&policy), names());
        let own = [("X-Key", "the worker's own"), ("authorization", "personal")];
        let get = |url: &str| client(&Ask { fields: &own, ..Ask::get(&authority, &egress, &names, url) });
        let last = |origin: &Origin| origin.heard().pop().unwrap();

        assert_eq!(
            get(&format!("https://origin.test:{}/", origin.port())),
            Ok((200, "bound".into())),
            "{name}"
        );
        let said = last(&origin);
        assert!(
            said.contains("x-key: key hunter2\r\n") && said.matches("x-key").count() == 1,
            "{name} {said}"
        );

        assert_eq!(
            get(&format!("https://origin.test:{}/other", origin.port())),
            Ok((200, "other".into())),
            "{name}"
        );
        let said = last(&other);
        assert!(!said.contains("hunter2") && !said.contains("personal"), "{name}: {said}");

        assert_eq!(
            get(&format!("http://origin.test:{}/", plain.port())),
            Ok((200, "plain".into())),
            "{name}"
        );
        let said = last(&plain);
        assert!(!said.contains("x-key"), "{name}: {said}");
    }
}

/// A certificate for another name ends the handshake: the pinned address proves no host.
#[test]
fn each_client_still_checks_the_certificate() {
    let authority = Authority::new();
    let identity = authority.issue("someone-else.test");
    let origin =
        Origin::start("127.0.0.1", Some(authority.server(&identity, false)), |_| (200, String::new()));
    let url = format!("https://origin.test:{}/", origin.port());
    for (name, client) in CLIENTS {
        let egress = Leases::new().egress(&policy(&[origin.port()]));
        let came = client(&Ask::get(&authority, &egress, &names(), &url));
        assert!(came.is_err_and(|error| !error.starts_with("egress.")), "{}", name);
    }
    assert_eq!(origin.heard(), [""; 0]);
}

/// The closure that adapters take is all that they know of names.
#[allow(dead_code, reason = "it only has to compile")]
fn the_system_resolver_fits(egress: EgressClient, tls: ureq::tls::TlsConfig) {
    use leasehold::shell::{Resolver as _, SystemResolver};
    let names = |name: &str| -> Vec<IpAddr> { SystemResolver.resolve(name).unwrap_or_default() };
    let _ = ureq_agent::judged(egress, names, tls);
}
