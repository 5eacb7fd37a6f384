//! `docs/attacks.md`, "Egress": every row that needs no socket, by its number. Rows with sockets (E15) are in
//! the tests of `examples/packages/egress_proxy`, those of the lease feed (E17) in `tests/endpoints_gate.rs`.

mod documents;
mod observing;
mod paths;
mod permits;
mod secrets;
mod signing;
mod targets;
mod world;
