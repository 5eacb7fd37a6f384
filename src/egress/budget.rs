//! What one lease may use up: requests, bytes, tunnels and destinations. A pure state machine beside the permits.

use alloc::{
    boxed::Box,
    collections::BTreeSet,
    string::{String, ToString},
};

use serde::{Deserialize, Serialize};

use super::ConnectPlan;
use crate::code::{self, Code, Coded};

/// The most destinations that a budget remembers, whatever its limit says.
pub const MAX_DESTINATIONS: u32 = 4096;

/// The limits of one lease. `None` is no limit; destinations are then limited to [`MAX_DESTINATIONS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(clippy::exhaustive_structs)]
pub struct BudgetLimits {
    /// Requests and tunnels together.
    pub requests: Option<u64>,
    /// Bytes to upstreams.
    pub bytes_up: Option<u64>,
    /// Bytes from upstreams.
    pub bytes_down: Option<u64>,
    /// Tunnels open at one time.
    pub tunnels: Option<u32>,
    /// Different pairs of host and port.
    pub destinations: Option<u32>,
}

/// Which part of a budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// Requests.
    #[error("the lease's requests are used up")]
    Requests,
    /// Bytes to upstreams.
    #[error("the lease's bytes to upstreams are used up")]
    BytesUp,
    /// Bytes from upstreams.
    #[error("the lease's bytes from upstreams are used up")]
    BytesDown,
    /// Tunnels.
    #[error("the lease has as many tunnels as it may")]
    Tunnels,
    /// Destinations.
    #[error("the lease has reached as many destinations as it may")]
    Destinations,
}

impl Coded for BudgetError {
    fn code(&self) -> Code {
        match self {
            Self::Requests => code::EGRESS_BUDGET_REQUESTS,
            Self::BytesUp => code::EGRESS_BUDGET_BYTES_UP,
            Self::BytesDown => code::EGRESS_BUDGET_BYTES_DOWN,
            Self::Tunnels => code::EGRESS_BUDGET_TUNNELS,
            Self::Destinations => code::EGRESS_BUDGET_DESTINATIONS,
        }
    }
}

/// What one lease has used up. What is refused is not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressBudget {
    limits: BudgetLimits,
    requests: u64,
    bytes_up: u64,
    bytes_down: u64,
    tunnels: u32,
    destinations: BTreeSet<(Box<str>, u16)>,
}

/// `used` and `more`, where that is within `limit`.
fn within(used: u64, more: u64, limit: Option<u64>) -> Option<u64> {
    used.checked_add(more).filter(|sum| limit.is_none_or(|limit| *sum <= limit))
}

impl EgressBudget {
    /// A budget of which nothing is used.
    pub const fn new(limits: BudgetLimits) -> Self {
        Self { limits, requests: 0, bytes_up: 0, bytes_down: 0, tunnels: 0, destinations: BTreeSet::new() }
    }

    /// Counts the request or tunnel of `plan`.
    ///
    /// # Errors
    /// [`BudgetError`], and nothing is counted.
    pub fn admit(&mut self, plan: &ConnectPlan) -> Result<(), BudgetError> {
        self.open(plan.host().to_string(), plan.port(), plan.is_tunnel())
    }

    fn open(&mut self, host: String, port: u16, tunnel: bool) -> Result<(), BudgetError> {
        let requests = within(self.requests, 1, self.limits.requests).ok_or(BudgetError::Requests)?;
        let tunnels = match (tunnel, self.tunnels.checked_add(1)) {
            (false, _) => self.tunnels,
            (true, Some(more)) if self.limits.tunnels.is_none_or(|limit| more <= limit) => more,
            (true, _) => return Err(BudgetError::Tunnels),
        };
        let destination = (host.into_boxed_str(), port);
        let known = u32::try_from(self.destinations.len()).unwrap_or(u32::MAX);
        let room = self.limits.destinations.unwrap_or(MAX_DESTINATIONS).min(MAX_DESTINATIONS);
        if !self.destinations.contains(&destination) && known >= room {
            return Err(BudgetError::Destinations);
        }
        self.destinations.insert(destination);
        self.requests = requests;
        self.tunnels = tunnels;
        Ok(())
    }

