//! What time brings: deadlines, retention and silence, and handing over waiting requests. Each call does
//! bounded work.

use alloc::vec::Vec;

use crate::{
    dispatch::{
        device::Device,
        event::{DisconnectReason, DispatchEvent},
        liveness::DispatchLiveness,
        payload::Payload,
        record::RequestState,
        state::DispatchState,
    },
    index::Slot,
    time::{Mono, Now},
};

use super::Decision;

/// Whether more is due at the same time. If so, accept the decision and ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "work is left where this says so"]
#[non_exhaustive]
pub enum More {
    /// Nothing more is due.
    Done,
    /// The bound of one call was reached, and more may be due.
    More,
}

impl DispatchState {
    /// Ends requests whose deadline has passed, forgets requests whose retention has ended, and closes the
    /// streams of silent devices: at most `max_per_call` transitions. If nothing is due, the cost is O(1).
    ///
    /// Call this until it is done, and then [`decide_sends`](Self::decide_sends) at the same time.
    pub fn decide_due(&self, live: &DispatchLiveness, now: Now) -> Decision<More> {
        let at = self.at(now);
        let most = self.policy.per_call();
        let passed = self.timers.iter(&self.timed).take_while(|((due, _), _)| *due <= at);
        let timers = passed.filter_map(|(_, slot)| {
            let record = &self.requests.get(slot)?.record;
            Some(match record.state.stage() {
                Some(stage) => self.ended(record, RequestState::TimedOut(stage), Payload::default(), at),
                None => DispatchEvent::RequestForgotten { request: record.id.clone() },
            })
        });
        let silences = live.silent(self, at).filter_map(|slot| {
            let device = self.devices.get(slot)?.id.clone();
            Some(DispatchEvent::DeviceDisconnected { device, reason: DisconnectReason::Silent })
        });
        let mut due = timers.chain(silences);
        let events: Vec<DispatchEvent> = due.by_ref().take(most).collect();
        let more = if due.next().is_some() { More::More } else { More::Done };
        self.decided(events, more)
    }

    /// Hands waiting requests to devices that have credit and were heard in time, oldest first: at most
    /// `max_per_call`. A request whose deadline has passed is never handed over;
    /// [`decide_due`](Self::decide_due) ends it. If nothing waits, the cost is O(1).
    pub fn decide_sends(&self, live: &DispatchLiveness, now: Now) -> Decision<More> {
        let at = self.at(now);
        let most = self.policy.per_call();
        // Each pass visits all devices before the next begins, so that cache misses of several devices
        // overlap.
        let mut senders: Vec<Slot> = Vec::with_capacity(self.senders.len().min(most));
        senders.extend(self.senders.iter().map(|(_, slot)| slot).take(most));
        senders.retain(|slot| live.is_fresh(self, *slot, at));
        let takes = |device: &Device| device.waiting.len().min(device.credit());
        let all = senders.iter().filter_map(|slot| self.devices.get(*slot)).map(takes);
        let mut events = Vec::with_capacity(all.fold(0, usize::saturating_add).min(most));
        for slot in senders {
            let Some(device) = self.devices.get(slot) else { continue };
            let waiting = device.waiting.iter(&self.requests);
            for record in waiting.filter(|record| record.deadline > at).take(device.credit()) {
                if events.len() >= most {
                    return self.decided(events, More::More);
                }
                events.push(DispatchEvent::RequestDispatched {
                    request: record.id.clone(),
                    incarnation: device.incarnation,
                    attempt: 1,
                    at,
                });
            }
        }
        let more = if events.is_empty() || self.senders.len() <= most { More::Done } else { More::More };
        self.decided(events, more)
    }

    /// The earliest instant at which something is due, by the requests' timers or by a device's silence.
    pub fn next_due(&self, live: &DispatchLiveness) -> Option<Mono> {
        match (self.next_deadline(), live.next_silence(self)) {
            (Some(deadline), Some(silence)) => Some(deadline.min(silence)),
            (deadline, silence) => deadline.or(silence),
        }
    }
}
