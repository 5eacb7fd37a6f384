//! The lease: what a run is granted, what a holder may touch, and what it reports when it gives the work back.

mod fence;

pub use fence::{Epoch, Fence};
