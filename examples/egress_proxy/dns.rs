//! A stub resolver that asks one server, and takes nothing from anybody else: addresses of a name by UDP, and by TCP
//! where an answer does not fit (RFC 1035, RFC 7766).
//!
//! It fails closed: a lookup that fails for one of the two families fails, and a name without an address has none.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use leasehold::shell::{Entropy as _, OsEntropy};

/// How long one question may take, and how often it is asked.
const PATIENCE: Duration = Duration::from_secs(2);
const TRIES: usize = 2;
/// The longest chain of aliases.
const MAX_ALIASES: usize = 8;
/// The most packets that are looked at for one answer: others may send as many as they like.
const MAX_PACKETS: usize = 32;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// Not an answer to the question, or malformed.
    Malformed,
    /// The server says that it failed, with this code.
    Code(u8),
    /// The answer did not fit into the packet.
    Truncated,
}

/// Every address of `name`, by the server at `server`.
pub fn resolve(server: SocketAddr, name: &str) -> Result<Vec<IpAddr>, String> {
    let mut addresses = Vec::new();
    for kind in [A, AAAA] {
        addresses.extend(ask(server, name, kind)?);
    }
    Ok(addresses)
}

fn ask(server: SocketAddr, name: &str, kind: u16) -> Result<Vec<IpAddr>, String> {
    let mut last = "no answer in time".to_owned();
    for _ in 0..TRIES {
        let mut id = [0; 2];
        let filled = OsEntropy::open().and_then(|mut entropy| entropy.fill(&mut id));
        filled.map_err(|error| error.to_string())?;
        let question = question(id, name, kind).ok_or("not a name that can be asked for")?;
        match by_udp(server, &question, name, kind) {
            Ok(Some(Err(Failure::Truncated))) => {
                return match by_tcp(server, &question).map(|packet| read(&packet, id, name, kind)) {
                    Ok(Ok(addresses)) => Ok(addresses),
                    Ok(Err(failure)) => Err(format!("{failure:?}")),
                    Err(error) => Err(error.to_string()),
                };
            }
            Ok(Some(Ok(addresses))) => return Ok(addresses),
            Ok(Some(Err(failure))) => return Err(format!("{failure:?}")),
            Ok(None) => {}
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

/// `None`: nothing came in time that was an answer to this question.
fn by_udp(
    server: SocketAddr,
    question: &[u8],
    name: &str,
    kind: u16,
) -> std::io::Result<Option<Result<Vec<IpAddr>, Failure>>> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A port of the system's choice for each question, and connected: the kernel drops what others send.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.send(question)?;
    let deadline = Instant::now() + PATIENCE;
    let mut packet = [0; 4096];
    for _ in 0..MAX_PACKETS {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left))?;
        let count = match socket.recv(&mut packet) {
            Ok(count) => count,
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                break;
            }
            Err(error) => return Err(error),
        };
        let id = [question[0], question[1]];
        match read(&packet[..count], id, name, kind) {
            // Somebody else's guess, or an old answer: the right one may still come.
            Err(Failure::Malformed) => {}
            answer => return Ok(Some(answer)),
        }
    }
    Ok(None)
}

fn by_tcp(server: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = u16::try_from(question.len()).unwrap_or(u16::MAX).to_be_bytes();
    stream.write_all(&[&length[..], question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut packet)?;
    Ok(packet)
}

fn question(id: [u8; 2], name: &str, kind: u16) -> Option<Vec<u8>> {
    // Recursion desired, one question.
    let mut packet = [&id[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        packet.push(length);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&1_u16.to_be_bytes());
    Some(packet)
}

/// A packet, and how far it was read.
struct Packet<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Packet<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A name in lower case. Pointers go backwards only, so that no name is without end.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut at = self.at;
        let mut end = None;
        let mut lowest = self.at;
        loop {
            let length = *self.bytes.get(at)?;
            match length {
                0 => {
                    self.at = end.unwrap_or(at + 1);
                    return Some(name);
                }
                1..=63 => {
                    let label = self.bytes.get(at + 1..at + 1 + usize::from(length))?;
                    if !name.is_empty() {
                        name.push('.');
                    }
                    // What is no host name is compared with one, and is none.
                    name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
                    at += 1 + usize::from(length);
                }
                0xc0..=0xff => {
                    let low = *self.bytes.get(at + 1)?;
                    let target = usize::from(length & 0x3f) << 8 | usize::from(low);
                    end = end.or(Some(at + 2));
                    if target >= lowest {
                        return None;
                    }
                    (lowest, at) = (target, target);
                }
                _ => return None,
            }
            if name.len() > 255 {
                return None;
            }
        }
    }
}

/// The addresses in the answer to the question with `id`.
fn read(bytes: &[u8], id: [u8; 2], name: &str, kind: u16) -> Result<Vec<IpAddr>, Failure> {
    parse(bytes, id, name, kind).unwrap_or(Err(Failure::Malformed))
}

