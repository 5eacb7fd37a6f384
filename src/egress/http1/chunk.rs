//! Chunked bodies (RFC 9112 section 7.1), decoded as they come.

use alloc::vec::Vec;

use super::HttpError;

/// The most bytes of chunk extensions in one body. They mean nothing to anybody, and without a bound they are a body
/// beside the body.
pub const MAX_EXTENSION_BYTES: usize = 1024;
/// The most digits of a chunk size.
const MAX_DIGITS: u32 = 15;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first digit of a size.
    Size,
    /// Within the digits.
    Digits {
        size: u64,
        digits: u32,
    },
    Extension {
        size: u64,
    },
    /// The line feed of a size line is due.
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataReturn,
    DataEnd,
    LastReturn,
    LastEnd,
    Done,
}

/// What one call of [`ChunkDecoder::decode`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Decoded {
    /// The bytes of the input that were taken. What is left belongs to whatever follows the body.
    pub consumed: usize,
    /// Whether the body is whole.
    pub done: bool,
}

/// Takes the chunks off a body. Trailer fields are refused; extensions are dropped, and bounded.
///
/// ```
/// use leasehold::egress::http1::ChunkDecoder;
/// let (mut decoder, mut body) = (ChunkDecoder::new(), Vec::new());
/// let decoded = decoder.decode(b"3\r\nabc\r\n0\r\n\r\nrest", &mut body)?;
/// assert_eq!((body.as_slice(), decoded.consumed, decoded.done), (b"abc".as_slice(), 13, true));
/// # Ok::<(), leasehold::egress::http1::HttpError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ChunkDecoder {
    state: State,
    extensions: usize,
}

impl Default for ChunkDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkDecoder {
    /// A decoder before the first byte of a body.
    pub const fn new() -> Self {
        Self { state: State::Size, extensions: 0 }
    }

    /// Whether the body is whole: a body that ends before is cut.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Decodes `input` into `out`, which grows by at most as many bytes.
    ///
    /// # Errors
    /// [`HttpError::Chunk`]: nothing of the rest can be believed.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Decoded, HttpError> {
        let mut rest = input;
        while let (false, [byte, tail @ ..]) = (self.is_done(), rest) {
            if let State::Data { left } = self.state {
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                let (data, behind) = rest.split_at_checked(most).ok_or(HttpError::Chunk)?;
                out.extend_from_slice(data);
                let left = left.saturating_sub(u64::try_from(most).unwrap_or(u64::MAX));
                self.state = if left == 0 { State::DataReturn } else { State::Data { left } };
                rest = behind;
            } else {
                self.state = self.step(*byte)?;
                rest = tail;
            }
        }
        Ok(Decoded { consumed: input.len().saturating_sub(rest.len()), done: self.is_done() })
    }

    fn step(&mut self, byte: u8) -> Result<State, HttpError> {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        match (self.state, byte) {
            (State::Size, _) => digit.map(|size| State::Digits { size, digits: 1 }).ok_or(HttpError::Chunk),
            (State::Digits { size, .. } | State::Extension { size }, b'\r') => Ok(State::SizeEnd { size }),
            (State::Digits { size, .. }, b';') => self.extension(size),
            (State::Digits { size, digits }, _) if digits < MAX_DIGITS => {
                let digit = digit.ok_or(HttpError::Chunk)?;
                Ok(State::Digits { size: size << 4 | digit, digits: digits.saturating_add(1) })
            }
            (State::Extension { size }, b'\t' | b' '..=b'~') => self.extension(size),
            (State::SizeEnd { size: 0 }, b'\n') => Ok(State::LastReturn),
            (State::SizeEnd { size: left }, b'\n') => Ok(State::Data { left }),
            (State::DataReturn, b'\r') => Ok(State::DataEnd),
            (State::DataEnd, b'\n') => Ok(State::Size),
            (State::LastReturn, b'\r') => Ok(State::LastEnd),
            (State::LastEnd, b'\n') => Ok(State::Done),
            _ => Err(HttpError::Chunk),
        }
    }

    fn extension(&mut self, size: u64) -> Result<State, HttpError> {
        self.extensions = self.extensions.saturating_add(1);
        if self.extensions > MAX_EXTENSION_BYTES {
            Err(HttpError::Chunk)
        } else {
            Ok(State::Extension { size })
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    fn decode(text: &str) -> Result<(Vec<u8>, bool), HttpError> {
        let (mut decoder, mut body) = (ChunkDecoder::new(), Vec::new());
        let whole = decoder.decode(text.as_bytes(), &mut body).map(|decoded| decoded.done);
        let (mut bytewise, mut other) = (ChunkDecoder::new(), Vec::new());
        let split = text
            .bytes()
            .try_fold(false, |_, byte| bytewise.decode(&[byte], &mut other).map(|decoded| decoded.done));
        assert_eq!(whole, split);
        assert_eq!(body, other);
        whole.map(|done| (body, done))
    }

    /// ATTACKS E15: sizes, line ends and extensions that servers read differently.
    #[test]
    fn e15_chunks_have_one_reading() {
        assert_eq!(decode("3\r\nabc\r\n0\r\n\r\n"), Ok((b"abc".to_vec(), true)));
        assert_eq!(decode("00A;a=\"b c\"\r\n0123456789\r\n0\r\n\r\n"), Ok((b"0123456789".to_vec(), true)));
        assert_eq!(decode("3\r\nabc\r\n"), Ok((b"abc".to_vec(), false)), "cut");
        assert_eq!(decode(""), Ok((Vec::new(), false)));
        for bad in [
            "3\nabc\r\n0\r\n\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3\r\nabcd\r\n0\r\n\r\n",
            "0x3\r\nabc\r\n",
            "+3\r\nabc\r\n",
            " 3\r\nabc\r\n",
            "3 \r\nabc\r\n",
            "3 ;a\r\nabc\r\n",
            "\r\n",
            ";a\r\n",
            "g\r\n",
            "3;a\nb\r\nabc\r\n",
            "3;a\0\r\nabc\r\n",
            "3;\u{e9}\r\nabc\r\n",
            "3\r\r\nabc\r\n",
            "0000000000000003\r\nabc\r\n",
            "ffffffffffffffff\r\n",
            "0\r\nTrailer: x\r\n\r\n",
            "0\r\n\n",
        ] {
            assert_eq!(decode(bad), Err(HttpError::Chunk), "{bad:?}");
        }
    }

    /// ATTACKS E15: extensions are bounded over the whole body, so many small ones are no way around.
    #[test]
    fn e15_chunk_extensions_are_bounded_over_the_body() {
        let one = |length: usize| format!("1;{}\r\nx\r\n", "e".repeat(length));
        assert!(decode(&one(MAX_EXTENSION_BYTES - 1)).is_ok());
        assert_eq!(decode(&one(MAX_EXTENSION_BYTES)), Err(HttpError::Chunk));
        assert_eq!(decode(&one(7).repeat(MAX_EXTENSION_BYTES / 8 + 1)), Err(HttpError::Chunk));
        assert!(decode(&one(7).repeat(MAX_EXTENSION_BYTES / 8)).is_ok());
    }
}
