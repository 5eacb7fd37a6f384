//! Recovery from a snapshot and journal records. Every part is checked before it is believed.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{
    device::{Device, Session},
    error::DispatchError,
    event::{DeviceStanding, DisconnectReason, DispatchEvent, StoredDispatchEvent},
    held::{Held, NOBODY},
    payload::Payload,
    policy::DispatchPolicy,
    record::{CapabilityRequestRecord, FailReason, Incarnation, Mediation, RequestState},
    state::DispatchState,
};
use crate::{
    capability::CapabilitySet,
    id::{DeviceId, RequestId},
    order::Order,
    time::{Mono, Now},
};

#[derive(Serialize, Deserialize)]
struct SessionForm {
    claims: CapabilitySet,
    window: u32,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct DeviceForm {
    id: DeviceId,
    last_used: u64,
    grants: CapabilitySet,
    standing: DeviceStanding,
    incarnation: Incarnation,
    session: Option<SessionForm>,
}

/// The first part of a snapshot: everything except the two lists, which may be long.
#[derive(Serialize, Deserialize)]
pub(crate) struct DispatchHead {
    version: u64,
    clock: Mono,
    next_number: u64,
}

/// The serde form of a snapshot. Devices and requests come in the order of their ids, so that equal states
/// have equal bytes.
#[derive(Serialize, Deserialize)]
pub(crate) struct DispatchSnapshot {
    head: DispatchHead,
    devices: Vec<DeviceForm>,
    requests: Vec<CapabilityRequestRecord>,
}

#[derive(Deserialize)]
struct JournalForm {
    version: u64,
    events: Vec<StoredDispatchEvent>,
}

fn is_full(len: usize, most: u32) -> bool {
    u64::try_from(len).unwrap_or(u64::MAX) >= u64::from(most)
}

impl DispatchState {
    /// The hard state as postcard bytes. Equal states have equal bytes. Cost: O(n log n).
    pub fn snapshot(&self) -> Vec<u8> {
        postcard::to_allocvec(&self.snapshot_form()).unwrap_or_default()
    }

    fn snapshot_form(&self) -> DispatchSnapshot {
        DispatchSnapshot {
            head: self.stored_head(),
            devices: self.stored_devices().collect(),
            requests: self.stored_requests().cloned().collect(),
        }
    }

    pub(crate) fn stored_head(&self) -> DispatchHead {
        DispatchHead { version: self.version, clock: self.clock, next_number: self.next_number }
    }

    /// The devices in the order of their ids.
    pub(crate) fn stored_devices(&self) -> impl Iterator<Item = DeviceForm> {
        self.devices.sorted().into_iter().map(|device| DeviceForm {
            id: device.id.clone(),
            last_used: device.last_used,
            grants: device.grants.clone(),
            standing: device.standing,
            incarnation: device.incarnation,
            session: device
                .session
                .as_ref()
                .map(|session| SessionForm { claims: session.claims.clone(), window: session.window }),
        })
    }

    /// The requests in the order of their ids. In a snapshot they come after the devices.
    pub(crate) fn stored_requests(&self) -> impl Iterator<Item = &CapabilityRequestRecord> {
        self.records()
    }

    /// The state that results from `snapshot` and then every record of `journal`. Without a snapshot, the
    /// journal begins with an empty state.
    ///
    /// The journal may begin before the snapshot: records that the snapshot contains are skipped. Detecting
    /// torn writes and missing files is up to whoever stores the bytes.
    ///
    /// # Errors
    /// [`DispatchError::Inconsistent`] if bytes do not decode, a record is missing, or an event is impossible
    /// in the state before it.
    pub fn recover<'a>(
        policy: DispatchPolicy,
        index_key: [u8; 16],
        snapshot: Option<&[u8]>,
        journal: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, DispatchError> {
        let mut state = match snapshot {
            None => Self::new(policy, index_key),
            Some(bytes) => Self::from_form(policy, index_key, decode(bytes)?)?,
        };
        for bytes in journal {
            let record: JournalForm = decode(bytes)?;
            let length = u64::try_from(record.events.len()).map_err(|_| DispatchError::Inconsistent)?;
            let end = record.version.checked_add(length).ok_or(DispatchError::Inconsistent)?;
            if end <= state.version {
                continue;
            }
            if record.version != state.version {
                return Err(DispatchError::Inconsistent);
            }
            for event in record.events {
                state.replay(&event.into())?;
            }
        }
        Ok(state)
    }

