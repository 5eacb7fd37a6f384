//! Reading the head of an HTTP/1.1 message, strictly and within limits.
//!
//! httparse takes a bare line feed for a line end, which other parsers do not; two views of one message are what
//! request smuggling lives on, so such a head is refused before it is parsed.

use std::{
    io::{self, Read},
    time::{Duration, Instant},
};

/// The longest head.
pub const MAX_HEAD: usize = 16 << 10;
/// The most header fields.
pub const MAX_FIELDS: usize = 64;

/// Why there is no head.
#[derive(Debug)]
pub enum HeadError {
    /// The peer left before it said anything.
    Nothing,
    /// The head is over its size or its number of fields.
    TooLarge,
    /// The time for the head is over.
    TooSlow,
    /// It is not HTTP/1.1 as RFC 9112 has it.
    Malformed(&'static str),
    /// The connection failed.
    Io(io::Error),
}

/// A header field. The name is in lower case.
pub type Field = (String, Vec<u8>);

/// A request's head, and what came after it.
#[derive(Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub fields: Vec<Field>,
    /// The first bytes of the body, as far as they came with the head.
    pub rest: Vec<u8>,
}

/// A response's head, and what came after it.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub fields: Vec<Field>,
    /// The first bytes of the body, as far as they came with the head.
    pub rest: Vec<u8>,
}

/// What a message's fields say about its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes; none, where the fields say nothing.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Nothing is said.
    Unsaid,
}

/// The framing of `fields`; more than one answer to the question is refused.
pub fn framing(fields: &[Field]) -> Result<Framing, HeadError> {
    let mut found = Framing::Unsaid;
    for (name, value) in fields {
        let this = match name.as_str() {
            "content-length" => {
                let digits = !value.is_empty() && value.len() <= 15 && value.iter().all(u8::is_ascii_digit);
                let text = std::str::from_utf8(value).unwrap_or_default();
                match text.parse() {
                    Ok(length) if digits => Framing::Length(length),
                    _ => return Err(HeadError::Malformed("a content length that is no number")),
                }
            }
            "transfer-encoding" if value.eq_ignore_ascii_case(b"chunked") => Framing::Chunked,
            "transfer-encoding" => {
                return Err(HeadError::Malformed("a transfer encoding other than chunked"));
            }
            _ => continue,
        };
        if found != Framing::Unsaid {
            return Err(HeadError::Malformed("the length of the body is said twice"));
        }
        found = this;
    }
    Ok(found)
}

/// The only field of `name`.
pub fn only<'a>(fields: &'a [Field], name: &str) -> Option<&'a [u8]> {
    let mut values = fields.iter().filter(|(field, _)| field == name);
    match (values.next(), values.next()) {
        (Some((_, value)), None) => Some(value),
        _ => None,
    }
}

/// Reads until the head is whole. `read` is asked again until `within` is over, so a peer that sends one byte at a
/// time gets no more time by it.
fn read_head(
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    within: Duration,
) -> Result<(Vec<u8>, usize), HeadError> {
    let deadline = Instant::now() + within;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if Instant::now() >= deadline {
            return Err(HeadError::TooSlow);
        }
        let count = match read(&mut buffer) {
            Ok(0) if bytes.is_empty() => return Err(HeadError::Nothing),
            Ok(0) => return Err(HeadError::Malformed("the head ends in the middle")),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                continue;
            }
            Err(error) => return Err(HeadError::Io(error)),
        };
        let seen = bytes.len().saturating_sub(3);
        bytes.extend_from_slice(&buffer[..count]);
        if let Some(at) = bytes[seen..].windows(4).position(|four| four == b"\r\n\r\n") {
            let end = seen + at + 4;
            if end > MAX_HEAD {
                return Err(HeadError::TooLarge);
            }
            check_lines(&bytes[..end])?;
            return Ok((bytes, end));
        }
        if bytes.len() > MAX_HEAD {
            return Err(HeadError::TooLarge);
        }
    }
}

fn check_lines(head: &[u8]) -> Result<(), HeadError> {
    let mut before = 0;
    for &byte in head {
        match byte {
            b'\n' if before != b'\r' => {
                return Err(HeadError::Malformed("a line feed without carriage return"));
            }
            0 => return Err(HeadError::Malformed("a zero byte")),
            b'\n' => {}
            _ if before == b'\r' => return Err(HeadError::Malformed("a carriage return without line feed")),
            _ => {}
        }
        before = byte;
    }
    Ok(())
}

fn fields(parsed: &[httparse::Header<'_>]) -> Vec<Field> {
    parsed.iter().map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec())).collect()
}

fn malformed(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooLarge,
        _ => HeadError::Malformed("not an HTTP/1.1 head"),
    }
}

