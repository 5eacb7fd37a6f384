//! How many signature checks an envelope, or a whole submission, may cost.

use super::EnvelopeLimits;

/// What is left of the signature checks that somebody may cost.
///
/// A check is charged before it is made. Signatures that carry a key id have a share of their own, so that a crowd of
/// them takes nothing from those that carry none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Checks of any signature.
    all: usize,
    /// Checks of signatures that carry a key id.
    named: usize,
}

impl Budget {
    pub(crate) const fn new(limits: &EnvelopeLimits) -> Self {
        Self { all: limits.verifications, named: limits.named_verifications() }
    }

    /// Takes one check of a signature that carries a key id, or does not. False where none is left.
    pub(super) const fn take(&mut self, named: bool) -> bool {
        if self.all == 0 || named && self.named == 0 {
            return false;
        }
        self.all = self.all.saturating_sub(1);
        if named {
            self.named = self.named.saturating_sub(1);
        }
        true
    }

    /// Takes what checks of an earlier time would cost again. False where so much is not left.
    pub(crate) const fn charge(&mut self, cost: Cost) -> bool {
        if self.all < cost.all || self.named < cost.named {
            return false;
        }
        self.all = self.all.saturating_sub(cost.all);
        self.named = self.named.saturating_sub(cost.named);
        true
    }

    /// What was taken since `before`.
    pub(crate) const fn since(&self, before: &Self) -> Cost {
        Cost { all: before.all.saturating_sub(self.all), named: before.named.saturating_sub(self.named) }
    }
}

/// How many checks something cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    all: usize,
    named: usize,
}

impl Cost {
    /// So many checks that no key id led to.
    pub(crate) const fn of(checks: usize) -> Self {
        Self { all: checks, named: 0 }
    }
}