    /// The events of a restore without the latest events: every open request is lost, and every stream is
    /// closed.
    pub(crate) fn lose_everything(&self, now: Now) -> Vec<DispatchEvent> {
        let at = self.at(now);
        let open = self.records().filter(|record| !record.state.is_final());
        let lost = RequestState::Failed(FailReason::Lost);
        let ended = open.map(|record| self.ended(record, lost, Payload::default(), at));
        let streams = self.devices.sorted().into_iter().filter(|device| device.session.is_some());
        let closed = streams.map(|device| DispatchEvent::DeviceDisconnected {
            device: device.id.clone(),
            reason: DisconnectReason::Closed,
        });
        ended.chain(closed).collect()
    }

    /// Skips numbers that may have been given out in the lost events. An agent would take a repeated number
    /// for a forgotten request.
    pub(crate) fn skip_numbers(&mut self) {
        self.next_number = self.next_number.saturating_add(1 << 32);
    }

    /// Folds an event that was read back, if it is possible in this state.
    pub(crate) fn replay(&mut self, event: &DispatchEvent) -> Result<(), DispatchError> {
        if !self.is_possible(event) {
            return Err(DispatchError::Inconsistent);
        }
        self.evolve(event);
        Ok(())
    }

    fn from_form(
        policy: DispatchPolicy,
        index_key: [u8; 16],
        form: DispatchSnapshot,
    ) -> Result<Self, DispatchError> {
        let mut state = Self::from_head(policy, index_key, &form.head);
        form.devices.into_iter().try_for_each(|device| state.load_device(device))?;
        form.requests.into_iter().try_for_each(|request| state.load_request(request))?;
        state.loaded();
        Ok(state)
    }

    /// A state whose lists are still to be loaded.
    pub(crate) fn from_head(policy: DispatchPolicy, index_key: [u8; 16], head: &DispatchHead) -> Self {
        let mut state = Self::new(policy, index_key);
        state.timers = Order::loading();
        (state.version, state.clock, state.next_number) = (head.version, head.clock, head.next_number);
        state
    }

    /// Loads the next device of a snapshot.
    pub(crate) fn load_device(&mut self, read: DeviceForm) -> Result<(), DispatchError> {
        let full = is_full(self.devices.len(), self.policy.bounds().max_devices);
        let revoked = read.standing.revoked && read.session.is_some();
        if full || self.device_slot(&read.id).is_some() || read.last_used >= self.next_number || revoked {
            return Err(DispatchError::Inconsistent);
        }
        let mut device = Device::new(read.id, read.last_used);
        (device.grants, device.standing, device.incarnation) = (read.grants, read.standing, read.incarnation);
        device.session =
            read.session.map(|session| Session { claims: session.claims, window: session.window });
        device.refresh_effective();
        if let Some(slot) = self.devices.insert(device) {
            self.list_device(slot);
            self.list_sender(slot);
        }
        Ok(())
    }

