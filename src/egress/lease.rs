//! What egress asks of a lease. The enforcement point's view of leases answers; this module knows no fleet.

use alloc::sync::Arc;

use crate::{
    code::{self, Code, Coded},
    id::WorkerId,
    lease::{EgressScope, Fence, SecretScope},
    time::Mono,
};

/// Who asks: the worker that the channel belongs to, and the fence that it presents.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Bearer {
    /// The worker, as the channel proves it.
    pub worker: WorkerId,
    /// The fence of the lease that it claims.
    pub fence: Fence,
}

impl Bearer {
    /// What the bearer's lease stands for at `now`: the question of whoever serves lease holders. Cost: that of
    /// `leases`, which is O(1) for a [`LeaseView`](crate::gate::LeaseView).
    ///
    /// # Errors
    /// [`LeaseRefusal`]: there is no such live lease, or it is another worker's.
    pub fn standing(&self, leases: &dyn LeaseCheck, now: Mono) -> Result<LeaseStanding, LeaseRefusal> {
        stands(leases, self, now)
    }
}

/// A lease that is live, as far as egress needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct LeaseStanding {
    /// Who holds it.
    pub worker: WorkerId,
    /// When it ends.
    pub expires: Mono,
    /// The egress rules that it may use.
    pub egress: EgressScope,
    /// The secrets that its requests may use.
    pub secrets: SecretScope,
}

/// Why a fence stands for no live lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseRefusal {
    /// Never heard of here.
    #[error("no lease has this fence here")]
    Unknown,
    /// A newer fence is known.
    #[error("a newer fence is known")]
    StaleFence,
    /// Given back or revoked.
    #[error("the lease has ended")]
    Ended,
    /// Past its end.
    #[error("the lease has expired")]
    Expired,
    /// Nothing was heard for longer than the view may be old.
    #[error("nothing was heard about leases for too long")]
    ViewStale,
    /// It is another worker's lease.
    #[error("the lease is another worker's")]
    OtherWorker,
}

impl Coded for LeaseRefusal {
    fn code(&self) -> Code {
        match self {
            Self::Unknown => code::EGRESS_LEASE_UNKNOWN,
            Self::StaleFence => code::EGRESS_LEASE_STALE_FENCE,
            Self::Ended => code::EGRESS_LEASE_ENDED,
            Self::Expired => code::EGRESS_LEASE_EXPIRED,
            Self::ViewStale => code::EGRESS_LEASE_VIEW_STALE,
            Self::OtherWorker => code::EGRESS_LEASE_OTHER_WORKER,
        }
    }
}

/// Answers whether a fence stands for a live lease. It is asked when a permit is made and again when it is used.
pub trait LeaseCheck {
    /// The standing of the lease with `fence` at `now`.
    ///
    /// # Errors
    /// [`LeaseRefusal`] where there is no such live lease, or where the answer would be too old to trust.
    fn standing(&self, fence: Fence, now: Mono) -> Result<LeaseStanding, LeaseRefusal>;
}

impl<T: LeaseCheck + ?Sized> LeaseCheck for Arc<T> {
    fn standing(&self, fence: Fence, now: Mono) -> Result<LeaseStanding, LeaseRefusal> {
        T::standing(self, fence, now)
    }
}

/// A view that one thread keeps up to date and others ask. Where that thread panicked in the middle of a change, nobody
/// knows what is live: every lease is refused.
#[cfg(feature = "std")]
impl<T: LeaseCheck + ?Sized> LeaseCheck for std::sync::Mutex<T> {
    fn standing(&self, fence: Fence, now: Mono) -> Result<LeaseStanding, LeaseRefusal> {
        self.lock().map_err(|_| LeaseRefusal::ViewStale)?.standing(fence, now)
    }
}

/// The standing of the bearer's lease: live, not past its end, and the bearer's own.
pub(super) fn stands(
    leases: &dyn LeaseCheck,
    bearer: &Bearer,
    now: Mono,
) -> Result<LeaseStanding, LeaseRefusal> {
    let standing = leases.standing(bearer.fence, now)?;
    if standing.worker != bearer.worker {
        return Err(LeaseRefusal::OtherWorker);
    }
    // Believed from no implementation of the trait.
    if standing.expires <= now {
        return Err(LeaseRefusal::Expired);
    }
    Ok(standing)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::lease::Epoch;

    /// One lease, of `w1`, that ends at 10; it says so at any time.
    struct One;

    impl LeaseCheck for One {
        fn standing(&self, _: Fence, _: Mono) -> Result<LeaseStanding, LeaseRefusal> {
            Ok(LeaseStanding {
                worker: WorkerId::new("w1").unwrap(),
                expires: Mono(10),
                egress: EgressScope::none(),
                secrets: SecretScope::none(),
            })
        }
    }

    fn bearer(worker: &str) -> Bearer {
        Bearer { worker: WorkerId::new(worker).unwrap(), fence: Fence::new(Epoch(1), 1) }
    }

    /// Invariant 9: live, in time, and the bearer's own.
    #[test]
    fn a_bearer_stands_on_its_own_live_lease_only() {
        assert!(bearer("w1").standing(&One, Mono(9)).is_ok());
        assert_eq!(bearer("w2").standing(&One, Mono(9)).unwrap_err(), LeaseRefusal::OtherWorker);
        assert_eq!(bearer("w1").standing(&One, Mono(10)).unwrap_err(), LeaseRefusal::Expired);
    }

    #[test]
    fn a_view_whose_keeper_panicked_knows_no_lease() {
        let shared = Arc::new(Mutex::new(One));
        assert!(bearer("w1").standing(&shared, Mono(1)).is_ok());
        let keeper = Arc::clone(&shared);
        let panicked = std::thread::spawn(move || {
            let _held = keeper.lock();
            panic!("in the middle of a change");
        });
        assert!(panicked.join().is_err());
        assert_eq!(bearer("w1").standing(&shared, Mono(1)).unwrap_err(), LeaseRefusal::ViewStale);
    }
}
