//! The coordinator's process: one thread owns the library's coordinator, and nobody else touches it.
//!
//! Connections, the journal and the supervisor have threads of their own, which speak to it through one channel. The
//! journal's thread writes one batch at a time; what is accepted meanwhile shares the next one. What is the same however
//! connections are made is in [`crate::control`].

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, TcpListener},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
};

use leasehold::{
    code::Coded,
    coordinator::{
        ConnectionId, CoordinatorInput, CoordinatorOutput, LocalAnswer, OperatorCommand, RequestTag,
    },
    fleet::{LogId, ManageDevice, QuarantineWorker, SetPolicy, WorkerFleetPolicy},
    id::DeviceId,
    identity::{DeviceCommand, DeviceKind, RevocationReason, RevocationSubject},
};

use crate::{
    Failure, boot,
    child::{self, Order},
    console::{Answer, Asked, Console},
    control::ControlPlane,
    link::{Heard, Link},
    pairing::{self, Pairing},
    policy,
    process_log::{LogEntry, tell},
    server::{self, Arrival, ConnectionSlot},
    tls,
};

mod authorities;
mod operator;
mod pairs;

/// The tags of pairing's requests begin here; the control plane has those below.
const PAIRING: u64 = 1 << 61;

enum Event {
    Arrived(Arrival),
    Link(ConnectionId, Heard),
    /// The journal lasts up to this index, or nobody knows.
    Written(Option<LogId>),
    Order(Order),
    /// The operator asks.
    Asked(Asked),
}

/// A connection's link, and its place among the connections.
struct Open {
    link: Link,
    _seat: ConnectionSlot,
}

struct Process {
    control: ControlPlane,
    /// Where devices may pair.
    pairing: Option<Pairing>,
    events: SyncSender<Event>,
    open: BTreeMap<ConnectionId, Open>,
    connections: u64,
    /// Comes into force when the first job has ended, while others run.
    roll_out: Option<WorkerFleetPolicy>,
    /// What the supervisor ordered, until it is answered.
    ordered: BTreeMap<RequestTag, Order>,
    /// Operators who wait for their answer.
    asked: BTreeMap<RequestTag, SyncSender<Answer>>,
    /// What was said of jobs that wait.
    waiting: operator::Waiting,
    stopping: bool,
}

/// The coordinator's process.
pub fn run() -> Result<(), Failure> {
    let boot: boot::Coordinator = child::boot()?;
    let policy = policy::at_start(&boot)?;
    let policy = if boot.drill { policy::patient(policy)? } else { policy };
    let roll_out = Some(policy::roll_out(&policy)?);
    let (events, heard) = sync_channel(1024);
    let (orders, written) = (events.clone(), events.clone());
    child::orders(move |order| {
        let _ = orders.send(Event::Order(order));
    });
    let written = move |last| written.send(Event::Written(last)).is_ok();
    let (pairing, port) = match boot.pairing {
        true => (Some(Pairing::new(boot.image, PAIRING)?), Some(Pairing::port()?)),
        false => (None, None),
    };
    let mut process = Process {
        control: ControlPlane::open(&boot, &policy, port, written)?,
        pairing,
        events: events.clone(),
        open: BTreeMap::new(),
        connections: 0,
        roll_out,
        ordered: BTreeMap::new(),
        asked: BTreeMap::new(),
        waiting: operator::Waiting::default(),
        stopping: false,
    };
    process.settle()?;
    if process.control.coordinator.fleet().state().policy() != &policy {
        // Kept by an earlier start: the executable or the origin is another one now.
        process.command(OperatorCommand::SetPolicy(SetPolicy { policy }))?;
    }
    for paired in &boot.devices {
        process.control.register(paired.device.clone(), DeviceKind::Worker, &paired.certificate)?;
        process.settle()?;
    }
    if let Some(egress) = &boot.egress {
        let proxy = DeviceId::new("egress-proxy").map_err(Failure::coded)?;
        process.control.register(proxy, DeviceKind::EgressProxy, &egress.proxy)?;
        process.settle()?;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, boot.port.unwrap_or(0)))?;
    let port = listener.local_addr()?.port();
    let config = match boot.pairing {
        true => tls::pairing_server(&boot.identity)?,
        false => process.port(&boot.identity, std::slice::from_ref(&boot.clients))?,
    };
    server::listen(listener, config, events.clone(), Event::Arrived)?;
    let ask = move |asked| events.send(Event::Asked(asked)).is_ok();
    let _console = Console::open(&boot.state, ask)?;
    tell(&LogEntry::Listening { port });
    process.serve(&heard)?;
    process.control.close()
}