    /// Loads the next request of a snapshot.
    pub(crate) fn load_request(&mut self, record: CapabilityRequestRecord) -> Result<(), DispatchError> {
        let full = is_full(self.requests.len(), self.policy.bounds().max_requests);
        let open = !record.state.is_final();
        let device = self.device_slot(&record.device).filter(|_| open);
        let handed = (record.attempt > 0) == (record.state != RequestState::Queued);
        let numbered =
            record.number < self.next_number && !self.timers.has_loaded(&(record.timer(), record.number));
        if full || self.record(&record.id).is_some() || !numbered || (open && !(device.is_some() && handed)) {
            return Err(DispatchError::Inconsistent);
        }
        if let Some(slot) = self.requests.insert(Held::new(record, device.unwrap_or(NOBODY))) {
            self.take_in(slot);
        }
        Ok(())
    }

    /// Builds the indexes after everything was loaded. Must be called before any other operation.
    pub(crate) fn loaded(&mut self) {
        // Queues are in the order of numbers; the snapshot is in the order of ids.
        let open = self.requests.enumerate().filter(|(_, held)| !held.record.state.is_final());
        let mut open: Vec<_> = open.map(|(slot, held)| (held.record.number, slot)).collect();
        open.sort_unstable();
        open.into_iter().for_each(|(_, slot)| self.line_up(slot));
        self.ready.settle();
        self.senders.settle();
        self.timers.settle(&mut self.timed);
    }

    fn open_record(&self, request: &RequestId) -> Option<&CapabilityRequestRecord> {
        self.record(request).filter(|record| !record.state.is_final())
    }

