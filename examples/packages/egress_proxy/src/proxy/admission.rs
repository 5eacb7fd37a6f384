//! Places and budgets: how much may be under way at once, of everybody, of those who have not said who they are, and of
//! each lease.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use leasehold::{
    egress::{BudgetError, BudgetLimits, ConnectPlan, EgressBudget, LeaseCheck, LeaseRefusal},
    lease::Fence,
    time::Mono,
};

use super::{
    Refused, locked,
    refused::{FULL, LEASE_FULL, UNPROVEN},
};

/// A number of places.
#[derive(Clone)]
struct Places {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// One of them; free again when it is dropped.
struct Place(Arc<AtomicUsize>);

impl Places {
    fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    fn take(&self) -> Option<Place> {
        let place = Place(Arc::clone(&self.taken));
        // Counted first and given back if that was one too many: two threads can never both get the last place.
        (self.taken.fetch_add(1, Ordering::Relaxed) < self.most).then_some(place)
    }

    fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The bounds of what is under way.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// Connections.
    pub connections: usize,
    /// Connections that have not shown an identity.
    pub unproven: usize,
    /// Requests and tunnels of one lease.
    pub lease: usize,
}

/// The place of a connection.
pub struct Seat {
    _connection: Place,
    unproven: Option<Place>,
}

impl Seat {
    /// The connection has said whose it is.
    pub fn proven(&mut self) {
        self.unproven = None;
    }
}

/// What one lease has used up and has under way.
struct Account {
    budget: EgressBudget,
    open: usize,
    /// When the lease ends, as it was known last.
    expires: Mono,
}

/// The bounds, and what counts against them.
pub struct Admission {
    connections: Places,
    unproven: Places,
    lease: usize,
    limits: BudgetLimits,
    accounts: Mutex<HashMap<Fence, Account>>,
}

/// A request or tunnel that is under way; over when it is dropped.
pub struct Underway<'a> {
    admission: &'a Admission,
    fence: Fence,
    tunnel: bool,
}

impl Admission {
    /// Nothing is under way.
    pub fn new(bounds: Bounds, limits: BudgetLimits) -> Self {
        Self {
            connections: Places::new(bounds.connections),
            unproven: Places::new(bounds.unproven),
            lease: bounds.lease,
            limits,
            accounts: Mutex::default(),
        }
    }

    /// A place for a connection.
    pub fn seat(&self) -> Result<Seat, Refused> {
        let full = || Refused::new(503, FULL, "every place for connections is taken; try again");
        let unproven = || {
            let message = "too many connections have not said whose they are; try again";
            Refused::new(503, UNPROVEN, message)
        };
        let connection = self.connections.take().ok_or_else(full)?;
        let place = self.unproven.take().ok_or_else(unproven)?;
        Ok(Seat { _connection: connection, unproven: Some(place) })
    }

    /// Connections, and those of them that have not shown an identity.
    pub fn seated(&self) -> (usize, usize) {
        (self.connections.taken(), self.unproven.taken())
    }

    /// Begins the request or tunnel of `plan`.
    pub fn begin(&self, plan: &ConnectPlan) -> Result<Underway<'_>, Refused> {
        let mut accounts = locked(&self.accounts);
        let account = accounts.entry(plan.fence()).or_insert_with(|| Account {
            budget: EgressBudget::new(self.limits),
            open: 0,
            expires: Mono(0),
        });
        account.expires = account.expires.max(plan.lease_expires());
        if account.open >= self.lease {
            let message = "the lease has as many requests under way as it may; try again";
            return Err(Refused::new(503, LEASE_FULL, message));
        }
        account.budget.admit(plan).map_err(|error| Refused::coded(429, &error))?;
        account.open += 1;
        Ok(Underway { admission: self, fence: plan.fence(), tunnel: plan.is_tunnel() })
    }

    /// Forgets the accounts of leases that are over. A view that is lost for a while says nothing about a lease, so its
    /// account stays until the lease would have expired.
    pub fn forget(&self, leases: &dyn LeaseCheck, now: Mono) {
        locked(&self.accounts).retain(|fence, account| {
            account.open > 0
                || match leases.standing(*fence, now) {
                    Ok(standing) => standing.expires > now,
                    Err(LeaseRefusal::Ended | LeaseRefusal::Expired | LeaseRefusal::StaleFence) => false,
                    Err(_) => account.expires > now,
                }
        });
    }
}

