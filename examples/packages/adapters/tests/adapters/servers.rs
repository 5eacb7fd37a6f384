//! What the three servers have in common, shown on each over mutual TLS: holders of live leases are served, and nobody
//! else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use adapters::axum_middleware::require_lease;
use adapters::guard::Guard;
use adapters::mutual_tls::{MutualTls, Peer};
use adapters::tower_layer::LeaseLayer;
use axum::{Extension, Router, middleware::from_fn_with_state, routing::get};
use leasehold::egress::Bearer;
use tokio::net::TcpListener;
use tonic::transport::{
    Certificate, ClientTlsConfig, Endpoint, Identity as PemIdentity, Server, ServerTlsConfig,
};
use tonic_prost::ProstCodec;

use crate::authority::{Authority, Identity};
use crate::leases::{Leases, NOW};

struct World {
    authority: Authority,
    server: Identity,
    workers: [Identity; 2],
    stranger: Identity,
    leases: Leases,
    guard: Guard,
}

impl World {
    fn new() -> Self {
        let authority = Authority::new();
        let workers = ["worker-1", "worker-2"].map(|name| authority.issue(name));
        let known = [(workers[0].digest(), "worker-1"), (workers[1].digest(), "worker-2")];
        let known: BTreeMap<_, _> = known.map(|(digest, name)| (digest, name.parse().unwrap())).into();
        let leases = Leases::new();
        let guard = Guard { workers: Arc::new(known), leases: leases.view.clone(), clock: Arc::new(NOW) };
        let [server, stranger] = ["service.test", "stranger"].map(|name| authority.issue(name));
        Self { authority, server, workers, stranger, leases, guard }
    }

    /// Who comes, with which lease, and what they get: the worker that they are, or a code.
    fn cases(&self) -> [(Option<&Identity>, Option<&'static str>, Result<&'static str, &'static str>); 8] {
        let [one, two] = [Some(&self.workers[0]), Some(&self.workers[1])];
        [
            (one, Some("1.1"), Ok("worker-1")),
            (two, Some("1.2"), Ok("worker-2")),
            (one, Some("1.2"), Err("egress.lease.other_worker")),
            (one, Some("1.9"), Err("egress.lease.unknown")),
            (one, Some("1.01"), Err("lease.fence_malformed")),
            (one, None, Err("lease.fence_malformed")),
            (Some(&self.stranger), Some("1.1"), Err("service.unknown_worker")),
            (None, Some("1.1"), Err("service.no_certificate")),
        ]
    }

    /// Serves `router` and shows it every case; then a lease ends.
    async fn show(mut self, router: Router) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = MutualTls::new(listener, self.authority.server(&self.server, true));
        let served = router.into_make_service_with_connect_info::<Peer>();
        tokio::spawn(async { axum::serve(listener, served).await });
        for (who, lease, want) in self.cases() {
            assert_eq!(
                self.http(address, who, lease).await,
                want.map(str::to_owned).map_err(str::to_owned),
                "{lease:?}"
            );
        }
        self.leases.end(1);
        let over = self.http(address, Some(&self.workers[0]), Some("1.1")).await;
        assert_eq!(over, Err("egress.lease.unknown".into()));
    }

    async fn http(
        &self,
        to: SocketAddr,
        who: Option<&Identity>,
        lease: Option<&str>,
    ) -> Result<String, String> {
        let client = reqwest::Client::builder().no_proxy().resolve("service.test", to);
        let client = client.tls_backend_preconfigured(self.authority.client(who)).build().unwrap();
        let mut request = client.get(format!("https://service.test:{}/", to.port()));
        if let Some(lease) = lease {
            request = request.header("leasehold-lease", lease);
        }
        let answer = request.send().await.unwrap();
        match answer.status().as_u16() {
            200 => Ok(answer.text().await.unwrap()),
            403 => Err(answer.headers()["leasehold-code"].to_str().unwrap().to_owned()),
            other => Err(format!("status {other}")),
        }
    }
}

fn router() -> Router {
    Router::new()
        .route("/", get(|Extension(bearer): Extension<Bearer>| async move { bearer.worker.to_string() }))
}

#[tokio::test]
async fn axum_serves_holders_of_live_leases_only() {
    let world = World::new();
    let router = router().layer(from_fn_with_state(world.guard.clone(), require_lease));
    world.show(router).await;
}

#[tokio::test]
async fn a_tower_layer_serves_holders_of_live_leases_only() {
    let world = World::new();
    let router = router().layer(LeaseLayer(world.guard.clone()));
    world.show(router).await;
}

/// A method that says who asked, in a trailer-less way: by a field of its answer.
async fn whoami(request: tonic::Request<()>) -> Result<tonic::Response<()>, tonic::Status> {
    let worker = request.extensions().get::<Bearer>().map(|bearer| bearer.worker.to_string());
    let worker = worker.ok_or_else(|| tonic::Status::internal("no bearer"))?;
    let mut answer = tonic::Response::new(());
    answer.metadata_mut().insert("worker", worker.parse().unwrap());
    Ok(answer)
}

#[tokio::test]
async fn tonic_serves_holders_of_live_leases_only() {
    let mut world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = ServerTlsConfig::new()
        .identity(PemIdentity::from_pem(&world.server.pem, &world.server.key_pem))
        .client_ca_root(Certificate::from_pem(&world.authority.pem))
        .client_auth_optional(true);
    let service = tower::service_fn(|request| async {
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<(), ()>::default());
        Ok::<_, std::convert::Infallible>(grpc.unary(tower::service_fn(whoami), request).await)
    });
    let service = tonic::service::interceptor::InterceptedService::new(service, world.guard.clone());
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = Server::builder().tls_config(tls).unwrap();
    tokio::spawn(server.serve_with_incoming(service, incoming));
    for (who, lease, want) in world.cases() {
        let came = call(&world, address, who, lease).await;
        assert_eq!(came, want.map(str::to_owned).map_err(str::to_owned), "{lease:?}");
    }
    world.leases.end(1);
    let over = call(&world, address, Some(&world.workers[0]), Some("1.1")).await;
    assert_eq!(over, Err("egress.lease.unknown".into()));
}

async fn call(
    world: &World,
    to: SocketAddr,
    who: Option<&Identity>,
    lease: Option<&str>,
) -> Result<String, String> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&world.authority.pem));
    let tls = tls.domain_name("service.test");
    let tls = match who {
        Some(identity) => tls.identity(PemIdentity::from_pem(&identity.pem, &identity.key_pem)),
        None => tls,
    };
    let channel = Endpoint::from_shared(format!("https://{to}")).unwrap().tls_config(tls).unwrap();
    let mut grpc = tonic::client::Grpc::new(channel.connect().await.unwrap());
    grpc.ready().await.unwrap();
    let mut request = tonic::Request::new(());
    if let Some(lease) = lease {
        request.metadata_mut().insert("leasehold-lease", lease.parse().unwrap());
    }
    let path = http::uri::PathAndQuery::from_static("/test.Service/WhoAmI");
    match grpc.unary(request, path, ProstCodec::<(), ()>::default()).await {
        Ok(answer) => Ok(answer.metadata().get("worker").unwrap().to_str().unwrap().to_owned()),
        Err(status) => match status.metadata().get("leasehold-code") {
            Some(code) if status.code() == tonic::Code::PermissionDenied => {
                Err(code.to_str().unwrap().to_owned())
            }
            _ => Err(status.to_string()),
        },
    }
}
