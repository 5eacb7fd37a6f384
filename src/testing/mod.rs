//! What property tests need: a world in virtual time, strategies, attack scenarios, and the bodies of fuzz targets.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "what fails here is a test, and it says so at once"
)]

mod dispatch_model;
mod dispatch_world;
pub mod fuzz_attestation;
pub mod fuzz_dispatch;
pub mod fuzz_egress;
pub mod fuzz_frames;
pub mod fuzz_identity;
pub mod fuzz_nodes;
pub mod fuzz_proxy;
pub mod strategies;
mod world;

pub use world::{Outcome, World, WorldRules};
