//! Hash-chained records: the framing of the journals and snapshots of this crate.
//!
//! ```text
//! u32 big-endian   length of what follows
//! u8               format version
//! bytes            the record (postcard of its serde form)
//! 32 bytes         SHA-256 over the former record's digest and this record
//! ```

use alloc::vec::Vec;

use serde::Serialize;

use crate::digest::{FieldHasher, Sha256Digest};

const DIGEST: usize = 32;

/// The parameters of one kind of chain.
pub(crate) struct Chain {
    /// Separates the digests of different journals.
    pub(crate) domain: &'static str,
    /// The version that this build writes.
    pub(crate) version: u8,
    /// The first version that was released. Every version from it to `version` is read.
    pub(crate) oldest: u8,
    /// The longest record, framing included.
    pub(crate) max: usize,
}

/// A record that was read as the next one of its chain.
pub(crate) struct Link<'a> {
    /// The version of its body.
    pub(crate) version: u8,
    /// The record, serialised.
    pub(crate) body: &'a [u8],
    /// The end of the chain after the record.
    pub(crate) chain: Sha256Digest,
    /// The bytes after the record.
    pub(crate) rest: &'a [u8],
}

/// Why bytes are not the next record of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChainError {
    Malformed,
    Version(u8),
    Broken,
}

impl Chain {
    /// The digest before the first record.
    pub(crate) fn genesis(&self) -> Sha256Digest {
        FieldHasher::new(self.domain).finish()
    }

    fn link(&self, version: u8, former: Sha256Digest, body: &[u8]) -> Sha256Digest {
        FieldHasher::new(self.domain).number(version.into()).field(former.as_bytes()).field(body).finish()
    }

    /// Appends `record` to `out` and returns the new end of the chain; `None` if the record is too long.
    pub(crate) fn append(
        &self,
        out: &mut Vec<u8>,
        former: Sha256Digest,
        record: &impl Serialize,
    ) -> Option<Sha256Digest> {
        self.append_body(out, former, &postcard::to_allocvec(record).ok()?)
    }

    /// The same for a record that is already serialised.
    pub(crate) fn append_body(
        &self,
        out: &mut Vec<u8>,
        former: Sha256Digest,
        body: &[u8],
    ) -> Option<Sha256Digest> {
        let length = body.len().checked_add(1)?.checked_add(DIGEST)?;
        if length > self.max {
            return None;
        }
        let digest = self.link(self.version, former, body);
        out.extend_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
        out.push(self.version);
        out.extend_from_slice(body);
        out.extend_from_slice(digest.as_bytes());
        Some(digest)
    }

    /// Reads the record at the front of `bytes` and checks it against the chain.
    pub(crate) fn read<'a>(&self, bytes: &'a [u8], former: Sha256Digest) -> Result<Link<'a>, ChainError> {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or(ChainError::Malformed)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| ChainError::Malformed)?;
        if length > self.max {
            return Err(ChainError::Malformed);
        }
        let (frame, rest) = rest.split_at_checked(length).ok_or(ChainError::Malformed)?;
        let (&version, frame) = frame.split_first().ok_or(ChainError::Malformed)?;
        if !(self.oldest..=self.version).contains(&version) {
            return Err(ChainError::Version(version));
        }
        let (body, digest) = frame.split_last_chunk::<DIGEST>().ok_or(ChainError::Malformed)?;
        let chain = self.link(version, former, body);
        if chain.as_bytes() == digest {
            Ok(Link { version, body, chain, rest })
        } else {
            Err(ChainError::Broken)
        }
    }
}