impl Process {
    fn serve(&mut self, heard: &Receiver<Event>) -> Result<(), Failure> {
        loop {
            while !self.stopping && self.control.ask()? {
                self.settle()?;
            }
            if self.control.service.is_over() {
                tell(&LogEntry::AllEnded);
            }
            self.say_why();
            if self.stopping && !self.control.is_writing() {
                return Ok(());
            }
            match heard.recv_timeout(self.control.wait()) {
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) => self.give(CoordinatorInput::Timeout)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Arrived(Arrival::Connected { leaf, duplex, slot }) => {
                self.connections += 1;
                let connection = ConnectionId(self.connections);
                let link =
                    Link::start(duplex, self.events.clone(), move |heard| Event::Link(connection, heard))?;
                self.open.insert(connection, Open { link, _seat: slot });
                match &leaf {
                    Some(leaf) => self.give(CoordinatorInput::Connected { connection, leaf }),
                    None => self.give(CoordinatorInput::Stranger { connection }),
                }
            }
            Event::Arrived(Arrival::Stranger { why }) => {
                let (peer, act) = ("a stranger".into(), "TLS handshake".into());
                tell(&LogEntry::Refused { peer, act, code: "tls.handshake".into(), message: why });
                Ok(())
            }
            // What a connection said before it was closed is nobody's.
            Event::Link(connection, _) if !self.open.contains_key(&connection) => Ok(()),
            Event::Link(connection, Heard::Bytes(bytes)) => {
                self.give(CoordinatorInput::Received { connection, bytes: &bytes })
            }
            Event::Link(connection, Heard::Sent(bytes)) => {
                self.control.sent();
                self.give(CoordinatorInput::Sent { connection, bytes })
            }
            Event::Link(connection, Heard::Closed) => {
                self.open.remove(&connection);
                self.give(CoordinatorInput::Closed { connection })
            }
            Event::Written(last) => self.written(last),
            Event::Order(Order::Drain) => {
                self.control.drain();
                Ok(())
            }
            Event::Order(Order::Stop) => {
                self.stopping = true;
                Ok(())
            }
            Event::Order(order) => self.order(order),
            Event::Asked(asked) => self.console(asked),
        }
    }

    /// One input, and everything that it leads to.
    fn give(&mut self, input: CoordinatorInput<'_>) -> Result<(), Failure> {
        self.control.give(input)?;
        self.settle()
    }

    /// Carries out what the control plane leaves to connections, pairing and operators, until nothing is left to do.
    fn settle(&mut self) -> Result<(), Failure> {
        loop {
            while let Some(output) = self.control.next()? {
                self.carry_out(output)?;
            }
            if !self.pairs()? {
                return Ok(());
            }
        }
    }

    fn carry_out(&mut self, output: CoordinatorOutput) -> Result<(), Failure> {
        match output {
            CoordinatorOutput::Send { connection, bytes } => {
                if let Some(open) = self.open.get(&connection) {
                    // One that never reads is cut here, and its reader reports the end.
                    let _ = open.link.send(bytes);
                }
            }
            CoordinatorOutput::Close { connection, .. } => drop(self.open.remove(&connection)),
            CoordinatorOutput::Answer { tag, answer } if tag.0 > PAIRING => {
                self.pairing_answered(tag, answer)
            }
            CoordinatorOutput::Answer { tag, answer } => self.managed(tag, &answer)?,
            CoordinatorOutput::ApprovalWanted(ask) => tell(&pairing::asks(&ask)),
            CoordinatorOutput::CertificateWanted { wanted, device, request } => {
                self.certificate_wanted(wanted, &device, &request);
            }
            other => return Err(Failure::new(format!("an output that is not known: {other:?}"))),
        }
        Ok(())
    }

    /// The journal lasts up to `index`: what waited for that leaves, and is said. Without one nothing leaves any more.
    fn written(&mut self, last: Option<LogId>) -> Result<(), Failure> {
        self.stopping |= last.is_none();
        self.control.written(last)?;
        self.settle()?;
        while let Some((record, entries)) = last.and_then(|last| self.control.lasting(last.index)) {
            if let Some(pairing) = &mut self.pairing {
                pairing.lasting(&record).iter().for_each(tell);
            }
            // A roll-out belongs to the job that shows it; a fleet that pairs sets its own policies.
            let ended = entries.iter().any(|entry| matches!(entry, LogEntry::Ended { .. }));
            if ended && let Some(policy) = self.roll_out.take_if(|_| self.pairing.is_none()) {
                self.command(OperatorCommand::SetPolicy(SetPolicy { policy }))?;
            }
        }
        self.settle()
    }

    /// An operator's command that has to succeed.
    fn command(&mut self, command: OperatorCommand) -> Result<(), Failure> {
        self.control.command(command)?;
        self.settle()
    }

    /// What the supervisor wants of a coordinator that it kills now and then.
    fn order(&mut self, order: Order) -> Result<(), Failure> {
        let asked = order.clone();
        let tag = match order {
            Order::Quarantine(worker) => {
                self.control.command(OperatorCommand::QuarantineWorker(QuarantineWorker { worker }))?
            }
            Order::Revoke(device) => {
                let (subject, reason) = (RevocationSubject::Device(device), RevocationReason::Lost);
                let command = ManageDevice::new(DeviceCommand::Revoke { subject, reason });
                self.control.command(OperatorCommand::ManageDevice(command))?
            }
            Order::SpendAgain(grant) => {
                self.control.request(|service, tag, now| service.with_grant(&grant, tag.0, now))?
            }
            Order::Submit { job } => {
                let now = self.control.now().mono;
                tell(&self.control.service.submit(*job, now)?);
                return Ok(());
            }
            order => {
                if let Some(pairing) = &mut self.pairing {
                    pairing.order(order);
                }
                return self.settle();
            }
        };
        self.ordered.insert(tag, asked);
        self.settle()
    }

    /// An answer to what the supervisor ordered is told; a command of this process has to succeed.
    fn managed(&mut self, tag: RequestTag, answer: &LocalAnswer) -> Result<(), Failure> {
        if self.answer_operator(tag, answer) {
            return Ok(());
        }
        let code = match answer {
            LocalAnswer::Managed(Err(error)) => Some(error.code()),
            LocalAnswer::Acquired(Err(error)) => Some(error.code()),
            _ => None,
        };
        match (self.ordered.remove(&tag), code) {
            (Some(order), code) => {
                tell(&LogEntry::Obeyed { order, code: code.map(|code| code.to_string()) });
                Ok(())
            }
            (None, Some(code)) => Err(Failure::new(format!("{code}: a command of this process"))),
            (None, None) => Ok(()),
        }
    }
}
