//! Folding one event into the state: private to the crate, and it cannot fail.
//!
//! Every change of a device or a request takes its index entries out before and puts them in after, so that no
//! event has to know which indexes it touches.

use super::{
    device::{Device, Session},
    event::DispatchEvent,
    payload::Payload,
    record::{CapabilityRequestRecord, Incarnation, Mediation, RequestState},
    state::DispatchState,
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
        let slot = self.requests.insert(CapabilityRequestRecord {
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
        });
        self.change_device(device, |known| known.last_used = *number);
        if let Some(slot) = slot {
            self.list_request(slot);
        }
    }

    fn change_device(&mut self, device: &DeviceId, change: impl FnOnce(&mut Device)) {
        let Some(slot) = self.device_slot(device) else { return };
        self.unlist_device(slot);
        if let Some(known) = self.devices.get_mut(slot) {
            change(known);
            known.refresh_effective();
        }
        self.list_device(slot);
    }

    fn change_request(&mut self, request: &RequestId, change: impl FnOnce(&mut CapabilityRequestRecord)) {
        let Some(slot) = self.requests.find(request.as_str().as_bytes()) else { return };
        self.unlist_request(slot);
        if let Some(record) = self.requests.get_mut(slot) {
            change(record);
        }
        self.list_request(slot);
    }

    pub(crate) fn list_device(&mut self, slot: Slot) {
        let Some(device) = self.devices.get(slot) else { return };
        if device.may_be_chosen() {
            for name in device.effective.iter() {
                self.by_capability.entry(name.clone()).or_default().insert((device.last_used, slot));
            }
        }
        if let Some(head) = device.sendable_head() {
            self.sendable.insert((head, slot));
        }
    }

    fn unlist_device(&mut self, slot: Slot) {
        let Some(device) = self.devices.get(slot) else { return };
        if device.may_be_chosen() {
            for name in device.effective.iter() {
                if let Some(ready) = self.by_capability.get_mut(name) {
                    ready.remove(&(device.last_used, slot));
                    if ready.is_empty() {
                        self.by_capability.remove(name);
                    }
                }
            }
        }
        if let Some(head) = device.sendable_head() {
            self.sendable.remove(&(head, slot));
        }
    }

    pub(crate) fn list_request(&mut self, slot: Slot) {
        let Some(record) = self.requests.get(slot) else { return };
        self.timers.insert((record.timer(), record.number), slot);
        self.bytes = self.bytes.saturating_add(record.bytes());
        if record.state.is_final() {
            return;
        }
        self.open = self.open.saturating_add(1);
        let queued = record.state == RequestState::Queued;
        self.in_flight = self.in_flight.saturating_add(u64::from(!queued));
        self.change_load(slot, |device, number| {
            let list = if queued { &mut device.queue } else { &mut device.in_flight };
            list.insert(number, slot);
        });
    }

    fn unlist_request(&mut self, slot: Slot) {
        let Some(record) = self.requests.get(slot) else { return };
        self.timers.remove(&(record.timer(), record.number));
        self.bytes = self.bytes.saturating_sub(record.bytes());
        if record.state.is_final() {
            return;
        }
        self.open = self.open.saturating_sub(1);
        let queued = record.state == RequestState::Queued;
        self.in_flight = self.in_flight.saturating_sub(u64::from(!queued));
        self.change_load(slot, |device, number| {
            let list = if queued { &mut device.queue } else { &mut device.in_flight };
            list.remove(&number);
        });
    }

    /// Changes what the device of a request has to do. Which capabilities it is listed under stays as it is.
    fn change_load(&mut self, request: Slot, change: impl FnOnce(&mut Device, u64)) {
        let Some(record) = self.requests.get(request) else { return };
        let Some(slot) = self.devices.find(record.device.as_str().as_bytes()) else { return };
        let Some(device) = self.devices.get_mut(slot) else { return };
        if let Some(head) = device.sendable_head() {
            self.sendable.remove(&(head, slot));
        }
        change(device, record.number);
        if let Some(head) = device.sendable_head() {
            self.sendable.insert((head, slot));
        }
    }
}
