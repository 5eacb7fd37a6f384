//! A reference model of dispatch: the same laws in plain lists and scans, without an index, to compare with.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    capability::{CapabilityName, CapabilitySet},
    dispatch::{
        DispatchPolicyDocument, EnqueueRequest, FailReason, Incarnation, MediationStep, Outcome,
        RejectReason, RequestState, Target,
    },
    id::{ClientId, DeviceId, RequestId},
};

#[derive(Clone, Debug, Default)]
pub(super) struct ModelDevice {
    pub(super) grants: CapabilitySet,
    pub(super) draining: bool,
    pub(super) quarantined: bool,
    pub(super) revoked: bool,
    pub(super) incarnation: Incarnation,
    /// Claims, window and the time last heard, while a stream is open.
    pub(super) session: Option<(CapabilitySet, u32, u64)>,
    pub(super) last_used: u64,
}

#[derive(Clone, Debug)]
pub(super) struct ModelRequest {
    pub(super) client: ClientId,
    pub(super) asked: EnqueueRequest,
    pub(super) number: u64,
    pub(super) device: DeviceId,
    pub(super) deadline: u64,
    pub(super) state: RequestState,
    pub(super) delivered: Option<(Incarnation, u32)>,
    pub(super) mediated: bool,
    pub(super) approved: bool,
    pub(super) result: usize,
    pub(super) forget_at: u64,
}

/// The model. Methods say whether the operation is accepted, and change the model only then.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) policy: DispatchPolicyDocument,
    pub(super) devices: BTreeMap<DeviceId, ModelDevice>,
    pub(super) requests: BTreeMap<RequestId, ModelRequest>,
    pub(super) next: u64,
}

impl ModelDevice {
    fn clear(&self) -> bool {
        !(self.draining || self.quarantined || self.revoked)
    }

    fn fresh(&self, now: u64, staleness: u64) -> bool {
        self.session.as_ref().is_some_and(|(_, _, heard)| now < heard + staleness)
    }

    fn may(&self, capability: &CapabilityName) -> bool {
        self.session.as_ref().is_some_and(|(claims, ..)| claims.contains(capability))
            && self.grants.contains(capability)
    }
}

impl ModelRequest {
    fn bytes(&self) -> u64 {
        match self.state.is_final() {
            true => self.result as u64,
            false => self.asked.payload.len() as u64 + u64::from(self.asked.result_limit),
        }
    }
}

impl Model {
    fn waiting(&self, device: &DeviceId) -> usize {
        let queued = |r: &&ModelRequest| r.device == *device && r.state == RequestState::Queued;
        self.requests.values().filter(queued).count()
    }

    fn in_hand(&self, device: &DeviceId) -> usize {
        let held =
            |r: &&ModelRequest| r.device == *device && !r.state.is_final() && r.state != RequestState::Queued;
        self.requests.values().filter(held).count()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.requests.values().map(ModelRequest::bytes).sum()
    }

    fn end(&mut self, request: &RequestId, state: RequestState, result: usize, now: u64) {
        if let Some(record) = self.requests.get_mut(request) {
            (record.state, record.result, record.forget_at) =
                (state, result, now + self.policy.retention_ms.0);
        }
    }

    fn end_where(&mut self, now: u64, end: impl Fn(&ModelRequest) -> Option<RequestState>) {
        for record in self.requests.values_mut().filter(|record| !record.state.is_final()) {
            if let Some(state) = end(record) {
                (record.state, record.forget_at) = (state, now + self.policy.retention_ms.0);
            }
        }
    }

    pub(super) fn enqueue(&mut self, client: &ClientId, ask: &EnqueueRequest, now: u64) -> bool {
        let policy = &self.policy;
        let sizes = ask.payload.len() as u64 <= u64::from(policy.max_request_bytes)
            && ask.result_limit <= policy.max_result_bytes;
        if !sizes || ask.ttl_ms.0 == 0 || ask.ttl_ms > policy.longest_ttl_ms {
            return false;
        }
        if let Some(known) = self.requests.get(&ask.request) {
            return known.asked == *ask && known.client == *client;
        }
        let needs = ask.payload.len() as u64 + u64::from(ask.result_limit);
        let own = || self.requests.values().filter(|record| record.client == *client);
        if own().count() >= policy.max_client_requests as usize
            || own().map(ModelRequest::bytes).sum::<u64>() + needs > policy.max_client_bytes
        {
            return false;
        }
        let queued = |device: &DeviceId| {
            own().filter(|r| r.device == *device && r.state == RequestState::Queued).count()
        };
        let room = |device: &DeviceId| {
            self.waiting(device) < policy.max_queue as usize
                && queued(device) < policy.max_client_queue as usize
        };
        let chosen = match &ask.target {
            Target::Device(id) => self
                .devices
                .get(id)
                .filter(|device| {
                    device.clear()
                        && device.grants.contains(&ask.capability)
                        && (device.session.is_none() || device.may(&ask.capability))
                        && room(id)
                })
                .map(|_| id.clone()),
            Target::Any => self
                .devices
                .iter()
                .filter(|(id, device)| {
                    device.clear()
                        && device.may(&ask.capability)
                        && device.fresh(now, policy.staleness_ms.0)
                        && room(id)
                })
                .min_by_key(|(_, device)| device.last_used)
                .map(|(id, _)| id.clone()),
        };
        let Some(device) = chosen else { return false };
        if self.requests.len() >= policy.max_requests as usize
            || self.bytes() + needs > policy.max_total_bytes
        {
            return false;
        }
        let number = self.next;
        self.next += 1;
        if let Some(known) = self.devices.get_mut(&device) {
            known.last_used = number;
        }
        let record = ModelRequest {
            client: client.clone(),
            asked: ask.clone(),
            number,
            device,
            deadline: now + ask.ttl_ms.0,
            state: RequestState::Queued,
            delivered: None,
            mediated: self.policy.mediated.contains(&ask.capability),
            approved: false,
            result: 0,
            forget_at: u64::MAX,
        };
        self.requests.insert(ask.request.clone(), record);
        true
    }

