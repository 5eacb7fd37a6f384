//! Header names and the plan for a request's headers.

mod name;
mod plan;

pub use name::HeaderNameError;
pub(super) use name::{HeaderName, is_token};
pub use plan::{HeaderError, MAX_HEADER_BYTES, MAX_HEADERS, OutgoingHeader, OutgoingHeaders};
pub(super) use plan::{build, check, is_same_field};
