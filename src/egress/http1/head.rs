//! Heads of messages: where one ends, and what it says.

use alloc::{string::String, vec::Vec};

use super::HttpError;

/// A header field: the name in lower case, the value without the blanks around it.
pub type Field = (String, Vec<u8>);

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct HeadLimits {
    /// Its bytes, line ends included.
    pub bytes: usize,
    /// Its fields. Never more than 128, whatever this says.
    pub fields: usize,
}

/// 32 KiB and 100 fields.
impl Default for HeadLimits {
    fn default() -> Self {
        Self { bytes: 32 << 10, fields: 100 }
    }
}

/// The most fields that any limit allows.
const FIELDS: usize = 128;

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestHead {
    /// The method.
    pub method: String,
    /// The target as it stands in the request line: visible ASCII.
    pub target: String,
    /// The minor version of HTTP/1: 0 or 1.
    pub minor: u8,
    /// The fields, in order.
    pub fields: Vec<Field>,
}

/// The head of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponseHead {
    /// The status, from 100 to 999.
    pub status: u16,
    /// The reason phrase, where it is visible ASCII and blanks; empty otherwise.
    pub reason: String,
    /// The minor version of HTTP/1: 0 or 1.
    pub minor: u8,
    /// The fields, in order.
    pub fields: Vec<Field>,
}

/// Collects a head piece by piece. It never holds more than the limit and the piece that went over it, and every byte
/// is looked at once, however the bytes are spread.
///
/// ```
/// use leasehold::egress::http1::{HeadLimits, HeadReader};
/// let mut reader = HeadReader::new(HeadLimits::default());
/// assert!(!reader.push(b"GET http://a.test/ HTTP/1.1\r\nhost: a.test\r\n")?);
/// assert!(reader.push(b"\r\nbody")?);
/// let (head, rest) = reader.request()?;
/// assert_eq!((head.method.as_str(), rest.as_slice()), ("GET", b"body".as_slice()));
/// # Ok::<(), leasehold::egress::http1::HttpError>(())
/// ```
#[derive(Clone, Debug)]
pub struct HeadReader {
    limits: HeadLimits,
    bytes: Vec<u8>,
    scan: Scan,
    end: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Scan {
    /// The bytes that were looked at.
    at: usize,
    before: u8,
    /// Bytes of the line so far, its end not counted.
    line: usize,
    first_line: bool,
    /// Where the head begins: behind one empty line, where there is one.
    start: usize,
}

impl HeadReader {
    /// A reader without a byte.
    pub const fn new(limits: HeadLimits) -> Self {
        let scan = Scan { at: 0, before: 0, line: 0, first_line: true, start: 0 };
        Self { limits, bytes: Vec::new(), scan, end: None }
    }

    /// Whether nothing has come yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes the next bytes. One empty line before the head is skipped (RFC 9112 section 2.2: some clients end a body with
    /// a line end that its length does not count); a response has none. True once the head is whole; what comes behind it is kept for the body.
    ///
    /// # Errors
    /// [`HttpError`] as soon as the bytes cannot become a head.
    pub fn push(&mut self, bytes: &[u8]) -> Result<bool, HttpError> {
        self.bytes.extend_from_slice(bytes);
        if self.end.is_none() {
            self.end = self.scan.find_end(&self.bytes, self.limits.bytes)?;
        }
        Ok(self.end.is_some())
    }

    /// The head of a request, and the bytes behind it.
    ///
    /// # Errors
    /// [`HttpError`]; [`HttpError::Malformed`] also where the head is not whole.
    pub fn request(self) -> Result<(RequestHead, Vec<u8>), HttpError> {
        let (head, rest) = self.split()?;
        let mut space = [httparse::EMPTY_HEADER; FIELDS];
        let mut parsed = httparse::Request::new(&mut space);
        whole(parsed.parse(&head), head.len())?;
        let (method, target, minor) = match (parsed.method, parsed.path, parsed.version) {
            (Some(method), Some(target), Some(minor)) => (method, target, minor),
            _ => return Err(HttpError::Malformed),
        };
        if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(HttpError::Malformed);
        }
        let fields = fields(parsed.headers, self.limits.fields)?;
        Ok((RequestHead { method: method.into(), target: target.into(), minor, fields }, rest))
    }

