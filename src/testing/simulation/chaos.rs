//! What goes wrong, and how often.

use super::parts::{Happening, Peer, Simulation, clock};
use crate::coordinator::CoordinatorInput;

/// Prefixes of a write that are tried at each crash besides the one that stays, where nobody asks for more.
const TRIED: usize = 3;

impl Simulation {
    /// One thing goes wrong.
    pub(super) fn strike(&mut self) {
        let what = self.random.below(100);
        self.note("strike", what, &[]);
        match what {
            0..=19 => self.cut_somebody(),
            20..=27 => self.stall_somebody(),
            28..=29 => self.storm(),
            30..=37 => self.crash(),
            38..=43 => self.pause(),
            44..=47 => self.fail_a_write(),
            48..=52 => self.snapshot(),
            53..=59 => self.kill_a_peer(),
            60..=67 => self.jump(),
            68..=82 => self.attack(),
            _ if self.is_up() => self.meddle(),
            _ => {}
        }
        let after = self.random.between(1, self.beat());
        self.later(after, Happening::Strike);
    }

    fn somebody(&mut self) -> usize {
        self.random.index(self.peers.len())
    }

    fn cut_somebody(&mut self) {
        let peer = self.somebody();
        if let Some(id) = self.network.of_peer(peer).filter(|id| !self.network.wires[id].cut) {
            self.counts.cuts += 1;
            self.cut(id);
        }
    }

    fn stall_somebody(&mut self) {
        let peer = self.somebody();
        let until = self.at + self.random.below(self.beat() * 8);
        if let Some(id) = self.network.of_peer(peer)
            && let Some(wire) = self.network.wires.get_mut(&id)
        {
            wire.stalled_until = until;
            self.counts.stalls += 1;
        }
    }

    fn storm(&mut self) {
        self.counts.storms += 1;
        self.network.delay = self.random.between(self.beat() / 2, self.beat() * 3);
        let after = self.random.below(self.beat() * 10);
        self.later(after, Happening::Calm);
    }

    /// The coordinator's process dies. Any part of what it was writing is left.
    pub(super) fn crash(&mut self) {
        let Some(process) = self.process.take() else { return };
        self.counts.crashes += 1;
        self.counts.torn += u64::from(process.writing.is_some());
        process.die(&self.disk);
        let unsynced = self.disk.unsynced();
        for tried in 0..TRIED {
            let kept = match tried {
                0 => 0,
                1 => unsynced,
                _ => self.random.index(unsynced + 1),
            };
            let found = self.try_prefix(kept);
            self.hold(found);
        }
        let kept = self.random.index(unsynced + 1);
        self.note("crash", kept as u64, &[]);
        self.disk.restart(kept);
        self.lose_process();
    }

    /// Nobody is there any more: every connection ends, and another process begins after a while.
    fn lose_process(&mut self) {
        // What was meant for the process is lost with it; whoever wanted to reach it tries again.
        for waiting in self.paused.take().unwrap_or_default() {
            if matches!(waiting, Happening::Connect(_) | Happening::Local) {
                self.later(1, waiting);
            }
        }
        self.down_since = self.at;
        let open: alloc::vec::Vec<_> = self.network.wires.keys().copied().collect();
        for id in open {
            if let Some(wire) = self.network.wires.get_mut(&id) {
                wire.open_at_coordinator = false;
            }
            self.cut(id);
        }
        let after = self.random.below(self.beat() * 4);
        self.later(after, Happening::Restart);
    }

    /// The process stands still; what comes for it waits.
    fn pause(&mut self) {
        if !self.is_up() {
            return;
        }
        self.counts.pauses += 1;
        self.paused = Some(alloc::collections::VecDeque::new());
        let after = self.random.below(self.beat() * 6);
        self.later(after, Happening::Resume(self.epoch));
    }

    /// A write fails, so only recovery goes on.
    fn fail_a_write(&mut self) {
        if !self.is_up() || self.process.as_ref().is_none_or(|process| process.writing.is_none()) {
            return;
        }
        self.counts.failed_writes += 1;
        self.tell(CoordinatorInput::JournalFailed);
        self.crash();
    }

    /// A snapshot replaces what the journal holds.
    fn snapshot(&mut self) {
        if let Some(process) = &mut self.process {
            self.counts.snapshots += 1;
            let done = process.compact();
            self.hold(done);
        }
    }

    fn kill_a_peer(&mut self) {
        let at = self.somebody();
        if let Some(id) = self.network.of_peer(at) {
            self.cut(id);
            if let Some(wire) = self.network.wires.get_mut(&id) {
                wire.open_at_peer = false;
            }
        }
        let fresh = clock(self.at, self.drift, &mut self.random);
        match &mut self.peers[at] {
            Peer::Worker(worker) => {
                worker.restart(fresh);
                self.counts.worker_deaths += 1;
            }
            Peer::Enforcement(point) => {
                point.restart(fresh);
                self.counts.gate_deaths += 1;
            }
        }
        self.reconnect(at);
    }

    /// A wall clock shows something else from here on.
    fn jump(&mut self) {
        let span = match self.random.below(3) {
            0 => self.random.below(1_000),
            1 => self.random.below(60_000),
            _ => self.random.below(600_000),
        };
        let by = i64::try_from(span).unwrap_or(0);
        let by = if self.random.one_in(2) { by } else { -by };
        self.counts.wall_jumps += 1;
        self.largest_jump = self.largest_jump.max(span);
        if self.random.one_in(3) {
            self.ahead = by;
            if let Some(process) = &mut self.process {
                process.clock.ahead = by;
            }
        } else {
            let at = self.somebody();
            self.peers[at].clock().ahead = by;
        }
    }
}
