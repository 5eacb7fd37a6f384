//! The hard state as chunks. They are written one at a time, chained, and each is checked when it is read.
//!
//! A snapshot is a chain of records in the framing of [`crate::chain`]. Each is at most [`MAX_RECORD_BYTES`]
//! long, and most have about a quarter of a megabyte. The digest of a chunk covers everything before it, so a
//! chunk that is lost, repeated, moved, changed or of another snapshot breaks the chain. A chunk contains one
//! byte that names a section, and one or more items of that section in postcard. Sections come in the order
//! of [`Section`]. The last chunk is [`Section::End`], so a truncated snapshot is recognised.

use alloc::{boxed::Box, vec::Vec};
use core::iter;

use serde::{Deserialize, Serialize};

use super::{MAX_RECORD_BYTES, error::RecoverError};
use crate::{
    chain::Chain,
    digest::Sha256Digest,
    fleet::{bounds::Bounds, folding::Folding, policy::WorkerFleetPolicy, roster::WaveId, state::FleetState},
    lease::Epoch,
    time::{Mono, Now, Wall},
};

/// A chunk is closed once its items have this many bytes. An item is never split.
const CHUNK: usize = 256 << 10;

/// Version 3 holds the first form of a state, version 4 the second.
pub(super) const CHAIN: Chain =
    Chain { domain: "fleet-snapshot.v3", version: 4, oldest: 3, max: MAX_RECORD_BYTES };

/// The kind of the items of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Section {
    /// One [`Head`].
    Head,
    /// Slots with their workers, in order.
    Places,
    /// The slots without a worker.
    Free,
    /// Runs, in the order of their ids.
    Runs,
    /// Spent grants.
    Grants,
    /// Spent nonces.
    Nonces,
    /// Client sessions.
    Sessions,
    /// One head of the device registry.
    Registry,
    /// Revocations.
    Revoked,
    /// Devices, in the order of their ids.
    Devices,
    /// The fleet's own trust anchors with their revocations, as one value, because there are few.
    Anchors,
    /// The pairing sessions, as one value. The policy bounds their number.
    Pairing,
    /// One head of the dispatch.
    Dispatch,
    /// Devices that were granted a capability, in the order of their ids.
    Granted,
    /// Requests, in the order of their ids.
    Requests,
    /// No items. The snapshot is complete.
    End,
}

impl Section {
    pub(super) const ALL: [Self; 16] = [
        Self::Head,
        Self::Places,
        Self::Free,
        Self::Runs,
        Self::Grants,
        Self::Nonces,
        Self::Sessions,
        Self::Registry,
        Self::Revoked,
        Self::Devices,
        Self::Anchors,
        Self::Pairing,
        Self::Dispatch,
        Self::Granted,
        Self::Requests,
        Self::End,
    ];
}

/// The members of a state that have one value each.
#[derive(Serialize, Deserialize)]
pub(super) struct Head {
    /// The end of the journal's hash chain at this state.
    pub(super) chain: Sha256Digest,
    pub(super) policy: WorkerFleetPolicy,
    pub(super) policy_generation: u64,
    pub(super) epoch: Epoch,
    pub(super) version: u64,
    pub(super) index: u64,
    pub(super) last: Now,
    pub(super) fence_counter: u64,
    pub(super) quiet_until: Mono,
    pub(super) floor: Wall,
    pub(super) quarantine_generation: u64,
    /// The last stamp of the ready queues that was given.
    pub(super) stamp: u64,
    pub(super) folding: Folding,
    pub(super) bounds: Bounds,
    /// The latest wave of workers that fell silent together, and when the last of them did.
    pub(super) wave: (WaveId, Mono),
    pub(super) held_until: Mono,
}

/// The section and the bytes of one item; `None` if it cannot be serialised.
type Item = Option<(Section, Vec<u8>)>;

fn item(section: Section, value: &impl Serialize) -> Item {
    postcard::to_allocvec(value).ok().map(|bytes| (section, bytes))
}

/// Writes a state as chunks, in order. Each step costs about one chunk of memory and time. Besides, one
/// pointer for each run and each device is kept until the end.
///
/// After an error the iterator ends, and the chunks that it gave are not a snapshot.
pub struct SnapshotWriter<'a> {
    items: iter::Peekable<Box<dyn Iterator<Item = Item> + 'a>>,
    chain: Sha256Digest,
}

