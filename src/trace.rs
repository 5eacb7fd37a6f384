//! What the feature `tracing` records. Without the feature, every function here is empty.
//!
//! Names of operations, ids and codes are recorded. Nonces, keys, evidence, URLs, headers and secrets are not.

#![cfg_attr(not(feature = "tracing"), allow(unused_variables, clippy::missing_const_for_fn))]

use core::fmt::Display;

use crate::code::Code;

/// The span of one operation. It ends when the value is dropped.
#[must_use]
pub(crate) struct Span {
    #[cfg(feature = "tracing")]
    _entered: tracing::span::EnteredSpan,
}

/// Begins the span of the operation `name`, which a principal of the kind `by` with the id `who` asks for.
pub(crate) fn operation(name: &'static str, by: &'static str, who: &str) -> Span {
    Span {
        #[cfg(feature = "tracing")]
        _entered: tracing::debug_span!(target: "leasehold::fleet", "operation", name, by, who).entered(),
    }
}

/// The operation was decided, with so many events, or was rejected.
pub(crate) fn decided(outcome: impl FnOnce() -> Result<usize, Code>) {
    #[cfg(feature = "tracing")]
    match outcome() {
        Ok(0) => tracing::trace!(target: "leasehold::fleet", events = 0, "decided"),
        Ok(events) => tracing::debug!(target: "leasehold::fleet", events, "decided"),
        Err(code) => tracing::info!(target: "leasehold::fleet", code = code.as_str(), "rejected"),
    }
}

/// A decision was accepted; its record is the last one at `last`.
pub(crate) fn accepted(last: &dyn Display) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: "leasehold::fleet", last = %last, "accepted");
}

/// Every record up to `id` lasts.
pub(crate) fn durable(id: &dyn Display) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: "leasehold::fleet", last = %id, "durable");
}

/// The manager halts: only recovery continues.
pub(crate) fn halted() {
    #[cfg(feature = "tracing")]
    tracing::error!(target: "leasehold::fleet", "halted");
}

/// A request was judged: refused at `stage`, or allowed; by the rule `rule`, where one won.
pub(crate) fn judged(code: Code, stage: Option<&str>, rule: Option<&str>) {
    #[cfg(feature = "tracing")]
    match stage {
        None => tracing::debug!(target: "leasehold::egress", code = code.as_str(), rule, "allowed"),
        Some(stage) => {
            tracing::info!(target: "leasehold::egress", code = code.as_str(), stage, rule, "refused");
        }
    }
}
