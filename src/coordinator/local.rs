//! What services and operators ask, through the caller who has authenticated them.

use super::{
    io::{LocalAnswer, OperatorCommand, RequestTag, ServiceRequest},
    parts::Coordinator,
    replies::Pending,
};
use crate::{
    fleet::{CommandError, CommandId, Decide, ManageError, Managed, NodeError, Principal, Ticket},
    id::ClientId,
    time::Now,
};

impl Coordinator {
    pub(super) fn service(
        &mut self,
        tag: RequestTag,
        client: ClientId,
        sequence: Option<u64>,
        request: ServiceRequest,
        now: Now,
    ) {
        let command = sequence.map(|sequence| CommandId { client: client.clone(), sequence });
        let principal = Principal::Service(client);
        match request {
            ServiceRequest::Acquire(acquire) => {
                let refused = |error| LocalAnswer::Acquired(Err(error));
                self.decide_local(
                    tag,
                    &*acquire,
                    &principal,
                    command.as_ref(),
                    Pending::Acquired,
                    refused,
                    now,
                );
            }
            ServiceRequest::Enqueue(enqueue) => {
                let refused = |error| LocalAnswer::Enqueued(Err(error));
                self.decide_local(
                    tag,
                    &*enqueue,
                    &principal,
                    command.as_ref(),
                    Pending::Enqueued,
                    refused,
                    now,
                );
            }
            ServiceRequest::CancelRequest(it) => self.do_local(tag, &it, &principal, command.as_ref(), now),
            ServiceRequest::CollectResult(it) => self.do_local(tag, &it, &principal, command.as_ref(), now),
            ServiceRequest::RevokeRun(revoke) => {
                let refused = |error| LocalAnswer::Revoked(Err(error));
                self.decide_local(tag, &revoke, &principal, command.as_ref(), Pending::Revoked, refused, now);
            }
        }
    }

    pub(super) fn operator(
        &mut self,
        tag: RequestTag,
        client: ClientId,
        sequence: Option<u64>,
        command: OperatorCommand,
        now: Now,
    ) {
        let id = sequence.map(|sequence| CommandId { client: client.clone(), sequence });
        let operator = client.clone();
        let principal = Principal::Operator(client);
        let id = id.as_ref();
        match command {
            OperatorCommand::QuarantineWorker(it) => self.manage(tag, &it, &principal, id, now),
            OperatorCommand::AcceptWall(it) => self.manage(tag, &it, &principal, id, now),
            OperatorCommand::QuarantineAll(it) => self.manage(tag, &it, &principal, id, now),
            OperatorCommand::Release(it) => self.manage(tag, &it, &principal, id, now),
            OperatorCommand::Drain(it) => self.manage(tag, &it, &principal, id, now),
            OperatorCommand::Undrain(it) => self.manage(tag, &it, &principal, id, now),
            OperatorCommand::Reverify(it) => self.manage(tag, &it, &principal, id, now),
            OperatorCommand::ForceCleanup(it) => self.manage(tag, &it, &principal, id, now),
            OperatorCommand::Retire(it) => self.manage(tag, &it, &principal, id, now),
            OperatorCommand::SetPolicy(it) => self.manage(tag, &it, &principal, id, now),
            OperatorCommand::ManageAnchors(it) => self.manage(tag, &it, &principal, id, now),
            OperatorCommand::ManageDevice(it) => self.manage(tag, &it, &principal, id, now),
            OperatorCommand::OrderDispatch(it) => self.do_local(tag, &it, &principal, id, now),
            OperatorCommand::CancelRequest(it) => self.do_local(tag, &it, &principal, id, now),
            OperatorCommand::OfferPairing { method, target } => {
                self.offer(tag, &operator, method, target, now);
            }
            OperatorCommand::ApprovePairing { session, transcript } => {
                let outcome = self.manager.approve_pairing(&operator, &session, &transcript, now);
                self.await_local(tag, outcome, Pending::Approved, |error| LocalAnswer::Approved(Err(error)));
            }
            OperatorCommand::RejectPairing { session } => {
                let outcome = self.manager.reject_pairing(&operator, &session, now);
                self.await_local(tag, outcome, Pending::Done, |error| LocalAnswer::Done(Err(error)));
            }
            OperatorCommand::CancelPairing { session } => {
                let outcome = self.manager.cancel_pairing(&operator, &session, now);
                self.await_local(tag, outcome, Pending::Done, |error| LocalAnswer::Done(Err(error)));
            }
            OperatorCommand::OpenEnrolment { order, terms } => {
                self.open_enrolment(tag, &operator, order, terms, now);
            }
            OperatorCommand::RevokeEnrolment { order } => {
                let outcome = self.manager.revoke_enrolment(&operator, &order, now);
                self.await_local(tag, outcome, Pending::Done, |error| LocalAnswer::Done(Err(error)));
            }
            OperatorCommand::RevokeRun(it) => {
                let refused = |error| LocalAnswer::Revoked(Err(error));
                self.decide_local(tag, &it, &principal, id, Pending::Revoked, refused, now);
            }
        }
    }

    fn do_local<O: Decide<Answer = (), Error = NodeError>>(
        &mut self,
        tag: RequestTag,
        operation: &O,
        principal: &Principal,
        command: Option<&CommandId>,
        now: Now,
    ) {
        let refused = |error| LocalAnswer::Done(Err(error));
        self.decide_local(tag, operation, principal, command, Pending::Done, refused, now);
    }

    fn manage<O: Decide<Answer = Managed, Error = ManageError>>(
        &mut self,
        tag: RequestTag,
        operation: &O,
        principal: &Principal,
        command: Option<&CommandId>,
        now: Now,
    ) {
        let refused = |error| LocalAnswer::Managed(Err(error));
        self.decide_local(tag, operation, principal, command, Pending::Managed, refused, now);
    }

    #[allow(clippy::too_many_arguments, reason = "one place for what all local requests share")]
    fn decide_local<O: Decide>(
        &mut self,
        tag: RequestTag,
        operation: &O,
        principal: &Principal,
        command: Option<&CommandId>,
        pending: fn(RequestTag, Ticket<O::Answer>) -> Pending,
        refused: fn(O::Error) -> LocalAnswer,
        now: Now,
    ) where
        O::Error: From<CommandError>,
    {
        let outcome = self.manager.decide(operation, principal, command, now).and_then(|prepared| {
            // Only a halted manager refuses what it has decided a moment ago.
            self.manager.accept(prepared).map_err(|_| CommandError::Halted.into())
        });
        let waiting = match outcome {
            Ok(ticket) => pending(tag, ticket),
            Err(error) => Pending::LocalRefused(tag, self.manager.state().index(), refused(error)),
        };
        self.pending.push_back(waiting);
    }
}