    /// The head of a response, and the bytes behind it.
    ///
    /// # Errors
    /// As [`HeadReader::request`].
    pub fn response(self) -> Result<(ResponseHead, Vec<u8>), HttpError> {
        if self.scan.start > 0 {
            return Err(HttpError::Malformed);
        }
        let (head, rest) = self.split()?;
        let mut space = [httparse::EMPTY_HEADER; FIELDS];
        let mut parsed = httparse::Response::new(&mut space);
        whole(parsed.parse(&head), head.len())?;
        let (Some(status @ 100..), Some(minor)) = (parsed.code, parsed.version) else {
            return Err(HttpError::Malformed);
        };
        let fields = fields(parsed.headers, self.limits.fields)?;
        let plain = |reason: &&str| reason.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let reason = parsed.reason.filter(plain).unwrap_or_default().into();
        Ok((ResponseHead { status, reason, minor, fields }, rest))
    }

    fn split(&self) -> Result<(Vec<u8>, Vec<u8>), HttpError> {
        let end = self.end.ok_or(HttpError::Malformed)?;
        let (head, rest) = self.bytes.split_at_checked(end).ok_or(HttpError::Malformed)?;
        let head = head.get(self.scan.start..).ok_or(HttpError::Malformed)?;
        Ok((head.to_vec(), rest.to_vec()))
    }
}

impl Scan {
    /// Where the head ends, which is behind its first empty line. httparse takes a bare line feed for a line end and
    /// other servers do not, so that is looked for here.
    fn find_end(&mut self, bytes: &[u8], limit: usize) -> Result<Option<usize>, HttpError> {
        for byte in bytes.iter().skip(self.at).copied() {
            let at = self.at;
            if at >= limit {
                return Err(HttpError::HeadTooLarge(limit));
            }
            self.at = at.saturating_add(1);
            if at == 0
                && let Some(other) = other_protocol(byte)
            {
                return Err(other);
            }
            if byte == 0 || (byte == b'\n') != (self.before == b'\r') {
                return Err(HttpError::LineEnd(at));
            }
            match byte {
                b'\n' if self.line == 0 && self.first_line && self.start == 0 => self.start = self.at,
                b'\n' if self.line == 0 && self.first_line => return Err(HttpError::Malformed),
                b'\n' if self.line == 0 => return Ok(Some(self.at)),
                b'\n' => (self.line, self.first_line) = (0, false),
                b'\r' => {}
                b' ' | b'\t' if self.line == 0 => return Err(HttpError::Fold),
                _ => self.line = self.line.saturating_add(1),
            }
            self.before = byte;
        }
        Ok(None)
    }
}

/// What the first byte says where it begins another protocol: clients that were given the wrong scheme for this port.
const fn other_protocol(first: u8) -> Option<HttpError> {
    match first {
        0x16 => Some(HttpError::Tls),
        4 | 5 => Some(HttpError::Socks(first)),
        _ => None,
    }
}

/// The fields of a trailer section, which ends with its empty line. Line ends were looked at before.
pub(super) fn trailer_fields(bytes: &[u8], limit: usize) -> Result<Vec<Field>, HttpError> {
    let mut space = [httparse::EMPTY_HEADER; FIELDS];
    match httparse::parse_headers(bytes, &mut space) {
        Ok(httparse::Status::Complete((end, parsed))) if end == bytes.len() => {
            fields(parsed, limit).map_err(|_| HttpError::Chunk)
        }
        _ => Err(HttpError::Chunk),
    }
}

fn whole(parsed: httparse::Result<usize>, length: usize) -> Result<(), HttpError> {
    match parsed {
        Ok(httparse::Status::Complete(end)) if end == length => Ok(()),
        Err(httparse::Error::TooManyHeaders) => Err(HttpError::TooManyFields(FIELDS)),
        _ => Err(HttpError::Malformed),
    }
}

