//! A blocking driver: one thread that owns an endpoint, and one connection at a time.

use alloc::{vec, vec::Vec};

use super::transport::{Arrived, Transport};
use crate::{
    code::Code,
    digest::Sha256Digest,
    protocol::endpoint::{Endpoint, EndpointError, Input, Output},
    time::{Clock, Millis},
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
}

/// Owns an endpoint for as long as its process lives, and drives it over one connection after the other.
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
}

impl<E: Endpoint, T: Transport> Driver<E, T> {
    /// A driver without a connection.
    pub fn new(endpoint: E) -> Self {
        Self { endpoint, transport: None, ended: Some(Ended::ByPeer), buffer: vec![0; 16 << 10] }
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
        if self.transport.take().is_none() {
            return Ok(Vec::new());
        }
        self.ended = Some(Ended::ByPeer);
        self.give(Input::Closed, clock)
    }

    /// Tells the endpoint something from this side.
    ///
    /// # Errors
    /// [`DriveError`].
    pub fn act(&mut self, act: E::Act, clock: &impl Clock) -> Result<Vec<E::Event>, DriveError> {
        self.give(Input::Act(act), clock)
    }

    /// One turn: waits for bytes once, as long as the transport waits, and lets deadlines pass. Without a connection
    /// it does not wait at all.
    ///
    /// # Errors
    /// [`DriveError`].
    pub fn turn(&mut self, clock: &impl Clock) -> Result<Vec<E::Event>, DriveError> {
        let mut events = Vec::new();
        if let Some(mut transport) = self.transport.take() {
            let due = self.endpoint.next_deadline();
            let patience = due.map_or(Millis(1000), |due| due.since(clock.now().mono));
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

    /// Gives one input and drains, over again where draining ended the connection.
    fn give(&mut self, input: Input<'_, E::Act>, clock: &impl Clock) -> Result<Vec<E::Event>, DriveError> {
        let mut events = Vec::new();
        self.endpoint.handle(input, clock.now())?;
        let mut broken = false;
        loop {
            match self.endpoint.poll() {
                Output::Send(bytes) => {
                    let sent = self.transport.as_mut().map(|transport| transport.send(&bytes));
                    broken |= matches!(sent, Some(Err(_)));
                }
                Output::Close(code) => {
                    self.transport = None;
                    self.ended = Some(Ended::ByEndpoint(code));
                }
                Output::Event(event) => events.push(event),
                Output::Wait(_) if broken => {
                    broken = false;
                    self.transport = None;
                    self.ended = Some(Ended::ByPeer);
                    self.endpoint.handle(Input::Closed, clock.now())?;
                }
                Output::Wait(_) => return Ok(events),
            }
        }
    }
}