    /// Counts `bytes` that are about to go to an upstream.
    ///
    /// # Errors
    /// [`BudgetError::BytesUp`]: these bytes must not be sent.
    pub fn send(&mut self, bytes: u64) -> Result<(), BudgetError> {
        self.bytes_up = within(self.bytes_up, bytes, self.limits.bytes_up).ok_or(BudgetError::BytesUp)?;
        Ok(())
    }

    /// Counts `bytes` that came from an upstream and are about to go to the worker.
    ///
    /// # Errors
    /// [`BudgetError::BytesDown`]: these bytes must not be passed on.
    pub fn receive(&mut self, bytes: u64) -> Result<(), BudgetError> {
        self.bytes_down =
            within(self.bytes_down, bytes, self.limits.bytes_down).ok_or(BudgetError::BytesDown)?;
        Ok(())
    }

    /// A tunnel has ended.
    pub fn tunnel_ended(&mut self) {
        self.tunnels = self.tunnels.saturating_sub(1);
    }

    /// Requests and tunnels so far.
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// Bytes so far, to upstreams and from them.
    pub const fn bytes(&self) -> (u64, u64) {
        (self.bytes_up, self.bytes_down)
    }

    /// Tunnels open now.
    pub const fn tunnels(&self) -> u32 {
        self.tunnels
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Act {
        Open(u8, bool),
        Close,
        Send(u64),
        Receive(u64),
    }

    fn act() -> impl Strategy<Value = Act> {
        let bytes = || prop_oneof![0_u64..100, Just(u64::MAX)];
        prop_oneof![
            (0_u8..6, any::<bool>()).prop_map(|(host, tunnel)| Act::Open(host, tunnel)),
            Just(Act::Close),
            bytes().prop_map(Act::Send),
            bytes().prop_map(Act::Receive),
        ]
    }

    proptest! {
        /// Nothing ever goes over a limit, and what is refused changes nothing (invariant 8).
        #[test]
        fn a_budget_holds_and_a_refusal_is_not_counted(
            acts in prop::collection::vec(act(), 0..60),
            requests in 0_u64..20,
            bytes in 0_u64..300,
            few in 0_u32..4,
        ) {
            let limits = BudgetLimits {
                requests: Some(requests),
                bytes_up: Some(bytes),
                bytes_down: Some(bytes),
                tunnels: Some(few),
                destinations: Some(few),
            };
            let mut budget = EgressBudget::new(limits);
            for act in acts {
                let before = budget.clone();
                let outcome = match act {
                    Act::Open(host, tunnel) => budget.open(host.to_string(), 443, tunnel),
                    Act::Close => { budget.tunnel_ended(); Ok(()) }
                    Act::Send(bytes) => budget.send(bytes),
                    Act::Receive(bytes) => budget.receive(bytes),
                };
                if outcome.is_err() {
                    prop_assert_eq!(&budget, &before);
                }
                prop_assert!(budget.requests <= requests && budget.tunnels <= few);
                prop_assert!(budget.bytes_up <= bytes && budget.bytes_down <= bytes);
                prop_assert!(budget.destinations.len() <= few as usize);
            }
        }
    }

    #[test]
    fn each_part_has_its_own_code() {
        let limits = |requests, tunnels, destinations| {
            EgressBudget::new(BudgetLimits { requests, tunnels, destinations, ..BudgetLimits::default() })
        };
        let twice = |mut budget: EgressBudget, tunnel, other: &str| {
            let steps: Vec<_> =
                ["a", other].iter().map(|host| budget.open((*host).into(), 443, tunnel)).collect();
            steps[1]
        };
        assert_eq!(twice(limits(Some(1), None, None), false, "a"), Err(BudgetError::Requests));
        assert_eq!(twice(limits(None, Some(1), None), true, "a"), Err(BudgetError::Tunnels));
        assert_eq!(twice(limits(None, Some(1), None), false, "a"), Ok(()));
        assert_eq!(twice(limits(None, None, Some(1)), false, "a"), Ok(()));
        assert_eq!(twice(limits(None, None, Some(1)), false, "b"), Err(BudgetError::Destinations));
        let mut unlimited = EgressBudget::new(BudgetLimits::default());
        assert_eq!((unlimited.send(u64::MAX), unlimited.send(1)), (Ok(()), Err(BudgetError::BytesUp)));
        for n in 0..MAX_DESTINATIONS {
            unlimited.open(n.to_string(), 443, false).unwrap();
        }
        assert_eq!(unlimited.open("more".into(), 443, false), Err(BudgetError::Destinations));
    }
}
