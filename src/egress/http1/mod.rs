//! HTTP/1.1 messages as an enforcement point reads them: strictly, within limits, and in one way only.
//!
//! What two servers could read in two ways (request smuggling, attack E15) is refused here before it is judged: bare
//! line feeds, folded lines, framing fields that repeat or contradict each other, two empty lines before a request.

mod chunk;
mod error;
mod form;
mod framing;
mod head;

pub use chunk::{
    ChunkDecoder, Decoded, MAX_EXTENSION_BYTES, MAX_TRAILER_BYTES, MAX_TRAILER_FIELDS, may_trail,
};
pub use error::HttpError;
pub use form::RequestForm;
pub use framing::Framing;
pub use head::{Field, HeadLimits, HeadReader, RequestHead, ResponseHead};
