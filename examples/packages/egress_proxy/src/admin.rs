//! Two pages on a port of their own: whether the proxy is well, and its counts.

use std::{io, sync::Arc, time::Duration};

use leasehold::egress::http1::{HeadLimits, HeadReader};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

use crate::{metrics::Metrics, proxy::Proxy};

/// How many are answered at one time.
const AT_ONCE: usize = 16;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the proxy is well; in words where it is not.
pub type Health = Box<dyn Fn() -> Result<(), &'static str> + Send + Sync>;

/// Answers on `listener` for as long as the process runs.
pub async fn serve(listener: TcpListener, proxy: Arc<Proxy>, metrics: Arc<Metrics>, health: Health) {
    let health = Arc::new(health);
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (proxy, metrics, health) = (Arc::clone(&proxy), Arc::clone(&metrics), Arc::clone(&health));
        tokio::spawn(async move {
            let _ = timeout(PATIENCE, answer(socket, &proxy, &metrics, &health)).await;
            drop(place);
        });
    }
}

async fn answer(mut socket: TcpStream, proxy: &Proxy, metrics: &Metrics, health: &Health) -> io::Result<()> {
    let mut reader = HeadReader::new(HeadLimits { bytes: 8 << 10, fields: 64 });
    let mut buffer = [0; 1024];
    let head = loop {
        let count = socket.read(&mut buffer).await?;
        match reader.push(&buffer[..count]) {
            Ok(true) => break reader.request().ok().map(|(head, _)| head),
            Ok(false) if count > 0 => {}
            _ => break None,
        }
    };
    let head = head.filter(|head| matches!(head.method.as_str(), "GET" | "HEAD"));
    let target = head.as_ref().map(|head| head.target.as_str());
    let (status, kind, body) = match target {
        Some("/healthz") => match health() {
            Ok(()) => (200, "text/plain", "ok\n".to_owned()),
            Err(why) => (503, "text/plain", format!("{why}\n")),
        },
        Some("/metrics") => (200, "text/plain; version=0.0.4", metrics.page(&proxy.counts())),
        Some(_) => (404, "text/plain", "/healthz and /metrics\n".to_owned()),
        None => (400, "text/plain", "GET /healthz or /metrics\n".to_owned()),
    };
    let length = body.len();
    let body = if head.is_some_and(|head| head.method == "HEAD") { String::new() } else { body };
    let text = format!(
        "HTTP/1.1 {status} \r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    socket.write_all(text.as_bytes()).await?;
    socket.shutdown().await
}