    /// Whether `event` is possible in this state.
    pub(crate) fn is_possible(&self, event: &DispatchEvent) -> bool {
        let device = |id: &DeviceId| self.devices.get_by(id.as_str().as_bytes());
        match event {
            DispatchEvent::DeviceGranted { .. } => true,
            DispatchEvent::DeviceStands { device: id, standing } => {
                device(id).is_some_and(|known| !standing.revoked || known.session.is_none())
            }
            DispatchEvent::DeviceRemoved { device: id } | DispatchEvent::DeviceReset { device: id } => {
                device(id).is_some_and(|known| known.session.is_none() && !known.is_busy())
            }
            DispatchEvent::DeviceConnected { device: id, incarnation, .. } => {
                device(id).is_some_and(|known| !known.standing.revoked && *incarnation >= known.incarnation)
            }
            DispatchEvent::DeviceWindow { device: id, .. }
            | DispatchEvent::DeviceDisconnected { device: id, .. } => {
                device(id).is_some_and(|known| known.session.is_some())
            }
            DispatchEvent::RequestEnqueued {
                request, number, device: id, capability, at, deadline, ..
            } => {
                self.record(request).is_none()
                    && *number == self.next_number
                    && *at >= self.clock
                    && deadline > at
                    && device(id)
                        .is_some_and(|known| known.standing.is_clear() && known.grants.contains(capability))
            }
            DispatchEvent::RequestDispatched { request, incarnation, attempt, at } => {
                self.open_record(request).is_some_and(|record| {
                    *at >= self.clock
                        && record.deadline > *at
                        && record.attempt.checked_add(1) == Some(*attempt)
                        && (record.attempt == 0 || record.incarnation == *incarnation)
                        && device(&record.device)
                            .is_some_and(|known| known.session.is_some() && known.incarnation == *incarnation)
                })
            }
            DispatchEvent::MediationAwaited { request } => self.open_record(request).is_some_and(|record| {
                record.state == RequestState::Dispatched && record.mediation != Mediation::Approved
            }),
            DispatchEvent::MediationApproved { request } => self
                .open_record(request)
                .is_some_and(|record| record.state == RequestState::AwaitingLocalMediation),
            DispatchEvent::RequestEnded { request, state, result, at, forget_at } => {
                self.open_record(request).is_some_and(|record| {
                    state.is_final()
                        && *at >= self.clock
                        && forget_at >= at
                        && result.size() <= u64::from(record.result_limit)
                        && (*state != RequestState::Succeeded || record.attempt > 0)
                })
            }
            DispatchEvent::ResultCollected { request } | DispatchEvent::RequestForgotten { request } => {
                self.record(request).is_some_and(|record| record.state.is_final())
            }
        }
    }
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DispatchError> {
    match postcard::take_from_bytes(bytes) {
        Ok((read, [])) => Ok(read),
        _ => Err(DispatchError::Inconsistent),
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::*;
    use crate::{
        capability::{CapabilityName, CapabilitySet},
        dispatch::{
            DeviceMessage, DispatchCommand, DispatchLiveness, EnqueueRequest, Incarnation, Payload, Target,
        },
        id::ClientId,
        time::{Millis, Now},
    };

    const NOW: Now = Now::new(10, 10);

    /// A state with a connected device, and its liveness.
    fn begun() -> (DispatchState, DispatchLiveness) {
        let (mut state, mut live) =
            (DispatchState::new(DispatchPolicy::default(), [1; 16]), DispatchLiveness::new());
        let device = DeviceId::new("a").unwrap();
        let cam = CapabilitySet::parse(["cam"]).unwrap();
        let grant = DispatchCommand::Grant { device: device.clone(), capabilities: cam.clone() };
        let decision = state.decide_operator(NOW, &grant).unwrap();
        let _ = state.accept(&mut live, NOW, decision).unwrap();
        let hello = DeviceMessage::Connect { incarnation: Incarnation(1), claims: cam, window: 2 };
        let decision = state.decide_device(NOW, &device, &hello).unwrap();
        let _ = state.accept(&mut live, NOW, decision).unwrap();
        (state, live)
    }

    fn ask(name: &str) -> EnqueueRequest {
        EnqueueRequest {
            request: RequestId::new(name).unwrap(),
            target: Target::Any,
            capability: CapabilityName::new("cam").unwrap(),
            payload: Payload::new(b"look"),
            result_limit: 16,
            ttl_ms: Millis(1_000),
        }
    }

    /// Invariant 8: a journal gives the state back, and a journal that was changed is refused.
    #[test]
    fn recovery_refuses_what_cannot_have_happened() {
        let (mut state, mut live) = begun();
        let start = state.snapshot();
        let client = ClientId::new("client").unwrap();
        let decision = state.enqueue(&live, NOW, &client, &ask("r")).unwrap();
        let mut journal = vec![decision.to_journal()];
        let _ = state.accept(&mut live, NOW, decision).unwrap();
        let decision = state.decide_sends(&live, NOW);
        journal.push(decision.to_journal());
        let _ = state.accept(&mut live, NOW, decision).unwrap();
        let recover = |journal: &[Vec<u8>]| {
            let records = journal.iter().map(Vec::as_slice);
            DispatchState::recover(DispatchPolicy::default(), [2; 16], Some(&start), records)
        };
        assert_eq!(recover(&journal).unwrap(), state);

        let refused = Err(DispatchError::Inconsistent);
        assert_eq!(recover(&journal[1..]), refused, "a record is missing");
        assert_eq!(recover(&[journal[1].clone(), journal[0].clone()]), refused, "out of order");
        let mut longer = journal.clone();
        longer[1].push(0);
        assert_eq!(recover(&longer), refused, "trailing bytes");
        for cut in 0..journal[0].len() {
            assert_eq!(recover(&[journal[0][..cut].to_vec()]), refused, "torn at {cut}");
        }
    }

    /// A decision is accepted only on the state that it was made on.
    #[test]
    fn a_stale_decision_is_refused() {
        let (mut state, mut live) = begun();
        let client = ClientId::new("client").unwrap();
        let first = state.enqueue(&live, NOW, &client, &ask("r1")).unwrap();
        let second = state.enqueue(&live, NOW, &client, &ask("r2")).unwrap();
        let _ = state.accept(&mut live, NOW, first).unwrap();
        let before = state.clone();
        assert_eq!(state.accept(&mut live, NOW, second).unwrap_err(), DispatchError::StaleDecision);
        assert_eq!(state, before);
    }
}
