//! A worker whose device is known and whose word is worth nothing: it says whatever might help it.

use alloc::vec::Vec;

use super::parts::{Peer, Simulation};
use crate::{
    digest::Sha256Digest,
    fleet::{RunOutcome, WorkerHandle},
    lease::{ArtifactManifest, Fence, OutputClaim, Removal, WorkerCleanupReport},
    protocol::message::{Document as _, WorkerMessage, WorkerRequest},
};

impl Simulation {
    /// The hostile worker sends something, where there is one and it is connected.
    pub(super) fn attack(&mut self) {
        let Some(at) = self.hostile else { return };
        let Some(id) = self.network.of_peer(at) else { return };
        let bytes = match self.random.below(8) {
            0 => self.garbage(),
            1 => self.replayed(),
            _ => self.forged(at),
        };
        if bytes.is_empty() {
            return;
        }
        self.counts.hostile += 1;
        self.note("hostile", 0, &bytes);
        self.send(id, true, bytes);
    }

    fn garbage(&mut self) -> Vec<u8> {
        let length = self.random.between(1, 64);
        (0..length).map(|_| u8::try_from(self.random.below(256)).unwrap_or(0)).collect()
    }

    /// Something that it sent before, byte for byte.
    fn replayed(&mut self) -> Vec<u8> {
        let at = self.random.index(self.sent_by_hostile.len());
        self.sent_by_hostile.get(at).cloned().unwrap_or_default()
    }

    /// A request under any lease that there ever was, as any incarnation.
    fn forged(&mut self, at: usize) -> Vec<u8> {
        let fences: Vec<Fence> = self.watch.fences().collect();
        let Some(fence) = fences.get(self.random.index(fences.len())).copied() else { return Vec::new() };
        let Some(Peer::Worker(own)) = self.peers.get(at) else { return Vec::new() };
        let handle = match own.agent.incarnation() {
            Some(handle) if !self.random.one_in(3) => handle,
            _ => WorkerHandle {
                slot: u32::try_from(self.random.below(6)).unwrap_or(0),
                generation: u32::try_from(self.random.between(1, 3)).unwrap_or(1),
            },
        };
        let gone = Removal { removed: 1, remaining: 0 };
        let lease = self.lease_digest(fence);
        let report =
            WorkerCleanupReport { fence, lease, workspace: gone, artifacts: gone, logs: gone, scratch: gone };
        let message = match self.random.below(6) {
            0 => WorkerMessage::Heartbeat { worker: handle },
            1 => WorkerMessage::Start { worker: handle, fence },
            2 => WorkerMessage::Renew { worker: handle, fence },
            3 => WorkerMessage::Complete {
                worker: handle,
                fence,
                outcome: RunOutcome::Succeeded,
                claim: OutputClaim { outputs: ArtifactManifest::default(), log: Sha256Digest::of(b"") },
                cleanup: Some(report),
            },
            4 => WorkerMessage::ReportCleanup { worker: handle, report },
            _ => WorkerMessage::AcknowledgeRevocation { worker: handle, fence, cleanup: Some(report) },
        };
        // Numbers of its own, beyond those of its agent.
        let sequence = 1_000_000_000 + self.at;
        let mut bytes = Vec::new();
        let request = WorkerRequest { sequence, message };
        if request.write(&mut bytes).is_err() { Vec::new() } else { bytes }
    }

    /// What is known of a lease to whoever holds it: the digest of one that is in force, or a guess.
    fn lease_digest(&self, fence: Fence) -> Sha256Digest {
        let state = self.process.as_ref().map(|process| process.coordinator.fleet().state());
        let lease = state.and_then(|state| state.live_leases().find(|lease| lease.fence == fence));
        lease.map_or_else(|| Sha256Digest::of(b"a lease"), crate::lease::WorkerLease::digest)
    }
}
