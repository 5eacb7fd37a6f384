//! What property tests need: strategies, a manual clock, a simulated network, attack scenarios.

pub mod fuzz_egress;
