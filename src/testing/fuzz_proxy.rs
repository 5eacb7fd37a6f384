//! Fuzz bodies of the proxy's own parsers: heads, bodies and hellos. Each takes any bytes and panics only where a
//! property is broken.
//!
//! The second reader is written as the most forgiving servers read: lines end at any line feed, blanks do not matter.
//! What the strict one accepts, both must read in the same way.
#![allow(clippy::panic)]

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::str;

use crate::egress::{
    Claim, Host, TlsHello,
    http1::{ChunkDecoder, Field, Framing, HeadLimits, HeadReader, HttpError, RequestForm, RequestHead},
};

/// Inputs over this are cut: what follows a head is looked at byte by byte.
const MOST: usize = 1 << 10;

const LIMITS: HeadLimits = HeadLimits { bytes: 768, fields: 32 };

/// The head of a request or of a response, and the body behind it; a chunked body alone; a hello alone.
pub fn proxy_head(data: &[u8]) {
    let data = data.get(..MOST).unwrap_or(data);
    request(data);
    response(data);
    chunks(data);
    hello(data);
    if let Ok(claim) = Claim::read(data) {
        assert!(!alloc::format!("{claim:?}").contains("secret"));
    }
}

fn pushed(data: &[u8], step: usize) -> Result<HeadReader, HttpError> {
    let mut reader = HeadReader::new(LIMITS);
    for piece in data.chunks(step) {
        reader.push(piece)?;
    }
    Ok(reader)
}

fn request(data: &[u8]) {
    let read = |step| pushed(data, step).and_then(HeadReader::request);
    let whole = read(MOST);
    assert_eq!(whole, read(1), "a head depends on how its bytes are spread");
    let Ok((head, rest)) = whole else { return };
    let (lines, behind) = forgiving(data, &rest);
    let words: Vec<&str> = lines.first().map(|line| line.split_whitespace().collect()).unwrap_or_default();
    let [method, target, version] = words.as_slice() else { panic!("{lines:?} is no request line") };
    assert_eq!((*method, *target), (head.method.as_str(), head.target.as_str()));
    assert_eq!(*version, alloc::format!("HTTP/1.{}", head.minor));
    same_fields(&lines, &head.fields);
    assert_eq!(behind, rest);
    if let Ok(framing) = head.framing() {
        let said = count(&head.fields, "content-length") + count(&head.fields, "transfer-encoding");
        assert!(said <= 1 && (said == 1 || framing == Framing::Length(0)), "{head:?}");
        assert_ne!(framing, Framing::UntilClose);
        if framing == Framing::Chunked {
            chunks(&rest);
        }
    }
    if let Ok(form) = head.form() {
        same_host(&head, &form);
    }
}

fn same_host(head: &RequestHead, form: &RequestForm<'_>) {
    assert_eq!(*form == RequestForm::Tunnel(&head.target), head.method == "CONNECT");
    let host = head.fields.iter().find(|(name, _)| name == "host");
    let (RequestForm::Tunnel(authority), Some((_, value))) = (form, host) else { return };
    let named = |text: &str| {
        let end = text.rfind(':').filter(|_| !text.ends_with(']')).unwrap_or(text.len());
        Host::parse(&text[..end])
    };
    let (Ok(one), Ok(text)) = (named(authority), str::from_utf8(value)) else { return };
    // An authority without a port, or with a bare IPv6 address, is no target, and whoever judges it says so.
    let bare_v6 = one.ip().is_some_and(|ip| ip.is_ipv6()) && !authority.starts_with('[');
    if authority.contains(':')
        && !bare_v6
        && !authority.contains(['/', '@', '#', '?'])
        && port_is_plain(authority)
    {
        let other = if one.ip().is_some_and(|ip| ip.is_ipv6()) && !text.contains("]:") {
            Host::parse(text)
        } else {
            named(text)
        };
        assert_eq!(other.as_ref(), Ok(&one), "CONNECT names one host and Host another: {head:?}");
    }
}

fn port_is_plain(authority: &str) -> bool {
    let port = authority.rsplit(':').next().unwrap_or_default();
    port.parse::<u16>().is_ok_and(|number| number.to_string() == port && number > 0)
}

