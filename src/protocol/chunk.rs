//! Artifact chunks: a piece of one stream of one lease, in binary.
//!
//! ```text
//! | fence epoch u64 | fence counter u64 | stream u8 | offset u64 | path length u16 | path | content |
//! ```
//!
//! The offset says where the piece belongs. A stream begins at 0, and beginning again starts it over, so a sender
//! that lost its connection sends the whole stream again.

use alloc::vec::Vec;

use super::frame::FrameKind;
use crate::{
    code::{self, Code, Coded},
    lease::{Epoch, Fence, RelativePath},
};

const FIXED_BYTES: usize = 8 + 8 + 1 + 8 + 2;

/// The most content in one chunk, so that it fits its frame with the longest path.
pub const MAX_CHUNK_BYTES: usize = 32 << 10;

const _: () =
    assert!(FIXED_BYTES + crate::lease::MAX_PATH_BYTES + MAX_CHUNK_BYTES <= FrameKind::Chunk.max_bytes());

/// Which stream of a lease a chunk belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Stream {
    /// An input, from the coordinator.
    Input(RelativePath),
    /// An output, from the worker.
    Output(RelativePath),
    /// The log, from the worker.
    Log,
}

/// A piece of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chunk {
    /// The lease.
    pub fence: Fence,
    /// The stream.
    pub stream: Stream,
    /// Where in the stream it belongs.
    pub offset: u64,
    /// The bytes. An empty chunk at offset 0 makes an empty file.
    pub content: Vec<u8>,
}

/// Why bytes are not a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// Shorter than it says, or a log with a path.
    #[error("a chunk whose fields do not add up")]
    Malformed,
    /// A stream that this version does not have.
    #[error("stream {0} is unknown")]
    Stream(u8),
    /// The path climbs out, or is no path.
    #[error("the path of a chunk could leave the workspace")]
    Path,
    /// More content than [`MAX_CHUNK_BYTES`].
    #[error("a chunk has at most {MAX_CHUNK_BYTES} bytes, this has {0}")]
    TooLarge(usize),
}

impl Coded for ChunkError {
    fn code(&self) -> Code {
        match self {
            Self::Malformed | Self::Stream(_) => code::CHUNK_MALFORMED,
            Self::Path => code::WORKSPACE_ESCAPE,
            Self::TooLarge(_) => code::CHUNK_TOO_LARGE,
        }
    }
}

impl Chunk {
    /// The piece `content` of `stream` at `offset`.
    ///
    /// # Errors
    /// [`ChunkError::TooLarge`].
    pub fn new(fence: Fence, stream: Stream, offset: u64, content: &[u8]) -> Result<Self, ChunkError> {
        if content.len() > MAX_CHUNK_BYTES {
            return Err(ChunkError::TooLarge(content.len()));
        }
        Ok(Self { fence, stream, offset, content: content.to_vec() })
    }

    /// The body of the chunk's frame.
    pub fn encode(&self) -> Vec<u8> {
        let (stream, path) = match &self.stream {
            Stream::Input(path) => (0, path.as_str()),
            Stream::Output(path) => (1, path.as_str()),
            Stream::Log => (2, ""),
        };
        let path_len = u16::try_from(path.len()).unwrap_or(u16::MAX);
        let mut out =
            Vec::with_capacity(FIXED_BYTES.saturating_add(path.len()).saturating_add(self.content.len()));
        out.extend_from_slice(&self.fence.epoch.0.to_be_bytes());
        out.extend_from_slice(&self.fence.counter.to_be_bytes());
        out.push(stream);
        out.extend_from_slice(&self.offset.to_be_bytes());
        out.extend_from_slice(&path_len.to_be_bytes());
        out.extend_from_slice(path.as_bytes());
        out.extend_from_slice(&self.content);
        out
    }

    /// Reads the body of a chunk's frame.
    ///
    /// # Errors
    /// [`ChunkError`].
    pub fn decode(body: &[u8]) -> Result<Self, ChunkError> {
        let mut rest = body;
        let epoch = u64::from_be_bytes(take(&mut rest)?);
        let counter = u64::from_be_bytes(take(&mut rest)?);
        let [stream] = take(&mut rest)?;
        let offset = u64::from_be_bytes(take(&mut rest)?);
        let path_len = usize::from(u16::from_be_bytes(take(&mut rest)?));
        let (path, content) = rest.split_at_checked(path_len).ok_or(ChunkError::Malformed)?;
        let path = || {
            let text = core::str::from_utf8(path).map_err(|_| ChunkError::Path)?;
            RelativePath::new(text).map_err(|_| ChunkError::Path)
        };
        let stream = match stream {
            0 => Stream::Input(path()?),
            1 => Stream::Output(path()?),
            2 if path_len == 0 => Stream::Log,
            2 => return Err(ChunkError::Malformed),
            other => return Err(ChunkError::Stream(other)),
        };
        Self::new(Fence::new(Epoch(epoch), counter), stream, offset, content)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ChunkError> {
    let (first, after) = rest.split_first_chunk::<N>().ok_or(ChunkError::Malformed)?;
    *rest = after;
    Ok(*first)
}
