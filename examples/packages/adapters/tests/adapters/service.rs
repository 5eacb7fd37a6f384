//! The service of `src/bin/service.rs`, as its own process: a worker asks it to fetch, under a lease that its coordinator
//! ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use serde_json::json;

use crate::authority::{Authority, Identity};
use crate::coordinator::Coordinator;
use crate::origin::Origin;

/// The service's process, which ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One request of the worker: status, code and body.
async fn fetch(to: SocketAddr, tls: &ClientConfig, lease: &str, url: &str) -> (u16, Option<String>, String) {
    let client = reqwest::Client::builder().no_proxy().resolve("service.test", to);
    let client = client.tls_backend_preconfigured(tls.clone()).build().unwrap();
    let request = client.get(format!("https://service.test:{}/fetch?{url}", to.port()));
    let answer = request.header("leasehold-lease", lease).send().await.unwrap();
    let code = answer.headers().get("leasehold-code").map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), code, answer.text().await.unwrap())
}

#[tokio::test]
async fn the_service_serves_a_lease_until_its_coordinator_ends_it() {
    let authority = Authority::new();
    let [service, coordinator, worker] =
        ["service.test", "coordinator.test", "worker-1"].map(|name| authority.issue(name));
    let feed = Coordinator::start(authority.server(&coordinator, true));
    let forbidden = Origin::start("127.0.0.2", None, |_| (200, "inside".into()));
    let inside = format!("http://{}/", forbidden.address);
    let origin = Origin::start("127.0.0.1", None, move |path| match path {
        "/inside" => (302, inside.clone()),
        _ => (200, "fetched".into()),
    });

    let place = std::env::temp_dir().join(format!("leasehold-adapters-{}", std::process::id()));
    fs::create_dir_all(&place).unwrap();
    let write = |name: &str, text: &str| {
        let path = place.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let pems = |identity: &Identity| {
        (
            write("certificate.pem", &identity.pem),
            write("key.pem", &identity.key_pem),
            write("ca.pem", &authority.pem),
        )
    };
    let (certificate, key, ca) = pems(&service);
    let config = json!({
        "listen": "127.0.0.1:0",
        "tls": {"certificate": certificate, "key": key, "authority": ca},
        "origins": ca,
        "coordinator": [feed.address, "coordinator.test", coordinator.digest()],
        "workers": {worker.digest().to_string(): "worker-1"},
        "policy": {
            "rules": [{"id": "origin", "hosts": ["localhost"], "schemes": ["http"], "ports": [origin.port()],
                       "private_addresses": ["127.0.0.1/32", "::1/128"]}],
            "max_redirects": 3,
        },
    });
    let config = write("service.json", &config.to_string());
    let process =
        Command::new(env!("CARGO_BIN_EXE_service")).arg(config).stdout(Stdio::piped()).spawn().unwrap();
    let mut process = Running(process);
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let to: SocketAddr = line.trim().parse().unwrap();

    let tls = authority.client(Some(&worker));
    let url = |path: &str| format!("http://localhost:{}{path}", origin.port());
    let wanted = |status: u16, code: &str| (status, Some(code.to_owned()));
    // Until its view is whole, nobody holds a lease.
    let patience = Instant::now() + Duration::from_secs(20);
    let (status, code, body) = loop {
        let came = fetch(to, &tls, "1.1", &url("/")).await;
        if came.1.as_deref() != Some("egress.lease.view_stale") || Instant::now() > patience {
            break came;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((status, code, body.as_str()), (200, None, "fetched"));

    for (lease, url, want) in [
        ("1.1", url("/inside"), wanted(403, "egress.host.not_allowed")),
        ("1.1", "http://169.254.169.254/latest/".into(), wanted(403, "egress.host.not_allowed")),
        ("1.2", url("/"), wanted(403, "egress.lease.unknown")),
        ("none", url("/"), wanted(403, "lease.fence_malformed")),
    ] {
        let (status, code, _) = fetch(to, &tls, lease, &url).await;
        assert_eq!((status, code), want, "{lease} {url}");
    }
    let stranger = authority.issue("worker-1");
    let (status, code, _) = fetch(to, &authority.client(Some(&stranger)), "1.1", &url("/")).await;
    assert_eq!(
        (status, code),
        wanted(403, "service.unknown_worker"),
        "the name in a certificate proves nothing"
    );

    feed.end(1);
    let patience = Instant::now() + Duration::from_secs(20);
    let code = loop {
        let (_, code, _) = fetch(to, &tls, "1.1", &url("/")).await;
        if code.is_some() || Instant::now() > patience {
            break code;
        }
    };
    assert_eq!(code.as_deref(), Some("egress.lease.unknown"));
    assert_eq!(forbidden.heard(), [""; 0]);
    fs::remove_dir_all(place).unwrap();
}
