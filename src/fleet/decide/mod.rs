//! The decisions, one file for each family. All pure: context in, draft or rejection out.

mod acquire;
mod anchors;
mod attest;
mod deadline;
mod device;
mod dispatch;
mod lease;
mod manage;
mod reappraise;

pub(crate) use attest::{heard, is_steady};
pub use deadline::Expired;
pub(crate) use deadline::{expire, touched};
pub(crate) use device::change_devices;
pub(crate) use dispatch::expire_nodes;
