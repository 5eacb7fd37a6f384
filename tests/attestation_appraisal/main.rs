//! What evidence must not get away with: every row of `docs/attacks.md`, "Attestation", one change at a time.

#[path = "../attestation_support/mod.rs"]
mod attestation_support;
mod context;
mod keys;
mod reading;
mod values;
mod verdict;
