//! What a DNS hook alone lets through: an IP literal never reaches a resolver, and redirects lead to literals.
//!
//! The hooks here judge every answer with the library's own policy. They stop names that lead astray, and they are not
//! asked about anything else. `ureq` asks its resolver about literals too; the other two do not.

use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use adapters::{hyper_client, reqwest_client};
use leasehold::egress::{EgressClient, EgressRequest};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde_json::json;

use crate::authority::Authority;
use crate::leases::{Leases, Names};
use crate::origin::Origin;

/// Judges the addresses of names, as well as that can be done where only a name is known.
#[derive(Clone)]
struct Hook(EgressClient, Names, u16);

impl Hook {
    fn addresses(&self, name: &str) -> std::io::Result<Vec<SocketAddr>> {
        let url = format!("http://{name}:{}/", self.2);
        let lookup = self.1.lookup();
        let plan = self.0.plan(&EgressRequest::url("GET", &url), |name| -> Vec<IpAddr> { lookup(name) })?;
        Ok(plan.addresses().iter().map(|address| SocketAddr::new(address.ip(), 0)).collect())
    }
}

impl Resolve for Hook {
    fn resolve(&self, name: Name) -> Resolving {
        let addresses = self.addresses(name.as_str());
        Box::pin(async { Ok(Box::new(addresses?.into_iter()) as Addrs) })
    }
}

type HyperName = hyper_util::client::legacy::connect::dns::Name;

impl tower::Service<HyperName> for Hook {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = std::future::Ready<std::io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: HyperName) -> Self::Future {
        std::future::ready(self.addresses(name.as_str()).map(Vec::into_iter))
    }
}

struct World {
    origin: Origin,
    forbidden: Origin,
    egress: EgressClient,
    names: Names,
    tls: rustls::ClientConfig,
}

impl World {
    /// An origin whose every answer redirects to a literal that no rule allows.
    fn new() -> Self {
        let forbidden = Origin::start("127.0.0.2", None, |_| (200, "inside".into()));
        let literal = format!("http://{}/", forbidden.address);
        let origin = Origin::start("127.0.0.1", None, move |_| (302, literal.clone()));
        let egress = Leases::new().egress(&json!({
            "rules": [{"id": "origin", "hosts": ["origin.test"], "schemes": ["http"], "ports": [origin.port()],
                       "private_addresses": ["127.0.0.1/32"]}],
            "max_redirects": 5,
        }));
        let names = Names::default().with("origin.test", &["127.0.0.1"]).with("inside.test", &["127.0.0.2"]);
        Self { origin, forbidden, egress, names, tls: Authority::new().client(None) }
    }

    fn hook(&self) -> Hook {
        Hook(self.egress.clone(), self.names.clone(), self.origin.port())
    }

    fn url(&self) -> String {
        format!("http://origin.test:{}/", self.origin.port())
    }
}

/// Attack E11: reqwest with a hook follows the redirect into the forbidden listener; the adapter does not.
#[tokio::test]
async fn e11_a_dns_hook_of_reqwest_lets_a_literal_redirect_through_and_the_adapter_stops_it() {
    let world = World::new();
    let tls = world.tls.clone();
    let hooked =
        reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().dns_resolver(world.hook());
    let hooked = hooked.build().unwrap();
    // The hook does its work, where it is asked.
    assert!(hooked.get(format!("http://inside.test:{}/", world.forbidden.port())).send().await.is_err());
    assert_eq!(world.forbidden.heard().len(), 0);
    let answer = hooked.get(world.url()).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "inside");
    assert_eq!(world.forbidden.heard().len(), 1, "the hook alone let it through");

    let request = reqwest::Request::new(http::Method::GET, world.url().parse().unwrap());
    let denied = reqwest_client::execute(&world.egress, world.names.lookup(), &world.tls, request).await;
    assert_eq!(denied.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    assert_eq!(world.forbidden.heard().len(), 1, "nobody came");
}

/// The same for hyper, whose connector takes literals before its resolver does. It follows no redirect by itself; a
/// loop that does, without judging, is all that it takes.
#[tokio::test]
async fn e11_a_dns_hook_of_hyper_lets_a_literal_through_and_the_adapter_stops_it() {
    use hyper_util::client::legacy::{Client, connect::HttpConnector};

    let world = World::new();
    let connector = HttpConnector::new_with_resolver(world.hook());
    let hooked = Client::builder(hyper_util::rt::TokioExecutor::new()).build(connector);
    let get = |url: String| hooked.request(http::Request::get(url).body(axum::body::Body::empty()).unwrap());
    assert!(get(format!("http://inside.test:{}/", world.forbidden.port())).await.is_err());
    let answer = get(world.url()).await.unwrap();
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(get(location).await.unwrap().status(), 200);
    assert_eq!(world.forbidden.heard().len(), 1, "the hook alone let it through");

    let request = http::Request::get(world.url()).body(axum::body::Bytes::new()).unwrap();
    let denied = hyper_client::request(&world.egress, world.names.lookup(), &world.tls, request).await;
    assert_eq!(denied.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    assert_eq!(world.forbidden.heard().len(), 1, "nobody came");
}
