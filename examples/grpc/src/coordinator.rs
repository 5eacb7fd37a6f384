//! The coordinator's process: one task owns the library's coordinator, and nobody else touches it.
//!
//! Streams, the journal and the supervisor speak to it through one channel. The journal's thread writes one batch at a time;
//! what is accepted meanwhile shares the next one. The office is the main job's: only who waits for what is another.

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
    note::{Note, tell},
    office::Office,
    policy,
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
    Written(Option<u64>),
    /// The supervisor.
    Order(Order),
}

struct Process {
    office: Office,
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
    let office = Office::open(&boot, &policy::at_start(&boot)?, None, written)?;
    let mut process = Process { office, open: BTreeMap::new(), stopping: false };
    process.settle()?;
    for paired in &boot.devices {
        process.office.register(paired.device.clone(), DeviceKind::Worker, &paired.certificate)?;
        process.settle()?;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    server::serve(listener, &*tls::mutual_server(&boot.identity, &boot.clients)?, events, sent)?;
    tell(&Note::Listening { port });
    process.serve(heard, taken).await?;
    process.office.close()
}

impl Process {
    async fn serve(
        &mut self,
        mut heard: Receiver<Event>,
        mut taken: UnboundedReceiver<(ConnectionId, usize)>,
    ) -> Result<(), Failure> {
        loop {
            while !self.stopping && self.office.ask()? {
                self.settle()?;
            }
            if self.office.service.is_over() {
                tell(&Note::AllEnded);
            }
            if self.stopping && !self.office.is_writing() {
                return Ok(());
            }
            tokio::select! {
                Some(event) = heard.recv() => self.take(event)?,
                Some((connection, bytes)) = taken.recv() => {
                    self.office.sent();
                    if self.open.contains_key(&connection) {
                        self.give(CoordinatorInput::Sent { connection, bytes })?;
                    }
                }
                () = tokio::time::sleep(self.office.wait()) => self.give(CoordinatorInput::Timeout)?,
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
                tell(&Note::Refused { peer, act, code: "tls.handshake".into(), message });
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
                self.office.written(index)?;
                self.settle()?;
                while index.and_then(|index| self.office.lasting(index)).is_some() {}
                Ok(())
            }
            Event::Order(Order::Drain) => {
                self.office.drain();
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
        self.office.give(input)?;
        self.settle()
    }

    /// Carries out what the office leaves to streams and to the operator, until nothing is left to do.
    fn settle(&mut self) -> Result<(), Failure> {
        while let Some(output) = self.office.next()? {
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
