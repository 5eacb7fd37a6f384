//! What waits for the journal: answers, refusals and effects, in the order in which they were decided.

use alloc::{boxed::Box, vec::Vec};

use super::{
    anchors::Session,
    endpoint::Coordinator,
    io::{ConnectionId, CoordinatorOutput, LocalAnswer, RequestTag},
};
use crate::{
    code::{self, Code},
    dispatch::Enqueued,
    fleet::{Acquired, Attested, Challenged, Effect, Expired, Managed, Remaining, Revoked, Ticket, Verdict},
    id::{DeviceId, SessionId},
    identity::pairing::{Offered, Received, VerifiedPairing},
    lease::{Fence, WorkerLease},
    protocol::message::{
        CoordinatorMessage, HeldLeaseNotice, NodeAnswer, NodeWord, Standing, Welcome, WireBytes, WorkerAnswer,
    },
    time::Now,
};

/// Where an answer goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct To {
    pub(super) connection: ConnectionId,
    pub(super) sequence: u64,
}

/// One thing that waits. What has no ticket of its own rests on everything up to an index.
#[derive(Debug)]
pub(super) enum Held {
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
    Approved(RequestTag, Ticket<VerifiedPairing>),
    Paired(RequestTag, Ticket<DeviceId>),
    Enqueued(RequestTag, Ticket<Enqueued>),
    Done(RequestTag, Ticket<()>),
}

