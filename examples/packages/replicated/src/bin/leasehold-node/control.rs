//! What a node does while it leads: the service that uses the fleet, deliveries, and what may leave for clients.
//!
//! What rests on a record leaves when the log has committed it, which the coordinator sees to. Everything for clients then
//! waits for a quorum to confirm the lead, refusals and answers to heartbeats included: a leader that was cut off and does
//! not know it yet says nothing.

use std::collections::{BTreeMap, VecDeque};

use leasehold::{
    coordinator::{CoordinatorInput, CoordinatorOutput, OperatorCommand, RequestTag, ServiceRequest},
    fleet::{FleetState, WorkerFleetPolicyForm},
    id::ClientId,
    protocol::endpoint::EndpointError,
    time::{Mono, Now},
};
use replicated::{ReadId, Serving};

use crate::{
    Failure,
    jobs::Job,
    operator::Reply,
    process_log::{LogEntry, tell},
    service::{self, Delivery, Service},
};

/// The tags of operators' commands begin here; the service counts from 1.
const OPERATORS: u64 = 1 << 60;
/// Who gives the operator's commands.
const OPERATOR: &str = "fleet-example-operator";

/// What surrounds the coordinator during a turn of leading.
pub struct Control {
    service: Service,
    deliveries: VecDeque<Delivery>,
    /// Deliveries whose connection has to take something first.
    stalled: VecDeque<Delivery>,
    /// What is for clients, and has not been asked about.
    unconfirmed: Vec<CoordinatorOutput>,
    /// What leaves when this read is confirmed.
    asking: Option<(ReadId, Vec<CoordinatorOutput>)>,
    /// Operators who wait for their answer.
    asked: BTreeMap<RequestTag, Reply>,
    tags: u64,
}

impl Control {
    /// A turn that goes on where `state` is.
    pub fn begin(jobs: Vec<Job>, state: &FleetState, now: Mono) -> Result<Self, Failure> {
        let ttl = WorkerFleetPolicyForm::from(state.policy().clone()).lease.ttl_max_ms;
        let (service, entries) = Service::new(jobs, state, ttl, now)?;
        entries.iter().for_each(tell);
        Ok(Self {
            service,
            deliveries: VecDeque::new(),
            stalled: VecDeque::new(),
            unconfirmed: Vec::new(),
            asking: None,
            asked: BTreeMap::new(),
            tags: OPERATORS,
        })
    }

    /// When the service wants to try again.
    pub fn next_try(&self) -> Option<Mono> {
        self.service.next_try()
    }

    /// How many jobs wait, and how many are leased.
    pub fn jobs(&self) -> (usize, usize) {
        self.service.jobs()
    }

    /// Carries out everything that can be done now. What is for clients is kept until [`Self::confirmed`].
    pub fn work(&mut self, serving: &mut Serving, now: Now) -> Result<(), Failure> {
        loop {
            while let Some(output) = serving.next_output() {
                self.take(output, now.mono);
            }
            while let Some(record) = serving.next_lasting() {
                self.service.lasting(&record).iter().for_each(tell);
            }
            if !self.deliver(serving, now)? && !self.ask(serving, now)? {
                break;
            }
        }
        if self.service.is_over() {
            tell(&LogEntry::AllEnded);
        }
        Ok(())
    }

    fn take(&mut self, output: CoordinatorOutput, now: Mono) {
        match output {
            CoordinatorOutput::Answer { tag, answer } if tag.0 <= OPERATORS => {
                self.service.answered(tag, &answer, now).iter().for_each(tell);
            }
            CoordinatorOutput::InputsWanted { fence } => {
                self.deliveries.retain(|delivery| delivery.fence != fence);
                self.stalled.retain(|delivery| delivery.fence != fence);
                self.deliveries.extend(self.service.deliver(fence));
            }
            CoordinatorOutput::Artifact { fence, stream, offset, content } => {
                self.service.artifact(fence, stream, offset, &content);
            }
            CoordinatorOutput::Event(event) => service::note_of(event).iter().for_each(tell),
            output => self.unconfirmed.push(output),
        }
    }

    /// The next piece of an input. False: there is none.
    fn deliver(&mut self, serving: &mut Serving, now: Now) -> Result<bool, Failure> {
        let Some(mut delivery) = self.deliveries.pop_front() else { return Ok(false) };
        let Some((path, content)) = delivery.piece() else { return Ok(true) };
        match serving.give(CoordinatorInput::Deliver { fence: delivery.fence, path, content }, now) {
            Ok(()) => {
                delivery.taken();
                self.deliveries.push_front(delivery);
            }
            // Goes on when a connection has taken some of what waits.
            Err(EndpointError::Full) => self.stalled.push_back(delivery),
            // The lease is over, or its holder is gone and will ask again.
            Err(EndpointError::NotNow(_)) => {}
            Err(error) => return Err(Failure::coded(error)),
        }
        Ok(true)
    }

    /// Asks for a lease, where there are a job and a worker for it. False: there are not.
    fn ask(&mut self, serving: &mut Serving, now: Now) -> Result<bool, Failure> {
        if serving.coordinator().fleet().state().counts().available == 0 {
            return Ok(false);
        }
        let Some((tag, acquire)) = self.service.ask(now)? else { return Ok(false) };
        let client = ClientId::new("fleet-example").map_err(Failure::coded)?;
        let request = ServiceRequest::Acquire(Box::new(acquire));
        let input = CoordinatorInput::Service { tag, client, sequence: None, request };
        serving.give(input, now).map_err(Failure::coded)?;
        Ok(true)
    }

    /// A connection has taken some of what waited: what was stalled goes on.
    pub fn sent(&mut self) {
        self.deliveries.append(&mut self.stalled);
    }

    /// An operator's command; `reply` is answered when that is committed and confirmed.
    pub fn command(
        &mut self,
        serving: &mut Serving,
        command: OperatorCommand,
        reply: Reply,
        now: Now,
    ) -> Result<(), Failure> {
        self.tags += 1;
        let tag = RequestTag(self.tags);
        self.asked.insert(tag, reply);
        let client = ClientId::new(OPERATOR).map_err(Failure::coded)?;
        let input = CoordinatorInput::Operator { tag, client, sequence: None, command };
        serving.give(input, now).map_err(Failure::coded)
    }

    /// Who waits for this answer.
    pub fn asker(&mut self, tag: RequestTag) -> Option<Reply> {
        self.asked.remove(&tag)
    }

    /// Whether something for clients waits, and nobody has asked a quorum about it yet.
    pub fn wants_quorum(&self) -> bool {
        self.asking.is_none() && !self.unconfirmed.is_empty()
    }

    /// A quorum is asked under this name.
    pub fn asks(&mut self, read: ReadId) {
        self.asking = Some((read, std::mem::take(&mut self.unconfirmed)));
    }

    /// A quorum has confirmed the lead: what leaves now.
    pub fn confirmed(&mut self, read: ReadId) -> Vec<CoordinatorOutput> {
        self.asking.take_if(|(id, _)| *id == read).map(|(_, outputs)| outputs).unwrap_or_default()
    }

    /// No quorum has, in time. True: it was this turn's question, and what waited for it is lost.
    pub fn unconfirmed(&mut self, read: ReadId) -> bool {
        self.asking.take_if(|(id, _)| *id == read).is_some()
    }
}
