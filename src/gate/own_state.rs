//! The coordinator's own state as a view of leases, for an enforcement point in the same process.

use crate::{
    egress::{LeaseCheck, LeaseRefusal, LeaseStanding},
    fleet::FleetState,
    lease::Fence,
    time::Mono,
};

/// For a service whose enforcement point is in the coordinator's process, and for tests. `now` is the fleet's
/// monotonic time. Cost: O(workers). A separate enforcement point keeps a [`LeaseView`](super::LeaseView),
/// which is told of every change and answers in O(1).
///
/// A state may contain records that are accepted and not durable yet. Ask only while
/// [`durable_at`](crate::fleet::WorkerFleetManager::durable_at) is `Some`.
impl LeaseCheck for FleetState {
    fn standing(&self, fence: Fence, now: Mono) -> Result<LeaseStanding, LeaseRefusal> {
        let Some(lease) = self.live_leases().find(|lease| lease.fence == fence) else {
            return Err(if fence > self.last_fence() { LeaseRefusal::Unknown } else { LeaseRefusal::Ended });
        };
        if lease.expires <= now {
            return Err(LeaseRefusal::Expired);
        }
        Ok(LeaseStanding {
            worker: lease.worker.clone(),
            expires: lease.expires,
            egress: lease.terms.egress.clone(),
            secrets: lease.terms.secrets.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{egress::Bearer, lease::Epoch, testing::World};

    /// Invariant 9: a lease must be live, in time, and held by the bearer. Invariant 12: a revoked lease
    /// authorises nothing.
    #[test]
    fn a_lease_stands_while_it_is_live() {
        let mut world = World::default();
        world.join(1, "a");
        let lease = world.acquire(1, "a").expect("a lease").answer.lease;
        let bearer = Bearer { worker: lease.worker.clone(), fence: lease.fence };
        let standing = |world: &World, bearer: &Bearer| bearer.standing(world.fleet.state(), world.now.mono);
        assert_eq!(standing(&world, &bearer).map(|standing| standing.expires), Ok(lease.expires));
        let other = Bearer { worker: World::worker_id(2), ..bearer.clone() };
        assert_eq!(standing(&world, &other), Err(LeaseRefusal::OtherWorker));
        let unknown = Bearer { fence: Fence::new(Epoch(1), 2), ..bearer.clone() };
        assert_eq!(standing(&world, &unknown), Err(LeaseRefusal::Unknown));
        assert_eq!(bearer.standing(world.fleet.state(), lease.expires), Err(LeaseRefusal::Expired));
        world.revoke(&lease).expect("taken back");
        assert_eq!(standing(&world, &bearer), Err(LeaseRefusal::Ended));
    }
}
