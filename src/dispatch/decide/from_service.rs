//! Requests of clients: enqueue, cancel, collect.

use alloc::{vec, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    capability::CapabilityName,
    digest::{FieldHasher, Sha256Digest},
    dispatch::{
        error::{DispatchError, Share},
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

/// How many devices a selection looks at before it gives up. Devices with full queues are not listed. A
/// device that has just fallen silent, or on which the client has used its share, costs a look.
const MAX_CANDIDATES: usize = 64;

/// The answer to an accepted request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Enqueued {
    /// The device to which the request is bound.
    pub device: DeviceId,
    /// The number of the request.
    pub number: u64,
    /// The first instant at which a result is too late.
    pub deadline: Mono,
    /// Whether the request was there before, with the same id and the same content.
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
    /// Decides any operation of a client.
    ///
    /// # Errors
    /// The errors of [`enqueue`](Self::enqueue), [`cancel`](Self::cancel) and [`collect`](Self::collect).
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

    /// Accepts a request and binds it to a device. [`decide_sends`](Self::decide_sends) hands it over.
    ///
    /// A repeat with the same id and the same content gets the same answer and changes nothing. Cost: O(1)
    /// and one SHA-256 over the payload. Choosing a device that came back and was not chosen since costs
    /// O(log n) of such devices.
    ///
    /// # Errors
    /// [`DispatchError`]: the id belongs to other content, a limit is reached, the named device is unknown,
    /// not granted, not trusted or has no room, or no device can be chosen.
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
        // The two look-ups depend neither on each other nor on the digest, so both are started before either
        // is awaited.
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
        let needs = ask.payload.size().saturating_add(u64::from(ask.result_limit));
        self.within_share(client, needs)?;
        let slot = match target {
            Some((device, hash)) => self.named(client, device, hash, &ask.capability)?,
            None => self.select(live, at, client, &ask.capability).ok_or(DispatchError::NoDevice)?,
        };
        let device = self.devices.get(slot).ok_or(DispatchError::DeviceUnknown)?;
        if self.requests.len() >= usize::try_from(bounds.max_requests).unwrap_or(usize::MAX) {
            return Err(DispatchError::Full);
        }
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
        self.devices.get(slot).is_some_and(|device| device.waiting.len() < self.policy.queue())
    }

    /// Checks whether `client` may hold another request of `needs` bytes.
    fn within_share(&self, client: &ClientId, needs: u64) -> Result<(), DispatchError> {
        let bounds = self.policy.bounds();
        let used = self.clients.get_by(client.as_str().as_bytes());
        let (requests, bytes) = used.map_or((0, 0), |used| (used.requests, used.bytes));
        if requests >= bounds.max_client_requests {
            return Err(DispatchError::ClientShare(Share::Requests));
        }
        if bytes.saturating_add(needs) > bounds.max_client_bytes {
            return Err(DispatchError::ClientShare(Share::Bytes));
        }
        Ok(())
    }

    /// Whether `client` may have another request wait for the device. Only a queue that is longer than a
    /// share is counted. Cost: O(length of the queue).
    fn leaves_share(&self, slot: Slot, client: &ClientId) -> bool {
        let share = usize::try_from(self.policy.bounds().max_client_queue).unwrap_or(usize::MAX);
        let Some(device) = self.devices.get(slot).filter(|device| device.waiting.len() >= share) else {
            return true;
        };
        let own = device.waiting.iter(&self.requests).filter(|record| record.client == *client);
        own.take(share).count() < share
    }

    /// The device that the client named, if the request may wait for it.
    fn named(
        &self,
        client: &ClientId,
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
        if !self.leaves_share(slot, client) {
            return Err(DispatchError::ClientShare(Share::Queue));
        }
        Ok(slot)
    }

    /// The least recently used device that holds `capability`, was heard in time and has room.
    fn select(
        &self,
        live: &DispatchLiveness,
        at: Mono,
        client: &ClientId,
        capability: &CapabilityName,
    ) -> Option<Slot> {
        let ready = self.ready.holders(capability).map(|(_, slot)| slot);
        let usable = |slot: &Slot| live.is_fresh(self, *slot, at) && self.leaves_share(*slot, client);
        ready.take(MAX_CANDIDATES).find(usable)
    }

    /// Stops a request of `client`.
    ///
    /// # Errors
    /// [`DispatchError::RequestUnknown`] if the client has no such request, [`DispatchError::RequestFinal`]
    /// if the request has ended.
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

    /// Discards the result of an ended request of `client`. Its final state is remembered until its retention
    /// ends.
    ///
    /// # Errors
    /// [`DispatchError::RequestUnknown`] if the client has no such request,
    /// [`DispatchError::RequestNotFinal`] if the request has not ended.
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
