//! What property tests need: strategies, a manual clock, a simulated network, attack scenarios.

mod dispatch_model;
pub mod fuzz_dispatch;
pub mod fuzz_identity;
