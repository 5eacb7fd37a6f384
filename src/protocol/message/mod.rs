//! The documents in frames: one enum for each sender.

mod anchors;
mod coordinator;
mod feed;
mod node;
mod text;
mod worker;

use alloc::vec::Vec;

use serde::{Serialize, de::DeserializeOwned};

pub use self::{
    anchors::AnchorNotice,
    coordinator::{CoordinatorMessage, HeldLeaseNotice, Refusal, Rhythm, Standing, Welcome, WorkerAnswer},
    feed::{FeedChange, FeedLease, FeedMessage, GateMessage},
    node::{NodeAnswer, NodeMessage, NodeRequest, NodeWord},
    text::{WireBytes, WireCode},
    worker::{WorkerMessage, WorkerRequest},
};
use super::{
    ProtocolError,
    frame::{self, FrameKind},
};
use crate::attestation::strict::{self, Limits};

/// A document that has a frame of its own kind.
pub trait Document: Serialize + DeserializeOwned {
    /// The kind of its frame, and with that its largest size.
    const KIND: FrameKind;

    /// Appends the document's frame to `out`.
    ///
    /// # Errors
    /// [`ProtocolError::TooLarge`] where it does not fit; `out` is unchanged then.
    fn write(&self, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        let body = serde_json::to_vec(self).map_err(|_| ProtocolError::TooLarge(0))?;
        frame::encode(Self::KIND, &body, out).map_err(|_| ProtocolError::TooLarge(body.len()))
    }

    /// Reads the body of a frame of this kind, strictly: no unknown fields, no duplicate keys, no trailing bytes.
    ///
    /// # Errors
    /// [`ProtocolError::Document`].
    fn read(body: &[u8]) -> Result<Self, ProtocolError> {
        let limits = Limits::GENERAL.bytes(Self::KIND.max_bytes()).depth(16).members(16 << 10).top_object();
        Ok(strict::read(body, &limits)?)
    }
}
