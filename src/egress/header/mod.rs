//! Header names and the plan for a request's headers.

mod name;

pub use name::HeaderNameError;
pub(super) use name::{HeaderName, is_token};
