//! The bound on connections of one server.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The places for connections. Clones are the same places.
#[derive(Clone)]
pub struct ConnectionLimit {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// A place among the connections; free again when it is dropped.
pub struct ConnectionSlot(Arc<AtomicUsize>);

impl ConnectionLimit {
    /// So many places, all free.
    pub fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// A place, where one is free.
    pub fn take(&self) -> Option<ConnectionSlot> {
        let slot = ConnectionSlot(Arc::clone(&self.taken));
        // Counted first and given back if that was one too many: two threads can never both get the last place.
        (self.taken.fetch_add(1, Ordering::Relaxed) < self.most).then_some(slot)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
