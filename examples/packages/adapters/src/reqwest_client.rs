//! `reqwest`: every request and redirect is judged; each hop's client knows its permit's addresses only.

use std::io;
use std::net::{IpAddr, SocketAddr};

use leasehold::egress::EgressClient;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Body, Client, Request, Response, redirect::Policy};

use crate::lookup;

/// Sends `request`, whose body is in memory, and follows its redirects. A name for which `names` has no address is refused.
///
/// # Errors
/// A denial, which `Denied::within` finds, or what went wrong on the way.
pub async fn execute(
    egress: &EgressClient,
    names: impl Fn(&str) -> Vec<IpAddr> + Clone + Send + 'static,
    tls: &rustls::ClientConfig,
    request: Request,
) -> io::Result<Response> {
    let bytes = request.body().map_or(Some(&[][..]), Body::as_bytes).ok_or(io::ErrorKind::Unsupported)?;
    let fields = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let (method, mut url) = (request.method().as_str(), request.url().clone());
    url.set_fragment(None);
    let mut chain = egress.chain(method, url.as_str(), fields, Some(bytes.len() as u64));
    loop {
        let planned = lookup::plan(&chain, &names).await?;
        // No proxy of the environment, no redirect of its own, no connection that is used again.
        let client = Client::builder().tls_backend_preconfigured(tls.clone()).no_proxy();
        let client = client.redirect(Policy::none()).referer(false).pool_max_idle_per_host(0);
        let client =
            client.dns_resolver(Pinned(planned.plan().addresses().to_vec())).timeout(planned.time_left());
        let client = client.build().map_err(io::Error::other)?;
        let mut request = client.request(
            planned.plan().method().parse().map_err(io::Error::other)?,
            planned.expose_url().as_str(),
        );
        for field in planned.headers().iter() {
            request = request.header(field.name(), field.expose_value().concat());
        }
        let request = if planned.has_body() { request.body(bytes.to_vec()) } else { request };
        let response = request.send().await.map_err(|error| io::Error::other(error.without_url()))?;
        planned.confirm(response.remote_addr().ok_or(io::ErrorKind::NotConnected)?)?;
        let location = response.headers().get("location").map(|value| value.as_bytes());
        if !chain.follow(&planned, response.status().as_u16(), location)? {
            let limit = usize::try_from(planned.max_response_bytes()).unwrap_or(usize::MAX);
            let limited = |body: Body| Body::wrap(http_body_util::Limited::new(body, limit));
            return Ok(http::Response::from(response).map(limited).into());
        }
    }
}

/// Answers with the permit's addresses, whatever is asked.
struct Pinned(Vec<SocketAddr>);

impl Resolve for Pinned {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(async { Ok(addresses) })
    }
}
