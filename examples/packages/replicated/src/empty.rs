//! A machine that holds nothing: what the engine alone costs is measured with it.

use std::collections::VecDeque;

use leasehold::{
    fleet::LogId,
    lease::Epoch,
    time::{Mono, Now},
};

use crate::code::Code;
use crate::machine::{Failed, Leader, Machine, Proposal, Refused};

/// It counts entries, and looks into none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Empty {
    /// How many entries were applied.
    pub applied: u64,
}

impl Machine for Empty {
    type Leader = EmptyLeader;

    fn apply(&mut self, _: &[u8]) -> Result<(), Refused> {
        self.applied += 1;
        Ok(())
    }

    fn line(&self) -> Mono {
        Mono::START
    }

    fn snapshot(&self) -> Result<Vec<u8>, Code> {
        Ok(self.applied.to_be_bytes().to_vec())
    }

    fn load(&self, snapshot: &[u8]) -> Result<Self, Code> {
        let bytes = snapshot.try_into().map_err(|_| leasehold::code::JOURNAL_DAMAGED)?;
        Ok(Self { applied: u64::from_be_bytes(bytes) })
    }

    fn lead(self, epoch: u64, _: Now) -> Result<EmptyLeader, Failed<Self>> {
        Ok(EmptyLeader { machine: self, epoch: Epoch(epoch), asked: self.applied, next: VecDeque::new() })
    }
}

/// It proposes what it is given.
#[derive(Debug)]
pub struct EmptyLeader {
    machine: Empty,
    epoch: Epoch,
    asked: u64,
    next: VecDeque<Proposal>,
}

impl EmptyLeader {
    /// Wants `bytes` in the log; gives the name of the entry.
    pub fn ask(&mut self, bytes: Vec<u8>) -> LogId {
        self.asked += 1;
        let id = LogId::new(self.epoch, self.asked);
        self.next.push_back(Proposal { id, bytes });
        id
    }

    /// How many entries are applied.
    pub fn applied(&self) -> u64 {
        self.machine.applied
    }
}

impl Leader for EmptyLeader {
    type Machine = Empty;

    fn propose(&mut self) -> Option<Proposal> {
        self.next.pop_front()
    }

    fn committed(&mut self, id: LogId, _: Now) -> Result<(), Code> {
        self.machine.applied = id.index;
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>, Code> {
        self.machine.snapshot()
    }

    fn step_down(self) -> Result<Empty, Code> {
        Ok(self.machine)
    }
}
