//! The egress proxy as a process: real sockets, the real curl, a DNS server that lies.
//!
//! What it proves: only what was judged leaves, to pinned addresses only (invariant 9); a secret is seen by its origin
//! only (invariant 10); smuggling shapes are refused and limits hold (attack E15); the end of a lease or another
//! policy counts at once, and what was allowed before goes on under what it was allowed with.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test of processes waits for them, and says at once what is wrong"
)]

mod clients;
mod curl;
mod echoes;
mod hostile;
mod modern;
mod names;
mod operated;
mod running;
mod signing;
mod support;
