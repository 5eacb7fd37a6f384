//! What leaves when it lasts: answers and refusals to who asked, effects to whom they concern.

use alloc::boxed::Box;

use super::{
    io::{ConnectionId, CoordinatorOutput, LocalAnswer, RequestTag},
    parts::Coordinator,
    replies::{Pending, To},
};
use crate::{
    code,
    fleet::{Challenged, Effect},
    protocol::message::{
        CoordinatorMessage, HeldLeaseNotice, NodeAnswer, NodeWord, Welcome, WireBytes, WorkerAnswer,
    },
    time::Now,
};

impl Coordinator {
    /// Hands out what lasts, in order.
    pub(super) fn release(&mut self, now: Now) {
        while self.pending.front().is_some_and(|pending| pending.index() <= self.durable) {
            let Some(pending) = self.pending.pop_front() else { return };
            self.hand_out(pending, now);
        }
    }

    fn hand_out(&mut self, pending: Pending, now: Now) {
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
        match pending {
            Pending::Challenged(to, ticket) => {
                let Challenged { nonce, ttl } = redeem!(ticket);
                self.answer(to, WorkerAnswer::Challenged { nonce: WireBytes(nonce), ttl }, now);
            }
            Pending::Attested(to, ticket) => {
                let attested = redeem!(ticket);
                self.answer(to, WorkerAnswer::Attested(attested), now);
            }
            Pending::Remaining(to, ticket) => {
                let remaining = redeem!(ticket);
                self.answer(to, WorkerAnswer::Remaining(remaining), now);
            }
            Pending::Verdict(to, ticket) => {
                let verdict = redeem!(ticket);
                self.answer(to, WorkerAnswer::Verdict(verdict), now);
                if let Some(device) = self.connections.device(to.connection).map(|peer| peer.device.clone()) {
                    self.forget_lease(&device);
                }
            }
            Pending::Welcome(to, _, welcome) => self.welcome(to, *welcome, now),
            Pending::Alive(to, _, standing) => self.answer(to, WorkerAnswer::Alive(standing), now),
            Pending::Fetching(to, _, fence) => {
                self.answer(to, WorkerAnswer::Fetching {}, now);
                if let Some(device) = self.connections.device_mut(to.connection) {
                    device.fetching = Some((fence, Default::default()));
                    self.push(CoordinatorOutput::InputsWanted { fence });
                }
            }
            Pending::Refused(to, _, code) => {
                let refused = CoordinatorMessage::Refused { sequence: to.sequence, refusal: code.into() };
                self.settle(to.connection);
                self.send(to.connection, &refused, now);
            }
            Pending::Acquired(tag, ticket) => {
                let acquired = redeem!(ticket);
                self.local(tag, LocalAnswer::Acquired(Ok(Box::new(acquired))));
            }
            Pending::Revoked(tag, ticket) => {
                let revoked = redeem!(ticket);
                self.local(tag, LocalAnswer::Revoked(Ok(revoked)));
            }
            Pending::Managed(tag, ticket) => {
                let managed = redeem!(ticket);
                self.local(tag, LocalAnswer::Managed(Ok(managed)));
            }
            Pending::LocalRefused(tag, _, answer) => self.local(tag, answer),
            Pending::Expired(ticket) => {
                redeem!(ticket);
            }
            Pending::Heard(ticket) => redeem!(ticket),
            Pending::NodeWelcome(to, _, answer) => self.node_welcome(to, answer, now),
            Pending::NodeRefused(to, _, code) => {
                let refused = NodeWord::Refused { sequence: to.sequence, refusal: code.into() };
                self.settle(to.connection);
                self.send(to.connection, &refused, now);
            }
            Pending::Told(to, ticket) => {
                redeem!(ticket);
                self.node_answer(to, NodeAnswer::Told {}, now);
            }
            Pending::Rotating(to, ticket, certificate) => {
                redeem!(ticket);
                self.rotated(to, certificate, now);
            }
            Pending::Pairing(id, session, ticket) => {
                let received = redeem!(ticket);
                self.paired(id, &session, received, now);
            }
            Pending::PairingRefused(id, _, session) => self.refuse_stranger(id, &session, now),
            Pending::Offered(tag, ticket) => {
                let offered = redeem!(ticket);
                self.local(tag, LocalAnswer::Offered(Ok(Box::new(offered))));
            }
            Pending::Enrolment(tag, ticket) => {
                let offered = redeem!(ticket);
                self.local(tag, LocalAnswer::Enrolment(Ok(Box::new(offered))));
            }
            Pending::Approved(tag, ticket) => {
                let approved = redeem!(ticket);
                self.local(tag, LocalAnswer::Approved(Ok(Box::new(approved))));
            }
            Pending::Paired(tag, ticket) => {
                let device = redeem!(ticket);
                self.local(tag, LocalAnswer::Paired(Ok(device)));
            }
            Pending::Enqueued(tag, ticket) => {
                let enqueued = redeem!(ticket);
                self.local(tag, LocalAnswer::Enqueued(Ok(enqueued)));
            }
            Pending::Done(tag, ticket) => {
                redeem!(ticket);
                self.local(tag, LocalAnswer::Done(Ok(())));
            }
        }
    }