fn fields(parsed: &[httparse::Header<'_>], limit: usize) -> Result<Vec<Field>, HttpError> {
    if parsed.len() > limit {
        return Err(HttpError::TooManyFields(limit));
    }
    Ok(parsed
        .iter()
        .map(|field| (field.name.to_ascii_lowercase(), field.value.trim_ascii().to_vec()))
        .collect())
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    fn parse(text: &str) -> Result<RequestHead, HttpError> {
        let mut whole = HeadReader::new(HeadLimits::default());
        let at_once = whole.push(text.as_bytes()).and_then(|_| whole.request()).map(|(head, _)| head);
        let mut reader = HeadReader::new(HeadLimits::default());
        let pushed = text.bytes().try_for_each(|byte| reader.push(&[byte]).map(drop));
        let bytewise = pushed.and_then(|()| reader.request()).map(|(head, _)| head);
        assert_eq!(at_once, bytewise, "a head does not depend on how its bytes are spread");
        at_once
    }

    /// Attack E15: what two servers could read in two ways is no head.
    #[test]
    fn e15_heads_with_two_readings_are_refused() {
        let good = parse("GET http://a/ HTTP/1.1\r\nHost: a\r\nX-A:  1\t\r\n\r\n").unwrap();
        assert_eq!((good.method.as_str(), good.target.as_str(), good.minor), ("GET", "http://a/", 1));
        assert_eq!(good.fields[1], ("x-a".into(), b"1".to_vec()));
        // RFC 9112 section 2.2: one empty line before a request, and only before a request.
        assert_eq!(parse("\r\nGET http://a/ HTTP/1.1\r\nHost: a\r\nX-A:  1\t\r\n\r\n").unwrap(), good);
        for (bad, why) in [
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", HttpError::LineEnd(14)),
            ("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", HttpError::LineEnd(24)),
            ("GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", HttpError::LineEnd(23)),
            ("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", HttpError::LineEnd(15)),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", HttpError::LineEnd(25)),
            ("GET / HTTP/1.1\r\nHost: a\r\n b: c\r\n\r\n", HttpError::Fold),
            ("GET / HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n", HttpError::Fold),
            ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", HttpError::Fold),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", HttpError::Malformed),
            ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", HttpError::LineEnd(0)),
            ("\x16\x03\x01\x02", HttpError::Tls),
            ("\x05\x01\0", HttpError::Socks(5)),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", HttpError::Malformed),
            ("GET / HTTP/1.1\r\n: a\r\n\r\n", HttpError::Malformed),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", HttpError::Malformed),
            ("GET / HTTP/2.0\r\n\r\n", HttpError::Malformed),
            ("GET / HTTP/1.1 \r\n\r\n", HttpError::Malformed),
            ("GET  / HTTP/1.1\r\n\r\n", HttpError::Malformed),
            ("GET /a b HTTP/1.1\r\n\r\n", HttpError::Malformed),
            ("GET /caf\u{e9} HTTP/1.1\r\n\r\n", HttpError::Malformed),
            ("GET /\r\n\r\n", HttpError::Malformed),
            ("G\r\nET / HTTP/1.1\r\n\r\n", HttpError::Malformed),
            ("GET / HTTP/1.1\r\nHost: a", HttpError::Malformed),
        ] {
            assert_eq!(parse(bad), Err(why), "{bad:?}");
        }
    }

    /// Attack E15: a head without end, and one of very many fields.
    #[test]
    fn e15_heads_have_limits() {
        let limits = HeadLimits { bytes: 64, fields: 2 };
        let push = |text: &str| {
            let mut reader = HeadReader::new(limits);
            reader.push(text.as_bytes()).and_then(|_| reader.request())
        };
        assert!(push("GET / HTTP/1.1\r\na: 1\r\nb: 2\r\n\r\n").is_ok());
        assert_eq!(push("GET / HTTP/1.1\r\na: 1\r\nb: 2\r\nc: 3\r\n\r\n"), Err(HttpError::TooManyFields(2)));
        assert_eq!(push(&"x".repeat(65)), Err(HttpError::HeadTooLarge(64)));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(FIELDS + 1));
        assert_eq!(parse(&many), Err(HttpError::TooManyFields(FIELDS)));
        // What follows the head is the body's and has its own limit.
        assert!(push(&format!("GET / HTTP/1.1\r\n\r\n{}", "x".repeat(100))).is_ok());
    }

    #[test]
    fn a_response_head_is_read_with_its_status() {
        let parse = |text: &str| {
            let mut reader = HeadReader::new(HeadLimits::default());
            reader.push(text.as_bytes()).and_then(|_| reader.response()).map(|(head, _)| head.status)
        };
        assert_eq!(parse("HTTP/1.1 204 No Content\r\n\r\n"), Ok(204));
        assert_eq!(parse("HTTP/1.0 200\r\nServer: x\r\n\r\n"), Ok(200));
        let mut reader = HeadReader::new(HeadLimits::default());
        assert_eq!(reader.push(b"HTTP/1.1 404 Not here\r\n\r\n"), Ok(true));
        assert_eq!(reader.response().unwrap().0.reason, "Not here");
        for bad in [
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 99 x\r\n\r\n",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/3 200\r\n\r\n",
            "200 OK\r\n\r\n",
        ] {
            assert_eq!(parse(bad), Err(HttpError::Malformed), "{bad:?}");
        }
    }
}
