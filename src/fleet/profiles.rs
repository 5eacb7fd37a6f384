//! What many workers have in common is kept once: the profiles of accepted evidence, shared by reference count.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use crate::{attestation::EvidenceProfile, digest::Sha256Digest};

/// Below this many profiles nothing is cleared away.
const FEW_PROFILES: usize = 16;

/// The profiles in use. Derived from the workers, and no part of what makes two states equal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Profiles {
    shared: BTreeMap<Sha256Digest, Arc<EvidenceProfile>>,
    /// Those that nobody uses any more are cleared away when there are more than this.
    clear_at: usize,
}

impl Profiles {
    /// The one copy of `profile`. Cost: O(log profiles), and a visit to all of them each time their number has doubled.
    pub(crate) fn share(&mut self, profile: &Arc<EvidenceProfile>) -> Arc<EvidenceProfile> {
        // Lists, numbers and texts alone: writing them cannot fail.
        let digest = Sha256Digest::of(&postcard::to_allocvec(&**profile).unwrap_or_default());
        if let Some(held) = self.shared.get(&digest).filter(|held| *held == profile) {
            return Arc::clone(held);
        }
        if self.shared.len() >= self.clear_at.max(FEW_PROFILES) {
            self.shared.retain(|_, held| Arc::strong_count(held) > 1);
            self.clear_at = self.shared.len().saturating_mul(2);
        }
        self.shared.insert(digest, Arc::clone(profile));
        Arc::clone(profile)
    }
}

/// Profiles as a snapshot holds them: each once, in the order of the first worker that has it.
#[derive(Default)]
pub(crate) struct ProfileList {
    places: BTreeMap<*const EvidenceProfile, u32>,
    list: Vec<Arc<EvidenceProfile>>,
}

impl ProfileList {
    /// The place of `profile`, which it has from now on where it had none.
    pub(crate) fn place(&mut self, profile: &Arc<EvidenceProfile>) -> u32 {
        // Equal profiles of one roster are one, so that where it lies says which it is.
        *self.places.entry(Arc::as_ptr(profile)).or_insert_with(|| {
            self.list.push(Arc::clone(profile));
            u32::try_from(self.list.len().saturating_sub(1)).unwrap_or(u32::MAX)
        })
    }

    pub(crate) fn into_list(self) -> Vec<Arc<EvidenceProfile>> {
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(image: &str) -> Arc<EvidenceProfile> {
        Arc::new(EvidenceProfile {
            image: Some(Sha256Digest::of(image.as_bytes())),
            build: None,
            artifact: None,
            protocol: None,
            wit: Vec::new(),
            authority: Sha256Digest::of(b"authority"),
            signers: Vec::new(),
            egress: None,
            builders: Vec::new(),
        })
    }

    /// Invariant 13: equal profiles are one, and those of workers that are gone do not pile up.
    #[test]
    fn profiles_are_shared_and_cleared_away() {
        let mut profiles = Profiles::default();
        let one = profiles.share(&profile("one"));
        assert!(Arc::ptr_eq(&one, &profiles.share(&profile("one"))));
        for n in 0..1_000 {
            profiles.share(&profile(&alloc::format!("{n}")));
        }
        assert!(profiles.shared.len() <= 2 * FEW_PROFILES, "{}", profiles.shared.len());
        assert!(Arc::ptr_eq(&one, &profiles.share(&profile("one"))), "what is in use stays");
    }
}