impl Held {
    fn index(&self) -> u64 {
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

impl Coordinator {
    /// Hands out what lasts, in order.
    pub(super) fn release(&mut self, now: Now) {
        while self.held.front().is_some_and(|held| held.index() <= self.durable) {
            let Some(held) = self.held.pop_front() else { return };
            self.hand_out(held, now);
        }
    }

    fn hand_out(&mut self, held: Held, now: Now) {
        /// The answer, where the manager agrees that it lasts. Effects first: an enforcement point that hears of a
        /// lease late refuses, one that hears of its end late does not.
        macro_rules! redeem {
            ($ticket:expr) => {
                match $ticket.redeem(&self.manager) {
                    Ok(released) => {
                        for effect in released.effects {
                            self.carry_out(effect, now);
                        }
                        released.answer
                    }
                    // Only a halted manager refuses, and then nothing leaves any more.
                    Err(_) => return,
                }
            };
        }
        match held {
            Held::Challenged(to, ticket) => {
                let Challenged { nonce, ttl } = redeem!(ticket);
                self.answer(to, WorkerAnswer::Challenged { nonce: WireBytes(nonce), ttl }, now);
            }
            Held::Attested(to, ticket) => {
                let attested = redeem!(ticket);
                self.answer(to, WorkerAnswer::Attested(attested), now);
            }
            Held::Remaining(to, ticket) => {
                let remaining = redeem!(ticket);
                self.answer(to, WorkerAnswer::Remaining(remaining), now);
            }
            Held::Verdict(to, ticket) => {
                let verdict = redeem!(ticket);
                self.answer(to, WorkerAnswer::Verdict(verdict), now);
            }
            Held::Welcome(to, _, welcome) => self.welcome(to, *welcome, now),
            Held::Alive(to, _, standing) => self.answer(to, WorkerAnswer::Alive(standing), now),
            Held::Fetching(to, _, fence) => {
                self.answer(to, WorkerAnswer::Fetching {}, now);
                if let Some(connection) = self.connections.get_mut(&to.connection) {
                    connection.fetching = Some((fence, Default::default()));
                    self.push(CoordinatorOutput::InputsWanted { fence });
                }
            }
            Held::Refused(to, _, code) => {
                let refused = CoordinatorMessage::Refused { sequence: to.sequence, refusal: code.into() };
                self.settle(to);
                self.send(to.connection, &refused, now);
            }
            Held::Acquired(tag, ticket) => {
                let acquired = redeem!(ticket);
                self.local(tag, LocalAnswer::Acquired(Ok(Box::new(acquired))));
            }
            Held::Revoked(tag, ticket) => {
                let revoked = redeem!(ticket);
                self.local(tag, LocalAnswer::Revoked(Ok(revoked)));
            }
            Held::Managed(tag, ticket) => {
                let managed = redeem!(ticket);
                self.local(tag, LocalAnswer::Managed(Ok(managed)));
            }
            Held::LocalRefused(tag, _, answer) => self.local(tag, answer),
            Held::Expired(ticket) => {
                redeem!(ticket);
            }
            Held::Heard(ticket) => redeem!(ticket),
            Held::NodeWelcome(to, _, answer) => self.node_welcome(to, answer, now),
            Held::NodeRefused(to, _, code) => {
                let refused = NodeWord::Refused { sequence: to.sequence, refusal: code.into() };
                self.settle(to);
                self.send(to.connection, &refused, now);
            }
            Held::Told(to, ticket) => {
                redeem!(ticket);
                self.node_answer(to, NodeAnswer::Told {}, now);
            }
            Held::Rotating(to, ticket, certificate) => {
                redeem!(ticket);
                self.rotated(to, certificate, now);
            }
            Held::Pairing(id, session, ticket) => {
                let received = redeem!(ticket);
                self.paired(id, &session, received);
            }
            Held::PairingRefused(id, _, session) => self.refuse_stranger(id, &session),
            Held::Offered(tag, ticket) => {
                let offered = redeem!(ticket);
                self.local(tag, LocalAnswer::Offered(Ok(Box::new(offered))));
            }
            Held::Approved(tag, ticket) => {
                let approved = redeem!(ticket);
                self.local(tag, LocalAnswer::Approved(Ok(Box::new(approved))));
            }
            Held::Paired(tag, ticket) => {
                let device = redeem!(ticket);
                self.local(tag, LocalAnswer::Paired(Ok(device)));
            }
            Held::Enqueued(tag, ticket) => {
                let enqueued = redeem!(ticket);
                self.local(tag, LocalAnswer::Enqueued(Ok(enqueued)));
            }
            Held::Done(tag, ticket) => {
                redeem!(ticket);
                self.local(tag, LocalAnswer::Done(Ok(())));
            }
        }
    }

    fn local(&mut self, tag: RequestTag, answer: LocalAnswer) {
        self.push(CoordinatorOutput::Answer { tag, answer });
    }

    pub(super) fn settle(&mut self, to: To) {
        if let Some(connection) = self.connections.get_mut(&to.connection) {
            connection.in_flight = connection.in_flight.saturating_sub(1);
        }
    }

    fn answer(&mut self, to: To, answer: WorkerAnswer, now: Now) {
        self.settle(to);
        self.send(to.connection, &CoordinatorMessage::Answer { sequence: to.sequence, answer }, now);
    }

    fn welcome(&mut self, to: To, welcome: Welcome, now: Now) {
        let revoking = welcome.held.as_ref().map(|held| held.lease.fence);
        self.answer(to, WorkerAnswer::Welcome(welcome), now);
        let Some(connection) = self.connections.get_mut(&to.connection) else { return };
        connection.welcomed = true;
        let device = connection.device.clone();
        // What was revoked while nobody was there to hear it.
        if let Some((fence, reason)) = self.revocation_of(&device)
            && Some(fence) == revoking
        {
            self.send(to.connection, &CoordinatorMessage::Revoke { fence, reason }, now);
        }
        self.tell(to.connection, Session::Worker, now);
    }

    fn carry_out(&mut self, effect: Effect, now: Now) {
        match effect {
            Effect::Assign { lease, .. } => {
                self.remember(&lease);
                let device = lease.device.clone();
                let held = HeldLeaseNotice { lease, stage: crate::fleet::LeaseStage::Assigned };
                self.notify(&device, &CoordinatorMessage::Assign { held }, now);
            }
            Effect::Revoke { device, fence, reason, .. } => {
                self.notify(&device, &CoordinatorMessage::Revoke { fence, reason }, now);
            }
            Effect::LeaseLive { lease } => {
                let behind = self.feed.lease_live(&lease);
                behind.for_each(|gate| self.behind.push(gate));
            }
            Effect::LeaseOver { fence } => {
                let behind = self.feed.lease_over(fence);
                behind.for_each(|gate| self.behind.push(gate));
            }
            Effect::Cut { device } => {
                if let Some(connection) = self.by_device.get(&device).copied() {
                    self.close(connection, code::DEVICE_REVOKED);
                }
            }
            Effect::CutCertificate { device, certificate } => {
                let made_with = |id: &ConnectionId| {
                    self.connections.get(id).is_some_and(|it| it.certificate == *certificate)
                };
                if let Some(connection) = self.by_device.get(&device).copied().filter(made_with) {
                    self.close(connection, code::CERTIFICATE_RETIRED);
                }
            }
            Effect::Rotating { device } => {
                if let Some(connection) = self.by_device.get(&device).copied() {
                    self.watch_certificate(connection, now);
                }
            }
            Effect::AnchorsChanged(anchors) => self.tell_everybody(&anchors, now),
            Effect::Dispatch(effect) => self.carry_out_dispatch(*effect, now),
        }
    }

    /// Tells a device's worker, where it is there. Where it is not, it is told when it comes back.
    fn notify(&mut self, device: &crate::id::DeviceId, message: &CoordinatorMessage, now: Now) {
        let connection = self.by_device.get(device).copied();
        let welcomed = |id: &ConnectionId| self.connections.get(id).is_some_and(|it| it.welcomed);
        if let Some(connection) = connection.filter(welcomed) {
            self.send(connection, message, now);
        }
    }

    /// Keeps the last lease of each device, for inspections and inputs: at most one for each.
    pub(super) fn remember(&mut self, lease: &WorkerLease) {
        self.holders.insert(lease.fence, lease.device.clone());
        if let Some(former) = self.last_lease.insert(lease.device.clone(), lease.clone())
            && former.fence != lease.fence
        {
            self.holders.remove(&former.fence);
        }
    }
}