fn parse(bytes: &[u8], id: [u8; 2], name: &str, kind: u16) -> Option<Result<Vec<IpAddr>, Failure>> {
    let mut packet = Packet { bytes, at: 0 };
    let theirs = packet.take(2)?;
    let flags = packet.take(2)?;
    let (questions, answers) = (packet.number()?, packet.number()?);
    packet.take(4)?;
    // An answer to a standard query, to this one.
    if theirs != id || flags[0] & 0xf8 != 0x80 || questions != 1 {
        return None;
    }
    let asked = (packet.name()?, packet.number()?, packet.number()?);
    if asked != (name.to_ascii_lowercase(), kind, 1) {
        return None;
    }
    if flags[0] & 2 != 0 {
        return Some(Err(Failure::Truncated));
    }
    match flags[1] & 0x0f {
        0 => {}
        // There is no such name.
        3 => return Some(Ok(Vec::new())),
        code => return Some(Err(Failure::Code(code))),
    }
    let mut records = Vec::new();
    for _ in 0..answers {
        let owner = packet.name()?;
        let (found, class) = (packet.number()?, packet.number()?);
        packet.take(4)?;
        let length = usize::from(packet.number()?);
        let start = packet.at;
        let alias = if found == CNAME { Packet { bytes, at: start }.name() } else { None };
        let data = packet.take(length)?;
        if class == 1 {
            records.push((owner, found, data, alias));
        }
    }
    let mut wanted = asked.0;
    for _ in 0..MAX_ALIASES {
        let alias = records.iter().find(|(owner, found, ..)| *owner == wanted && *found == CNAME);
        match alias.and_then(|(.., alias)| alias.clone()) {
            Some(next) => wanted = next,
            None => break,
        }
    }
    let own = records.iter().filter(|(owner, found, ..)| *owner == wanted && *found == kind);
    let addresses: Option<Vec<IpAddr>> = own
        .map(|(_, _, data, _)| match kind {
            A => <[u8; 4]>::try_from(*data).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(*data).ok().map(IpAddr::from),
        })
        .collect();
    addresses.map(Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 2] = [7, 9];

    fn answer(records: &[u8], count: u8) -> Vec<u8> {
        let mut packet = question(ID, "a.test", A).unwrap_or_default();
        packet[2] = 0x81;
        packet[3] = 0x80;
        packet[7] = count;
        [packet, records.to_vec()].concat()
    }

    /// A record of the name asked for, by a pointer to the question.
    fn record(kind: u16, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len()).unwrap_or(0).to_be_bytes();
        [&[0xc0, 12][..], &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 9], &length, data].concat()
    }

    #[test]
    fn an_answer_is_to_this_question_or_none() {
        let good = answer(&record(A, &[127, 0, 0, 1]), 1);
        assert_eq!(read(&good, ID, "A.test", A), Ok(vec![Ipv4Addr::LOCALHOST.into()]));
        assert_eq!(read(&good, [7, 8], "a.test", A), Err(Failure::Malformed), "another id");
        assert_eq!(read(&good, ID, "b.test", A), Err(Failure::Malformed), "another name");
        assert_eq!(read(&good, ID, "a.test", AAAA), Err(Failure::Malformed), "another kind");
        for cut in 0..good.len() {
            assert_eq!(read(&good[..cut], ID, "a.test", A), Err(Failure::Malformed), "cut at {cut}");
        }
        let mut query = good.clone();
        query[2] = 1;
        assert_eq!(read(&query, ID, "a.test", A), Err(Failure::Malformed), "a question");
        let mut truncated = good.clone();
        truncated[2] |= 2;
        assert_eq!(read(&truncated, ID, "a.test", A), Err(Failure::Truncated));
        let mut failed = good.clone();
        failed[3] = 2;
        assert_eq!(read(&failed, ID, "a.test", A), Err(Failure::Code(2)));
        failed[3] = 3;
        assert_eq!(read(&failed, ID, "a.test", A), Ok(vec![]), "no such name");
        assert_eq!(read(&answer(&record(A, &[1, 2, 3]), 1), ID, "a.test", A), Err(Failure::Malformed));
    }

    #[test]
    fn aliases_are_followed_and_strangers_are_not_believed() {
        let alias = [1, b'b', 0xc0, 14];
        let behind =
            [&[1, b'b', 0xc0, 14][..], &A.to_be_bytes(), &[0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 1]].concat();
        let both = [record(CNAME, &alias), behind.clone()].concat();
        assert_eq!(read(&answer(&both, 2), ID, "a.test", A), Ok(vec![[10, 0, 0, 1].into()]));
        assert_eq!(read(&answer(&behind, 1), ID, "a.test", A), Ok(vec![]), "an address of another name");
        // A name that points at itself, and one that points ahead.
        for at in [32, 40] {
            let endless = [&[0xc0, at][..], &[0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4]].concat();
            assert_eq!(read(&answer(&endless, 1), ID, "a.test", A), Err(Failure::Malformed));
        }
        assert_eq!(question(ID, &"x".repeat(64), A), None);
    }
}
