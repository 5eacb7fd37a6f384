//! One connection: who is at its other end, how far it has come, and how long it is waited with.

use alloc::collections::BTreeMap;

use super::{config::CoordinatorConfig, node::NodeSession, upload::Upload};
use crate::{
    code::{self, Code},
    digest::Sha256Digest,
    fleet::Principal,
    id::{ClientId, DeviceId},
    identity::DeviceKind,
    lease::{Fence, RelativePath},
    protocol::frame::FrameDecoder,
    time::Mono,
};

/// A connection of an authenticated device.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) device: DeviceId,
    pub(super) kind: DeviceKind,
    pub(super) certificate: Sha256Digest,
    /// The session under which the device's commands are remembered.
    pub(super) client: ClientId,
    pub(super) decoder: FrameDecoder,
    /// The first message has come.
    pub(super) greeted: bool,
    /// The answer to it has been sent: from here on, notices are.
    pub(super) welcomed: bool,
    pub(super) in_flight: usize,
    pub(super) node: NodeSession,
    /// Bytes handed over that the connection has not taken.
    pub(super) unsent: usize,
    pub(super) upload: Option<Upload>,
    /// The inputs that the worker fetches, and how far they have been delivered.
    pub(super) fetching: Option<(Fence, BTreeMap<RelativePath, u64>)>,
    pub(super) partial_since: Option<Mono>,
    pub(super) heard: Mono,
    /// When it last took something of what waits.
    pub(super) took: Mono,
    /// When its certificate stops to stand for the device, as far as can be said by now.
    pub(super) authenticated_until: Mono,
    /// The entry in the table of timers.
    pub(super) armed: Mono,
}

impl Connection {
    pub(super) fn new(
        device: DeviceId,
        kind: DeviceKind,
        certificate: Sha256Digest,
        client: ClientId,
        now: Mono,
    ) -> Self {
        Self {
            device,
            kind,
            certificate,
            client,
            decoder: FrameDecoder::new(),
            greeted: false,
            welcomed: false,
            in_flight: 0,
            node: NodeSession::default(),
            unsent: 0,
            upload: None,
            fetching: None,
            // The first frame is waited with as with the rest of one.
            partial_since: Some(now),
            heard: now,
            took: now,
            authenticated_until: Mono::NEVER,
            armed: Mono::NEVER,
        }
    }

    pub(super) fn principal(&self) -> Principal {
        Principal::Device { device: self.device.clone(), certificate: self.certificate }
    }

    /// When it is closed where nothing happens, and the code; without one, its certificate is to be looked at then.
    pub(super) fn deadline(&self, config: &CoordinatorConfig) -> (Mono, Option<Code>) {
        let mut first = (self.heard.plus(config.silence), Some(code::CONNECTION_SILENT));
        if self.authenticated_until < first.0 {
            first = (self.authenticated_until, None);
        }
        if let Some(since) = self.partial_since {
            let stalled = since.plus(config.frame_patience);
            if stalled < first.0 {
                first = (stalled, Some(code::FRAME_STALLED));
            }
        }
        if self.unsent > 0 {
            let stuck = self.took.plus(config.write_patience);
            if stuck < first.0 {
                first = (stuck, Some(code::CONNECTION_SLOW_READER));
            }
        }
        first
    }
}
