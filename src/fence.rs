//! The fencing token. Every operation under a lease carries one, and an operation with an old one changes
//! nothing.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::code::{self, Code, Coded};

/// The term of a coordinator. It is strictly larger after every recovery, restore and change of coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A fencing token, ordered by epoch and then by counter. Tokens only grow, across restart, restore and
/// fail-over (invariant 2), so a system that has seen a token may refuse every smaller one permanently.
///
/// ```
/// use leasehold::lease::{Epoch, Fence};
/// assert!(Fence::new(Epoch(2), 1) > Fence::new(Epoch(1), 900));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fence {
    /// The term of the coordinator that issued it.
    pub epoch: Epoch,
    /// The number of the lease within the epoch.
    pub counter: u64,
}

impl Fence {
    /// The token `counter` of `epoch`.
    pub const fn new(epoch: Epoch, counter: u64) -> Self {
        Self { epoch, counter }
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.counter)
    }
}

/// A text is not a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fence is written EPOCH.COUNTER, in decimal digits without leading zeros")]
#[allow(clippy::exhaustive_structs, reason = "there is one reason")]
pub struct FenceError;

impl Coded for FenceError {
    fn code(&self) -> Code {
        code::LEASE_FENCE_MALFORMED
    }
}

/// Parses the form that `Display` writes, and no other spelling. For fences in header fields.
///
/// ```
/// use leasehold::lease::{Epoch, Fence};
/// assert_eq!("3.17".parse(), Ok(Fence::new(Epoch(3), 17)));
/// assert!("3.+17".parse::<Fence>().is_err());
/// ```
impl FromStr for Fence {
    type Err = FenceError;

    fn from_str(text: &str) -> Result<Self, FenceError> {
        let (epoch, counter) = text.split_once('.').ok_or(FenceError)?;
        let epoch = epoch.parse().map_err(|_| FenceError)?;
        let fence = Self::new(Epoch(epoch), counter.parse().map_err(|_| FenceError)?);
        // Parsing a `u64` accepts a sign and leading zeros.
        let canonical = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
            && text.split('.').all(|digits| digits == "0" || !digits.starts_with('0'));
        if canonical { Ok(fence) } else { Err(FenceError) }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_fence_has_one_spelling() {
        for fence in
            [Fence::new(Epoch(0), 0), Fence::new(Epoch(7), 120), Fence::new(Epoch(u64::MAX), u64::MAX)]
        {
            assert_eq!(fence.to_string().parse(), Ok(fence));
        }
        for text in [
            "",
            ".",
            "1",
            "1.",
            ".1",
            "1.2.3",
            "+1.2",
            "1.+2",
            "01.2",
            "1.02",
            "00.1",
            " 1.2",
            "1.2 ",
            "1.-2",
            "1.18446744073709551616",
            "a.b",
        ] {
            assert_eq!(text.parse::<Fence>(), Err(FenceError), "{text:?}");
        }
    }
}
