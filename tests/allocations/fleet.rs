//! How often the steady state of a fleet allocates: nothing but what the journal's record holds.

use leasehold::{
    fleet::{Acquire, CommandError, Decide, Prepared, Principal, Renew, Start, Ticket},
    testing::World,
};

use crate::counting::counted;

/// Decides and accepts; gives the ticket and how often that allocated.
fn decided<O: Decide>(world: &mut World, operation: &O, principal: &Principal) -> (Ticket<O::Answer>, u32)
where
    O::Error: From<CommandError> + std::fmt::Debug,
{
    counted(|| {
        let prepared: Prepared<_> =
            world.fleet.decide(operation, principal, None, world.now).expect("an accepted operation");
        world.fleet.accept(prepared).expect("a fresh decision")
    })
}

const WORKERS: u32 = 4;

/// Allocations of one heartbeat, acquire, renew and complete each, at most, over one round of all workers.
fn round(world: &mut World, number: u32, handles: &[leasehold::fleet::WorkerHandle]) -> [u32; 4] {
    let mut most = [0; 4];
    let mut see = |at: usize, count: u32| most[at] = most[at].max(count);
    for n in 0..WORKERS {
        let device = World::device(n);
        let (change, count) = counted(|| world.fleet.heartbeat(handles[n as usize], &device, world.now));
        assert!(change.unwrap().is_none());
        see(0, count);
        let grant = world.grant(number * WORKERS + n, "a");
        let ask = Acquire::new(World::request(grant));
        let (ticket, count) = decided(world, &ask, &World::service());
        see(1, count);
        world.write();
        let acquired = ticket.redeem(&world.fleet).unwrap().answer;
        let (worker, fence) = (acquired.worker, acquired.lease.fence);
        let device = World::device(worker.slot);
        world.ask(&Start { worker, fence }, &device).unwrap();
        world.pass(1);
        let (ticket, count) = decided(world, &Renew { worker, fence }, &device);
        see(2, count);
        drop(ticket);
        world.write();
        let completion = World::completion(worker, &acquired.lease);
        let (ticket, count) = decided(world, &completion, &device);
        see(3, count);
        drop(ticket);
        world.write();
    }
    most
}

/// A heartbeat writes nothing and allocates nothing. The others allocate the list of events that is in the journal's
/// record, and a lease that is granted is itself one allocation, shared by the record, the state and the answer.
#[test]
fn the_steady_state_allocates_what_the_journal_holds_and_nothing_else() {
    let mut world = World::default();
    let handles: Vec<_> = (0..WORKERS).map(|n| world.join(n, "a")).collect();
    world.journal.reserve(1 << 20);
    // The first rounds make room: for runs, for grants, and for the next batch of the journal.
    for number in 0..18 {
        round(&mut world, number, &handles);
    }
    let [heartbeat, acquire, renew, complete] = round(&mut world, 18, &handles);
    assert_eq!((heartbeat, acquire, renew, complete), (0, 2, 1, 1));
}
