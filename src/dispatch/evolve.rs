//! Folds one event into the state. Folding cannot fail.
//!
//! Every change of a device or a request updates its index entries, so that no event has to know which
//! indexes it affects. An entry that does not change is not touched.

use alloc::vec::Vec;

use super::{
    client::ClientUse,
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
    /// Folds `event`. An event that does not fit is ignored; [`is_possible`](Self::is_possible) says which
    /// events fit.
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
        let most = self.policy.queue();
        let Some(known) = self.devices.get_mut(slot) else { return };
        let (listed, under) = (known.listed, known.effective.clone());
        change(known);
        known.refresh_effective();
        // A device with the same effective capabilities as before keeps its places in the lists.
        let stays = known.may_be_chosen(most) && listed != NONE && known.effective == under;
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
        let (client, after) = (held.client, record.bytes());
        self.bytes = self.bytes.saturating_sub(bytes).saturating_add(after);
        if let Some(used) = self.clients.get_mut(client) {
            used.changed(bytes, after);
        }
        if now.is_final()
            && let Some(held) = self.requests.get_mut(slot)
        {
            held.device = NOBODY;
        }
        self.arm(slot, timer);
        if line_of(state) != line_of(now) {
            self.count(state, false);
            self.count(now, true);
            self.change_line(slot, device, Some(state), Some(now));
        }
    }

    /// Lists a device under its effective capabilities, if it may be chosen.
    pub(crate) fn list_device(&mut self, slot: Slot) {
        let most = self.policy.queue();
        let chosen = self.devices.get_mut(slot).filter(|device| device.may_be_chosen(most));
        let Some(device) = chosen else { return };
        device.listed = self.ready.list(slot, device.last_used, &device.effective);
    }

    /// Lists a device whose queue has room again, and removes one whose queue is full, because a selection
    /// would have to pass it.
    fn follow_room(&mut self, slot: Slot) {
        let most = self.policy.queue();
        let Some(device) = self.devices.get_mut(slot) else { return };
        match (device.listed == NONE, device.may_be_chosen(most)) {
            (true, true) => self.list_device(slot),
            (false, false) => {
                self.ready.unlist(device.listed, &device.effective);
                device.listed = NONE;
            }
            _ => {}
        }
    }

    /// Applies another policy: with another length of queues, other devices have room.
    pub(super) fn follow_policy(&mut self) {
        let slots: Vec<Slot> = self.devices.enumerate().map(|(slot, _)| slot).collect();
        slots.into_iter().for_each(|slot| self.follow_room(slot));
    }

    /// Updates the place of a device among those to which something can be handed over.
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
        let bytes = record.bytes();
        let client = match self.clients.find(record.client.as_str().as_bytes()) {
            Some(client) => client,
            None => self.clients.insert(ClientUse::new(record.client.clone())).unwrap_or(NOBODY),
        };
        if let Some(used) = self.clients.get_mut(client) {
            used.more(bytes);
        }
        if let Some(held) = self.requests.get_mut(slot) {
            held.client = client;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.arm(slot, timer);
        self.count(state, true);
    }

    /// Puts an open request at the end of its queue.
    pub(super) fn line_up(&mut self, slot: Slot) {
        let Some(held) = self.requests.get(slot) else { return };
        let (device, state) = (held.device, held.record.state);
        self.change_line(slot, device, None, Some(state));
    }

    fn unlist_request(&mut self, slot: Slot) {
        let Some(held) = self.requests.get(slot) else { return };
        let (device, state) = (held.device, held.record.state);
        let (client, bytes) = (held.client, held.record.bytes());
        self.bytes = self.bytes.saturating_sub(bytes);
        if self.clients.get_mut(client).is_some_and(|used| used.less(bytes)) {
            self.clients.remove(client);
        }
        self.timers.remove(&mut self.timed, slot);
        self.count(state, false);
        self.change_line(slot, device, Some(state), None);
    }

    /// Sets the timer of the request in `slot`.
    fn arm(&mut self, slot: Slot, timer: Timer) {
        let Ok(at) = usize::try_from(slot) else { return };
        self.timed.reach(at, (Mono::START, 0), ());
        if self.timed.key(slot) != Some(timer) {
            self.timers.remove(&mut self.timed, slot);
            self.timers.insert(&mut self.timed, slot, timer);
        }
    }

    /// Adds a request in this state to the counts, or removes it.
    fn count(&mut self, state: RequestState, one_more: bool) {
        let open = u64::from(!state.is_final());
        let in_flight = u64::from(!state.is_final() && state != RequestState::Queued);
        let change = if one_more { u64::saturating_add } else { u64::saturating_sub };
        self.open = change(self.open, open);
        self.in_flight = change(self.in_flight, in_flight);
    }

    /// Moves a request between the queues of its device.
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
        self.follow_room(slot);
        self.list_sender(slot);
    }
}
