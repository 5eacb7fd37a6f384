//! The messages of the handshake and their one encoding: a two-byte mark, a type, then fields in order.
//!
//! Texts and byte strings have a two-byte big-endian length before them; digests, nonces and tags are 32 bytes.
//! Each message has exactly one encoding, nothing may follow it, and its parts are bounded before they are kept.

use alloc::vec::Vec;

use super::{error::PairingError, method::PairingMethod};
use crate::{
    digest::Sha256Digest,
    id::{DeviceId, FleetId, SessionId},
    identity::{DEFAULT_CERTIFICATE_BYTES, DeviceKind},
};

/// The longest message, in bytes.
pub const MAX_PAIRING_MESSAGE: usize = 20 * 1024;

/// The longest share of a key exchange, in bytes.
pub(super) const MAX_SHARE: usize = 256;

const MARK: [u8; 2] = *b"LP";

/// One message, either way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Device to coordinator: who I am, my certificate request, my nonce (or the commitment to it).
    Hello(Hello),
    /// Coordinator to device: my nonce, and proof of the secret.
    Reply(Reply),
    /// Device to coordinator: proof of the secret, or the nonce that was committed to.
    Confirm { session: SessionId, proof: [u8; 32] },
    /// Device to coordinator: what became of the session?
    Fetch { session: SessionId, key: Sha256Digest },
    /// Coordinator to device: what became of the session.
    Status { session: SessionId, status: Status },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(super) session: SessionId,
    pub(super) versions: (u8, u8),
    pub(super) method: PairingMethod,
    pub(super) device: DeviceId,
    pub(super) kind: DeviceKind,
    pub(super) request: Vec<u8>,
    pub(super) nonce: [u8; 32],
    pub(super) share: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(super) session: SessionId,
    pub(super) version: u8,
    pub(super) fleet: FleetId,
    pub(super) nonce: [u8; 32],
    pub(super) share: Vec<u8>,
    pub(super) tag: [u8; 32],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Pending,
    /// No reason: a stranger learns nothing.
    Refused,
    Issued {
        certificate: Vec<u8>,
        tag: [u8; 32],
    },
}

/// The session that a message names; none where the bytes are no message.
pub(crate) fn session_of(bytes: &[u8]) -> Option<SessionId> {
    Message::decode(bytes).ok().map(|message| message.session().clone())
}

