//! The reference model at the same size, with the same share at work: maps and scans, no events, no journal.

use std::hint::black_box;

use leasehold::{fleet::*, testing::World};

use crate::{
    fixture::{BATCH, Meter, Random, letters, rules},
    naive::{Ask, Model, Outputs, Sender},
};

/// The largest fleet that a model of scans is asked about.
pub const LARGEST: usize = 100_000;

pub struct Baseline {
    model: Model,
    peers: Vec<Sender>,
    busy: Vec<usize>,
    random: Random,
    runs: u32,
}

fn bits(letters: &str) -> u8 {
    letters.bytes().fold(0, |set, letter| set | 1 << (letter - b'a'))
}

impl Baseline {
    pub fn new(size: usize) -> Self {
        let mut model = Model::new(1_000, 1, World::policy(rules).into());
        let peers: Vec<_> = (0..size)
            .map(|n| model.enlist(u32::try_from(n).unwrap(), bits(&letters(n)), n % 10 != 0))
            .collect();
        let busy = (0..peers.len()).filter(|n| n % 10 != 0).collect();
        Self { model, peers, busy, random: Random::default(), runs: u32::try_from(size).unwrap() }
    }

    /// Makes one batch of the operation with this name; false where the model has none.
    pub fn run(&mut self, name: &str, count: usize) -> Option<Meter> {
        let run = match name {
            "heartbeat" | "heartbeat_by_id" => Self::heartbeat,
            "renew" => Self::renew,
            "acquire" => Self::acquire,
            "complete" => Self::complete,
            "nothing_due" => Self::nothing_due,
            "counts" => Self::counts,
            _ => return None,
        };
        let mut meter = Meter::default();
        while meter.operations < count as u64 {
            run(self, &mut meter);
        }
        Some(meter)
    }

    fn heartbeat(&mut self, meter: &mut Meter) {
        let messages: Vec<_> = (0..BATCH).map(|_| self.peers[self.random.below(self.peers.len())]).collect();
        meter.measure(BATCH, || {
            for message in messages {
                self.model.heartbeat(message).unwrap();
            }
        });
    }

    fn renew(&mut self, meter: &mut Meter) {
        self.model.now += 1;
        let messages: Vec<_> = (0..BATCH)
            .map(|_| {
                let from = self.peers[self.busy[self.random.below(self.busy.len())]];
                (from, self.model.workers[&from.worker].lease.as_ref().unwrap().fence)
            })
            .collect();
        meter.measure(BATCH, || {
            for (from, fence) in messages {
                black_box(self.model.renew(from, fence)).ok();
            }
        });
    }

    fn churn(&mut self, acquiring: &mut Meter, completing: &mut Meter) {
        self.runs += 1;
        let (run, grant, capabilities) = (self.runs, u64::from(self.runs), bits(&letters(0)));
        let ask = Ask { run, grant, grant_ends: 10_000_000, capabilities, ttl: 1_000_000, on: None };
        let (worker, lease) = acquiring.measure(1, || self.model.acquire(&ask).unwrap());
        let from = self.peers[usize::try_from(worker).unwrap()];
        self.model.start(from, lease.fence).unwrap();
        completing.measure(1, || {
            self.model
                .complete(from, lease.fence, RunOutcome::Succeeded, Outputs::Fine, Some(Ok(())))
                .unwrap();
        });
    }

    fn acquire(&mut self, meter: &mut Meter) {
        self.churn(meter, &mut Meter::aside());
    }

    fn complete(&mut self, meter: &mut Meter) {
        self.churn(&mut Meter::aside(), meter);
    }

    fn nothing_due(&mut self, meter: &mut Meter) {
        meter.measure(1, || black_box(self.model.is_due()));
    }

    fn counts(&mut self, meter: &mut Meter) {
        meter.measure(1, || black_box(self.model.counts()));
    }
}
