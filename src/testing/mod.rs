//! What property tests need: a world in virtual time, strategies, attack scenarios, and the bodies of fuzz targets.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "what fails here is a test, and it says so at once"
)]

pub mod attacks;
mod dispatch_model;
mod dispatch_world;
pub mod fuzz;
pub mod fuzz_attachments;
pub mod fuzz_attestation;
pub mod fuzz_dispatch;
pub mod fuzz_egress;
pub mod fuzz_frames;
pub mod fuzz_identity;
pub mod fuzz_nodes;
pub mod fuzz_paths;
pub mod fuzz_proxy;
mod samples;
mod shape;
pub mod simulation;
mod steps;
pub mod strategies;
mod told;
mod world;

pub use shape::Shape;
pub use steps::Stepped;
pub use world::{Outcome, World};
