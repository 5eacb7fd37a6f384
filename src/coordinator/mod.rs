//! The server's sans-I/O endpoint: connections, the fleet's core, the journal, and enforcement points in one state.
//!
//! **The law**: every [`Coordinator::handle`] is followed by [`Coordinator::poll`] until it answers
//! [`CoordinatorOutput::Wait`], before the next `handle`. Breaking it is a typed error and changes nothing.
//!
//! What its driver keeps to:
//!
//! * [`Persist`](CoordinatorOutput::Persist): append and sync, then [`Durable`](CoordinatorInput::Durable). One batch
//!   is on its way at a time; what is accepted meanwhile shares the next one (group commit). Where the write failed
//!   or is in doubt: [`JournalFailed`](CoordinatorInput::JournalFailed), then recover a new coordinator.
//! * [`Send`](CoordinatorOutput::Send): hand the bytes to the connection, and say
//!   [`Sent`](CoordinatorInput::Sent) when it took them. What it has not taken is bounded, in bytes and in time.
//! * [`Close`](CoordinatorOutput::Close): close it. The coordinator has forgotten it already.
//!
//! What it promises: no answer, refusal or effect leaves before everything that it rests on lasts. A connection is
//! authenticated by the device registry when it is made, at every use, and again when the registry's generation grew
//! (invariant 12); it is closed when its certificate ends, by date or by the overlap of a rotation. A peer that breaks the protocol, stalls, or does not read is closed with a code; nothing that it
//! does reaches another one.

mod anchors;
mod certificate;
mod config;
mod connection;
mod connections;
mod endpoint;
mod gates;
mod inspect;
mod io;
mod leases;
mod line;
mod local;
mod node;
mod pairing;
mod parts;
mod port;
mod release;
mod replies;
mod report;
mod round;
mod subscribers;
mod upload;
mod visit;
mod worker;

pub use self::{
    config::CoordinatorConfig,
    io::{
        CertificateId, ConnectionId, CoordinatorEvent, CoordinatorInput, CoordinatorOutput, InspectionId,
        LocalAnswer, OperatorCommand, RequestTag, ServiceRequest,
    },
    parts::Coordinator,
    port::PairingPort,
};
