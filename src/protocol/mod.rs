//! What travels between coordinator, worker and enforcement point: frames, documents in them, and artifact chunks.
//!
//! A connection carries [`frame`]s. Their bodies are JSON documents, read by the strict reader within limits, so
//! that a capture can be read by people and nothing has two readings; artifacts and logs are binary [`chunk`]s.
//! The [`message`] enums are apart by sender: no decoded message of a worker can name an operator's act, and the
//! wire form of its reports has no room for what only the coordinator may say.

pub mod chunk;
pub mod endpoint;
mod error;
pub mod frame;
pub(crate) mod link;
pub mod message;
pub(crate) mod session;
pub(crate) mod trust;

pub use self::error::ProtocolError;
