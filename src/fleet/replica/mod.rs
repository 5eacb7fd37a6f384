//! `Follower`: a replica that folds what another process decided, and that can be promoted.

mod follower;
mod loader;

pub use self::{follower::Follower, loader::Replay};
