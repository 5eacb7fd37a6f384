//! How often decisions allocate: the numbers that the documentation states.

mod attestation;
mod counting;
mod egress;
mod fleet;
