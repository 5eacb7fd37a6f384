//! Heads and bodies from sockets: the library's readers, fed within a time.

use std::{
    fmt, io,
    time::{Duration, Instant},
};

use leasehold::egress::http1::{
    ChunkDecoder, Framing, HeadLimits, HeadReader, HttpError, RequestHead, ResponseHead,
};

/// Why there is no head.
#[derive(Debug)]
pub enum HeadError {
    /// The peer left before it said anything.
    Nothing,
    /// The time for the head is over.
    TooSlow,
    /// The bytes are none.
    Http(HttpError),
    /// The connection failed.
    Io(io::Error),
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("the peer left without a word"),
            Self::TooSlow => f.write_str("the head of the message came too slowly"),
            Self::Http(error) => fmt::Display::fmt(error, f),
            Self::Io(error) => fmt::Display::fmt(error, f),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn read_head(
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    within: Duration,
) -> Result<HeadReader, HeadError> {
    let deadline = Instant::now() + within;
    let mut reader = HeadReader::new(HeadLimits::default());
    let mut buffer = [0; 4096];
    loop {
        if Instant::now() >= deadline {
            return Err(HeadError::TooSlow);
        }
        match read(&mut buffer) {
            Ok(0) if reader.is_empty() => return Err(HeadError::Nothing),
            Ok(0) => return Err(HeadError::Http(HttpError::Malformed)),
            Ok(count) => {
                if reader.push(&buffer[..count]).map_err(HeadError::Http)? {
                    return Ok(reader);
                }
            }
            Err(error) if is_timeout(&error) => return Err(HeadError::TooSlow),
            Err(error) => return Err(HeadError::Io(error)),
        }
    }
}

/// Reads the head of a request, and whatever came behind it.
pub fn request(
    read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    within: Duration,
) -> Result<(RequestHead, Vec<u8>), HeadError> {
    read_head(read, within)?.request().map_err(HeadError::Http)
}

/// Reads the head of a response, and whatever came behind it.
pub fn response(
    read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    within: Duration,
) -> Result<(ResponseHead, Vec<u8>), HeadError> {
    read_head(read, within)?.response().map_err(HeadError::Http)
}

/// Why a body is not whole.
#[derive(Debug)]
pub enum BodyError {
    /// The connection failed.
    Io(io::Error),
    /// It ended before it was whole.
    Cut,
    /// Its chunks are malformed.
    Http(HttpError),
    /// It is over its limit.
    TooLarge,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => fmt::Display::fmt(error, f),
            Self::Cut => f.write_str("the body ended before it was whole"),
            Self::Http(error) => fmt::Display::fmt(error, f),
            Self::TooLarge => f.write_str("the body is over its limit"),
        }
    }
}

/// Passes the payload of a body on, piece by piece, whose first bytes are `early`. What follows the body is dropped:
/// a connection carries one message.
pub fn payload<E: From<BodyError>>(
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    early: &[u8],
    framing: Framing,
    mut pass: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut left = match framing {
        Framing::Length(0) => return Ok(()),
        Framing::Length(length) => length,
        Framing::Chunked | Framing::UntilClose => u64::MAX,
    };
    let mut chunks = ChunkDecoder::new();
    let mut decoded = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let mut take = |data: &[u8]| -> Result<bool, E> {
        if framing == Framing::Chunked {
            decoded.clear();
            let done = chunks.decode(data, &mut decoded).map_err(BodyError::Http)?.done;
            if !decoded.is_empty() {
                pass(&decoded)?;
            }
            return Ok(done);
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
        pass(&data[..most])?;
        left -= most as u64;
        Ok(left == 0)
    };
    if !early.is_empty() && take(early)? {
        return Ok(());
    }
    loop {
        match read(&mut buffer).map_err(BodyError::Io)? {
            0 if framing == Framing::UntilClose => return Ok(()),
            0 => return Err(BodyError::Cut.into()),
            count => {
                if take(&buffer[..count])? {
                    return Ok(());
                }
            }
        }
    }
}

/// Reads a body of at most `limit` bytes as a whole.
pub fn whole(
    read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    early: &[u8],
    framing: Framing,
    limit: u64,
) -> Result<Vec<u8>, BodyError> {
    let mut bytes = Vec::new();
    payload(read, early, framing, |piece| {
        bytes.extend_from_slice(piece);
        if bytes.len() as u64 > limit { Err(BodyError::TooLarge) } else { Ok(()) }
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_body_is_never_a_whole_one() {
        let read = |text: &str, framing| {
            // The first bytes come with the head, the rest one at a time.
            let (early, mut rest) = text.as_bytes().split_at(text.len().min(2));
            whole(|buffer| io::Read::read(&mut rest, &mut buffer[..1]), early, framing, 8)
        };
        assert_eq!(read("abc", Framing::Length(3)).ok().as_deref(), Some(b"abc".as_slice()));
        assert_eq!(read("abcGET", Framing::Length(3)).ok().as_deref(), Some(b"abc".as_slice()));
        assert_eq!(read("abc", Framing::UntilClose).ok().as_deref(), Some(b"abc".as_slice()));
        let chunked = read("3\r\nabc\r\n0\r\n\r\n", Framing::Chunked);
        assert_eq!(chunked.ok().as_deref(), Some(b"abc".as_slice()));
        assert!(matches!(read("ab", Framing::Length(3)), Err(BodyError::Cut)));
        assert!(matches!(read("3\r\nabc\r\n", Framing::Chunked), Err(BodyError::Cut)));
        assert!(matches!(read("3\nabc\r\n0\r\n\r\n", Framing::Chunked), Err(BodyError::Http(_))));
        assert!(matches!(read("abcdefghi", Framing::UntilClose), Err(BodyError::TooLarge)));
    }
}
