//! May this lease holder reach that host, at which addresses, with which injected secret?

pub mod address;
