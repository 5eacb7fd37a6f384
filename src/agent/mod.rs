//! The worker's endpoint, sans-I/O.