impl Underway<'_> {
    fn spend(&self, act: impl FnOnce(&mut EgressBudget) -> Result<(), BudgetError>) -> Result<(), Refused> {
        // While something is under way its account is kept.
        match locked(&self.admission.accounts).get_mut(&self.fence) {
            Some(account) => act(&mut account.budget).map_err(|error| Refused::coded(429, &error)),
            None => Ok(()),
        }
    }

    /// Counts bytes that are about to go to an upstream.
    pub fn send(&self, bytes: u64) -> Result<(), Refused> {
        self.spend(|budget| budget.send(bytes))
    }

    /// Counts bytes that came from an upstream and are about to go to the worker.
    pub fn receive(&self, bytes: u64) -> Result<(), Refused> {
        self.spend(|budget| budget.receive(bytes))
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        let mut accounts = locked(&self.admission.accounts);
        if let Some(account) = accounts.get_mut(&self.fence) {
            account.open = account.open.saturating_sub(1);
            if self.tunnel {
                account.budget.tunnel_ended();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Says(Result<(), LeaseRefusal>);

    impl LeaseCheck for Says {
        fn standing(&self, _: Fence, _: Mono) -> Result<leasehold::egress::LeaseStanding, LeaseRefusal> {
            self.0.map(|()| leasehold::egress::LeaseStanding {
                worker: leasehold::id::WorkerId::new("w1").unwrap_or_else(|_| unreachable!("a plain name")),
                expires: Mono(100),
                egress: leasehold::lease::EgressScope::all(),
                secrets: leasehold::lease::SecretScope::none(),
            })
        }
    }

    /// A budget ends with its lease and not with the view of the leases: one that is lost for half a second gives nobody
    /// a new budget.
    #[test]
    fn an_account_outlives_the_view_and_not_the_lease() {
        let bounds = Bounds { connections: 1, unproven: 1, lease: 1 };
        let fence = Fence::new(leasehold::lease::Epoch(1), 1);
        for (said, now, kept) in [
            (Ok(()), 99, true),
            (Err(LeaseRefusal::ViewStale), 99, true),
            (Err(LeaseRefusal::Unknown), 99, true),
            (Err(LeaseRefusal::ViewStale), 100, false),
            (Err(LeaseRefusal::Ended), 1, false),
            (Err(LeaseRefusal::StaleFence), 1, false),
            (Err(LeaseRefusal::Expired), 1, false),
        ] {
            let admission = Admission::new(bounds, BudgetLimits::default());
            let budget = EgressBudget::new(BudgetLimits::default());
            locked(&admission.accounts).insert(fence, Account { budget, open: 0, expires: Mono(100) });
            admission.forget(&Says(said), Mono(now));
            assert_eq!(locked(&admission.accounts).contains_key(&fence), kept, "{said:?} at {now}");
        }
    }

    #[test]
    fn who_has_not_said_who_it_is_takes_no_place_of_the_others() {
        let bounds = Bounds { connections: 3, unproven: 1, lease: 1 };
        let admission = Admission::new(bounds, BudgetLimits::default());
        let code = |seat: Result<Seat, Refused>| seat.err().map(|refused| refused.code);
        let mut first = admission.seat().ok();
        assert_eq!(code(admission.seat()).as_deref(), Some(UNPROVEN));
        assert_eq!(admission.seated(), (1, 1), "a refusal takes no place");
        first.as_mut().map(Seat::proven);
        let _held: Vec<Seat> = (0..2)
            .filter_map(|_| admission.seat().ok())
            .map(|mut seat| {
                seat.proven();
                seat
            })
            .collect();
        assert_eq!(code(admission.seat()).as_deref(), Some(FULL));
        drop(first);
        assert!(admission.seat().is_ok());
    }
}
