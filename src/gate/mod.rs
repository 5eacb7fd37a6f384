//! The enforcement point, sans-I/O: a view of the live leases that permits are checked against.
