//! ATTACKS.md, family "Egress": every row that needs no socket, by its number. Rows with sockets (E15) are in
//! `tests/egress_proxy`, those of the lease feed (E17) in `tests/endpoints_gate.rs`.

mod permits;
mod secrets;
mod targets;
mod world;
