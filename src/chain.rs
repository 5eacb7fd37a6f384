//! Hash-chained records: how the journals of this crate are framed.
//!
//! ```text
//! u32 big-endian   length of what follows
//! u8               format version
//! bytes            the record (postcard of its serde form)
//! 32 bytes         SHA-256 over the former record's digest and this record
//! ```

use alloc::vec::Vec;

use serde::{Serialize, de::DeserializeOwned};

use crate::digest::{FieldHasher, Sha256Digest};

const DIGEST: usize = 32;

/// What tells the records of one journal from those of another.
pub(crate) struct Chain {
    /// Separates the digests of different journals.
    pub(crate) domain: &'static str,
    /// The format that this build writes, and the only one that it reads.
    pub(crate) version: u8,
    /// The longest record, framing included.
    pub(crate) max: usize,
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

    fn link(&self, former: Sha256Digest, body: &[u8]) -> Sha256Digest {
        FieldHasher::new(self.domain)
            .number(self.version.into())
            .field(former.as_bytes())
            .field(body)
            .finish()
    }

    /// Appends `record` to `out` and gives the new end of the chain; none where it is over the bound.
    pub(crate) fn append(
        &self,
        out: &mut Vec<u8>,
        former: Sha256Digest,
        record: &impl Serialize,
    ) -> Option<Sha256Digest> {
        self.append_body(out, former, &postcard::to_allocvec(record).ok()?)
    }

    /// The same for a record that is serialised already.
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
        let digest = self.link(former, body);
        out.extend_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
        out.push(self.version);
        out.extend_from_slice(body);
        out.extend_from_slice(digest.as_bytes());
        Some(digest)
    }

    /// The record at the front of `bytes`, checked against the chain, with the new end of the chain and the rest.
    pub(crate) fn read<'a, R: DeserializeOwned>(
        &self,
        bytes: &'a [u8],
        former: Sha256Digest,
    ) -> Result<(R, Sha256Digest, &'a [u8]), ChainError> {
        let (body, chain, rest) = self.read_body(bytes, former)?;
        let (record, left) = postcard::take_from_bytes(body).map_err(|_| ChainError::Malformed)?;
        if left.is_empty() { Ok((record, chain, rest)) } else { Err(ChainError::Malformed) }
    }

    /// The same for a record that stays serialised.
    pub(crate) fn read_body<'a>(
        &self,
        bytes: &'a [u8],
        former: Sha256Digest,
    ) -> Result<(&'a [u8], Sha256Digest, &'a [u8]), ChainError> {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or(ChainError::Malformed)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| ChainError::Malformed)?;
        if length > self.max {
            return Err(ChainError::Malformed);
        }
        let (frame, rest) = rest.split_at_checked(length).ok_or(ChainError::Malformed)?;
        let (version, frame) = frame.split_first().ok_or(ChainError::Malformed)?;
        if *version != self.version {
            return Err(ChainError::Version(*version));
        }
        let (body, digest) = frame.split_last_chunk::<DIGEST>().ok_or(ChainError::Malformed)?;
        let chain = self.link(former, body);
        if chain.as_bytes() == digest { Ok((body, chain, rest)) } else { Err(ChainError::Broken) }
    }
}
