//! Folding one event into the state: private to the crate, and it cannot fail.
//!
//! Every change of a device or a request sees to its index entries, so that no event has to know which indexes it
//! touches. An entry that stays what it was is left alone.

use super::{
    device::{Device, Session},
    event::DispatchEvent,
    held::{Held, NOBODY, line_of},
    payload::Payload,
    ready::NONE,
    record::{CapabilityRequestRecord, Incarnation, Mediation, RequestState},
    state::{DispatchState, Timer},
};
use crate::{
    id::{DeviceId, RequestId},
    index::Slot,
    time::Mono,
};

impl DispatchState {
    /// Folds `event` in. An event that does not fit is ignored; [`is_possible`](Self::is_possible) says which do.
    pub(crate) fn evolve(&mut self, event: &DispatchEvent) {
        self.version = self.version.saturating_add(1);
        match event {
            DispatchEvent::DeviceGranted { device, capabilities } => {
                if self.device_slot(device).is_none() {
                    let number = self.take_number();
                    self.devices.insert(Device::new(device.clone(), number));
                }
                self.change_device(device, |known| known.grants = capabilities.clone());
            }
            DispatchEvent::DeviceStands { device, standing } => {
                self.change_device(device, |known| known.standing = *standing);
            }
            DispatchEvent::DeviceRemoved { device } => {
                if let Some(slot) = self.device_slot(device) {
                    self.unlist_device(slot);
                    self.devices.remove(slot);
                }
            }
            DispatchEvent::DeviceReset { device } => {
                self.change_device(device, |known| known.incarnation = Incarnation::default());
            }
            DispatchEvent::DeviceConnected { device, incarnation, claims, window } => {
                self.change_device(device, |known| {
                    known.incarnation = *incarnation;
                    known.session = Some(Session { claims: claims.clone(), window: *window });
                });
            }
            DispatchEvent::DeviceWindow { device, window } => {
                self.change_device(device, |known| {
                    if let Some(session) = &mut known.session {
                        session.window = *window;
                    }
                });
            }
            DispatchEvent::DeviceDisconnected { device, .. } => {
                self.change_device(device, |known| known.session = None);
            }
            DispatchEvent::RequestEnqueued { number, at, .. } => {
                self.clock = self.clock.max(*at);
                self.next_number = self.next_number.max(number.saturating_add(1));
                self.add_request(event);
            }
            DispatchEvent::RequestDispatched { request, incarnation, attempt, at } => {
                self.clock = self.clock.max(*at);
                self.change_request(request, |record| {
                    record.state = RequestState::Dispatched;
                    record.incarnation = *incarnation;
                    record.attempt = *attempt;
                });
            }
            DispatchEvent::MediationAwaited { request } => {
                self.change_request(request, |record| record.state = RequestState::AwaitingLocalMediation);
            }
            DispatchEvent::MediationApproved { request } => {
                self.change_request(request, |record| {
                    record.state = RequestState::Dispatched;
                    record.mediation = Mediation::Approved;
                });
            }
            DispatchEvent::RequestEnded { request, state, result, at, forget_at } => {
                self.clock = self.clock.max(*at);
                self.change_request(request, |record| {
                    record.state = *state;
                    record.payload = Payload::default();
                    record.result = result.clone();
                    record.forget_at = *forget_at;
                });
            }
            DispatchEvent::ResultCollected { request } => {
                self.change_request(request, |record| record.result = Payload::default());
            }
            DispatchEvent::RequestForgotten { request } => {
                if let Some(slot) = self.requests.find(request.as_str().as_bytes()) {
                    self.unlist_request(slot);
                    self.requests.remove(slot);
                }
            }
        }
    }

