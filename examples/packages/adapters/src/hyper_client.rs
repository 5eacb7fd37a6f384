//! `hyper-util`: a connector that dials one permit and nothing else, and a client that judges every request and redirect.

use std::net::IpAddr;
use std::task::{Context, Poll};
use std::{future::Future, io, pin::Pin, sync::Arc};

use axum::body::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use leasehold::egress::{EgressClient, PlannedRequest};
use tokio::net::TcpStream;
use tower::Service;

use crate::lookup;

/// The first hook: connects to the addresses of its permit, whatever the URI says, and looks at whom it reached.
#[derive(Clone, Debug)]
pub struct Pinned(pub Arc<PlannedRequest>);

impl Service<http::Uri> for Pinned {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let planned = Arc::clone(&self.0);
        Box::pin(async move {
            let stream = TcpStream::connect(planned.plan().addresses()).await?;
            planned.confirm(stream.peer_addr()?)?;
            Ok(TokioIo::new(stream))
        })
    }
}

/// The second hook: sends `request`, follows its redirects and reads the answer, within the rule's limit. A name for which
/// `names` has no address is refused.
///
/// # Errors
/// A denial, which `Denied::within` finds, or what went wrong on the way.
pub async fn request(
    egress: &EgressClient,
    names: impl Fn(&str) -> Vec<IpAddr> + Clone + Send + 'static,
    tls: &rustls::ClientConfig,
    request: http::Request<Bytes>,
) -> io::Result<http::Response<Bytes>> {
    let (parts, bytes) = request.into_parts();
    let fields = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let url = parts.uri.to_string();
    let mut chain = egress.chain(parts.method.as_str(), &url, fields, Some(bytes.len() as u64));
    loop {
        let planned = Arc::new(lookup::plan(&chain, &names).await?);
        let mut request =
            http::Request::builder().method(planned.plan().method()).uri(planned.expose_url().as_str());
        for field in planned.headers().iter() {
            request = request.header(field.name(), field.expose_value().concat());
        }
        let body = Full::new(if planned.has_body() { bytes.clone() } else { Bytes::new() });
        let request = request.body(body).map_err(io::Error::other)?;
        let https = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http().enable_http1();
        let mut client = Client::builder(TokioExecutor::new());
        let client =
            client.pool_max_idle_per_host(0).build(https.wrap_connector(Pinned(Arc::clone(&planned))));
        let response = tokio::time::timeout(planned.time_left(), async {
            let (parts, body) = client.request(request).await.map_err(io::Error::other)?.into_parts();
            let limit = usize::try_from(planned.max_response_bytes()).unwrap_or(usize::MAX);
            let body = Limited::new(body, limit).collect().await.map_err(io::Error::other)?;
            io::Result::Ok(http::Response::from_parts(parts, body.to_bytes()))
        });
        let response = response.await??;
        let location = response.headers().get("location").map(|value| value.as_bytes());
        if !chain.follow(&planned, response.status().as_u16(), location)? {
            return Ok(response);
        }
    }
}
