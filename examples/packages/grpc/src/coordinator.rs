//! The coordinator's process: one task owns the library's coordinator, and nobody else touches it.
//!
//! Streams, the journal and the supervisor speak to it through one channel. The journal's thread writes one batch at a time;
//! what is accepted meanwhile shares the next one. The control plane is the main job's: only who waits for what is another.

use std::{collections::BTreeMap, net::Ipv4Addr};

use leasehold::{
    coordinator::{ConnectionId, CoordinatorInput, CoordinatorOutput, LocalAnswer},
    identity::DeviceKind,
};
use tokio::{
    net::TcpListener,
    sync::mpsc::{Receiver, UnboundedReceiver, channel, unbounded_channel},
};

use crate::{
    Failure, block_on, boot,
    child::{self, Order},
    control::ControlPlane,
    policy,
    process_log::{LogEntry, tell},
    server::{self, Heard, Open},
    tls,
};

/// What the core's task hears of.
pub enum Event {
    /// Something on a stream.
    Stream(ConnectionId, Heard),
    /// Somebody did not get through the handshake.
    Stranger(String),
    /// The journal lasts up to this index, or nobody knows.
    Written(Option<leasehold::fleet::LogId>),
    /// The supervisor.
    Order(Order),
}

struct Process {
    control: ControlPlane,
    open: BTreeMap<ConnectionId, Open>,
    stopping: bool,
}

/// The coordinator's process.
pub fn run() -> Result<(), Failure> {
    let boot: boot::Coordinator = child::boot()?;
    block_on(coordinate(boot))
}

async fn coordinate(boot: boot::Coordinator) -> Result<(), Failure> {
    let (events, heard) = channel(1024);
    let (sent, taken) = unbounded_channel();
    let (orders, written) = (events.clone(), events.clone());
    child::orders(move |order| {
        let _ = orders.blocking_send(Event::Order(order));
    });
    let written = move |index| written.blocking_send(Event::Written(index)).is_ok();
    let control = ControlPlane::open(&boot, &policy::at_start(&boot)?, None, written)?;
    let mut process = Process { control, open: BTreeMap::new(), stopping: false };
    process.settle()?;
    for paired in &boot.devices {
        process.control.register(paired.device.clone(), DeviceKind::Worker, &paired.certificate)?;
        process.settle()?;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    server::serve(listener, &*tls::mutual_server(&boot.identity, &boot.clients)?, events, sent)?;
    tell(&LogEntry::Listening { port });
    process.serve(heard, taken).await?;
    process.control.close()
}

impl Process {
    async fn serve(
        &mut self,
        mut heard: Receiver<Event>,
        mut taken: UnboundedReceiver<(ConnectionId, usize)>,
    ) -> Result<(), Failure> {
        loop {
            while !self.stopping && self.control.ask()? {
                self.settle()?;
            }
            if self.control.service.is_over() {
                tell(&LogEntry::AllEnded);
            }
            if self.stopping && !self.control.is_writing() {
                return Ok(());
            }
            tokio::select! {
                Some(event) = heard.recv() => self.take(event)?,
                Some((connection, bytes)) = taken.recv() => {
                    self.control.sent();
                    if self.open.contains_key(&connection) {
                        self.give(CoordinatorInput::Sent { connection, bytes })?;
                    }
                }
                () = tokio::time::sleep(self.control.wait()) => self.give(CoordinatorInput::Timeout)?,
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Stream(connection, Heard::Connected { leaf, open }) => {
                self.open.insert(connection, open);
                self.give(CoordinatorInput::Connected { connection, leaf: &leaf })
            }
            Event::Stranger(message) => {
                let (peer, act) = ("a stranger".into(), "TLS handshake".into());
                tell(&LogEntry::Refused { peer, act, code: "tls.handshake".into(), message });
                Ok(())
            }
            // What a stream said before it was closed is nobody's.
            Event::Stream(connection, _) if !self.open.contains_key(&connection) => Ok(()),
            Event::Stream(connection, Heard::Bytes(bytes)) => {
                self.give(CoordinatorInput::Received { connection, bytes: &bytes })
            }
            Event::Stream(connection, Heard::Closed) => {
                self.open.remove(&connection);
                self.give(CoordinatorInput::Closed { connection })
            }
            Event::Written(index) => {
                self.stopping |= index.is_none();
                self.control.written(index)?;
                self.settle()?;
                while index.and_then(|index| self.control.lasting(index.index)).is_some() {}
                Ok(())
            }
            Event::Order(Order::Drain) => {
                self.control.drain();
                Ok(())
            }
            Event::Order(Order::Stop) => {
                self.stopping = true;
                Ok(())
            }
            Event::Order(_) => Err(Failure::new("nobody gives such orders here")),
        }
    }

    /// One input, and everything that it leads to.
    fn give(&mut self, input: CoordinatorInput<'_>) -> Result<(), Failure> {
        self.control.give(input)?;
        self.settle()
    }

    /// Carries out what the control plane leaves to streams and to the operator, until nothing is left to do.
    fn settle(&mut self) -> Result<(), Failure> {
        while let Some(output) = self.control.next()? {
            match output {
                CoordinatorOutput::Send { connection, bytes } => {
                    if let Some(open) = self.open.get(&connection) {
                        open.send(bytes);
                    }
                }
                CoordinatorOutput::Close { connection, .. } => drop(self.open.remove(&connection)),
                CoordinatorOutput::Answer { answer: LocalAnswer::Managed(answer), .. } => {
                    answer.map_err(Failure::coded)?;
                }
                other => return Err(Failure::new(format!("an output that is not known: {other:?}"))),
            }
        }
        Ok(())
    }
}
