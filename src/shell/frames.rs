//! The files of a file journal: a header, and frames that are chained to it and to each other.
//!
//! ```text
//! header   8 bytes   "leasehld"
//!          u32       version, 1
//!          u8        1 for a part of the journal, 2 for a snapshot
//!          u64       the index after which the part begins, or that the snapshot is of
//!          32 bytes  the end of the chain before this file
//!          32 bytes  SHA-256 over all of that
//! frame    u64       the index of the last record in it, or the number of the chunk
//!          u32       how many bytes it has
//!          4 bytes   the first of the SHA-256 over the end of the chain, the index and the length
//!          bytes     the batch or the chunk, as the core gave it
//!          32 bytes  SHA-256 over the end of the chain, the index and the bytes: the new end of the chain
//! ```
//!
//! Numbers are big-endian. The length has a check of its own, because a length that changed on the disk would look
//! like the torn tail of an append, and what is torn is cut off.

use alloc::vec::Vec;
use std::io;

use super::{disk::DiskFile, fault::StoreFault, journal::JournalError};
use crate::digest::{FieldHasher, Sha256Digest};

const MAGIC: &[u8; 8] = b"leasehld";
const VERSION: u32 = 1;
const DIGEST: usize = 32;
const FACTS: usize = 8 + 4 + 1 + 8 + DIGEST;
const HEADER: usize = FACTS + DIGEST;
const FRAME: usize = 8 + 4 + 4;
/// Storage writes in blocks of no fewer bytes, at offsets that these divide.
const BLOCK: u64 = 512;
/// How much is read at a time.
const READ: usize = 256 << 10;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Part = 1,
    Snapshot = 2,
}

/// The chain before the first file.
pub(super) fn genesis() -> Sha256Digest {
    FieldHasher::new("journal-file.v1").finish()
}

fn check(chain: Sha256Digest, last: u64, length: u32) -> [u8; 4] {
    let digest = FieldHasher::new("journal-file-frame.v1")
        .field(chain.as_bytes())
        .number(last)
        .number(length.into())
        .finish();
    let mut check = [0; 4];
    check.iter_mut().zip(digest.as_bytes()).for_each(|(to, from)| *to = *from);
    check
}

fn link(chain: Sha256Digest, last: u64, bytes: &[u8]) -> Sha256Digest {
    FieldHasher::new("journal-file.v1").field(chain.as_bytes()).number(last).field(bytes).finish()
}

/// What the system said about a write, in the words of a journal.
pub(super) fn unwritten(error: io::Error) -> JournalError {
    let fault = StoreFault::from(&error);
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => JournalError::Full(fault),
        _ => JournalError::Failed(fault),
    }
}

/// What the system said about a read.
pub(super) fn unread(error: io::Error) -> JournalError {
    JournalError::Unreadable(StoreFault::from(&error))
}

/// A file that is not as its own facts say.
fn odd(what: &str) -> JournalError {
    JournalError::Unreadable(StoreFault::new(what.into()))
}

