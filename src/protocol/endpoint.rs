//! What every endpoint of one connection looks like: one enum in, one enum out, one drain.
//!
//! **The law**: every [`Endpoint::handle`] is followed by [`Endpoint::poll`] until it answers [`Output::Wait`],
//! before the next `handle`. Breaking it is [`EndpointError::NotDrained`], and changes nothing. `Wait` names the
//! instant at which [`Input::Timeout`] is due; an earlier one does no harm, a later one only delays.

use alloc::vec::Vec;

use crate::{
    code::{self, Code, Coded},
    digest::Sha256Digest,
    time::{Mono, Now},
};

/// What an endpoint is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input<'a, A> {
    /// A connection stands, over mutual TLS.
    Connected {
        /// SHA-256 of the certificate (exact DER) that the peer showed on this very connection.
        peer: Sha256Digest,
    },
    /// Bytes came, cut anywhere.
    Received(&'a [u8]),
    /// The connection is over, by the peer, by a fault, or because [`Output::Close`] was carried out.
    Closed,
    /// Time has passed.
    Timeout,
    /// Something happened on this side.
    Act(A),
}

/// What an endpoint wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output<E> {
    /// Send these bytes on the connection.
    Send(Vec<u8>),
    /// Close the connection. [`Input::Closed`] need not follow.
    Close(Code),
    /// Something for this side to know or to do.
    Event(E),
    /// Nothing more. Come back with the next input, and with [`Input::Timeout`] at this instant.
    Wait(Option<Mono>),
}

/// An endpoint was used in a way that its law forbids. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Output waits to be polled.
    #[error("output waits: poll until Wait before the next input")]
    NotDrained,
    /// Time runs on one line and forwards.
    #[error("the time is {now}, and was {last} before")]
    TimeBackwards {
        /// The latest time that it was given.
        last: Mono,
        /// The time that it was given now.
        now: Mono,
    },
    /// The input does not fit what the endpoint is doing.
    #[error("not now: {0}")]
    NotNow(&'static str),
    /// As much output is held as may be.
    #[error("no more can be sent before the connection takes what waits")]
    Full,
    /// What is to be sent would be more than the lease allows; the coordinator would refuse it. Nothing of it was sent.
    #[error("the lease allows {limit} bytes of this: end the run as failed")]
    OverLimit {
        /// What it allows, of outputs together or of the log.
        limit: u64,
    },
    /// There is no such connection.
    #[error("there is no such connection")]
    NoConnection,
    /// There is such a connection already.
    #[error("the connection is there already")]
    Connected,
    /// The configuration contradicts itself.
    #[error("configuration: {0}")]
    Config(&'static str),
}

impl Coded for EndpointError {
    fn code(&self) -> Code {
        match self {
            Self::NotDrained => code::ENDPOINT_NOT_DRAINED,
            Self::TimeBackwards { .. } => code::ENDPOINT_TIME_BACKWARDS,
            Self::NotNow(_) => code::ENDPOINT_NOT_NOW,
            Self::Full => code::ENDPOINT_FULL,
            Self::OverLimit { .. } => code::ARTIFACT_TOO_LARGE,
            Self::NoConnection => code::CONNECTION_UNKNOWN,
            Self::Connected => code::CONNECTION_KNOWN,
            Self::Config(_) => code::ENDPOINT_CONFIG,
        }
    }
}

/// A sans-I/O endpoint of one connection at a time, which lives on from one connection to the next.
pub trait Endpoint {
    /// What this side tells it.
    type Act;
    /// What it tells this side.
    type Event;

    /// Takes one input. Work is bounded by the size of the input.
    ///
    /// # Errors
    /// [`EndpointError`] where the law was broken; nothing has changed then. What a *peer* does wrong is no error
    /// here: it becomes [`Output::Close`] with a code.
    fn handle(&mut self, input: Input<'_, Self::Act>, now: Now) -> Result<(), EndpointError>;

    /// The next output. [`Output::Wait`] ends the drain.
    fn poll(&mut self) -> Output<Self::Event>;

    /// When [`Input::Timeout`] is due. Changes with every `handle`.
    fn next_deadline(&self) -> Option<Mono>;
}

/// An endpoint that one thread drives and others look at: a [`Gate`](crate::gate::Gate) that request handlers ask. The
/// lock is held for one call at a time, never while a driver waits.
///
/// Where a thread panicked in the middle of a call, the endpoint goes on from where that call left it; what must not
/// go on then is for others to say, as the [`LeaseCheck`](crate::egress::LeaseCheck) of a lock does.
#[cfg(feature = "std")]
impl<E: Endpoint> Endpoint for alloc::sync::Arc<std::sync::Mutex<E>> {
    type Act = E::Act;
    type Event = E::Event;

    fn handle(&mut self, input: Input<'_, E::Act>, now: Now) -> Result<(), EndpointError> {
        self.lock().unwrap_or_else(std::sync::PoisonError::into_inner).handle(input, now)
    }

    fn poll(&mut self) -> Output<E::Event> {
        self.lock().unwrap_or_else(std::sync::PoisonError::into_inner).poll()
    }

    fn next_deadline(&self) -> Option<Mono> {
        self.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next_deadline()
    }
}
