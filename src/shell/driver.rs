//! A blocking driver: one thread that owns an endpoint, and one connection at a time.

use alloc::{collections::VecDeque, vec, vec::Vec};

use super::transport::{Arrived, Transport};
use crate::{
    code::Code,
    digest::Sha256Digest,
    protocol::endpoint::{Endpoint, EndpointError, Input, Output},
    time::{Clock, Millis, Mono},
};

/// Driving stopped because the endpoint's law was broken, which is a mistake in the program.
pub type DriveError = EndpointError;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The peer closed it, or it broke.
    ByPeer,
    /// The endpoint closed it.
    ByEndpoint(Code),
    /// The peer took nothing for too long of what it was sent, and was given up.
    Unread,
}

/// How long a write may wait before something else is looked at.
const LOOK: Millis = Millis(10);
/// How long the peer may take nothing of what waits for it.
const WRITE_PATIENCE: Millis = Millis::from_secs(10);
/// With so many bytes that the peer has not taken, nothing more is acted on.
const MAX_UNSENT: usize = 4 << 20;

/// What waits for the peer to take it.
#[derive(Debug, Default)]
struct Outbox {
    pieces: VecDeque<Vec<u8>>,
    bytes: usize,
    /// How much of the first piece was taken.
    begun: usize,
    /// When something was taken last, or began to wait.
    took: Mono,
}

impl Outbox {
    fn push(&mut self, piece: Vec<u8>, now: Mono) {
        if piece.is_empty() {
            return;
        }
        if self.pieces.is_empty() {
            self.took = now;
        }
        self.bytes = self.bytes.saturating_add(piece.len());
        self.pieces.push_back(piece);
    }

    fn first(&self) -> Option<&[u8]> {
        self.pieces.front().and_then(|piece| piece.get(self.begun..))
    }

    fn taken(&mut self, bytes: usize, now: Mono) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.begun = self.begun.saturating_add(bytes);
        if self.pieces.front().is_some_and(|piece| piece.len() <= self.begun) {
            self.pieces.pop_front();
            self.begun = 0;
        }
        self.took = now;
    }

    fn given_up_at(&self) -> Option<Mono> {
        (!self.pieces.is_empty()).then(|| self.took.plus(WRITE_PATIENCE))
    }
}

/// Owns an endpoint for as long as its process lives, and drives it over one connection after the other.
///
/// What the peer does not take waits here: up to 4 MiB before [`Self::act`] refuses more, and 10 s before the connection
/// is given up. Deadlines are kept meanwhile.
///
/// ```no_run
/// use leasehold::{gate::Gate, shell::*, time::Millis};
/// use std::{net::TcpStream, time::Duration};
/// # fn run(gate: Gate, peer: leasehold::digest::Sha256Digest) -> Result<(), Box<dyn std::error::Error>> {
/// let clock = SystemClock::start();
/// let stream = TcpStream::connect("127.0.0.1:7000")?; // in earnest: a TLS stream over it
/// stream.set_read_timeout(Some(Duration::from_millis(20)))?;
/// let mut driver = Driver::new(gate);
/// driver.attach(Blocking(stream), peer, &clock)?;
/// while driver.ended().is_none() {
///     for event in driver.turn(&clock)? {
///         println!("{event:?}");
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Driver<E, T> {
    endpoint: E,
    transport: Option<T>,
    ended: Option<Ended>,
    buffer: Vec<u8>,
    outbox: Outbox,
}

impl<E: Endpoint, T: Transport> Driver<E, T> {
    /// A driver without a connection.
    pub fn new(endpoint: E) -> Self {
        let (buffer, outbox) = (vec![0; 16 << 10], Outbox::default());
        Self { endpoint, transport: None, ended: Some(Ended::ByPeer), buffer, outbox }
    }

    /// The endpoint.
    pub const fn endpoint(&self) -> &E {
        &self.endpoint
    }

    /// How the last connection ended; `None` while one stands.
    pub const fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// Goes on over `transport`, whose peer showed the certificate `peer`.
    ///
    /// # Errors
    /// [`DriveError`].
    pub fn attach(
        &mut self,
        transport: T,
        peer: Sha256Digest,
        clock: &impl Clock,
    ) -> Result<Vec<E::Event>, DriveError> {
        let mut events = self.detach(clock)?;
        (self.transport, self.ended) = (Some(transport), None);
        events.extend(self.give(Input::Connected { peer }, clock)?);
        Ok(events)
    }