    pub(crate) fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number = number.saturating_add(1);
        number
    }

    fn add_request(&mut self, event: &DispatchEvent) {
        let DispatchEvent::RequestEnqueued {
            request,
            client,
            number,
            device,
            capability,
            payload,
            result_limit,
            mediated,
            content,
            at,
            deadline,
        } = event
        else {
            return;
        };
        let device_slot = self.device_slot(device);
        let record = CapabilityRequestRecord {
            id: request.clone(),
            number: *number,
            client: client.clone(),
            device: device.clone(),
            capability: capability.clone(),
            content: *content,
            payload: payload.clone(),
            result_limit: *result_limit,
            mediation: if *mediated { Mediation::Needed } else { Mediation::NotNeeded },
            enqueued: *at,
            deadline: *deadline,
            state: RequestState::Queued,
            incarnation: Incarnation::default(),
            attempt: 0,
            result: Payload::default(),
            forget_at: Mono::NEVER,
        };
        if let Some(slot) = device_slot
            && let Some(known) = self.devices.get_mut(slot)
        {
            known.last_used = *number;
            self.ready.used(known.listed, *number);
        }
        if let Some(slot) = self.requests.insert(Held::new(record, device_slot.unwrap_or(NOBODY))) {
            self.list_request(slot);
        }
    }

    fn change_device(&mut self, device: &DeviceId, change: impl FnOnce(&mut Device)) {
        let Some(slot) = self.device_slot(device) else { return };
        let Some(known) = self.devices.get_mut(slot) else { return };
        let (listed, under) = (known.listed, known.effective.clone());
        change(known);
        known.refresh_effective();
        // A device that is under the same names as before keeps its places.
        let stays = known.may_be_chosen() && listed != NONE && known.effective == under;
        if !stays {
            self.ready.unlist(listed, &under);
            known.listed = NONE;
            self.list_device(slot);
        }
        self.list_sender(slot);
    }

    fn change_request(&mut self, request: &RequestId, change: impl FnOnce(&mut CapabilityRequestRecord)) {
        let Some(slot) = self.requests.find(request.as_str().as_bytes()) else { return };
        let Some(held) = self.requests.get_mut(slot) else { return };
        let (device, state) = (held.device, held.record.state);
        let bytes = held.record.bytes();
        change(&mut held.record);
        let record = &held.record;
        let (timer, now) = ((record.timer(), record.number), record.state);
        self.bytes = self.bytes.saturating_sub(bytes).saturating_add(record.bytes());
        if now.is_final() {
            held.device = NOBODY;
        }
        self.arm(slot, timer);
        if line_of(state) != line_of(now) {
            self.count(state, false);
            self.count(now, true);
            self.change_line(slot, device, Some(state), Some(now));
        }
    }

    /// Puts a device under what it may be asked for, where it may be chosen.
    pub(crate) fn list_device(&mut self, slot: Slot) {
        let Some(device) = self.devices.get_mut(slot).filter(|device| device.may_be_chosen()) else { return };
        device.listed = self.ready.list(slot, device.last_used, &device.effective);
    }

    /// Puts a device where it belongs among those that something can be handed to.
    pub(crate) fn list_sender(&mut self, slot: Slot) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        let head = device.sendable_head().and_then(|first| self.requests.get(first));
        device.sends = self.senders.set(device.sends, slot, head.map(|held| held.record.number));
    }

    fn unlist_device(&mut self, slot: Slot) {
        if let Some(device) = self.devices.get_mut(slot) {
            self.ready.unlist(device.listed, &device.effective);
            device.listed = NONE;
            device.sends = self.senders.set(device.sends, slot, None);
        }
    }

    fn list_request(&mut self, slot: Slot) {
        self.take_in(slot);
        self.line_up(slot);
    }

    /// Counts a request and sets its timer.
    pub(super) fn take_in(&mut self, slot: Slot) {
        let Some(Held { record, .. }) = self.requests.get(slot) else { return };
        let (timer, state) = ((record.timer(), record.number), record.state);
        self.bytes = self.bytes.saturating_add(record.bytes());
        self.arm(slot, timer);
        self.count(state, true);
    }

    /// Puts an open request at the end of its line.
    pub(super) fn line_up(&mut self, slot: Slot) {
        let Some(held) = self.requests.get(slot) else { return };
        let (device, state) = (held.device, held.record.state);
        self.change_line(slot, device, None, Some(state));
    }

    fn unlist_request(&mut self, slot: Slot) {
        let Some(held) = self.requests.get(slot) else { return };
        let (device, state) = (held.device, held.record.state);
        self.bytes = self.bytes.saturating_sub(held.record.bytes());
        self.timers.remove(&mut self.timed, slot);
        self.count(state, false);
        self.change_line(slot, device, Some(state), None);
    }

    /// Has the request in `slot` looked at by this timer.
    fn arm(&mut self, slot: Slot, timer: Timer) {
        let Ok(at) = usize::try_from(slot) else { return };
        self.timed.reach(at, (Mono::START, 0), ());
        if self.timed.key(slot) != Some(timer) {
            self.timers.remove(&mut self.timed, slot);
            self.timers.insert(&mut self.timed, slot, timer);
        }
    }

    /// Counts a request in this state in, or out.
    fn count(&mut self, state: RequestState, one_more: bool) {
        let open = u64::from(!state.is_final());
        let in_flight = u64::from(!state.is_final() && state != RequestState::Queued);
        let change = if one_more { u64::saturating_add } else { u64::saturating_sub };
        self.open = change(self.open, open);
        self.in_flight = change(self.in_flight, in_flight);
    }

    /// Moves a request from line to line of its device. What the device is listed under stays as it is.
    fn change_line(
        &mut self,
        request: Slot,
        slot: Slot,
        from: Option<RequestState>,
        to: Option<RequestState>,
    ) {
        let Some(device) = self.devices.get_mut(slot) else { return };
        if let Some(which) = from.and_then(line_of) {
            device.line(which).remove(&mut self.requests, request);
        }
        if let Some(which) = to.and_then(line_of) {
            device.line(which).push(&mut self.requests, request);
        }
        self.list_sender(slot);
    }
}
