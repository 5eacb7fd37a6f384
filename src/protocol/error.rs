//! Why what a peer sent is refused before anybody asks what it means.

use super::{chunk::ChunkError, frame::FrameError};
use crate::{
    attestation::strict::StrictError,
    code::{self, Code, Coded},
};

/// A peer does not speak the protocol. Its connection is closed with this code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The document in a frame.
    #[error(transparent)]
    Document(#[from] StrictError),
    /// The chunk in a frame.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// A document would be larger than its frame may be.
    #[error("the document has {0} bytes, more than its frame may have")]
    TooLarge(usize),
    /// A kind of frame that this end does not receive.
    #[error("this end receives no frame of this kind")]
    Direction,
    /// The first message was not the one that opens a session, or it came again.
    #[error("this message does not belong here in the session")]
    Order,
    /// An answer to a question that was not asked.
    #[error("an answer to a question that was not asked")]
    Unasked,
}

impl Coded for ProtocolError {
    fn code(&self) -> Code {
        match self {
            Self::Frame(error) => error.code(),
            Self::Document(error) => error.code(),
            Self::Chunk(error) => error.code(),
            Self::TooLarge(_) => code::FRAME_TOO_LARGE,
            Self::Direction => code::FRAME_DIRECTION,
            Self::Order => code::MESSAGE_ORDER,
            Self::Unasked => code::MESSAGE_UNASKED,
        }
    }
}
