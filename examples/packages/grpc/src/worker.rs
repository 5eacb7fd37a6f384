//! The worker's process: one task owns the library's agent, which says what may run, and when it must stop.
//!
//! What blocks, which is the work itself, has threads of its own.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use leasehold::{
    agent::{Agent, AgentAct, AgentConfig, AgentEvent},
    attestation::EvidenceForm,
    lease::Fence,
    protocol::endpoint::{Endpoint, EndpointError, Input, Output},
    shell::SystemClock,
    time::Clock,
};
use tokio::{
    sync::mpsc::{Receiver, Sender, UnboundedSender, channel, unbounded_channel},
    task::AbortHandle,
};

use crate::{
    Failure, block_on, boot,
    child::{self, Order},
    client, evidence,
    held_work::{HeldWork, Next, Run},
    work::Made,
};

/// How long a worker waits before it connects again.
const AGAIN: Duration = Duration::from_millis(100);

/// What the worker's task hears of.
enum Event {
    /// Bytes of the stream of that number; `None`: it is over.
    Stream(u64, Option<Vec<u8>>),
    /// The run under this lease is over.
    Ran(Fence, Made),
    /// The supervisor.
    Order(Order),
}

/// This side of a stream. Dropped, it ends.
struct Link {
    say: UnboundedSender<Vec<u8>>,
    reader: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

struct Worker {
    boot: boot::Worker,
    clock: SystemClock,
    agent: Agent,
    config: Arc<rustls::ClientConfig>,
    events: Sender<Event>,
    link: Option<Link>,
    connection: u64,
    held_work: HeldWork,
}

/// The worker's process.
pub fn run() -> Result<(), Failure> {
    let boot: boot::Worker = child::boot()?;
    let clock = SystemClock::start();
    let config = boot.config_of(&boot.identity)?;
    let agent = AgentConfig::new(boot.paired.worker.clone(), boot.coordinator.fingerprint, clock.now().wall);
    let (events, heard) = channel(256);
    let orders = events.clone();
    child::orders(move |order| {
        let _ = orders.blocking_send(Event::Order(order));
    });
    let agent = Agent::new(agent);
    let held_work = HeldWork::new(boot.paired.clone());
    let worker = Worker { boot, clock, agent, config, events, link: None, connection: 0, held_work };
    block_on(worker.work(heard))
}

impl Worker {
    async fn work(mut self, mut heard: Receiver<Event>) -> Result<(), Failure> {
        let mut connect_at = tokio::time::Instant::now();
        loop {
            if self.link.is_none() && tokio::time::Instant::now() >= connect_at {
                connect_at = tokio::time::Instant::now() + AGAIN;
                self.connect().await?;
            }
            let due = self.agent.next_deadline().map(|due| due.since(self.clock.now().mono));
            let wait = due.map_or(AGAIN, |due| Duration::from_millis(due.0).min(AGAIN));
            match tokio::time::timeout(wait, heard.recv()).await {
                Ok(None | Some(Event::Order(Order::Stop))) => {
                    // What is in hand ends with this process; the coordinator sees it go.
                    self.link = None;
                    return Ok(());
                }
                Ok(Some(event)) => self.take(event)?,
                Err(_) => self.give(Input::Timeout)?,
            }
        }
    }

    /// One try. A coordinator that is not there is asked again later.
    async fn connect(&mut self) -> Result<(), Failure> {
        let (say, queue) = unbounded_channel();
        // Whoever is no device of the fleet hears a refusal or nothing, and tries again.
        let Ok((peer, mut said)) = client::connect(self.boot.coordinator.port, &self.config, queue).await
        else {
            return Ok(());
        };
        self.connection += 1;
        let (number, events) = (self.connection, self.events.clone());
        let reader = tokio::spawn(async move {
            while let Ok(Some(piece)) = said.message().await {
                let _ = events.send(Event::Stream(number, Some(piece.frames))).await;
            }
            let _ = events.send(Event::Stream(number, None)).await;
        });
        self.link = Some(Link { say, reader: reader.abort_handle() });
        self.give(Input::Connected { peer })
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            // A stream that was given up may still have said something.
            Event::Stream(number, _) if number != self.connection || self.link.is_none() => Ok(()),
            Event::Stream(_, Some(bytes)) => self.give(Input::Received(&bytes)),
            Event::Stream(_, None) => {
                self.link = None;
                self.give(Input::Closed)
            }
            Event::Ran(fence, made) => {
                let next = self.held_work.ran(fence, made)?;
                self.carry_out(next)
            }
            // Who gets no new work is for the coordinator to say.
            Event::Order(_) => Ok(()),
        }
    }

    /// One input, its drain, and what the drain's events lead to.
    fn give(&mut self, input: Input<'_, AgentAct>) -> Result<(), Failure> {
        match Endpoint::handle(&mut self.agent, input, self.clock.now()) {
            Ok(()) | Err(EndpointError::NotNow(_)) => {}
            Err(error) => return Err(Failure::coded(error)),
        }
        let mut events = VecDeque::new();
        loop {
            match self.agent.poll() {
                Output::Send(bytes) => {
                    if let Some(link) = &self.link {
                        // A stream that is gone is reported by its reader.
                        let _ = link.say.send(bytes);
                    }
                }
                Output::Close(_) => self.link = None,
                Output::Event(event) => events.push_back(event),
                Output::Wait(_) => break,
                other => return Err(Failure::new(format!("an output that is not known: {other:?}"))),
            }
        }
        events.into_iter().try_for_each(|event| self.event(event))
    }

    fn event(&mut self, event: AgentEvent) -> Result<(), Failure> {
        let next = match event {
            AgentEvent::Challenged { nonce, .. } => vec![Next::Act(self.evidence(nonce)?)],
            event => self.held_work.event(event)?,
        };
        self.carry_out(next)
    }

    fn carry_out(&mut self, next: Vec<Next>) -> Result<(), Failure> {
        next.into_iter().try_for_each(|next| match next {
            Next::Act(act) => self.give(Input::Act(act)),
            Next::Run(run) => {
                self.begin(*run);
                Ok(())
            }
        })
    }

    /// Signed evidence of what runs here, over the coordinator's nonce. There is no proxy to be asked for its word.
    fn evidence(&self, nonce: Vec<u8>) -> Result<AgentAct, Failure> {
        let evidence = evidence::make(&self.boot, None, self.boot.image, &nonce, self.clock.now().wall)?;
        Ok(AgentAct::Evidence { nonce, form: EvidenceForm::Dsse, evidence, attachments: Vec::new() })
    }

    fn begin(&self, run: Run) {
        let (events, fence) = (self.events.clone(), run.fence);
        tokio::task::spawn_blocking(move || {
            let made = run.perform(|_| Err(Failure::new("there is no way out of this fleet")));
            let _ = events.blocking_send(Event::Ran(fence, made));
        });
    }
}
