//! How often decisions allocate: the numbers that the documentation states.

mod counting;
mod egress;
mod fleet;
