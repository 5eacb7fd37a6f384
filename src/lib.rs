#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub, clippy::exhaustive_enums)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::todo,
    clippy::unimplemented,
    clippy::unreachable,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

pub mod agent;
pub mod attestation;
pub mod capability;
mod chain;
pub mod code;
pub mod coordinator;
pub mod digest;
pub mod dispatch;
pub mod egress;
mod entropy;
mod fence;
pub mod fleet;
pub mod gate;
pub mod id;
pub mod identity;
mod index;
mod journaled;
pub mod lease;
pub mod manual;
pub mod node;
mod order;
pub mod placement;
#[cfg(feature = "std")]
pub mod policy_file;
pub mod protocol;
pub mod shell;
mod slab;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
mod trace;
