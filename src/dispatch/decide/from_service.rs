//! What clients ask: enqueue, cancel, collect.

use alloc::{vec, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    capability::CapabilityName,
    digest::{FieldHasher, Sha256Digest},
    dispatch::{
        error::DispatchError,
        event::DispatchEvent,
        held::Held,
        liveness::DispatchLiveness,
        message::{DispatchRequest, EnqueueRequest, Target},
        payload::Payload,
        record::{CapabilityRequestRecord, RejectReason, RequestState},
        state::DispatchState,
    },
    id::{ClientId, DeviceId, RequestId},
    index::{KeptHash, Slot},
    time::{Mono, Now},
};

use super::Decision;

/// How many devices a selection looks at before it gives up: stale and full ones cost a look each.
const MAX_CANDIDATES: usize = 64;

/// The answer to an accepted request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Enqueued {
    /// The device that it is bound to.
    pub device: DeviceId,
    /// Its number.
    pub number: u64,
    /// The first instant at which a result is too late.
    pub deadline: Mono,
    /// Whether it was there before: the same id with the same content.
    pub repeated: bool,
}

fn fingerprint(client: &ClientId, ask: &EnqueueRequest) -> Sha256Digest {
    let target = match &ask.target {
        Target::Any => "",
        Target::Device(device) => device.as_str(),
    };
    FieldHasher::new("dispatch.request.v1")
        .field(client.as_str().as_bytes())
        .field(target.as_bytes())
        .field(ask.capability.as_str().as_bytes())
        .field(ask.payload.as_bytes())
        .number(u64::from(ask.result_limit))
        .number(ask.ttl_ms.0)
        .finish()
}

impl DispatchState {
    /// Decides about anything that a client asks.
    ///
    /// # Errors
    /// Those of [`enqueue`](Self::enqueue), [`cancel`](Self::cancel) and [`collect`](Self::collect).
    pub fn decide_service(
        &self,
        live: &DispatchLiveness,
        now: Now,
        client: &ClientId,
        ask: &DispatchRequest,
    ) -> Result<Decision<Option<Enqueued>>, DispatchError> {
        match ask {
            DispatchRequest::Enqueue(ask) => Ok(self.enqueue(live, now, client, ask)?.map(Some)),
            DispatchRequest::Cancel { request } => Ok(self.cancel(now, client, request)?.map(|()| None)),
            DispatchRequest::Collect { request } => Ok(self.collect(client, request)?.map(|()| None)),
        }
    }

    /// Takes a request and binds it to a device. It is handed over by [`decide_sends`](Self::decide_sends).
    ///
    /// An id that is remembered with the same content gives the same answer and changes nothing. Cost: O(1) and
    /// one SHA-256 over the payload; O(log n) of the devices that came back and were not chosen since, for one of them.
    ///
    /// # Errors
    /// [`DispatchError`]: the id means something else, a limit of the request or of the whole is reached, the device
    /// named is unknown, not granted, not trusted or has no room, or no device can be chosen.
    pub fn enqueue(
        &self,
        live: &DispatchLiveness,
        now: Now,
        client: &ClientId,
        ask: &EnqueueRequest,
    ) -> Result<Decision<Enqueued>, DispatchError> {
        let at = self.at(now);
        let bounds = self.policy.bounds();
        if ask.payload.size() > u64::from(bounds.max_request_bytes) {
            return Err(DispatchError::RequestTooLarge);
        }
        if ask.result_limit > bounds.max_result_bytes {
            return Err(DispatchError::ResultLimit);
        }
        if ask.ttl_ms.0 == 0 || ask.ttl_ms > bounds.longest_ttl_ms {
            return Err(DispatchError::Deadline);
        }
        // The two look-ups do not depend on each other, nor on the digest: both are under way before either is waited for.
        let request = self.requests.kept_hash(ask.request.as_str().as_bytes());
        self.requests.fetch(request);
        let target = match &ask.target {
            Target::Device(device) => Some((device, self.devices.kept_hash(device.as_str().as_bytes()))),
            Target::Any => None,
        };
        if let Some((_, hash)) = target {
            self.devices.fetch(hash);
        }
        let content = fingerprint(client, ask);
        let known = self.requests.find_kept(request, ask.request.as_str().as_bytes());
        if let Some(Held { record, .. }) = known.and_then(|slot| self.requests.get(slot)) {
            if record.content != content {
                return Err(DispatchError::IdConflict);
            }
            let answer = Enqueued {
                device: record.device.clone(),
                number: record.number,
                deadline: record.deadline,
                repeated: true,
            };
            return Ok(self.decided(Vec::new(), answer));
        }
        let slot = match target {
            Some((device, hash)) => self.named(device, hash, &ask.capability)?,
            None => self.select(live, at, &ask.capability).ok_or(DispatchError::NoDevice)?,
        };
        let device = self.devices.get(slot).ok_or(DispatchError::DeviceUnknown)?;
        if self.requests.len() >= usize::try_from(bounds.max_requests).unwrap_or(usize::MAX) {
            return Err(DispatchError::Full);
        }
        let needs = ask.payload.size().saturating_add(u64::from(ask.result_limit));
        if self.bytes.saturating_add(needs) > bounds.max_total_bytes {
            return Err(DispatchError::FullBytes);
        }
        let deadline = at.plus(ask.ttl_ms);
        let event = DispatchEvent::RequestEnqueued {
            request: ask.request.clone(),
            client: client.clone(),
            number: self.next_number,
            device: device.id.clone(),
            capability: ask.capability.clone(),
            payload: ask.payload.clone(),
            result_limit: ask.result_limit,
            mediated: self.policy.needs_mediation(&ask.capability),
            content,
            at,
            deadline,
        };
        let answer =
            Enqueued { device: device.id.clone(), number: self.next_number, deadline, repeated: false };
        Ok(self.decided(vec![event], answer))
    }

