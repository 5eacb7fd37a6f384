//! The frame codec: `L` `H`, version, kind, length, body. It works on any split of the input.
//!
//! ```text
//! 0      2         3      4            8
//! | L  H | version | kind | length u32 | body: length bytes |   all integers big-endian
//! ```
//!
//! The version is of the whole protocol. A peer that speaks another one is told so by a closed connection, before
//! a byte of its body is kept.

use alloc::vec::Vec;

use crate::{
    code::{self, Code, Coded},
    identity::pairing::MAX_PAIRING_MESSAGE,
};

/// The version of the protocol that this build speaks.
pub const VERSION: u8 = 2;
/// Bytes before the body of a frame.
pub const HEADER_BYTES: usize = 8;
const MAGIC: [u8; 2] = *b"LH";

/// What a frame holds, and with that who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FrameKind {
    /// A worker's request.
    Worker,
    /// A coordinator's word to a worker.
    Coordinator,
    /// A piece of an artifact or log, in either direction.
    Chunk,
    /// An enforcement point's request.
    Gate,
    /// A coordinator's word to an enforcement point.
    Feed,
    /// A message of a pairing, in either direction.
    Pairing,
    /// A paired device's message.
    Node,
    /// A coordinator's word to a paired device.
    Dispatch,
}

impl FrameKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Worker,
        Self::Coordinator,
        Self::Chunk,
        Self::Gate,
        Self::Feed,
        Self::Pairing,
        Self::Node,
        Self::Dispatch,
    ];

    /// The byte that stands for this kind.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Worker => 1,
            Self::Coordinator => 2,
            Self::Chunk => 3,
            Self::Gate => 4,
            Self::Feed => 5,
            Self::Pairing => 6,
            Self::Node => 7,
            Self::Dispatch => 8,
        }
    }

    /// The kind that `byte` stands for.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.byte() == byte)
    }

    /// The most bytes in the body of such a frame.
    pub const fn max_bytes(self) -> usize {
        match self {
            // Evidence of 64 KiB in base64, or a claim of 256 outputs with long paths.
            Self::Worker => 256 << 10,
            // A lease with 256 inputs, 256 outputs allowed and 256 demanded.
            Self::Coordinator => 1 << 20,
            Self::Chunk => 64 << 10,
            Self::Gate => 1 << 10,
            Self::Feed => 256 << 10,
            Self::Pairing => MAX_PAIRING_MESSAGE,
            // A payload of half a MiB in base64.
            Self::Node | Self::Dispatch => 1 << 20,
        }
    }
}

/// Why bytes are not a frame. The stream has no next frame to look for: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes do not begin as a frame does.
    #[error("this is not a frame")]
    Magic,
    /// Another version of the protocol.
    #[error("the peer speaks version {0} of the protocol, this end {VERSION}: run the same release on both")]
    Version(u8),
    /// A kind that this version does not have.
    #[error("frame kind {0} is unknown")]
    Kind(u8),
    /// A kind that this end does not receive on this connection.
    #[error("this end receives no frame of kind {0} here")]
    NotHere(u8),
    /// The body would be over the limit of its kind.
    #[error("a frame of {bytes} bytes, its kind has at most {limit}")]
    TooLarge {
        /// Bytes that the header announces.
        bytes: u32,
        /// What is allowed.
        limit: usize,
    },
}

impl Coded for FrameError {
    fn code(&self) -> Code {
        match self {
            Self::Magic => code::FRAME_MAGIC,
            Self::Version(_) => code::PROTOCOL_VERSION,
            Self::Kind(_) => code::FRAME_KIND,
            Self::NotHere(_) => code::FRAME_DIRECTION,
            Self::TooLarge { .. } => code::FRAME_TOO_LARGE,
        }
    }
}

/// A whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// What it holds.
    pub kind: FrameKind,
    /// Its body, within [`FrameKind::max_bytes`].
    pub body: Vec<u8>,
}

/// Appends a frame to `out`.
///
/// # Errors
/// [`FrameError::TooLarge`]; `out` is unchanged then.
pub fn encode(kind: FrameKind, body: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    let limit = kind.max_bytes();
    let bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
    if body.len() > limit {
        return Err(FrameError::TooLarge { bytes, limit });
    }
    out.reserve(HEADER_BYTES.saturating_add(body.len()));
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, kind.byte()]);
    out.extend_from_slice(&bytes.to_be_bytes());
    out.extend_from_slice(body);
    Ok(())
}