    fn local(&mut self, tag: RequestTag, answer: LocalAnswer) {
        self.push(CoordinatorOutput::Answer { tag, answer });
    }

    /// A request of the connection has its answer.
    pub(super) fn settle(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.in_flight = connection.in_flight.saturating_sub(1);
        }
    }

    fn answer(&mut self, to: To, answer: WorkerAnswer, now: Now) {
        self.settle(to.connection);
        self.send(to.connection, &CoordinatorMessage::Answer { sequence: to.sequence, answer }, now);
    }

    fn welcome(&mut self, to: To, welcome: Welcome, now: Now) {
        let revoking = welcome.held.as_ref().map(|held| held.lease.fence);
        self.answer(to, WorkerAnswer::Welcome(welcome), now);
        let Some(peer) = self.connections.device_mut(to.connection) else { return };
        peer.welcomed = true;
        let device = peer.device.clone();
        // What was revoked while nobody was there to hear it.
        if let Some((fence, reason)) = self.revocation_of(&device)
            && Some(fence) == revoking
        {
            self.send(to.connection, &CoordinatorMessage::Revoke { fence, reason }, now);
        }
        self.tell_anchors(to.connection, now);
    }

    fn carry_out(&mut self, effect: Effect, now: Now) {
        match effect {
            Effect::Assign { lease, .. } => {
                self.leases.remember(&lease);
                let device = lease.device.clone();
                let held = HeldLeaseNotice { lease, stage: crate::fleet::LeaseStage::Assigned };
                self.notify(&device, &CoordinatorMessage::Assign { held }, now);
            }
            Effect::Revoke { lease, reason, .. } => {
                let fence = lease.fence;
                self.notify(&lease.device, &CoordinatorMessage::Revoke { fence, reason }, now);
            }
            Effect::LeaseLive { lease } => {
                self.subscribers.lease_live(&lease);
            }
            Effect::LeaseOver { fence } => {
                self.subscribers.lease_over(fence);
            }
            Effect::Cut { device } => {
                if let Some(connection) = self.connections.of_device(&device) {
                    self.close(connection, code::DEVICE_REVOKED);
                }
            }
            Effect::CutCertificate { device, certificate } => {
                let made_with = |id: &ConnectionId| {
                    self.connections.device(*id).is_some_and(|peer| peer.certificate == *certificate)
                };
                if let Some(connection) = self.connections.of_device(&device).filter(made_with) {
                    self.close(connection, code::CERTIFICATE_RETIRED);
                }
            }
            Effect::Rotating { device } => {
                if let Some(connection) = self.connections.of_device(&device) {
                    self.watch_certificate(connection, now);
                }
            }
            Effect::AnchorsChanged(anchors) => self.announce(&anchors),
            Effect::Dispatch(effect) => self.carry_out_dispatch(*effect, now),
        }
    }

    /// Tells a device's worker, where it is there. Where it is not, it is told when it comes back.
    fn notify(&mut self, device: &crate::id::DeviceId, message: &CoordinatorMessage, now: Now) {
        let connection = self.connections.of_device(device);
        let welcomed = |id: &ConnectionId| self.connections.device(*id).is_some_and(|peer| peer.welcomed);
        if let Some(connection) = connection.filter(welcomed) {
            self.send(connection, message, now);
        }
    }
}