impl Message {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer(MARK.to_vec());
        match self {
            Self::Hello(hello) => {
                out.byte(1);
                out.text(hello.session.as_str());
                out.byte(hello.versions.0);
                out.byte(hello.versions.1);
                out.byte(match hello.method {
                    PairingMethod::Qr => 1,
                    PairingMethod::Pin => 2,
                    PairingMethod::Compare => 3,
                    PairingMethod::Enrolment => 4,
                });
                out.text(hello.device.as_str());
                out.byte(match hello.kind {
                    DeviceKind::Worker => 1,
                    DeviceKind::DesktopNode => 2,
                    DeviceKind::EgressProxy => 3,
                });
                out.bytes(&hello.request);
                out.array(&hello.nonce);
                out.bytes(&hello.share);
            }
            Self::Reply(reply) => {
                out.byte(2);
                out.text(reply.session.as_str());
                out.byte(reply.version);
                out.text(reply.fleet.as_str());
                out.array(&reply.nonce);
                out.bytes(&reply.share);
                out.array(&reply.tag);
            }
            Self::Confirm { session, proof } => {
                out.byte(3);
                out.text(session.as_str());
                out.array(proof);
            }
            Self::Fetch { session, key } => {
                out.byte(4);
                out.text(session.as_str());
                out.array(key.as_bytes());
            }
            Self::Status { session, status } => {
                out.byte(5);
                out.text(session.as_str());
                match status {
                    Status::Pending => out.byte(1),
                    Status::Refused => out.byte(2),
                    Status::Issued { certificate, tag } => {
                        out.byte(3);
                        out.bytes(certificate);
                        out.array(tag);
                    }
                }
            }
        }
        out.0
    }

    /// The session that the message is about.
    pub(crate) const fn session(&self) -> &SessionId {
        match self {
            Self::Hello(hello) => &hello.session,
            Self::Reply(reply) => &reply.session,
            Self::Confirm { session, .. } | Self::Fetch { session, .. } | Self::Status { session, .. } => {
                session
            }
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, PairingError> {
        if bytes.len() > MAX_PAIRING_MESSAGE {
            return Err(PairingError::Malformed);
        }
        let mut read = Reader(bytes);
        if read.take(2)? != MARK {
            return Err(PairingError::Malformed);
        }
        let kind = read.byte()?;
        let session = read.id(SessionId::new)?;
        let message = match kind {
            1 => Self::Hello(Hello {
                session,
                versions: (read.byte()?, read.byte()?),
                method: match read.byte()? {
                    1 => PairingMethod::Qr,
                    2 => PairingMethod::Pin,
                    3 => PairingMethod::Compare,
                    4 => PairingMethod::Enrolment,
                    _ => return Err(PairingError::Malformed),
                },
                device: read.id(DeviceId::new)?,
                kind: match read.byte()? {
                    1 => DeviceKind::Worker,
                    2 => DeviceKind::DesktopNode,
                    3 => DeviceKind::EgressProxy,
                    _ => return Err(PairingError::Malformed),
                },
                request: read.bytes(DEFAULT_CERTIFICATE_BYTES)?.to_vec(),
                nonce: read.array()?,
                share: read.bytes(MAX_SHARE)?.to_vec(),
            }),
            2 => Self::Reply(Reply {
                session,
                version: read.byte()?,
                fleet: read.id(FleetId::new)?,
                nonce: read.array()?,
                share: read.bytes(MAX_SHARE)?.to_vec(),
                tag: read.array()?,
            }),
            3 => Self::Confirm { session, proof: read.array()? },
            4 => Self::Fetch { session, key: Sha256Digest::from_bytes(read.array()?) },
            5 => Self::Status {
                session,
                status: match read.byte()? {
                    1 => Status::Pending,
                    2 => Status::Refused,
                    3 => Status::Issued {
                        certificate: read.bytes(DEFAULT_CERTIFICATE_BYTES)?.to_vec(),
                        tag: read.array()?,
                    },
                    _ => return Err(PairingError::Malformed),
                },
            },
            _ => return Err(PairingError::Malformed),
        };
        if read.0.is_empty() { Ok(message) } else { Err(PairingError::Malformed) }
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn array(&mut self, bytes: &[u8; 32]) {
        self.0.extend_from_slice(bytes);
    }

    /// The machines bound every part far below 64 KiB; a longer one would be cut and fail at the other end.
    fn bytes(&mut self, bytes: &[u8]) {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend(bytes.iter().take(length.into()));
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], PairingError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(PairingError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, PairingError> {
        self.take(1)?.first().copied().ok_or(PairingError::Malformed)
    }

    fn array(&mut self) -> Result<[u8; 32], PairingError> {
        self.take(32)?.try_into().map_err(|_| PairingError::Malformed)
    }

    fn bytes(&mut self, limit: usize) -> Result<&'a [u8], PairingError> {
        let length: [u8; 2] = self.take(2)?.try_into().map_err(|_| PairingError::Malformed)?;
        let length = usize::from(u16::from_be_bytes(length));
        if length > limit { Err(PairingError::Malformed) } else { self.take(length) }
    }

    fn id<T, E>(&mut self, parse: impl Fn(&str) -> Result<T, E>) -> Result<T, PairingError> {
        let text = core::str::from_utf8(self.bytes(crate::id::MAX_ID_BYTES)?);
        parse(text.map_err(|_| PairingError::Malformed)?).map_err(|_| PairingError::Malformed)
    }
}
