//! A service that fetches for workers, over mutual TLS and under their own leases: `service CONFIG.json`.

use std::{error::Error, net::IpAddr, net::SocketAddr, sync::Arc, sync::Mutex};

use adapters::axum_middleware::{not_done, require_lease};
use adapters::{feed, guard::Guard, mutual_tls, reqwest_client, tls};
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router, body::Body, middleware::from_fn_with_state, routing::get};
use leasehold::egress::{Bearer, EgressClient, EgressPolicy, EgressProxyPolicyService};
use leasehold::gate::{Gate, GateConfig, ViewRules};
use leasehold::shell::{Resolver as _, SystemClock, SystemResolver};
use leasehold::{digest::Sha256Digest, id::WorkerId, time::Millis};

#[derive(serde::Deserialize)]
struct Config {
    listen: SocketAddr,
    tls: tls::Files,
    origins: std::path::PathBuf,
    coordinator: (SocketAddr, String, Sha256Digest),
    workers: std::collections::BTreeMap<Sha256Digest, WorkerId>,
    policy: EgressPolicy,
}

#[derive(Clone)]
struct Service(EgressProxyPolicyService, Guard, rustls::ClientConfig);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: service CONFIG.json")?;
    let config: Config = serde_json::from_slice(&std::fs::read(path)?)?;
    let (address, name, certificate) = config.coordinator;
    let rules = ViewRules::new(Millis(2_000), Millis(200), 10_000)?;
    let gate = Arc::new(Mutex::new(Gate::new(GateConfig::new(certificate, rules))));
    let clock = Arc::new(SystemClock::start());
    feed::follow(gate.clone(), clock.clone(), address, name.try_into()?, Arc::new(config.tls.client()?));
    let guard = Guard { workers: Arc::new(config.workers), leases: gate, clock };
    let policy = EgressProxyPolicyService::compile(&config.policy)?;
    let service = Service(policy, guard.clone(), tls::anonymous(&config.origins)?);
    let router = Router::new().route("/fetch", get(fetch)).layer(from_fn_with_state(guard, require_lease));
    let listener = tokio::net::TcpListener::bind(config.listen).await?;
    println!("{}", listener.local_addr()?);
    let listener = mutual_tls::MutualTls::new(listener, config.tls.server()?);
    let router = router.with_state(service).into_make_service_with_connect_info::<mutual_tls::Peer>();
    Ok(axum::serve(listener, router).await?)
}

/// `GET /fetch?URL`: the answer, or the denial with its status and code.
async fn fetch(
    State(Service(policy, guard, tls)): State<Service>,
    Extension(bearer): Extension<Bearer>,
    RawQuery(url): RawQuery,
) -> Response {
    let names = |name: &str| -> Vec<IpAddr> { SystemResolver.resolve(name).unwrap_or_default() };
    let egress = EgressClient::new(policy, bearer, guard.leases, guard.clock);
    let Ok(url) = url.unwrap_or_default().parse() else {
        return http::StatusCode::BAD_REQUEST.into_response();
    };
    let request = reqwest::Request::new(http::Method::GET, url);
    match reqwest_client::execute(&egress, names, &tls, request).await {
        Ok(answer) => (answer.status(), Body::new(reqwest::Body::from(answer))).into_response(),
        Err(error) => not_done(&error),
    }
}