impl core::fmt::Debug for SnapshotWriter<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SnapshotWriter").field("chain", &self.chain).finish_non_exhaustive()
    }
}

impl Iterator for SnapshotWriter<'_> {
    type Item = Result<Vec<u8>, RecoverError>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.items.next()?;
        let chunk = self.chunk(first);
        if chunk.is_none() {
            self.items = nothing().peekable();
        }
        Some(chunk.ok_or(RecoverError::TooLarge))
    }
}

fn nothing<'a>() -> Box<dyn Iterator<Item = Item> + 'a> {
    Box::new(iter::empty())
}

impl SnapshotWriter<'_> {
    fn chunk(&mut self, first: Item) -> Option<Vec<u8>> {
        let (section, bytes) = first?;
        let mut body = alloc::vec![section as u8];
        body.extend_from_slice(&bytes);
        while body.len() < CHUNK
            && let Some(Some((_, bytes))) =
                self.items.next_if(|item| matches!(item, Some((next, _)) if *next == section))
        {
            body.extend_from_slice(&bytes);
        }
        let mut chunk = Vec::new();
        self.chain = CHAIN.append_body(&mut chunk, self.chain, &body)?;
        Some(chunk)
    }
}

impl FleetState {
    /// The digest of the state. Equal states have equal digests, whatever keys their indexes use. Cost: that
    /// of a snapshot.
    pub fn digest(&self) -> Sha256Digest {
        let mut writer = self.chunks(Sha256Digest::of(b""));
        while writer.next().is_some() {}
        writer.chain
    }

    fn head(&self, chain: Sha256Digest) -> Head {
        Head {
            chain,
            policy: self.policy.clone(),
            policy_generation: self.policy_generation,
            epoch: self.epoch,
            version: self.version,
            index: self.index,
            last: self.last,
            fence_counter: self.fence_counter,
            quiet_until: self.quiet_until,
            floor: self.floor,
            bounds: self.bounds,
            wave: (self.roster.wave.id, self.roster.wave.last),
            quarantine_generation: self.roster.quarantine_generation,
            stamp: self.roster.ready.last_stamp(),
            folding: self.folding,
            held_until: self.held_until,
        }
    }

    /// The state as chunks. `chain` is the end of the journal's hash chain.
    pub(crate) fn chunks(&self, chain: Sha256Digest) -> SnapshotWriter<'_> {
        use Section as S;
        let (roster, runs, devices) = (&self.roster, &self.runs, &self.nodes.registry);
        let (pairing, dispatch) = (&self.nodes.pairing, &self.nodes.dispatch);
        let items = iter::once_with(move || item(S::Head, &self.head(chain)))
            .chain(roster.stored_places().map(|place| item(S::Places, &place)))
            .chain(roster.free().iter().map(|slot| item(S::Free, slot)))
            .chain(runs.sorted().into_iter().map(|run| item(S::Runs, run)))
            .chain(self.grants.stored().map(|entry| item(S::Grants, &entry)))
            .chain(self.nonces.stored().map(|entry| item(S::Nonces, &entry)))
            .chain(self.sessions.stored().map(|session| item(S::Sessions, &session)))
            .chain(iter::once_with(|| item(S::Registry, &devices.stored_head())))
            .chain(devices.revoked().map(|entry| item(S::Revoked, &entry)))
            .chain(devices.stored_devices().map(|device| item(S::Devices, &device)))
            .chain(iter::once_with(|| item(S::Anchors, &self.nodes.anchors)))
            .chain(iter::once_with(|| item(S::Pairing, &pairing.snapshot())))
            .chain(iter::once_with(|| item(S::Dispatch, &dispatch.stored_head())))
            .chain(dispatch.stored_devices().map(|device| item(S::Granted, &device)))
            .chain(dispatch.stored_requests().map(|request| item(S::Requests, request)))
            .chain(iter::once(Some((S::End, Vec::new()))));
        let items: Box<dyn Iterator<Item = Item> + '_> = Box::new(items);
        SnapshotWriter { items: items.peekable(), chain: CHAIN.genesis() }
    }

    /// The state as one value. `chain` is the end of the journal's hash chain.
    pub(crate) fn to_snapshot(&self, chain: Sha256Digest) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for chunk in self.chunks(chain) {
            bytes.extend_from_slice(&chunk.ok()?);
        }
        Some(bytes)
    }
}
