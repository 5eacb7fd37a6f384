//! The TLS client hello that a tunnel begins with: which server it names, and whether it hides another.

use alloc::{boxed::Box, vec::Vec};

use crate::code::{self, Code, Coded};

/// The longest hello, in bytes with its record headers. Post-quantum key shares take about 1.5 KiB.
pub const MAX_HELLO_BYTES: usize = 16 * 1024;

/// `server_name` (RFC 6066 section 3).
const SERVER_NAME: u16 = 0;
/// `encrypted_client_hello` and what came before it: the drafts of ECH and ESNI.
const ENCRYPTED: [u16; 5] = [0xfe0d, 0xfe0a, 0xfe09, 0xfe08, 0xffce];

/// Why bytes are not a client hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// Not the beginning of a TLS connection (RFC 8446 sections 4.1.2 and 5.1).
    #[error("the tunnel does not begin with a TLS client hello")]
    Malformed,
    /// Over [`MAX_HELLO_BYTES`].
    #[error("the TLS client hello has more than {MAX_HELLO_BYTES} bytes")]
    TooLong,
}

impl Coded for HelloError {
    fn code(&self) -> Code {
        match self {
            Self::Malformed => code::EGRESS_HELLO_MALFORMED,
            Self::TooLong => code::EGRESS_HELLO_TOO_LONG,
        }
    }
}

/// What a client hello says about where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsHello {
    /// The server that it names, as written.
    pub server_name: Option<Box<str>>,
    /// Whether it carries an encrypted hello, which may name another server. Clients also send random bytes in that
    /// place on purpose (GREASE), and nobody but the server can tell.
    pub encrypted: bool,
}

/// Bytes that are taken from the front, or not there.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of `bytes` bytes in network order, at most 4.
    fn number(&mut self, bytes: usize) -> Option<usize> {
        let number = self.take(bytes)?.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        usize::try_from(number).ok()
    }

    /// A vector with its length in `bytes` bytes before it (RFC 8446 section 3.4).
    fn vector(&mut self, bytes: usize) -> Option<Input<'a>> {
        let length = self.number(bytes)?;
        self.take(length).map(Input)
    }
}

impl TlsHello {
    /// Reads the hello at the front of `bytes`. `None`: more bytes are needed.
    ///
    /// # Errors
    /// [`HelloError`].
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, HelloError> {
        let mut input = Input(bytes);
        let mut message: Vec<u8> = Vec::new();
        while !input.0.is_empty() {
            let Some(fragment) = record(&mut input)? else { break };
            message.extend_from_slice(fragment);
            let mut handshake = Input(&message);
            match handshake.number(1) {
                Some(1) => {}
                _ => return Err(HelloError::Malformed),
            }
            if let Some(mut body) = handshake.vector(3) {
                // What follows in the same record is early data or nothing; the origin judges it.
                return body_of(&mut body).ok_or(HelloError::Malformed).map(Some);
            }
        }
        if bytes.len() >= MAX_HELLO_BYTES { Err(HelloError::TooLong) } else { Ok(None) }
    }
}

/// The content of the next record, where all of it is there.
fn record<'a>(input: &mut Input<'a>) -> Result<Option<&'a [u8]>, HelloError> {
    // Handshake, and any version of TLS. A tunnel with something else is known by its first byte.
    match input.0 {
        [0x16, 0x03, ..] | [0x16] => {}
        _ => return Err(HelloError::Malformed),
    }
    let mut ahead = Input(input.0);
    let (Some(_), Some(length)) = (ahead.take(3), ahead.number(2)) else { return Ok(None) };
    if length == 0 || length > 1 << 14 {
        return Err(HelloError::Malformed);
    }
    let Some(fragment) = ahead.take(length) else { return Ok(None) };
    *input = ahead;
    Ok(Some(fragment))
}

fn body_of(body: &mut Input<'_>) -> Option<TlsHello> {
    body.take(2 + 32)?;
    let session = body.vector(1)?;
    let suites = body.vector(2)?;
    let compressions = body.vector(1)?;
    if session.0.len() > 32 || suites.0.is_empty() || compressions.0.is_empty() {
        return None;
    }
    let mut hello = TlsHello { server_name: None, encrypted: false };
    if body.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = body.vector(2)?;
    let mut seen = Vec::new();
    while !extensions.0.is_empty() {
        let kind = u16::try_from(extensions.number(2)?).ok()?;
        let mut content = extensions.vector(2)?;
        // RFC 8446 section 4.2: two of one kind are an error, and two server names are two readings.
        if seen.contains(&kind) {
            return None;
        }
        seen.push(kind);
        hello.encrypted |= ENCRYPTED.contains(&kind);
        if kind == SERVER_NAME {
            hello.server_name = Some(server_name(&mut content)?);
        }
    }
    body.0.is_empty().then_some(hello)
}

