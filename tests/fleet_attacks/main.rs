//! `docs/attacks.md`, "Fleet and lease": each row as a test, named after it.

mod clock;
#[path = "../fleet_support/mod.rs"]
mod fleet_support;
mod grants;
mod journal;
mod leases;
mod workers;
