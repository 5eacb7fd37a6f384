//! The device's own calls to the coordinator: pairing messages from somebody who has no certificate yet, and the request
//! for the next certificate from somebody who has.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use leasehold::{
    digest::Sha256Digest,
    lease::Epoch,
    protocol::{
        frame::{self, Frame, FrameDecoder, FrameKind},
        message::{Document as _, NodeAnswer, NodeMessage, NodeRequest, NodeWord, WireBytes},
    },
};

use crate::{
    Failure,
    duplex::Duplex,
    tls::{self, Identity},
};

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that asks and is answered.
struct DeviceClient {
    duplex: Duplex,
    decoder: FrameDecoder,
    /// Bytes that came after the last frame.
    rest: Vec<u8>,
}

impl DeviceClient {
    fn open(port: u16, known: Option<Sha256Digest>, identity: Option<&Identity>) -> Result<Self, Failure> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        let duplex = Duplex::connect(socket, tls::pinning_client(identity)?, tls::COORDINATOR, known)?;
        duplex.set_timeouts(Some(PATIENCE), Some(PATIENCE))?;
        Ok(Self { duplex, decoder: FrameDecoder::new(), rest: Vec::new() })
    }

    fn send(&self, kind: FrameKind, body: &[u8]) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        frame::encode(kind, body, &mut bytes).map_err(Failure::coded)?;
        Ok(self.duplex.write_all(&bytes)?)
    }

    fn hear(&mut self, kind: FrameKind) -> Result<Frame, Failure> {
        loop {
            let mut rest = self.rest.as_slice();
            let frame = self.decoder.decode(&mut rest).map_err(Failure::coded)?;
            self.rest = rest.to_vec();
            match frame {
                Some(frame) if frame.kind == kind => return Ok(frame),
                Some(_) => return Err(Failure::new("the coordinator says something else")),
                None => {}
            }
            let mut buffer = [0; 4096];
            match self.duplex.read(&mut buffer)? {
                0 => return Err(Failure::new("the coordinator closes the connection")),
                count => self.rest.extend_from_slice(&buffer[..count]),
            }
        }
    }

    fn tell(&mut self, sequence: u64, message: NodeMessage) -> Result<NodeAnswer, Failure> {
        let mut bytes = Vec::new();
        NodeRequest { sequence, message }.write(&mut bytes).map_err(Failure::coded)?;
        self.duplex.write_all(&bytes)?;
        loop {
            match NodeWord::read(&self.hear(FrameKind::Dispatch)?.body).map_err(Failure::coded)? {
                NodeWord::Answer { sequence: to, answer } if to == sequence => return Ok(answer),
                NodeWord::Refused { refusal, .. } => return Err(Failure::new(refusal.code.to_string())),
                // This connection has no stream of requests.
                _ => {}
            }
        }
    }
}

/// The SHA-256 of the certificate that the coordinator shows. Whose it is, pairing says.
pub fn certificate(port: u16) -> Result<Sha256Digest, Failure> {
    let device_client = DeviceClient::open(port, None, None)?;
    device_client.duplex.peer().ok_or_else(|| Failure::new("the coordinator shows no certificate"))
}

/// Says a pairing message and gives the answer. A connection for each: people take their time in between.
pub fn ask(port: u16, known: Sha256Digest, message: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut device_client = DeviceClient::open(port, Some(known), None)?;
    device_client.send(FrameKind::Pairing, message)?;
    Ok(device_client.hear(FrameKind::Pairing)?.body)
}

/// Asks for the next certificate, over a connection that the present one authenticates.
pub fn rotate(
    port: u16,
    known: Sha256Digest,
    identity: &Identity,
    request: &[u8],
) -> Result<Vec<u8>, Failure> {
    let mut device_client = DeviceClient::open(port, Some(known), Some(identity))?;
    device_client.tell(1, NodeMessage::Hello { epoch: Epoch(0) })?;
    match device_client.tell(2, NodeMessage::Rotate { request: WireBytes(request.to_vec()) })? {
        NodeAnswer::Certificate { certificate } => Ok(certificate.0),
        other => Err(Failure::new(format!("no certificate: {other:?}"))),
    }
}
