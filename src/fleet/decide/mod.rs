//! The decisions, in one file for each family of operations. Each is pure: it reads a context and gives a
//! draft or a rejection.

mod acquire;
mod anchors;
mod attest;
mod deadline;
mod device;
mod dispatch;
mod end;
mod leasable;
mod lease;
mod manage;
mod reappraise;

pub(crate) use attest::{heard, is_steady};
pub use deadline::Expired;
pub(crate) use deadline::{expire, touched};
pub(crate) use device::change_devices;
pub(crate) use dispatch::expire_nodes;
