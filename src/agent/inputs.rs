//! The inputs of a lease as they arrive: hashed, and compared with what the lease names.

use alloc::collections::BTreeMap;

use crate::{
    code::{self, Code, Coded as _},
    lease::{ArtifactManifest, ArtifactReceiver, RelativePath},
};

/// What has arrived.
#[derive(Debug)]
pub(super) struct Inputs {
    receiver: ArtifactReceiver,
    offsets: BTreeMap<RelativePath, u64>,
    wanted: ArtifactManifest,
}

fn total(manifest: &ArtifactManifest) -> u64 {
    manifest.entries().iter().fold(0, |sum, entry| sum.saturating_add(entry.bytes))
}

impl Inputs {
    pub(super) fn new(wanted: &ArtifactManifest) -> Self {
        let receiver = ArtifactReceiver::new(total(wanted));
        Self { receiver, offsets: BTreeMap::new(), wanted: wanted.clone() }
    }

    /// Takes the next piece of a file.
    pub(super) fn take(&mut self, path: &RelativePath, offset: u64, content: &[u8]) -> Result<(), Code> {
        if !self.wanted.entries().iter().any(|entry| entry.path == *path) {
            return Err(code::INPUT_MISMATCH);
        }
        let at = self.offsets.entry(path.clone()).or_default();
        if *at != offset {
            return Err(code::CHUNK_GAP);
        }
        self.receiver.output(path, content).map_err(|error| error.code())?;
        *at = at.saturating_add(content.len() as u64);
        Ok(())
    }

    /// Whether everything is there; an error where it is all there and not what the lease names.
    pub(super) fn are_complete(&self) -> Result<bool, Code> {
        let arrived = self.offsets.values().fold(0_u64, |sum, bytes| sum.saturating_add(*bytes));
        if self.offsets.len() < self.wanted.entries().len() || arrived < total(&self.wanted) {
            return Ok(false);
        }
        match self.receiver.clone().finish() {
            Ok(received) if *received.outputs() == self.wanted => Ok(true),
            _ => Err(code::INPUT_MISMATCH),
        }
    }
}
