//! One connection: its bytes, and who is at its other end.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use super::{
    io::{CertificateId, InspectionId},
    line::Line,
    upload::Upload,
};
use crate::{
    code::{self, Code},
    digest::Sha256Digest,
    dispatch::{Delivery, Incarnation},
    fleet::Principal,
    id::{ClientId, DeviceId},
    identity::DeviceKind,
    lease::{Fence, RelativePath},
    protocol::message::Rhythm,
    time::{Millis, Mono},
};

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) line: Line,
    pub(super) peer: Peer,
    pub(super) in_flight: usize,
    pub(super) opened: Mono,
    /// The entry in the table of timers.
    pub(super) armed: Mono,
    /// What the line held when it was looked at last, and since when.
    pub(super) counted: (usize, Option<Mono>),
}

/// Who is at the other end.
#[derive(Debug)]
pub(super) enum Peer {
    Device(Box<DevicePeer>),
    Stranger(StrangerPeer),
}

/// A peer that has proved nothing.
#[derive(Debug, Default)]
pub(super) struct StrangerPeer {
    pub(super) messages: usize,
    /// A message of it belonged to a pairing session.
    pub(super) in_session: bool,
}

/// A device that was authenticated.
#[derive(Debug)]
pub(super) struct DevicePeer {
    pub(super) device: DeviceId,
    pub(super) kind: DeviceKind,
    pub(super) certificate: Sha256Digest,
    /// Its certificate has expired: it may ask for the next one, and nothing else.
    pub(super) renews: bool,
    /// The session under which the device's commands are remembered.
    pub(super) client: ClientId,
    /// The first message has come.
    pub(super) greeted: bool,
    /// The answer to it has been sent: from here on, notices are.
    pub(super) welcomed: bool,
    pub(super) node: NodeStream,
    pub(super) upload: Option<Upload>,
    /// The inputs that the worker fetches, and how far they have been delivered.
    pub(super) fetching: Option<(Fence, BTreeMap<RelativePath, u64>)>,
    /// When its certificate stops to stand for the device, as far as can be said by now.
    pub(super) authenticated_until: Mono,
    /// The registry's generation under which that was asked.
    pub(super) generation: u64,
    /// The rhythm that it was told.
    pub(super) rhythm: Option<Rhythm>,
    /// The number of the notice of certificates that its worker was told, and the same for its other session.
    pub(super) told_worker: u64,
    pub(super) told_device: u64,
    /// Reports of it that wait until somebody has looked.
    pub(super) inspections: Vec<InspectionId>,
}

/// The dispatch stream of a connection.
#[derive(Debug, Default)]
pub(super) struct NodeStream {
    /// The first message has come.
    pub(super) greeted: bool,
    /// The answer to it has been sent: from here on, words are that nobody asked for.
    pub(super) welcomed: bool,
    /// The life of the agent whose stream is open here.
    pub(super) stream: Option<Incarnation>,
    /// What is to be handed over and waits for the connection to take what went before. Bounded by the device's
    /// window.
    pub(super) deliveries: VecDeque<Delivery>,
    /// The certificate that its rotation waits for.
    pub(super) rotating: Option<CertificateId>,
}

impl DevicePeer {
    /// A device that was just authenticated; none where its commands cannot be remembered.
    pub(super) fn new(device: DeviceId, kind: DeviceKind, certificate: Sha256Digest) -> Option<Self> {
        // The session under which the commands of a device are remembered: derived, so that no device can use another's.
        let digest = Sha256Digest::of(device.as_str().as_bytes());
        let client = ClientId::new(&alloc::format!("device:{digest}")).ok()?;
        Some(Self {
            device,
            kind,
            certificate,
            renews: false,
            client,
            greeted: false,
            welcomed: false,
            node: NodeStream::default(),
            upload: None,
            fetching: None,
            authenticated_until: Mono::NEVER,
            generation: 0,
            rhythm: None,
            told_worker: 0,
            told_device: 0,
            inspections: Vec::new(),
        })
    }

    pub(super) fn principal(&self) -> Principal {
        Principal::Device { device: self.device.clone(), certificate: self.certificate }
    }
}

/// How long peers may say nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) silence: Millis,
    pub(super) pairing: Millis,
}

impl Connection {
    pub(super) const fn new(line: Line, peer: Peer, now: Mono) -> Self {
        Self { line, peer, in_flight: 0, opened: now, armed: Mono::NEVER, counted: (0, None) }
    }

    /// When it is closed where nothing happens, and the code; without one, its certificate is to be looked at then.
    pub(super) fn deadline(&self, patience: Patience) -> (Mono, Option<Code>) {
        let silent = match &self.peer {
            Peer::Device(_) => self.line.heard().plus(patience.silence),
            Peer::Stranger(_) => self.opened.plus(patience.pairing),
        };
        let mut first = (silent, Some(code::CONNECTION_SILENT));
        if let Peer::Device(device) = &self.peer
            && device.authenticated_until < first.0
        {
            first = (device.authenticated_until, None);
        }
        match self.line.deadline() {
            Some((at, code)) if at < first.0 => (at, Some(code)),
            _ => first,
        }
    }
}