    /// Drops the connection.
    ///
    /// # Errors
    /// [`DriveError`].
    pub fn detach(&mut self, clock: &impl Clock) -> Result<Vec<E::Event>, DriveError> {
        if self.transport.is_none() {
            return Ok(Vec::new());
        }
        self.drop_connection(Ended::ByPeer);
        self.give(Input::Closed, clock)
    }

    fn drop_connection(&mut self, ended: Ended) {
        self.transport = None;
        self.outbox = Outbox::default();
        self.ended = Some(ended);
    }

    /// How many bytes wait for the peer to take them.
    pub const fn unsent(&self) -> usize {
        self.outbox.bytes
    }

    /// Tells the endpoint something from this side.
    ///
    /// # Errors
    /// [`DriveError`]; [`EndpointError::Full`] while the peer has to take some of what waits: have a [`turn`](Self::turn),
    /// and try again.
    pub fn act(&mut self, act: E::Act, clock: &impl Clock) -> Result<Vec<E::Event>, DriveError> {
        if self.outbox.bytes >= MAX_UNSENT {
            return Err(EndpointError::Full);
        }
        self.give(Input::Act(act), clock)
    }

    /// One turn: sends what waits as far as the peer takes it, waits for bytes once, as long as the transport waits, and
    /// lets deadlines pass. Without a connection it does not wait at all.
    ///
    /// # Errors
    /// [`DriveError`].
    pub fn turn(&mut self, clock: &impl Clock) -> Result<Vec<E::Event>, DriveError> {
        let mut events = self.flush(clock)?;
        if let Some(mut transport) = self.transport.take() {
            let due = self.endpoint.next_deadline();
            let patience = due.map_or(Millis(1000), |due| due.since(clock.now().mono));
            let patience = if self.outbox.bytes > 0 { patience.min(LOOK) } else { patience };
            let mut buffer = core::mem::take(&mut self.buffer);
            let arrived = transport.receive(&mut buffer, patience);
            self.transport = Some(transport);
            let outcome = match arrived {
                Ok(Arrived::Bytes(bytes)) => {
                    self.give(Input::Received(buffer.get(..bytes).unwrap_or_default()), clock)
                }
                Ok(Arrived::Nothing) => Ok(Vec::new()),
                Ok(Arrived::End) | Err(_) => self.detach(clock),
            };
            self.buffer = buffer;
            events.extend(outcome?);
        }
        if self.endpoint.next_deadline().is_some_and(|due| due <= clock.now().mono) {
            events.extend(self.give(Input::Timeout, clock)?);
        }
        Ok(events)
    }

    /// Gives one input, drains, and sends what the drain gave as far as the peer takes it at once.
    fn give(&mut self, input: Input<'_, E::Act>, clock: &impl Clock) -> Result<Vec<E::Event>, DriveError> {
        let mut events = self.drain(input, clock)?;
        events.extend(self.flush(clock)?);
        Ok(events)
    }

    fn drain(&mut self, input: Input<'_, E::Act>, clock: &impl Clock) -> Result<Vec<E::Event>, DriveError> {
        let mut events = Vec::new();
        let now = clock.now();
        self.endpoint.handle(input, now)?;
        loop {
            match self.endpoint.poll() {
                Output::Send(bytes) if self.transport.is_some() => self.outbox.push(bytes, now.mono),
                Output::Send(_) => {}
                Output::Close(code) => self.drop_connection(Ended::ByEndpoint(code)),
                Output::Event(event) => events.push(event),
                Output::Wait(_) => return Ok(events),
            }
        }
    }

    /// Sends what waits while the peer takes it, for a moment and until a deadline comes.
    fn flush(&mut self, clock: &impl Clock) -> Result<Vec<E::Event>, DriveError> {
        let until = clock.now().mono.plus(LOOK);
        while let (Some(transport), Some(bytes)) = (&mut self.transport, self.outbox.first()) {
            let ended = match transport.send(bytes, LOOK) {
                Ok(taken) if taken > 0 => {
                    self.outbox.taken(taken, clock.now().mono);
                    None
                }
                Ok(_) if self.outbox.given_up_at().is_some_and(|at| at <= clock.now().mono) => {
                    Some(Ended::Unread)
                }
                Ok(_) => break,
                Err(_) => Some(Ended::ByPeer),
            };
            if let Some(ended) = ended {
                self.drop_connection(ended);
                return self.drain(Input::Closed, clock);
            }
            let due = self.endpoint.next_deadline().unwrap_or(Mono::NEVER);
            if due.min(until) <= clock.now().mono {
                break;
            }
        }
        Ok(Vec::new())
    }
}
