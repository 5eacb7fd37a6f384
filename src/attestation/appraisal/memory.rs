//! What was found out about attachments under a policy: read and verified once for all workers that bring the same.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use super::signed::Signed;
use crate::{
    attestation::dsse::{Budget, Cost},
    digest::Sha256Digest,
};

/// The most attachments that each of the two generations of a memory holds.
const MAX_REMEMBERED: usize = 512;

/// The most bytes of attachments that each generation holds.
const MAX_BYTES: usize = 4 << 20;

/// The longest attachment that is remembered.
const MAX_ATTACHMENT: usize = 128 << 10;

/// The most subjects of an attachment that is remembered. Larger ones are read again each time.
const MAX_SUBJECTS: usize = 16;

/// Statements of builders that were read and verified before, with the attachments that they came in: the next worker's
/// attachment is compared with one of these byte for byte, which costs a tenth of a digest.
///
/// It changes no verdict: what was found under the same policy, and so the same keys, is not found out again, and the same
/// number of signature checks is charged for it. What depends on the time, on revocations and on the claims is judged each
/// time. Only statements that a builder's key signed are remembered, so that junk drives nothing out.
///
/// It belongs to nobody's stored state: a coordinator that starts anew learns again. Memory: at most 1024 attachments with
/// 16 subjects each, and 8 MiB of them; an attachment of more than 128 KiB is read again each time. What was not asked for
/// while a generation of 512 others, or 4 MiB, was learnt is forgotten, and everything with the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProvenanceMemory {
    policy: Option<Sha256Digest>,
    young: Entries,
    /// The bytes of the young ones.
    bytes: usize,
    old: Entries,
}

type Entries = BTreeMap<Tag, Known>;

/// What an attachment is looked up by: its length, words from its beginning to its end, and some where an envelope has its
/// signature. Attachments that are alike in that are told apart by their bytes; the later of two takes the place of the
/// former.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tag {
    len: usize,
    words: [[u8; 8]; 20],
}

impl Tag {
    fn of(bytes: &[u8]) -> Self {
        let last = bytes.len().saturating_sub(8);
        let word = |nth: usize| {
            let at = if nth < 16 {
                last.saturating_mul(nth) / 15
            } else {
                last.saturating_sub(nth.saturating_sub(15).saturating_mul(16))
            };
            bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default()
        };
        Self { len: bytes.len(), words: core::array::from_fn(word) }
    }
}

/// An attachment, and what is remembered of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    bytes: Arc<[u8]>,
    pub(super) held: Arc<[Remembered]>,
}

/// One statement of an attachment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) line: Option<usize>,
    pub(super) signed: Arc<Signed>,
    /// What it cost to find out who signed.
    pub(super) cost: Cost,
}

impl Remembered {
    /// Takes from the budget what finding out again would take. False, and nothing is taken, where that is not left.
    pub(super) fn charge(held: &[Self], budget: &mut Budget) -> bool {
        let mut left = *budget;
        let paid = held.iter().all(|held| left.charge(held.cost));
        if paid {
            *budget = left;
        }
        paid
    }
}

impl ProvenanceMemory {
    /// A memory of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps what an appraisal found out. Another policy than the one before forgets everything first.
    pub fn learn(&mut self, learned: Learned) {
        if self.policy != Some(learned.policy) {
            *self = Self { policy: Some(learned.policy), ..Self::default() };
        }
        for known in learned.entries {
            let tag = Tag::of(&known.bytes);
            let replaced = self.young.get(&tag).map_or(0, |held| held.bytes.len());
            let bytes = self.bytes.saturating_sub(replaced).saturating_add(known.bytes.len());
            let full = bytes > MAX_BYTES || self.young.len() >= MAX_REMEMBERED && replaced == 0;
            if full {
                self.old = core::mem::take(&mut self.young);
            }
            self.bytes = if full { known.bytes.len() } else { bytes };
            self.young.insert(tag, known);
        }
    }

    /// How many attachments are remembered.
    pub fn len(&self) -> usize {
        let only_old = self.old.keys().filter(|tag| !self.young.contains_key(tag));
        self.young.len().saturating_add(only_old.count())
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    pub(super) fn recall(&self, policy: Sha256Digest, bytes: &[u8]) -> Option<&Known> {
        if self.policy != Some(policy) {
            return None;
        }
        let tag = Tag::of(bytes);
        let known = [&self.young, &self.old].into_iter().filter_map(|entries| entries.get(&tag));
        known.into_iter().find(|known| *known.bytes == *bytes)
    }
}

/// What an appraisal found out that a [`ProvenanceMemory`] can keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    policy: Sha256Digest,
    entries: Vec<Known>,
}

impl Learned {
    pub(super) const fn of(policy: Sha256Digest) -> Self {
        Self { policy, entries: Vec::new() }
    }

    pub(super) const fn policy(&self) -> Sha256Digest {
        self.policy
    }

    /// What was remembered already, and is in use.
    pub(super) fn again(&mut self, known: &Known) {
        self.entries.push(known.clone());
    }

    pub(super) fn add(&mut self, bytes: &[u8], found: Vec<Remembered>) {
        let subjects: usize = found.iter().map(|held| held.signed.provenance.subjects.len()).sum();
        let small = subjects <= MAX_SUBJECTS && bytes.len() <= MAX_ATTACHMENT;
        if !found.is_empty() && small && found.iter().all(|held| held.signed.lasts()) {
            self.entries.push(Known { bytes: Arc::from(bytes), held: Arc::from(found) });
        }
    }

    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