    fn has_room(&self, slot: Slot) -> bool {
        let most = usize::try_from(self.policy.bounds().max_queue).unwrap_or(usize::MAX);
        self.devices.get(slot).is_some_and(|device| device.waiting.len() < most)
    }

    /// The device that the client named, if the request may wait for it.
    fn named(
        &self,
        device: &DeviceId,
        hash: KeptHash,
        capability: &CapabilityName,
    ) -> Result<Slot, DispatchError> {
        let found = self.devices.find_kept(hash, device.as_str().as_bytes());
        let slot = found.ok_or(DispatchError::DeviceUnknown)?;
        let known = self.devices.get(slot).ok_or(DispatchError::DeviceUnknown)?;
        self.ready.fetch(known.listed);
        if known.standing.revoked {
            return Err(DispatchError::Revoked);
        }
        if known.standing.quarantined {
            return Err(DispatchError::Quarantined);
        }
        if known.standing.draining {
            return Err(DispatchError::Draining);
        }
        if !known.grants.contains(capability) {
            return Err(DispatchError::NotGranted);
        }
        if known.session.is_some() && !known.effective.contains(capability) {
            return Err(DispatchError::NotClaimed);
        }
        if !self.has_room(slot) {
            return Err(DispatchError::QueueFull);
        }
        Ok(slot)
    }

    /// The least recently used device that holds `capability`, was heard in time and has room.
    fn select(&self, live: &DispatchLiveness, at: Mono, capability: &CapabilityName) -> Option<Slot> {
        let ready = self.ready.holders(capability).map(|(_, slot)| slot);
        let usable = |slot: &Slot| live.is_fresh(self, *slot, at) && self.has_room(*slot);
        ready.take(MAX_CANDIDATES).find(usable)
    }

    /// Stops a request of `client`.
    ///
    /// # Errors
    /// [`DispatchError::RequestUnknown`] for none of the client's own, [`DispatchError::RequestFinal`] for one that
    /// has ended.
    pub fn cancel(
        &self,
        now: Now,
        client: &ClientId,
        request: &RequestId,
    ) -> Result<Decision<()>, DispatchError> {
        self.stop(now, self.own(client, request)?)
    }

    pub(crate) fn stop(
        &self,
        now: Now,
        record: &CapabilityRequestRecord,
    ) -> Result<Decision<()>, DispatchError> {
        if record.state.is_final() {
            return Err(DispatchError::RequestFinal);
        }
        let state = RequestState::Rejected(RejectReason::Cancelled);
        Ok(self.decided(vec![self.ended(record, state, Payload::default(), self.at(now))], ()))
    }

    /// Drops the result of an ended request of `client`; how it ended stays known until its retention is over.
    ///
    /// # Errors
    /// [`DispatchError::RequestUnknown`] for none of the client's own, [`DispatchError::RequestNotFinal`] for one
    /// that has not ended.
    pub fn collect(&self, client: &ClientId, request: &RequestId) -> Result<Decision<()>, DispatchError> {
        let record = self.own(client, request)?;
        if !record.state.is_final() {
            return Err(DispatchError::RequestNotFinal);
        }
        if record.result.is_empty() {
            return Ok(self.decided(Vec::new(), ()));
        }
        Ok(self.decided(vec![DispatchEvent::ResultCollected { request: request.clone() }], ()))
    }

    fn own(&self, client: &ClientId, request: &RequestId) -> Result<&CapabilityRequestRecord, DispatchError> {
        self.record(request).filter(|record| record.client == *client).ok_or(DispatchError::RequestUnknown)
    }
}
