//! A machine of the simulation: a node or none, its disk, and its clocks.

use std::collections::{BTreeMap, VecDeque};

use leasehold::time::{Millis, Wall};

use super::{Refusal, ask::Held, disk::SimDisk, planted::SimMachine, random::Random};
use crate::node::{Local, Node, ReadId};

/// What every wall clock shows at the beginning, but for its error.
pub(super) const WALL: u64 = 1_764_000_100_000;

pub(super) struct Host {
    pub(super) node: Option<Node<SimMachine>>,
    pub(super) disk: SimDisk,
    pub(super) life: u64,
    /// Milliseconds by which its monotonic clock is ahead, parts per million by which it is fast, and its wall clock's error.
    pub(super) clock: (u64, i64, i64),
    pub(super) held: VecDeque<Held>,
    pub(super) refusals: Vec<Refusal>,
    pub(super) reads: BTreeMap<ReadId, (usize, u64)>,
    pub(super) patience: usize,
    /// Nothing happens in its process before then, and everything that came meanwhile happens after that.
    pub(super) paused: u64,
    pub(super) gone: bool,
}

impl Host {
    pub(super) fn local(&self, now: u64) -> Local {
        let (ahead, ppm, wall) = self.clock;
        let drift = i64::try_from(now).unwrap_or(0) * ppm / 1_000_000;
        Local {
            mono: Millis(now.saturating_add(ahead).saturating_add_signed(drift)),
            wall: Wall(WALL.saturating_add(now).saturating_add_signed(wall)),
        }
    }

    /// One that does not run yet, with clocks of its own.
    pub(super) fn new(disk: SimDisk, random: &mut Random) -> Self {
        let signed = |random: &mut Random, most: u64| {
            i64::try_from(random.below(2 * most + 1)).unwrap_or(0) - i64::try_from(most).unwrap_or(0)
        };
        Self {
            node: None,
            disk,
            life: 0,
            clock: (random.below(1_000_000), signed(random, 5_000), signed(random, 400)),
            held: VecDeque::new(),
            refusals: Vec::new(),
            reads: BTreeMap::new(),
            patience: usize::try_from(random.range(10, 30)).unwrap_or(10),
            paused: 0,
            gone: false,
        }
    }
}
