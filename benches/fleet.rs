//! Benches of the fleet.
fn main() {}