    pub(super) fn cancel(&mut self, client: &ClientId, request: &RequestId, now: u64) -> bool {
        let open = self.requests.get(request).is_some_and(|r| r.client == *client && !r.state.is_final());
        if open {
            self.end(request, RequestState::Rejected(RejectReason::Cancelled), 0, now);
        }
        open
    }

    pub(super) fn collect(&mut self, client: &ClientId, request: &RequestId) -> bool {
        let known = self.requests.get_mut(request).filter(|r| r.client == *client && r.state.is_final());
        known.map(|record| record.result = 0).is_some()
    }

    pub(super) fn grant(&mut self, device: &DeviceId, grants: &CapabilitySet, now: u64) -> bool {
        if !self.devices.contains_key(device) {
            if self.devices.len() >= self.policy.max_devices as usize {
                return false;
            }
            let known = ModelDevice { last_used: self.next, ..ModelDevice::default() };
            self.next += 1;
            self.devices.insert(device.clone(), known);
        }
        if let Some(known) = self.devices.get_mut(device) {
            known.grants = grants.clone();
        }
        self.end_where(now, |record| {
            (record.device == *device && !grants.contains(&record.asked.capability))
                .then_some(RequestState::Rejected(RejectReason::CapabilityWithdrawn))
        });
        true
    }

    pub(super) fn stand(
        &mut self,
        device: &DeviceId,
        now: u64,
        change: impl FnOnce(&mut ModelDevice) -> Option<RejectReason>,
    ) -> bool {
        let Some(known) = self.devices.get_mut(device) else { return false };
        let before = (known.quarantined, known.revoked);
        let reason = change(known);
        if known.revoked {
            known.session = None;
        }
        if before != (known.quarantined, known.revoked)
            && let Some(reason) = reason
        {
            self.end_where(now, |r| (r.device == *device).then_some(RequestState::Rejected(reason)));
        }
        true
    }

    pub(super) fn remove(&mut self, device: &DeviceId) -> bool {
        let free = self.waiting(device) + self.in_hand(device) == 0;
        let gone = self
            .devices
            .get(device)
            .is_some_and(|d| free && d.session.is_none() && !d.revoked && !d.quarantined);
        if gone {
            self.devices.remove(device);
        }
        gone
    }

    pub(super) fn connect(
        &mut self,
        device: &DeviceId,
        incarnation: Incarnation,
        claims: &CapabilitySet,
        window: u32,
        now: u64,
    ) -> bool {
        let Some(known) = self.devices.get_mut(device) else { return false };
        if known.revoked || incarnation < known.incarnation || window > self.policy.max_window {
            return false;
        }
        known.incarnation = incarnation;
        known.session = Some((claims.clone(), window, now));
        let grants = known.grants.clone();
        let most = self.policy.max_deliveries;
        self.end_where(now, |record| {
            if record.device != *device || record.deadline <= now {
                return None;
            }
            match record.delivered {
                Some((held, _)) if held != incarnation => Some(RequestState::Failed(FailReason::Lost)),
                _ if !grants.contains(&record.asked.capability)
                    || !claims.contains(&record.asked.capability) =>
                {
                    Some(RequestState::Rejected(RejectReason::CapabilityWithdrawn))
                }
                Some((_, attempt)) if attempt >= most => {
                    Some(RequestState::Failed(FailReason::Undeliverable))
                }
                _ => None,
            }
        });
        for record in self.requests.values_mut() {
            let again = record.device == *device && !record.state.is_final() && record.deadline > now;
            if let Some((_, attempt)) = &mut record.delivered
                && again
            {
                *attempt += 1;
                record.state = RequestState::Dispatched;
            }
        }
        true
    }

    fn speaks(&self, device: &DeviceId, incarnation: Incarnation) -> bool {
        let open = |d: &ModelDevice| !d.revoked && d.session.is_some() && d.incarnation == incarnation;
        self.devices.get(device).is_some_and(open)
    }

    pub(super) fn hear(&mut self, device: &DeviceId, now: u64) {
        if let Some((.., heard)) = self.devices.get_mut(device).and_then(|known| known.session.as_mut()) {
            *heard = now;
        }
    }

