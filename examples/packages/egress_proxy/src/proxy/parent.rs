//! A proxy behind which the origins are. It is asked for a tunnel to the pinned address and to no name, so that it looks
//! nothing up and reaches what was judged; the name stands in Host for its log.

use std::{net::SocketAddr, sync::Arc};

use leasehold::egress::{
    ConnectPlan,
    http1::{HeadLimits, HeadReader},
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, TlsStream};

use super::{Refused, refused::PARENT};

/// The parent.
#[derive(Clone)]
pub struct Parent {
    /// Where it listens, as `host:port`.
    pub address: String,
    /// The name in its certificate and how that is checked, where it is reached over TLS.
    pub tls: Option<(ServerName<'static>, Arc<ClientConfig>)>,
    /// What stands in Proxy-Authorization.
    pub authorization: Option<String>,
}

/// A tunnel of the parent.
pub enum Tunnel {
    /// Reached as it is.
    Plain(TcpStream),
    /// Reached over TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Parent {
    /// Opens a tunnel to the first of the plan's addresses that the parent reaches.
    pub async fn open(&self, plan: &ConnectPlan) -> Result<(Tunnel, SocketAddr), Refused> {
        let mut last = Refused::new(502, PARENT, "there is no address to ask for");
        for address in plan.addresses() {
            match self.tunnel(plan, *address).await {
                Ok(tunnel) => return Ok((tunnel, *address)),
                Err(refused) => last = refused,
            }
        }
        Err(last)
    }

    async fn tunnel(&self, plan: &ConnectPlan, address: SocketAddr) -> Result<Tunnel, Refused> {
        let failed = |error: std::io::Error| Refused::upstream(PARENT, &error);
        let mut socket = TcpStream::connect(&self.address).await.map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        let Some((name, config)) = &self.tls else {
            self.ask(plan, address, &mut socket).await?;
            return Ok(Tunnel::Plain(socket));
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let mut tls = connector.connect(name.clone(), socket).await.map_err(failed)?;
        self.ask(plan, address, &mut tls).await?;
        Ok(Tunnel::Tls(Box::new(tls.into())))
    }

    async fn ask(
        &self,
        plan: &ConnectPlan,
        address: SocketAddr,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Result<(), Refused> {
        let failed = |error: std::io::Error| Refused::upstream(PARENT, &error);
        let authorization = self.authorization.as_deref();
        let authorization =
            authorization.map(|value| format!("proxy-authorization: {value}\r\n")).unwrap_or_default();
        let head = format!(
            "CONNECT {address} HTTP/1.1\r\nhost: {}:{}\r\n{authorization}\r\n",
            plan.host(),
            plan.port()
        );
        stream.write_all(head.as_bytes()).await.map_err(failed)?;
        stream.flush().await.map_err(failed)?;
        let mut reader = HeadReader::new(HeadLimits::default());
        // One byte at a time: what follows the head is the origin's.
        let mut byte = [0];
        loop {
            stream.read_exact(&mut byte).await.map_err(failed)?;
            let whole = reader.push(&byte).map_err(|error| Refused::new(502, PARENT, error))?;
            if whole {
                break;
            }
        }
        let (head, _) = reader.response().map_err(|error| Refused::new(502, PARENT, error))?;
        match head.status {
            200..=299 => Ok(()),
            status => Err(Refused::new(502, PARENT, format!("the parent proxy answers {status}"))),
        }
    }
}
