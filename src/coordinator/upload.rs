//! What a worker sends back under one lease, over one connection: hashed as it arrives.

use alloc::collections::BTreeMap;

use crate::{
    code::{self, Code, Coded as _},
    lease::{ArtifactReceiver, ArtifactTransport, Fence, ReceivedArtifacts},
    protocol::chunk::Stream,
};

/// The outputs and the log of one lease.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) fence: Fence,
    receiver: ArtifactReceiver,
    offsets: BTreeMap<Stream, u64>,
    /// After a refused piece nothing more is taken; what is there will not be what is claimed.
    failed: bool,
}

impl Upload {
    pub(super) fn new(fence: Fence, allowed: &ArtifactTransport) -> Self {
        let limit = allowed.max_output_bytes.saturating_add(allowed.max_log_bytes);
        Self { fence, receiver: ArtifactReceiver::new(limit), offsets: BTreeMap::new(), failed: false }
    }

    /// Takes the next piece. `Ok(false)`: it is not wanted any more.
    pub(super) fn take(&mut self, stream: &Stream, offset: u64, content: &[u8]) -> Result<bool, Code> {
        if self.failed {
            return Ok(false);
        }
        let at = self.offsets.get(stream).copied().unwrap_or_default();
        if offset != at {
            return Err(code::CHUNK_GAP);
        }
        let taken = match stream {
            Stream::Output(path) => self.receiver.output(path, content),
            Stream::Log => self.receiver.log(content),
            Stream::Input(_) => return Err(code::FRAME_DIRECTION),
        };
        match taken {
            Ok(()) => {
                self.offsets.insert(stream.clone(), at.saturating_add(content.len() as u64));
                Ok(true)
            }
            Err(error) => {
                self.failed = true;
                Err(error.code())
            }
        }
    }

    /// What has arrived so far.
    pub(super) fn received(&self) -> Option<ReceivedArtifacts> {
        self.receiver.clone().finish().ok()
    }
}