    pub(super) fn heartbeat(&mut self, device: &DeviceId, incarnation: Incarnation) -> bool {
        self.speaks(device, incarnation)
    }

    pub(super) fn window(&mut self, device: &DeviceId, incarnation: Incarnation, window: u32) -> bool {
        let accepted = self.speaks(device, incarnation) && window <= self.policy.max_window;
        if let Some((_, offered, _)) = self.devices.get_mut(device).and_then(|known| known.session.as_mut())
            && accepted
        {
            *offered = window;
        }
        accepted
    }

    pub(super) fn disconnect(&mut self, device: &DeviceId, incarnation: Incarnation) -> bool {
        let accepted = self.speaks(device, incarnation);
        if let Some(known) = self.devices.get_mut(device)
            && accepted
        {
            known.session = None;
        }
        accepted
    }

    fn is_about(
        &self,
        device: &DeviceId,
        from: Incarnation,
        request: &RequestId,
        attempt: u32,
        now: u64,
    ) -> bool {
        self.speaks(device, from)
            && self.requests.get(request).is_some_and(|record| {
                record.device == *device
                    && !record.state.is_final()
                    && record.delivered == Some((from, attempt))
                    && now < record.deadline
            })
    }

    pub(super) fn mediate(
        &mut self,
        device: &DeviceId,
        about: (Incarnation, &RequestId, u32),
        step: MediationStep,
        now: u64,
    ) -> bool {
        let (from, request, attempt) = about;
        if !self.is_about(device, from, request, attempt, now) {
            return false;
        }
        let Some(record) = self.requests.get_mut(request) else { return false };
        let awaits = record.state == RequestState::AwaitingLocalMediation;
        match step {
            MediationStep::Awaiting if !record.approved => {
                record.state = RequestState::AwaitingLocalMediation;
                true
            }
            MediationStep::Awaiting => true,
            MediationStep::Approved if awaits => {
                (record.state, record.approved) = (RequestState::Dispatched, true);
                true
            }
            MediationStep::Approved => record.approved,
            MediationStep::Denied => {
                if awaits {
                    self.end(request, RequestState::Rejected(RejectReason::MediationDenied), 0, now);
                }
                awaits
            }
        }
    }

    pub(super) fn answer(
        &mut self,
        device: &DeviceId,
        about: (Incarnation, &RequestId, u32),
        outcome: &Outcome,
        now: u64,
    ) -> bool {
        let (from, request, attempt) = about;
        if !self.is_about(device, from, request, attempt, now) {
            return false;
        }
        let record = &self.requests[request];
        let unmediated =
            record.state == RequestState::AwaitingLocalMediation || record.mediated && !record.approved;
        let limit = record.asked.result_limit as usize;
        let (state, result, ran) = match outcome {
            Outcome::Succeeded(bytes) if bytes.len() <= limit => (RequestState::Succeeded, bytes.len(), true),
            Outcome::Failed(bytes) if bytes.len() <= limit => {
                (RequestState::Failed(FailReason::Device), bytes.len(), true)
            }
            Outcome::Succeeded(_) | Outcome::Failed(_) | Outcome::TooLarge => {
                (RequestState::Failed(FailReason::ResultTooLarge), 0, true)
            }
            Outcome::Lost => (RequestState::Failed(FailReason::Lost), 0, false),
            Outcome::Refused => (RequestState::Rejected(RejectReason::ByDevice), 0, false),
        };
        if ran && unmediated {
            return false;
        }
        self.end(request, state, result, now);
        true
    }

    /// Everything that is due at `now`, in one go.
    pub(super) fn due(&mut self, now: u64) {
        self.requests.retain(|_, record| !record.state.is_final() || record.forget_at > now);
        self.end_where(now, |record| {
            (record.deadline <= now).then(|| record.state.stage().map(RequestState::TimedOut)).flatten()
        });
        for device in self.devices.values_mut() {
            if !device.fresh(now, self.policy.staleness_ms.0) {
                device.session = None;
            }
        }
    }

    /// Everything that can be handed over at `now`: the numbers, in order.
    pub(super) fn sends(&mut self, now: u64) -> Vec<u64> {
        let mut sent = Vec::new();
        for (id, device) in self.devices.clone() {
            if !device.clear() || !device.fresh(now, self.policy.staleness_ms.0) {
                continue;
            }
            let window = device.session.as_ref().map_or(0, |(_, window, _)| *window as usize);
            let credit = window.saturating_sub(self.in_hand(&id));
            let mut waiting: Vec<&mut ModelRequest> = self
                .requests
                .values_mut()
                .filter(|r| r.device == id && r.state == RequestState::Queued && r.deadline > now)
                .collect();
            waiting.sort_by_key(|record| record.number);
            for record in waiting.into_iter().take(credit) {
                record.state = RequestState::Dispatched;
                record.delivered = Some((device.incarnation, 1));
                sent.push(record.number);
            }
        }
        sent.sort_unstable();
        sent
    }
}
