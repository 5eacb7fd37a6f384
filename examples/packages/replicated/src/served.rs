//! leasehold's fleet with a coordinator in front of it: workers, devices and enforcement points speak to whoever leads.

use std::{collections::VecDeque, sync::Arc};

use leasehold::{
    code::{self, Coded as _},
    coordinator::{Coordinator, CoordinatorConfig, CoordinatorInput, CoordinatorOutput},
    fleet::{FleetRecord, FleetState, Follower, JournalBatch, LogId},
    protocol::endpoint::EndpointError,
    time::{Mono, Now},
};

use crate::{
    code::Code,
    fleet::{Fleet, Terms, collect},
    machine::{Failed, Leader, Machine, Proposal, Refused},
};

/// A replica of a fleet that serves peers where it leads.
#[derive(Clone)]
pub struct Served {
    fleet: Fleet,
    config: CoordinatorConfig,
}

impl Served {
    /// `fleet`, with a coordinator of this configuration for each turn of leading.
    pub fn new(fleet: Fleet, config: CoordinatorConfig) -> Self {
        Self { fleet, config }
    }

    /// The state; `None` for a newcomer.
    pub fn state(&self) -> Option<&FleetState> {
        self.fleet.follower().state()
    }
}

impl Machine for Served {
    type Leader = Serving;

    fn apply(&mut self, entry: &[u8]) -> Result<(), Refused> {
        self.fleet.apply(entry)
    }

    fn line(&self) -> Mono {
        self.fleet.line()
    }

    fn snapshot(&self) -> Result<Vec<u8>, Code> {
        self.fleet.snapshot()
    }

    fn load(&self, snapshot: &[u8]) -> Result<Self, Code> {
        Ok(Self { fleet: self.fleet.load(snapshot)?, config: self.config })
    }

    fn lead(self, epoch: u64, now: Now) -> Result<Serving, Failed<Self>> {
        let Self { fleet, config } = self;
        match fleet.lead(epoch, now) {
            Ok(leader) => {
                let (manager, terms) = leader.into_parts();
                let mut serving = Serving {
                    coordinator: Coordinator::new(config, manager),
                    config,
                    terms,
                    outputs: VecDeque::new(),
                    batches: VecDeque::new(),
                    proposed: VecDeque::new(),
                    lasting: VecDeque::new(),
                };
                serving.drain();
                Ok(serving)
            }
            Err(Failed { back, code }) => Err(Failed { back: Self { fleet: back, config }, code }),
        }
    }
}

/// A fleet's coordinator, while its node leads. What it wants written goes into the log; everything else is for the host.
pub struct Serving {
    coordinator: Coordinator,
    config: CoordinatorConfig,
    terms: Arc<Terms>,
    outputs: VecDeque<CoordinatorOutput>,
    batches: VecDeque<JournalBatch>,
    /// Records on their way through the log.
    proposed: VecDeque<(LogId, Vec<FleetRecord>)>,
    /// Records that are committed, until the host has read them.
    lasting: VecDeque<FleetRecord>,
}

impl Serving {
    /// The coordinator.
    pub fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    /// One input; the node's next turn proposes what it led to. The word of durability is the log's, and not for the host.
    ///
    /// # Errors
    /// As [`Coordinator::handle`].
    pub fn give(&mut self, input: CoordinatorInput<'_>, now: Now) -> Result<(), EndpointError> {
        let outcome = self.coordinator.handle(input, now);
        self.drain();
        outcome
    }

    /// The next output. Neither a batch nor the end of a drain is among them.
    pub fn next_output(&mut self) -> Option<CoordinatorOutput> {
        self.outputs.pop_front()
    }

    /// The next record that the log has committed in this turn.
    pub fn next_lasting(&mut self) -> Option<FleetRecord> {
        self.lasting.pop_front()
    }

    fn drain(&mut self) {
        loop {
            match self.coordinator.poll() {
                CoordinatorOutput::Persist(batch) => self.batches.push_back(batch),
                CoordinatorOutput::Wait(_) => return,
                output => self.outputs.push_back(output),
            }
        }
    }
}

impl Leader for Serving {
    type Machine = Served;

    fn propose(&mut self) -> Option<Proposal> {
        let JournalBatch { last, bytes, records, .. } = self.batches.pop_front()?;
        self.proposed.push_back((last, records));
        Some(Proposal { id: last, bytes })
    }

    fn committed(&mut self, id: LogId, now: Now) -> Result<(), Code> {
        self.give(CoordinatorInput::Durable(id), now).map_err(|error| Code::from(error.code()))?;
        while self.proposed.front().is_some_and(|(last, _)| *last <= id) {
            self.lasting.extend(self.proposed.pop_front().into_iter().flat_map(|(_, records)| records));
        }
        Ok(())
    }

    fn snapshot(&self) -> Result<Vec<u8>, Code> {
        collect(self.coordinator.fleet().follower().and_then(Follower::snapshot))
    }

    fn step_down(self) -> Result<Served, Code> {
        let Self { coordinator, config, terms, .. } = self;
        match coordinator.into_fleet().step_down() {
            Ok(follower) => Ok(Served { fleet: Fleet::at(follower, terms), config }),
            Err(_) => Err(code::FLEET_HALTED.into()),
        }
    }
}
