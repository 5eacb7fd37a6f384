//! A disk that keeps what was synced, and at best a part of what was not.

use crate::{
    node::WriteId,
    sim::random::Random,
    stored::{Stored, Write},
};

/// The store of one node.
#[derive(Debug, Default)]
pub struct SimDisk {
    lasts: Stored,
    /// Writes that were begun, and when each has lasted.
    begun: Vec<(u64, WriteId, Write)>,
    /// What lasted before the last few writes: a lost disk is one that goes back to this.
    past: Vec<Stored>,
}

impl SimDisk {
    /// A disk that holds `stored`.
    pub fn holding(stored: Stored) -> Self {
        Self { lasts: stored, ..Self::default() }
    }

    /// Begins a write that has lasted at `at`.
    pub fn begin(&mut self, at: u64, id: WriteId, write: Write) {
        self.begun.push((at, id, write));
    }

    /// The writes that have lasted by `now`.
    pub fn finish(&mut self, now: u64) -> Vec<WriteId> {
        let mut finished = Vec::new();
        while self.begun.first().is_some_and(|(at, ..)| *at <= now) {
            let (_, id, write) = self.begun.remove(0);
            self.past.push(self.lasts.clone());
            if self.past.len() > 40 {
                self.past.remove(0);
            }
            self.lasts.apply(&write);
            finished.push(id);
        }
        finished
    }

    /// The process is gone: what it had written, the system writes.
    pub fn kill(&mut self) {
        self.finish(u64::MAX);
    }

    /// Power is gone: each write that has not lasted is there only if all before it are, and by chance.
    pub fn power_loss(&mut self, random: &mut Random) {
        while !self.begun.is_empty() && random.percent(50) {
            let until = self.begun.first().map_or(0, |(at, ..)| *at);
            self.finish(until);
        }
        self.begun.clear();
    }

    /// A disk that loses what it called synced.
    pub fn lose(&mut self) {
        self.begun.clear();
        if let Some(past) = self.past.first() {
            self.lasts = past.clone();
        }
        self.past.clear();
    }

    /// What a start finds.
    pub fn stored(&self) -> Stored {
        self.lasts.clone()
    }
}
