//! `ureq` 3: a middleware that judges every request and redirect; each hop's agent knows its permit's addresses only.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};

use leasehold::egress::EgressClient;
use ureq::middleware::{Middleware, MiddlewareNext};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Error, SendBody, config::Config, http, tls::TlsConfig};

/// Makes the requests of an agent in its place. A denial comes as `Error::Io`, in which `Denied::within` finds it.
pub fn judged<N>(egress: EgressClient, names: N, tls: TlsConfig) -> impl Middleware
where
    N: Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static,
{
    move |request: http::Request<SendBody<'_>>, _: MiddlewareNext<'_>| -> Result<_, Error> {
        let (parts, body) = request.into_parts();
        let mut bytes = Vec::new();
        let length = body.into_reader().read_to_end(&mut bytes)? as u64;
        let fields = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let url = parts.uri.to_string();
        let mut chain = egress.chain(parts.method.as_str(), &url, fields, Some(length));
        loop {
            let planned = chain.plan(&names).map_err(io::Error::from)?;
            let mut request =
                http::Request::builder().method(planned.plan().method()).uri(planned.expose_url().as_str());
            for field in planned.headers().iter() {
                request = request.header(field.name(), field.expose_value().concat());
            }
            // No proxy of the environment, no redirect of its own, no connection that is used again.
            let config = Agent::config_builder().tls_config(tls.clone()).proxy(None).max_redirects(0);
            let config = config.http_status_as_error(false).max_idle_connections(0);
            let config = config.timeout_global(Some(planned.time_left())).build();
            let pinned = Pinned(planned.plan().addresses().to_vec());
            let agent = Agent::with_parts(config, DefaultConnector::default(), pinned);
            let response = match planned.has_body() {
                true => agent.run(request.body(&bytes[..])?)?,
                false => agent.run(request.body(())?)?,
            };
            let location = response.headers().get("location").map(|value| value.as_bytes());
            if !chain.follow(&planned, response.status().as_u16(), location).map_err(io::Error::from)? {
                let limit = |body: Body| body.into_with_config().limit(planned.max_response_bytes()).reader();
                return Ok(response.map(|body| Body::builder().reader(limit(body))));
            }
        }
    }
}

/// Answers with the permit's addresses, whatever is asked; ureq tries 16 at most.
#[derive(Debug)]
struct Pinned(Vec<SocketAddr>);

impl Resolver for Pinned {
    fn resolve(&self, _: &http::Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        self.0.iter().take(16).for_each(|address| addresses.push(*address));
        Ok(addresses)
    }
}