/// Reads a request's head.
pub fn request(
    read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    within: Duration,
) -> Result<Request, HeadError> {
    let (bytes, end) = read_head(read, within)?;
    let mut space = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut space);
    match parsed.parse(&bytes[..end]).map_err(malformed)? {
        httparse::Status::Complete(length) if length == end && parsed.version == Some(1) => Ok(Request {
            method: parsed.method.unwrap_or_default().to_owned(),
            target: parsed.path.unwrap_or_default().to_owned(),
            fields: fields(parsed.headers),
            rest: bytes[end..].to_vec(),
        }),
        _ => Err(HeadError::Malformed("not an HTTP/1.1 request")),
    }
}

/// Reads a response's head.
pub fn response(
    read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    within: Duration,
) -> Result<Response, HeadError> {
    let (bytes, end) = read_head(read, within)?;
    let mut space = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut space);
    match parsed.parse(&bytes[..end]).map_err(malformed)? {
        httparse::Status::Complete(length) if length == end && parsed.version == Some(1) => Ok(Response {
            status: parsed.code.unwrap_or(0),
            fields: fields(parsed.headers),
            rest: bytes[end..].to_vec(),
        }),
        _ => Err(HeadError::Malformed("not an HTTP/1.1 response")),
    }
}

/// Reads a body of at most `limit` bytes whose first bytes are `rest`.
pub fn body(input: impl Read, rest: Vec<u8>, framing: Framing, limit: u64) -> io::Result<Vec<u8>> {
    let mut input = rest.as_slice().chain(input);
    let too_large = || io::Error::new(io::ErrorKind::InvalidData, "the body is over its limit");
    let mut bytes = Vec::new();
    match framing {
        Framing::Length(length) if length > limit => return Err(too_large()),
        Framing::Length(length) => {
            input.take(length).read_to_end(&mut bytes)?;
            if bytes.len() as u64 != length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Framing::Unsaid => {
            input.take(limit + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > limit {
                return Err(too_large());
            }
        }
        Framing::Chunked => loop {
            let line = chunk_line(&mut input)?;
            let size = match httparse::parse_chunk_size(&line) {
                Ok(httparse::Status::Complete((_, size))) => size,
                _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "not a chunk size")),
            };
            if (bytes.len() as u64).saturating_add(size) > limit {
                return Err(too_large());
            }
            let before = bytes.len();
            (&mut input).take(size).read_to_end(&mut bytes)?;
            if (bytes.len() - before) as u64 != size || chunk_line(&mut input)? != b"\r\n" {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if size == 0 {
                break;
            }
        },
    }
    Ok(bytes)
}

/// One line of a chunked body with its end. Trailers are refused: the line after the last chunk is empty.
fn chunk_line(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        input.read_exact(&mut byte)?;
        line.push(byte[0]);
        if line.len() > 64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a chunk line is too long"));
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Request, HeadError> {
        let mut input = text.as_bytes();
        // One byte at a time: the head does not depend on how the bytes are split.
        request(|buffer| input.read(&mut buffer[..1]), Duration::from_secs(1))
    }

    /// ATTACKS E15: what two parsers could read in two ways is refused.
    #[test]
    fn e15_smuggling_shapes_are_refused() {
        let good = parse("GET http://a/ HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\r\n");
        let good = good.unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!((good.method.as_str(), good.target.as_str()), ("GET", "http://a/"));
        assert_eq!(only(&good.fields, "x-a"), Some(b"1".as_slice()));
        for bad in [
            "GET / HTTP/1.1\nHost: a\n\n\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "G\r\nET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a",
        ] {
            assert!(matches!(parse(bad), Err(HeadError::Malformed(_))), "{bad:?}: {:?}", parse(bad));
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS + 1));
        assert!(matches!(parse(&many), Err(HeadError::TooLarge)));
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(MAX_HEAD));
        assert!(matches!(parse(&long), Err(HeadError::TooLarge)));
        for lengths in [
            &[("content-length", "1"), ("content-length", "1")][..],
            &[("content-length", "1"), ("transfer-encoding", "chunked")],
            &[("content-length", "+1")],
            &[("transfer-encoding", "gzip, chunked")],
        ] {
            let fields: Vec<Field> =
                lengths.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
            assert!(framing(&fields).is_err(), "{lengths:?}");
        }
    }

    #[test]
    fn a_cut_body_is_never_a_whole_one() {
        let read = |text: &str, framing| body(text.as_bytes(), Vec::new(), framing, 8);
        assert_eq!(read("abc", Framing::Length(3)).ok().as_deref(), Some(b"abc".as_slice()));
        assert!(read("ab", Framing::Length(3)).is_err());
        assert!(read("abcdefghi", Framing::Unsaid).is_err());
        assert_eq!(read("3\r\nabc\r\n0\r\n\r\n", Framing::Chunked).ok().as_deref(), Some(b"abc".as_slice()));
        assert!(read("3\r\nabc\r\n", Framing::Chunked).is_err());
        assert!(read("9\r\nabcdefghi\r\n0\r\n\r\n", Framing::Chunked).is_err());
    }
}
