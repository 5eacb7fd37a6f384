//! What each client holds. It is counted, so that every client keeps within its share.

use crate::{id::ClientId, slab::Keyed};

/// How many requests a client holds, and their bytes. Derived from the requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientUse {
    client: ClientId,
    pub(super) requests: u32,
    pub(super) bytes: u64,
}

impl Keyed for ClientUse {
    fn key(&self) -> &[u8] {
        self.client.as_str().as_bytes()
    }
}

impl ClientUse {
    pub(super) fn new(client: ClientId) -> Self {
        Self { client, requests: 0, bytes: 0 }
    }

    /// Adds a request with its bytes.
    pub(super) fn more(&mut self, bytes: u64) {
        self.requests = self.requests.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Removes a request with its bytes. Returns whether it was the last.
    pub(super) fn less(&mut self, bytes: u64) -> bool {
        self.requests = self.requests.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.requests == 0
    }

    /// Notes that a request holds `after` bytes instead of `before`.
    pub(super) fn changed(&mut self, before: u64, after: u64) {
        self.bytes = self.bytes.saturating_sub(before).saturating_add(after);
    }
}