/// Exactly one name of the one kind that there is (RFC 6066 section 3).
fn server_name(content: &mut Input<'_>) -> Option<Box<str>> {
    let mut list = content.vector(2)?;
    let kind = list.number(1)?;
    let name = list.vector(2)?;
    let whole = kind == 0 && list.0.is_empty() && content.0.is_empty() && !name.0.is_empty();
    let name = core::str::from_utf8(name.0).ok().filter(|name| whole && name.is_ascii())?;
    Some(Box::from(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(bytes: usize, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&length[4 - bytes..], content].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &vector(2, content)].concat()
    }

    fn named(name: &str) -> Vec<u8> {
        extension(SERVER_NAME, &vector(2, &[&[0][..], &vector(2, name.as_bytes())].concat()))
    }

    fn handshake(extensions: &[Vec<u8>]) -> Vec<u8> {
        let body = [
            &[3, 3][..],
            &[7; 32],
            &vector(1, &[]),
            &vector(2, &[0x13, 0x01]),
            &vector(1, &[0]),
            &vector(2, &extensions.concat()),
        ];
        [&[1][..], &vector(3, &body.concat())].concat()
    }

    fn records(handshake: &[u8], size: usize) -> Vec<u8> {
        handshake.chunks(size).flat_map(|part| [&[0x16, 3, 1][..], &vector(2, part)].concat()).collect()
    }

    fn read(extensions: &[Vec<u8>]) -> Result<Option<TlsHello>, HelloError> {
        TlsHello::read(&records(&handshake(extensions), 1 << 14))
    }

    #[test]
    fn a_hello_names_its_server_however_it_is_cut() {
        let other = extension(0x2b, &[2, 3, 4]);
        let whole = handshake(&[other, named("Api.example.com")]);
        let want = TlsHello { server_name: Some("Api.example.com".into()), encrypted: false };
        for size in [1, 7, 1 << 14] {
            let bytes = records(&whole, size);
            assert_eq!(TlsHello::read(&bytes), Ok(Some(want.clone())), "records of {size}");
            for cut in 0..bytes.len() {
                assert_eq!(TlsHello::read(&bytes[..cut]), Ok(None), "records of {size}, cut at {cut}");
            }
        }
        let none = read(&[]).unwrap().unwrap();
        assert_eq!((none.server_name, none.encrypted), (None, false));
    }

    /// Research 4.1, "TLS tunnels": a name that is hidden, doubled or malformed is not a name.
    #[test]
    fn a_hello_with_two_readings_is_none() {
        for kind in ENCRYPTED {
            let hello = read(&[named("a.test"), extension(kind, &[1, 2, 3])]).unwrap().unwrap();
            assert!(hello.encrypted, "{kind:x}");
        }
        let two_in_one = [&[0][..], &vector(2, b"a"), &[0], &vector(2, b"b")].concat();
        for bad in [
            &[named("a.test"), named("b.test")][..],
            &[extension(SERVER_NAME, &vector(2, &two_in_one))],
            &[extension(SERVER_NAME, &vector(2, &[&[1][..], &vector(2, b"a")].concat()))],
            &[extension(SERVER_NAME, &[])],
            &[named("")],
            &[named("caf\u{e9}.test")],
        ] {
            assert_eq!(read(bad), Err(HelloError::Malformed), "{bad:?}");
        }
        for bad in [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0-x\r\n", &[0x17, 3, 3, 0, 1, 0], &[0x16, 3, 1, 0, 0]]
        {
            assert_eq!(TlsHello::read(bad), Err(HelloError::Malformed), "{bad:?}");
        }
        let mut other = handshake(&[]);
        other[0] = 2;
        assert_eq!(TlsHello::read(&records(&other, 100)), Err(HelloError::Malformed), "a server hello");
        let long = records(&[&[1][..], &[0xff; 3], &[0; 1 << 15]].concat(), 1 << 14);
        assert_eq!(TlsHello::read(&long), Err(HelloError::TooLong));
    }
}