/// Reads frames from a stream of bytes, however it is cut.
///
/// It keeps at most one frame, and never more memory than the body's limit; the memory grows with the bytes that
/// came, not with the length that was announced. After an error it gives that error for good.
///
/// ```
/// use leasehold::protocol::frame::{FrameDecoder, FrameKind, encode};
/// let mut bytes = Vec::new();
/// encode(FrameKind::Gate, b"{}", &mut bytes)?;
/// let (mut decoder, mut first, mut rest) = (FrameDecoder::new(), &bytes[..5], &bytes[5..]);
/// assert!(decoder.decode(&mut first)?.is_none());
/// assert_eq!(decoder.decode(&mut rest)?.unwrap().body, b"{}");
/// # Ok::<(), leasehold::protocol::frame::FrameError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct FrameDecoder {
    header: [u8; HEADER_BYTES],
    header_len: usize,
    expected: Option<(FrameKind, usize)>,
    body: Vec<u8>,
    failed: Option<FrameError>,
    only: Option<FrameKind>,
}

impl FrameDecoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// A decoder that takes one kind only, and refuses every other at its header.
    pub fn only(kind: FrameKind) -> Self {
        Self { only: Some(kind), ..Self::default() }
    }

    /// Whether it holds the beginning of a frame whose rest has not come.
    pub const fn is_partial(&self) -> bool {
        self.header_len > 0
    }

    /// How many bytes it keeps room for.
    pub fn held_bytes(&self) -> usize {
        self.body.capacity()
    }

    /// Takes bytes from the front of `input` until a frame is whole or the input is used up.
    ///
    /// `None` means that the input is used up. Cost: one copy of what it takes.
    ///
    /// # Errors
    /// [`FrameError`], as soon as the header shows it.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.expected.is_none() {
            while self.header_len < HEADER_BYTES {
                let Some((byte, rest)) = input.split_first() else { return Ok(None) };
                *input = rest;
                self.header_byte(*byte).inspect_err(|error| self.failed = Some(*error))?;
            }
        }
        let Some((kind, length)) = self.expected else { return Ok(None) };
        let missing = length.saturating_sub(self.body.len());
        let (part, rest) = input.split_at_checked(missing).unwrap_or((*input, &[]));
        *input = rest;
        self.grow(part.len(), length);
        self.body.extend_from_slice(part);
        if self.body.len() < length {
            return Ok(None);
        }
        self.header_len = 0;
        self.expected = None;
        Ok(Some(Frame { kind, body: core::mem::take(&mut self.body) }))
    }

    /// Doubles like a vector does, and stops at the announced length, where a vector would not.
    fn grow(&mut self, more: usize, length: usize) {
        let needed = self.body.len().saturating_add(more);
        if self.body.capacity() < needed {
            let target = self.body.capacity().saturating_mul(2).max(needed).min(length);
            self.body.reserve_exact(target.saturating_sub(self.body.len()));
        }
    }

    /// Takes the next byte of the header, and judges it at once: a wrong first byte is not waited with.
    fn header_byte(&mut self, byte: u8) -> Result<(), FrameError> {
        let at = self.header_len;
        if let Some(place) = self.header.get_mut(at) {
            *place = byte;
        }
        self.header_len = at.saturating_add(1);
        match at {
            0 | 1 if MAGIC.get(at) != Some(&byte) => return Err(FrameError::Magic),
            2 if byte != VERSION => return Err(FrameError::Version(byte)),
            3 if FrameKind::from_byte(byte).is_none() => return Err(FrameError::Kind(byte)),
            3 if self.only.is_some_and(|only| only.byte() != byte) => return Err(FrameError::NotHere(byte)),
            _ if self.header_len < HEADER_BYTES => return Ok(()),
            _ => {}
        }
        let [_, _, _, kind, a, b, c, d] = self.header;
        let kind = FrameKind::from_byte(kind).ok_or(FrameError::Kind(kind))?;
        let bytes = u32::from_be_bytes([a, b, c, d]);
        let limit = kind.max_bytes();
        match usize::try_from(bytes) {
            Ok(length) if length <= limit => {
                self.expected = Some((kind, length));
                Ok(())
            }
            _ => Err(FrameError::TooLarge { bytes, limit }),
        }
    }
}
