//! Exchanges under enrolment keys, from a device's first word to its proof.

use alloc::{collections::VecDeque, vec::Vec};

use super::exchange::Exchange;
use crate::id::{OrderId, SessionId};

/// The most exchanges that are not proved yet. Over it the oldest is dropped; its device begins again.
const MAX_ENROLLING: usize = 64;

/// Exchanges under enrolment keys that are not proved yet, the oldest first. Never stored.
#[derive(Debug, Default)]
pub(super) struct Enrolling(VecDeque<(SessionId, OrderId, Exchange)>);

impl Enrolling {
    pub(super) fn has(&self, session: &SessionId) -> bool {
        self.0.iter().any(|(held, ..)| held == session)
    }

    pub(super) fn answered(&self, session: &SessionId, bytes: &[u8]) -> Option<Vec<u8>> {
        let (.., exchange) = self.0.iter().find(|(held, ..)| held == session)?;
        exchange.answered(bytes)
    }

    pub(super) fn put(&mut self, session: SessionId, order: OrderId, exchange: Exchange) {
        self.0.retain(|(held, ..)| *held != session);
        if self.0.len() >= MAX_ENROLLING {
            self.0.pop_front();
        }
        self.0.push_back((session, order, exchange));
    }

    pub(super) fn take(&mut self, session: &SessionId) -> Option<(OrderId, Exchange)> {
        let at = self.0.iter().position(|(held, ..)| held == session)?;
        self.0.remove(at).map(|(_, order, exchange)| (order, exchange))
    }
}
