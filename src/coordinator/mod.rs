//! The coordinator's endpoint, sans-I/O.