fn response(data: &[u8]) {
    let read = |step| pushed(data, step).and_then(HeadReader::response);
    let whole = read(MOST);
    assert_eq!(whole, read(1), "a head depends on how its bytes are spread");
    let Ok((head, rest)) = whole else { return };
    let (lines, _) = forgiving(data, &rest);
    same_fields(&lines, &head.fields);
    assert!(lines.first().is_some_and(|line| line.contains(&head.status.to_string())));
    if let (Ok(Framing::Chunked), 1) = (head.framing("GET"), head.minor) {
        chunks(&rest);
    }
    assert_ne!(head.framing("HEAD"), Ok(Framing::Chunked));
}

/// The lines up to the first empty one, and what follows it.
fn forgiving<'a>(data: &'a [u8], rest: &[u8]) -> (Vec<String>, &'a [u8]) {
    let mut lines = Vec::new();
    // One empty line before a request is nobody's.
    let mut left = data.strip_prefix(b"\r\n").filter(|_| !rest.is_empty() || data.len() > 2).unwrap_or(data);
    while let Some(at) = left.iter().position(|byte| *byte == b'\n') {
        let (line, behind) = left.split_at(at + 1);
        left = behind;
        let line = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    assert_eq!(left.len(), rest.len(), "two readers see the head end in different places");
    (lines, left)
}

fn same_fields(lines: &[String], fields: &[Field]) {
    let theirs: Vec<(String, String)> = lines
        .iter()
        .skip(1)
        .map(|line| {
            assert!(!line.starts_with([' ', '\t']), "a folded line was accepted");
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.trim().to_ascii_lowercase(), value.trim_matches([' ', '\t']).into())
        })
        .collect();
    let text = |value: &Vec<u8>| String::from_utf8_lossy(value).trim_matches([' ', '\t']).to_string();
    let ours: Vec<_> = fields.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    assert_eq!(ours, theirs, "two readers see different fields");
}

fn count(fields: &[Field], name: &str) -> usize {
    fields.iter().filter(|(own, _)| own == name).count()
}

/// A chunked body, however it is cut: the forgiving reader sees the same bytes.
fn chunks(data: &[u8]) {
    let (mut whole, mut body) = (ChunkDecoder::new(), Vec::new());
    let decoded = whole.decode(data, &mut body);
    let (mut bytewise, mut other, mut consumed) = (ChunkDecoder::new(), Vec::new(), 0);
    let split = data.iter().try_for_each(|byte| {
        consumed += bytewise.decode(&[*byte], &mut other)?.consumed;
        Ok::<_, HttpError>(())
    });
    assert_eq!(
        (decoded.is_ok(), &body),
        (split.is_ok(), &other),
        "a body depends on how its bytes are spread"
    );
    let Ok(decoded) = decoded else { return };
    assert_eq!((decoded.consumed, decoded.done), (consumed, bytewise.is_done()));
    if !decoded.done {
        return;
    }
    let mut left = &data[..decoded.consumed];
    let mut theirs = Vec::new();
    loop {
        let end = left.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (line, behind) = left.split_at(end);
        let line = String::from_utf8_lossy(line);
        let size = line.trim().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16);
        assert!(size.is_ok(), "{line:?} is no size to the other reader");
        let Ok(size) = size else { return };
        if size == 0 {
            trailers(behind, &whole);
            break;
        }
        theirs.extend_from_slice(&behind[..size]);
        left = &behind[size + 2..];
    }
    assert_eq!(body, theirs, "two readers see different bodies");
}

/// The trailer section behind the last chunk, up to its empty line: what is kept stands there, and neither reader takes a
/// kept field for one that says where a message ends or who asks.
fn trailers(section: &[u8], decoder: &ChunkDecoder) {
    let (lines, behind) = forgiving(section, &[]);
    assert_eq!(behind, b"");
    for (name, value) in decoder.trailers() {
        let value = String::from_utf8_lossy(value).into_owned();
        let found = lines.iter().filter_map(|line| line.split_once(':')).any(|(theirs, text)| {
            theirs.trim().eq_ignore_ascii_case(name) && text.trim_matches([' ', '\t']) == value
        });
        assert!(found, "{name} is in no line of {lines:?}");
        let read = name.replace('_', "-");
        for never in ["content-length", "transfer-encoding", "host", "authorization", "connection"] {
            assert_ne!(read, never);
        }
    }
}