fn write(file: &mut impl DiskFile, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.append(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A file that frames are appended to.
#[derive(Debug)]
pub(super) struct FrameWriter<F> {
    file: F,
    /// The index of the last record, or the number of the last chunk.
    pub(super) last: u64,
    pub(super) chain: Sha256Digest,
    pub(super) length: u64,
    buffer: Vec<u8>,
}

impl<F: DiskFile> FrameWriter<F> {
    /// Begins `file`, which is empty, with its header. It does not last yet.
    pub(super) fn begin(mut file: F, kind: Kind, after: u64, chain: Sha256Digest) -> io::Result<Self> {
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_be_bytes());
        header.push(kind as u8);
        header.extend_from_slice(&after.to_be_bytes());
        header.extend_from_slice(chain.as_bytes());
        let digest = Sha256Digest::of(&header);
        header.extend_from_slice(digest.as_bytes());
        write(&mut file, &header)?;
        let last = if kind == Kind::Part { after } else { 0 };
        Ok(Self { file, last, chain, length: len(&header), buffer: Vec::new() })
    }

    /// Appends a frame. It does not last yet.
    pub(super) fn frame(&mut self, last: u64, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let chain = link(self.chain, last, bytes);
        self.buffer.clear();
        self.buffer.extend_from_slice(&last.to_be_bytes());
        self.buffer.extend_from_slice(&length.to_be_bytes());
        self.buffer.extend_from_slice(&check(self.chain, last, length));
        self.buffer.extend_from_slice(bytes);
        self.buffer.extend_from_slice(chain.as_bytes());
        write(&mut self.file, &self.buffer)?;
        self.length = self.length.saturating_add(len(&self.buffer));
        (self.last, self.chain) = (last, chain);
        Ok(())
    }

    /// Returns when everything lasts.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// What stands where the next frame would be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    Frame(&'a [u8]),
    End,
    /// The rest of the file is what an append left that did not last.
    Torn,
    /// Something else.
    Damaged,
}

/// A file that is read from its beginning.
#[derive(Debug)]
pub(super) struct FrameReader<F> {
    file: F,
    size: u64,
    pub(super) after: u64,
    /// The end of the chain before this file.
    pub(super) before: Sha256Digest,
    pub(super) last: u64,
    pub(super) chain: Sha256Digest,
    /// Where the next frame begins.
    pub(super) at: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<F: DiskFile> FrameReader<F> {
    /// Reads the header of `file`, which has to be of `kind`, after `after`.
    pub(super) fn open(mut file: F, kind: Kind, after: u64) -> Result<Self, JournalError> {
        let size = file.length().map_err(unread)?;
        let (before, chain) = (genesis(), genesis());
        let (window, last) = (Vec::new(), if kind == Kind::Part { after } else { 0 });
        let mut reader = Self { file, size, after, before, last, chain, at: 0, window, window_at: 0 };
        let damaged = || JournalError::Damaged { part: after, at: 0 };
        let header = reader.view(0, HEADER)?.ok_or_else(damaged)?;
        let (facts, digest) = header.split_at_checked(FACTS).ok_or_else(damaged)?;
        let (magic, rest) = facts.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (of, rest) = rest.split_first().ok_or_else(damaged)?;
        let (index, chain) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        if magic != MAGIC || Sha256Digest::of(facts).as_bytes() != digest {
            return Err(damaged());
        }
        if u32::from_be_bytes(*version) != VERSION {
            return Err(JournalError::Version(u32::from_be_bytes(*version)));
        }
        if *of != kind as u8 || u64::from_be_bytes(*index) != after {
            return Err(damaged());
        }
        let chain = Sha256Digest::from_bytes(chain.try_into().map_err(|_| damaged())?);
        (reader.before, reader.chain, reader.at) = (chain, chain, u64::try_from(HEADER).unwrap_or(u64::MAX));
        Ok(reader)
    }

    /// `length` bytes from `at` on; `None` where the file has not so many.
    fn view(&mut self, at: u64, length: usize) -> Result<Option<&[u8]>, JournalError> {
        let end = at.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        if end > self.size {
            return Ok(None);
        }
        let skip = usize::try_from(at.saturating_sub(self.window_at)).unwrap_or(usize::MAX);
        if at < self.window_at || skip > self.window.len() {
            self.window.clear();
            self.window_at = at;
        } else if skip.saturating_add(length) > self.window.len() {
            self.window.drain(..skip);
            self.window_at = at;
        }
        let skip = usize::try_from(at.saturating_sub(self.window_at)).unwrap_or(usize::MAX);
        let wanted = skip.saturating_add(length);
        while self.window.len() < wanted {
            let have = self.window.len();
            let from = self.window_at.saturating_add(len(&self.window));
            let more = wanted.saturating_sub(have).max(READ);
            self.window.resize(have.saturating_add(more), 0);
            let read = self.file.read(from, self.window.get_mut(have..).unwrap_or_default());
            let read = match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                // The file has become shorter while it was read.
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                other => other,
            };
            self.window.truncate(have.saturating_add(*read.as_ref().unwrap_or(&0)));
            read.map_err(unread)?;
        }
        Ok(self.window.get(skip..wanted))
    }

    /// The next frame, checked, or what stands there instead.
    pub(super) fn next(&mut self) -> Result<Next<'_>, JournalError> {
        let (at, chain) = (self.at, self.chain);
        if at == self.size {
            return Ok(Next::End);
        }
        let Some(head) = self.view(at, FRAME)? else { return Ok(Next::Torn) };
        let Some((last, rest)) = head.split_first_chunk::<8>() else { return Ok(Next::Damaged) };
        let Some((length, found)) = rest.split_first_chunk::<4>() else { return Ok(Next::Damaged) };
        let (last, length) = (u64::from_be_bytes(*last), u32::from_be_bytes(*length));
        if check(chain, last, length) != found {
            return self.rest_is_zero();
        }
        let body =
            usize::try_from(length).map_err(|_| odd("a frame is longer than this machine can hold"))?;
        let whole = FRAME.saturating_add(body).saturating_add(DIGEST);
        let end = at.saturating_add(u64::try_from(whole).unwrap_or(u64::MAX));
        if end > self.size {
            return Ok(Next::Torn);
        }
        if last <= self.last {
            return Ok(Next::Damaged);
        }
        let size = self.size;
        let Some(frame) = self.view(at, whole)? else { return Ok(Next::Torn) };
        let (bytes, digest) = frame
            .get(FRAME..)
            .unwrap_or_default()
            .split_last_chunk::<DIGEST>()
            .ok_or_else(|| odd("a frame became shorter while it was read"))?;
        let link = link(chain, last, bytes);
        if link.as_bytes() != digest {
            let torn = end == size && is_torn(frame, at, &link);
            return Ok(if torn { Next::Torn } else { Next::Damaged });
        }
        (self.at, self.last, self.chain) = (end, last, link);
        // Looked up again, since the frame was only borrowed.
        let bytes = self.view(at.saturating_add(len(&[0; FRAME])), body)?;
        Ok(bytes.map_or(Next::Damaged, Next::Frame))
    }

    /// A file that grew before its content came: nothing but zeros, from here on or from a block on that begins within
    /// the head of the frame.
    fn rest_is_zero(&mut self) -> Result<Next<'static>, JournalError> {
        let block = self.at.next_multiple_of(BLOCK);
        let in_head = block.saturating_sub(self.at) < len(&[0; FRAME]);
        let mut at = if in_head { block } else { self.at };
        while at < self.size {
            let step = usize::try_from(self.size.saturating_sub(at)).unwrap_or(READ).min(READ);
            let zero = self.view(at, step)?.is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0));
            if !zero {
                return Ok(Next::Damaged);
            }
            at = at.saturating_add(u64::try_from(step).unwrap_or(u64::MAX));
        }
        // Where no byte was left to look at, the head is simply wrong.
        Ok(if block >= self.size && in_head { Next::Damaged } else { Next::Torn })
    }

    /// Copies everything up to the last frame that was read into `file`, and goes on there. It does not last yet.
    ///
    /// A copy, because the system may show what no disk has: after a sync that failed, pages are called clean.
    pub(super) fn renew(mut self, mut file: F) -> Result<FrameWriter<F>, JournalError> {
        let (mut at, end) = (0_u64, self.at);
        while at < end {
            let step = usize::try_from(end.saturating_sub(at)).unwrap_or(READ).min(READ);
            let bytes =
                self.view(at, step)?.ok_or_else(|| odd("a part became shorter while it was copied"))?;
            write(&mut file, bytes).map_err(unwritten)?;
            at = at.saturating_add(u64::try_from(step).unwrap_or(u64::MAX));
        }
        let Self { last, chain, .. } = self;
        Ok(FrameWriter { file, last, chain, length: end, buffer: Vec::new() })
    }
}

/// Whether the last frame of a file, which stands at `at` and whose digest should be `link`, is an append that did not
/// last: a block of it never reached the disk, and reads as zeros. A bit that flipped does not make such a block.
fn is_torn(frame: &[u8], at: u64, link: &Sha256Digest) -> bool {
    let block = usize::try_from(BLOCK).unwrap_or(usize::MAX);
    let skip = usize::try_from(at.next_multiple_of(BLOCK).saturating_sub(at)).unwrap_or(usize::MAX);
    let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let mut blocks = frame.get(skip..).unwrap_or_default().chunks_exact(block);
    if blocks.any(zero) {
        return true;
    }
    // The file ends within its last block. A few zeros could be there by chance, but not if all before them is right.
    let tail = blocks.remainder();
    let right = || {
        let before = DIGEST.saturating_sub(tail.len());
        frame
            .last_chunk::<DIGEST>()
            .is_some_and(|digest| digest.get(..before) == link.as_bytes().get(..before))
    };
    !tail.is_empty() && zero(tail) && (tail.len() >= 8 || right())
}
