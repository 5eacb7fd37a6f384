//! Reading and writing the package's own encoding: numbers in big-endian order, bytes behind their length.

/// What is left to read.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

/// Bytes end too early, are longer than allowed, or go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl<'a> Bytes<'a> {
    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(first)
    }

    pub(crate) fn number(&mut self) -> Result<u64, Malformed> {
        let (first, rest) = self.0.split_first_chunk::<8>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(u64::from_be_bytes(*first))
    }

    /// False or true, and nothing else.
    pub(crate) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    /// A count of things that each take at least one byte of what is left.
    pub(crate) fn count(&mut self, max: usize) -> Result<usize, Malformed> {
        let (first, rest) = self.0.split_first_chunk::<4>().ok_or(Malformed)?;
        self.0 = rest;
        let count = usize::try_from(u32::from_be_bytes(*first)).map_err(|_| Malformed)?;
        if count > max.min(rest.len()) { Err(Malformed) } else { Ok(count) }
    }

    pub(crate) fn piece(&mut self, max: usize) -> Result<&'a [u8], Malformed> {
        let length = self.count(max)?;
        let (piece, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(piece)
    }

    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

pub(crate) fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Lengths of what this process holds fit: a piece is far below four gigabytes, which the bounds on entries and snapshots see to.
pub(crate) fn count(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes());
}

pub(crate) fn piece(out: &mut Vec<u8>, bytes: &[u8]) {
    count(out, bytes.len());
    out.extend_from_slice(bytes);
}