/// A hello that was read is read the same with more bytes behind it, and every part of it asks for more.
fn hello(data: &[u8]) {
    let Ok(Some(hello)) = TlsHello::read(data) else { return };
    let longer = [data, &[0x17, 3, 3]].concat();
    assert_eq!(TlsHello::read(&longer), Ok(Some(hello.clone())));
    let mut found = false;
    for cut in 0..data.len() {
        match TlsHello::read(&data[..cut]) {
            Ok(None) => assert!(!found, "a longer hello is less whole"),
            Ok(Some(shorter)) => {
                found = true;
                assert_eq!(shorter, hello, "the end of a hello changes what it says");
            }
            Err(error) => panic!("the front of a hello is refused: {error}"),
        }
    }
    if let Some(name) = &hello.server_name {
        let message = fragments(data);
        let place = message.windows(name.len()).any(|window| window.eq_ignore_ascii_case(name.as_bytes()));
        assert!(place, "a name that is not in the message");
    }
}

/// The handshake bytes of the records in `data` (RFC 8446 section 5.1): a name may lie in two of them.
fn fragments(data: &[u8]) -> Vec<u8> {
    let (mut message, mut rest) = (Vec::new(), data);
    while let [22, _, _, high, low, tail @ ..] = rest {
        let (fragment, more) = tail.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(tail.len()));
        message.extend_from_slice(fragment);
        rest = more;
    }
    message
}

/// A hello for `a.test`, in one record.
const HELLO: &[u8] = &[
    0x16, 3, 1, 0, 0x49, 1, 0, 0, 0x45, 3, 3, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0, 2, 0x13, 1, 1, 0, 0, 0x1a, 0, 0x2b, 0, 3, 2, 3, 4, 0, 0, 0, 0x0b,
    0, 9, 0, 0, 6, b'a', b'.', b't', b'e', b's', b't', 0, 0x17, 0, 0,
];

/// Inputs to begin with, by name: shapes that smuggle between real servers, and good ones.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let texts: [(&'static str, &str); 27] = [
        (
            "connect",
            "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nProxy-Authorization: Lease 1.7\r\n\r\n",
        ),
        ("connect-v6", "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n"),
        ("connect-other-host", "CONNECT a.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n"),
        ("connect-sign", "CONNECT a.test:+443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"),
        ("absolute", "GET http://a.test/x?y HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\n\r\n"),
        ("absolute-userinfo", "GET http://a.test@b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        ("route", "POST /r/models/v1 HTTP/1.1\r\nHost: proxy\r\nContent-Length: 2\r\n\r\n{}"),
        ("asterisk", "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        (
            "cl-te",
            "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "te-te",
            "POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
        ),
        ("te-list", "POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
        ("te-space", "POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n"),
        ("cl-cl", "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        ("cl-underscore", "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent_Length: 1\r\n\r\na"),
        ("fold", "GET http://a/ HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"),
        ("bare-lf", "GET http://a/ HTTP/1.1\nHost: a\n\n"),
        ("bare-cr", "GET http://a/ HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"),
        ("zero", "GET http://a/ HTTP/1.1\r\nHost: a\0\r\n\r\n"),
        ("old", "GET http://a/ HTTP/1.0\r\n\r\n"),
        (
            "chunked",
            "POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
        ),
        ("chunks", "A\r\n0123456789\r\n00\r\n\r\n"),
        ("chunks-trailer", "1\r\na\r\n0\r\nX: y\r\n\r\n"),
        ("chunks-trailer-framing", "0\r\nTransfer-Encoding: chunked\r\ncontent_length: 1\r\n\r\n"),
        ("empty-line", "\r\nGET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("two-empty-lines", "\r\n\r\nGET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("response", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
        ("basic", "Basic bGVhc2U6c2VjcmV0"),
    ];
    let texts = texts.into_iter().map(|(name, text)| (name, text.as_bytes().to_vec()));
    texts.chain([("hello", HELLO.to_vec())]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_is_a_hello() {
        let hello = TlsHello::read(HELLO).ok().flatten();
        assert_eq!(hello.and_then(|hello| hello.server_name).as_deref(), Some("a.test"));
    }
}
