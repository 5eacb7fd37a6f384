//! Where a message ends: RFC 9112 section 6.3, with everything that has two answers refused.

use super::{Field, HttpError, RequestHead, ResponseHead};
use crate::egress::header::is_same_field;

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)]
pub enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunks, for a [`ChunkDecoder`](super::ChunkDecoder).
    Chunked,
    /// Everything up to the end of the connection. Responses only.
    UntilClose,
}

/// The longest Content-Length in digits: less than an exabyte.
const MAX_DIGITS: usize = 18;

/// The one statement that the fields make, where they make one. A list in one field, a repeat even of the same value,
/// and any coding but `chunked` are refused: servers differ in which one they believe.
fn said(fields: &[Field], minor: u8) -> Result<Option<Framing>, HttpError> {
    let mut found = None;
    for (name, value) in fields {
        let this = match name.as_str() {
            "content-length" => Framing::Length(length(value)?),
            // RFC 9112 section 6.1: with HTTP/1.0 the framing is faulty, whatever it says.
            "transfer-encoding" if minor == 1 && value.eq_ignore_ascii_case(b"chunked") => Framing::Chunked,
            "transfer-encoding" => return Err(HttpError::Framing),
            // Gateways that turn underscores into hyphens would read these as framing.
            name if ["content-length", "transfer-encoding"].iter().any(|own| is_same_field(own, name)) => {
                return Err(HttpError::Framing);
            }
            _ => continue,
        };
        if found.replace(this).is_some() {
            return Err(HttpError::Framing);
        }
    }
    Ok(found)
}

fn length(value: &[u8]) -> Result<u64, HttpError> {
    let digits = !value.is_empty() && value.len() <= MAX_DIGITS && value.iter().all(u8::is_ascii_digit);
    let text = core::str::from_utf8(value).ok().filter(|_| digits).ok_or(HttpError::Framing)?;
    text.parse().map_err(|_| HttpError::Framing)
}

impl RequestHead {
    /// Where the body ends. Without a word about it there is none; with CONNECT there is never one.
    ///
    /// # Errors
    /// [`HttpError::Framing`].
    pub fn framing(&self) -> Result<Framing, HttpError> {
        let framing = said(&self.fields, self.minor)?.unwrap_or(Framing::Length(0));
        if self.method == "CONNECT" && framing != Framing::Length(0) {
            return Err(HttpError::Framing);
        }
        Ok(framing)
    }
}

impl ResponseHead {
    /// Where the body of the answer to a request with `method` ends.
    ///
    /// # Errors
    /// [`HttpError::Framing`], also where an answer that has no body says that it is chunked in HTTP/1.0.
    pub fn framing(&self, method: &str) -> Result<Framing, HttpError> {
        let said = said(&self.fields, self.minor)?;
        if method == "HEAD" || matches!(self.status, 100..=199 | 204 | 304) {
            return Ok(Framing::Length(0));
        }
        Ok(said.unwrap_or(Framing::UntilClose))
    }
}

#[cfg(test)]
mod tests {
    use alloc::{borrow::ToOwned, vec::Vec};

    use super::*;

    fn request(method: &str, minor: u8, fields: &[(&str, &str)]) -> Result<Framing, HttpError> {
        let fields: Vec<Field> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        RequestHead { method: method.into(), target: "/".into(), minor, fields }.framing()
    }

    /// Attack E15: both framings, repeats, and numbers that are read in two ways.
    #[test]
    fn e15_contradicting_framing_is_refused() {
        for fields in [
            &[("content-length", "1"), ("transfer-encoding", "chunked")][..],
            &[("transfer-encoding", "chunked"), ("content-length", "0")],
            &[("content-length", "1"), ("content-length", "1")],
            &[("content-length", "1"), ("content-length", "2")],
            &[("content-length", "1, 1")],
            &[("content-length", "+1")],
            &[("content-length", "-1")],
            &[("content-length", "0x1")],
            &[("content-length", "")],
            &[("content-length", "1 ")],
            &[("content-length", "9999999999999999999")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "chunked, chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "chunked;q=1")],
            &[("transfer-encoding", "identity")],
            &[("transfer-encoding", "\x0bchunked")],
            &[("transfer_encoding", "chunked")],
            &[("content_length", "5")],
        ] {
            assert_eq!(request("POST", 1, fields), Err(HttpError::Framing), "{fields:?}");
        }
        let chunked = [("transfer-encoding", "Chunked")];
        assert_eq!(request("POST", 1, &chunked), Ok(Framing::Chunked));
        assert_eq!(request("POST", 0, &chunked), Err(HttpError::Framing), "HTTP/1.0");
        assert_eq!(request("CONNECT", 1, &chunked), Err(HttpError::Framing));
        assert_eq!(request("CONNECT", 1, &[("content-length", "1")]), Err(HttpError::Framing));
        assert_eq!(request("POST", 1, &[("content-length", "007")]), Ok(Framing::Length(7)));
        assert_eq!(request("GET", 1, &[]), Ok(Framing::Length(0)));
    }

    #[test]
    fn an_answer_ends_where_its_request_and_status_say() {
        let framing = |method: &str, status, fields: &[(&str, &str)]| {
            let fields: Vec<Field> =
                fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
            ResponseHead { status, reason: "".into(), minor: 1, fields }.framing(method)
        };
        assert_eq!(framing("GET", 200, &[]), Ok(Framing::UntilClose));
        assert_eq!(framing("GET", 200, &[("content-length", "3")]), Ok(Framing::Length(3)));
        assert_eq!(framing("HEAD", 200, &[("content-length", "3")]), Ok(Framing::Length(0)));
        assert_eq!(framing("GET", 304, &[("content-length", "3")]), Ok(Framing::Length(0)));
        assert_eq!(framing("GET", 204, &[]), Ok(Framing::Length(0)));
        let both = [("content-length", "3"), ("transfer-encoding", "chunked")];
        assert_eq!(framing("GET", 200, &both), Err(HttpError::Framing));
    }
}
