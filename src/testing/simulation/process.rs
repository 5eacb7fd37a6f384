//! The coordinator's process and its disk: it writes, dies in the middle of that, and comes back from what is there.

use alloc::{format, string::String};

use super::{
    clocks::LocalClock,
    disk::SimDisk,
    report::{Breach, breach},
    terms,
};
use crate::{
    code::Coded as _,
    coordinator::{Coordinator, CoordinatorConfig},
    digest::Sha256Digest,
    fleet::{FleetState, JournalBatch, WorkerFleetManager, WorkerFleetPolicy},
    lease::Epoch,
    shell::{FileJournal, Journal as _, compact, replay},
    time::{Millis, Now},
};

/// A coordinator that runs.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) coordinator: Coordinator,
    pub(super) clock: LocalClock,
    /// A batch on its way to the disk.
    pub(super) writing: Option<JournalBatch>,
    journal: FileJournal<SimDisk>,
}

/// How its machine tells what time it is when the process begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reckoning {
    /// How long it was down, where a boot clock says so.
    pub(super) down: Option<Millis>,
    /// What the wall clock is ahead by.
    pub(super) ahead: i64,
    pub(super) ppm: i64,
}

impl Reckoning {
    /// The line goes on from its last entry: later by the larger of what the boot clock and the wall clock say, as
    /// [`SystemClock::resume`](crate::shell::SystemClock::resume) has it.
    fn clock(&self, at: u64, last: Option<Now>) -> LocalClock {
        let wall = super::clocks::right_wall(at).0.saturating_add_signed(self.ahead);
        let base = match last {
            Some(last) => {
                let by_wall = Millis(wall.saturating_sub(last.wall.0));
                last.mono.plus(by_wall.max(self.down.unwrap_or(Millis::ZERO)))
            }
            None => crate::time::Mono(1_000),
        };
        LocalClock::new(at, base, self.ppm, self.ahead)
    }
}

/// What a recovery began from.
#[derive(Debug)]
pub(super) struct Recovered {
    /// The index of the last record that was there, and the state that it led to.
    pub(super) last: Option<(u64, Sha256Digest)>,
}

/// Reads what a disk holds, as a process does that begins.
pub(super) fn read(disk: &SimDisk) -> Result<Recovered, Breach> {
    let refused = |code: crate::code::Code| breach(8, format!("what was written is not read again: {code}"));
    let mut journal = FileJournal::open_on(disk.clone()).map_err(|error| refused(error.code()))?;
    let stored = replay(&mut journal, terms::INDEX_KEY).map_err(|error| refused(error.code()))?;
    Ok(Recovered { last: stored.state().map(|state| (state.index(), state.digest())) })
}

impl Process {
    /// Begins on what the disk holds: founds the fleet there, or recovers it.
    pub(super) fn begin(
        disk: &SimDisk,
        config: CoordinatorConfig,
        policy: &WorkerFleetPolicy,
        epoch: Epoch,
        at: u64,
        reckoning: Reckoning,
    ) -> Result<(Self, Recovered), Breach> {
        let refused = |error: String| breach(8, format!("a coordinator does not come back: {error}"));
        let mut journal = FileJournal::open_on(disk.clone()).map_err(|error| refused(format!("{error}")))?;
        let stored = replay(&mut journal, terms::INDEX_KEY).map_err(|error| refused(format!("{error}")))?;
        let last = stored.state().map(FleetState::last);
        let recovered = Recovered { last: stored.state().map(|state| (state.index(), state.digest())) };
        let clock = reckoning.clock(at, last);
        let now = clock.now(at);
        let manager = match last {
            Some(_) => stored.recover(terms::setup(), epoch, now),
            None => WorkerFleetManager::found(policy.clone(), terms::setup(), epoch, now),
        };
        let manager = manager.map_err(|error| refused(format!("{error}")))?;
        let coordinator = Coordinator::new(config, manager);
        Ok((Self { coordinator, clock, writing: None, journal }, recovered))
    }

    /// The batch on its way is on the disk. False: the write failed.
    pub(super) fn write(&mut self, batch: &JournalBatch) -> bool {
        self.journal.append(batch.last.index, &batch.bytes).is_ok()
    }

    /// Replaces what the journal holds by a snapshot.
    pub(super) fn compact(&mut self) -> Result<(), Breach> {
        let failed = |error: String| breach(8, format!("the journal is not replaced by a snapshot: {error}"));
        let sealed = self.journal.seal().map_err(|error| failed(format!("{error}")))?;
        compact(sealed, terms::INDEX_KEY).map_err(|error| failed(format!("{error}")))?;
        Ok(())
    }

    /// Dies while `disk` holds a part of the batch on its way.
    pub(super) fn die(mut self, disk: &SimDisk) {
        disk.begin_to_fail();
        if let Some(batch) = self.writing.take() {
            let _ = self.journal.append(batch.last.index, &batch.bytes);
        }
    }
}
