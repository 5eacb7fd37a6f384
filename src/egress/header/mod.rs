//! Header names and the plan for a request's headers.

mod field;
mod name;
mod overrides;
mod plan;
mod received;

pub use field::{OutgoingHeader, OutgoingHeaders};
pub use name::HeaderNameError;
pub(super) use name::{HeaderName, is_same_field, is_token};
#[cfg(feature = "http1")]
pub(super) use name::{is_framing, is_hop_by_hop};
pub use plan::{HeaderError, MAX_HEADER_BYTES, MAX_HEADERS};
pub(super) use plan::{build, check};
pub use received::HeaderField;
