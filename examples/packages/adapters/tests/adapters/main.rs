//! The adapters against real sockets on loopback. No port is fixed, and nothing waits for luck.

// The core may not read clocks or sleep. This is what does that for it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod authority;
mod clients;
mod coordinator;
mod dns_hook;
mod leases;
mod origin;
mod servers;
mod service;
