//! Chunked bodies (RFC 9112 section 7.1), decoded as they come.

use alloc::vec::Vec;

use super::{Field, HttpError, head};
use crate::egress::header::{is_framing, is_hop_by_hop, is_same_field};

/// The most bytes of chunk extensions in one body. They mean nothing to anybody, and without a bound they are a body
/// beside the body.
pub const MAX_EXTENSION_BYTES: usize = 1024;
/// The most bytes of the trailer section of one body, its last empty line included.
pub const MAX_TRAILER_BYTES: usize = 8 << 10;
/// The most fields of a trailer section.
pub const MAX_TRAILER_FIELDS: usize = 32;
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
    /// Within the trailer section: how many bytes its current line has, and the byte before.
    Trailer {
        line: usize,
        before: u8,
    },
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

/// Takes the chunks off a body. Extensions are dropped, and bounded. Trailer fields (RFC 9112 section 7.1.2) are read as
/// strictly as a head, bounded, and kept for [`ChunkDecoder::trailers`].
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
    trailer: Vec<u8>,
    trailers: Vec<Field>,
}

impl Default for ChunkDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkDecoder {
    /// A decoder before the first byte of a body.
    pub const fn new() -> Self {
        Self { state: State::Size, extensions: 0, trailer: Vec::new(), trailers: Vec::new() }
    }

    /// Whether the body is whole: a body that ends before is cut.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailer fields that may be passed on, once the body is whole. Fields that mean one connection, say where a
    /// message ends or goes, or authenticate are dropped (RFC 9110 section 6.5.1), in every spelling that a gateway could
    /// take for one of them.
    pub fn trailers(&self) -> &[Field] {
        &self.trailers
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
            (State::SizeEnd { size: 0 }, b'\n') => Ok(State::Trailer { line: 0, before: 0 }),
            (State::SizeEnd { size: left }, b'\n') => Ok(State::Data { left }),
            (State::DataReturn, b'\r') => Ok(State::DataEnd),
            (State::DataEnd, b'\n') => Ok(State::Size),
            (State::Trailer { line, before }, _) => self.trailer(line, before, byte),
            _ => Err(HttpError::Chunk),
        }
    }

    /// One byte of the trailer section: the rules for line ends are those of heads.
    fn trailer(&mut self, line: usize, before: u8, byte: u8) -> Result<State, HttpError> {
        if byte == 0 || (byte == b'\n') != (before == b'\r') || self.trailer.len() >= MAX_TRAILER_BYTES {
            return Err(HttpError::Chunk);
        }
        self.trailer.push(byte);
        match byte {
            b'\n' if line == 0 => {
                let trailer = core::mem::take(&mut self.trailer);
                let fields = head::trailer_fields(&trailer, MAX_TRAILER_FIELDS)?;
                self.trailers = fields.into_iter().filter(|(name, _)| may_trail(name)).collect();
                Ok(State::Done)
            }
            b'\n' => Ok(State::Trailer { line: 0, before: byte }),
            b'\r' => Ok(State::Trailer { line, before: byte }),
            // A folded line, or one that a lenient reader could take for one.
            b' ' | b'\t' if line == 0 => Err(HttpError::Chunk),
            _ => Ok(State::Trailer { line: line.saturating_add(1), before: byte }),
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

/// Whether a trailer field of this name, in lower case, may be passed on. Recipients may merge trailers into the head, so what would decide there
/// about framing, routing or identity is no trailer.
pub fn may_trail(name: &str) -> bool {
    let same = |listed: &&str| is_same_field(listed, name);
    let decides = [
        "authorization",
        "cache-control",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "cookie",
        "expect",
        "host",
        "max-forwards",
        "range",
        "set-cookie",
        "trailer",
        "transfer-encoding",
        "www-authenticate",
    ];
    !is_framing(name) && !is_hop_by_hop(name) && !decides.iter().any(same)
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String};

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

    /// Attack E15: sizes, line ends and extensions that servers read differently.
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
            "0\r\nx: y\n\r\n",
            "0\r\nx: y\rz\r\n\r\n",
            "0\r\nx: y\r\n z\r\n\r\n",
            "0\r\n x: y\r\n\r\n",
            "0\r\nx : y\r\n\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\nx: \0\r\n\r\n",
            "0\r\n\n",
        ] {
            assert_eq!(decode(bad), Err(HttpError::Chunk), "{bad:?}");
        }
    }

    /// Attack E15: extensions are bounded over the whole body, so many small ones are no way around.
    #[test]
    fn e15_chunk_extensions_are_bounded_over_the_body() {
        let one = |length: usize| format!("1;{}\r\nx\r\n", "e".repeat(length));
        assert!(decode(&one(MAX_EXTENSION_BYTES - 1)).is_ok());
        assert_eq!(decode(&one(MAX_EXTENSION_BYTES)), Err(HttpError::Chunk));
        assert_eq!(decode(&one(7).repeat(MAX_EXTENSION_BYTES / 8 + 1)), Err(HttpError::Chunk));
        assert!(decode(&one(7).repeat(MAX_EXTENSION_BYTES / 8)).is_ok());
    }

    /// RFC 9112 section 7.1.2: trailers are no reason to lose a body, and no way around what a head is judged by.
    #[test]
    fn trailers_are_kept_apart_bounded_and_filtered() {
        let read = |text: &str| {
            let mut decoder = ChunkDecoder::new();
            let done = decoder.decode(text.as_bytes(), &mut Vec::new()).map(|decoded| decoded.done);
            done.map(|done| {
                let names = decoder.trailers().iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
                (done, names.join(" "))
            })
        };
        let kept = "1\r\na\r\n0\r\nGrpc-Status: 0\r\nX-Checksum: 1\r\n\r\n";
        assert_eq!(read(kept), Ok((true, "grpc-status x-checksum".into())));
        assert_eq!(decode(kept), Ok((b"a".to_vec(), true)));
        for dropped in
            ["Transfer-Encoding: chunked", "content_length: 4", "Authorization: x", "Host: b", "TE: x"]
        {
            assert_eq!(read(&format!("0\r\n{dropped}\r\n\r\n")), Ok((true, String::new())), "{dropped}");
        }
        assert_eq!(read("0\r\nx: y\r\n"), Ok((false, String::new())), "cut");
        let long = |bytes: usize| format!("0\r\nx: {}\r\n\r\n", "y".repeat(bytes));
        assert!(read(&long(MAX_TRAILER_BYTES - 7)).is_ok());
        assert_eq!(read(&long(MAX_TRAILER_BYTES - 6)), Err(HttpError::Chunk));
        let many = |fields: usize| format!("0\r\n{}\r\n", "x: y\r\n".repeat(fields));
        assert!(read(&many(MAX_TRAILER_FIELDS)).is_ok());
        assert_eq!(read(&many(MAX_TRAILER_FIELDS + 1)), Err(HttpError::Chunk));
    }
}
