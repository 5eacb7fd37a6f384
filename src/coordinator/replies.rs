//! What waits for the journal: answers, refusals and effects, in the order in which they were decided.

use alloc::{boxed::Box, vec::Vec};

use super::io::{ConnectionId, LocalAnswer, RequestTag};
use crate::{
    code::Code,
    dispatch::Enqueued,
    fleet::{Acquired, Attested, Challenged, Expired, Managed, Remaining, Revoked, Ticket, Verdict},
    id::{DeviceId, SessionId},
    identity::pairing::{EnrolmentOffered, Offered, Received, VerifiedPairing},
    lease::Fence,
    protocol::message::{NodeAnswer, Standing, Welcome},
};

/// Where an answer goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct To {
    pub(super) connection: ConnectionId,
    pub(super) sequence: u64,
}

/// One thing that waits. What has no ticket of its own rests on everything up to an index.
#[derive(Debug)]
pub(super) enum Pending {
    Challenged(To, Ticket<Challenged>),
    Attested(To, Ticket<Attested>),
    Remaining(To, Ticket<Remaining>),
    Verdict(To, Ticket<Verdict>),
    Welcome(To, u64, Box<Welcome>),
    Alive(To, u64, Standing),
    Fetching(To, u64, Fence),
    Refused(To, u64, Code),
    Acquired(RequestTag, Ticket<Acquired>),
    Revoked(RequestTag, Ticket<Revoked>),
    Managed(RequestTag, Ticket<Managed>),
    LocalRefused(RequestTag, u64, LocalAnswer),
    Expired(Ticket<Expired>),
    Heard(Ticket<()>),
    NodeWelcome(To, u64, NodeAnswer),
    NodeRefused(To, u64, Code),
    Told(To, Ticket<()>),
    Rotating(To, Ticket<()>, Vec<u8>),
    Pairing(ConnectionId, SessionId, Ticket<Received>),
    PairingRefused(ConnectionId, u64, SessionId),
    Offered(RequestTag, Ticket<Offered>),
    Enrolment(RequestTag, Ticket<EnrolmentOffered>),
    Approved(RequestTag, Ticket<VerifiedPairing>),
    Paired(RequestTag, Ticket<DeviceId>),
    Enqueued(RequestTag, Ticket<Enqueued>),
    Done(RequestTag, Ticket<()>),
}

impl Pending {
    /// What it rests on lasts up to here.
    pub(super) fn index(&self) -> u64 {
        match self {
            Self::Challenged(_, ticket) => ticket.index(),
            Self::Attested(_, ticket) => ticket.index(),
            Self::Remaining(_, ticket) => ticket.index(),
            Self::Verdict(_, ticket) => ticket.index(),
            Self::Acquired(_, ticket) => ticket.index(),
            Self::Revoked(_, ticket) => ticket.index(),
            Self::Managed(_, ticket) => ticket.index(),
            Self::Expired(ticket) => ticket.index(),
            Self::Heard(ticket)
            | Self::Told(_, ticket)
            | Self::Rotating(_, ticket, _)
            | Self::Done(_, ticket) => ticket.index(),
            Self::Pairing(_, _, ticket) => ticket.index(),
            Self::Offered(_, ticket) => ticket.index(),
            Self::Enrolment(_, ticket) => ticket.index(),
            Self::Approved(_, ticket) => ticket.index(),
            Self::Paired(_, ticket) => ticket.index(),
            Self::Enqueued(_, ticket) => ticket.index(),
            Self::Welcome(_, index, _)
            | Self::Alive(_, index, _)
            | Self::Fetching(_, index, _)
            | Self::Refused(_, index, _)
            | Self::NodeWelcome(_, index, _)
            | Self::NodeRefused(_, index, _)
            | Self::PairingRefused(_, index, _)
            | Self::LocalRefused(_, index, _) => *index,
        }
    }
}
