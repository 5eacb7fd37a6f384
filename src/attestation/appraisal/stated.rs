//! Claims that must be stated.

use alloc::vec::Vec;

use super::{Failure, Field};
use crate::attestation::evidence::Claim;

/// What a claim states; where it states nothing, that is the failure.
pub(super) fn stated<'c, T>(claim: &'c Claim<T>, field: Field, failures: &mut Vec<Failure>) -> Option<&'c T> {
    match claim {
        Claim::Stated(value) => return Some(value),
        Claim::Absent => failures.push(Failure::Missing(field)),
        Claim::Malformed => failures.push(Failure::Malformed(field)),
        Claim::MalformedEntry(entry) => {
            failures.push(Failure::MalformedEntry { field, index: entry.index, found: entry.found.clone() });
        }
    }
    None
}
