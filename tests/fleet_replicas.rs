//! Replicas of a fleet behind a log in memory: followers fold what is committed, leaders come and go with proposals under
//! way, and all replicas are the same (invariants 2 and 8).

use leasehold::{
    attestation::signature::DefaultVerifier,
    code::{self, Coded as _},
    digest::Sha256Digest,
    fleet::*,
    id::{FleetId, GrantId, IssuerId, ToolId},
    lease::{Epoch, GrantTerms, WorkerRunGrant},
    testing::World,
    time::{Millis, Now},
};

fn setup() -> Setup {
    Setup::new([7; 64], Sha256Digest::of(b"coordinator"), Box::new(DefaultVerifier))
}

fn term(epoch: u64) -> Term {
    Term::new(Epoch(epoch), Millis(0))
}

/// A follower of a fleet with four workers, and the time.
fn founded() -> (Follower, Now) {
    let mut world = World::default();
    for n in 0..4 {
        world.join(n, "a");
    }
    let mut follower = Follower::new([1; 16]);
    follower.apply(&world.journal).unwrap();
    assert_eq!(Some(follower.at()), world.fleet.durable_at());
    (follower, world.now)
}

fn acquire(run: u32, attempt: u64, now: Now) -> Acquire {
    let terms = GrantTerms {
        id: GrantId::new(&format!("grant-{run}-{attempt}")).unwrap(),
        fleet: FleetId::new("fleet").unwrap(),
        issuer: IssuerId::new("service").unwrap(),
        run: World::run_id(run),
        tool: ToolId::new("tool").unwrap(),
        capabilities: World::capabilities("a"),
        issued: now.wall,
        expires: now.wall.plus(Millis::from_secs(7_200)),
    };
    Acquire::new(World::request(WorkerRunGrant::mint(terms).unwrap()))
}

/// Accepts the operation, where it is not refused just now.
fn does<O: Decide>(fleet: &mut WorkerFleetManager, operation: &O, principal: &Principal, now: Now)
where
    O::Error: From<CommandError>,
{
    if let Ok(prepared) = fleet.decide(operation, principal, None, now) {
        drop(fleet.accept(prepared).unwrap());
    }
}

/// The `n`th proposal of a leader, decided on all before it: a lease or its end, or another policy, and a drain or its end,
/// which is never refused; as one entry of one or two records, with the ticket of the last.
fn propose(fleet: &mut WorkerFleetManager, n: u32, now: Now) -> (Ticket<Managed>, JournalBatch) {
    let (service, operator) = (World::service(), World::operator());
    match n % 4 {
        0 | 1 => {
            let next = fleet.state().index();
            does(fleet, &acquire(n, next, now), &service, now);
        }
        2 => {
            let lease =
                fleet.state().live_leases().next().map(|lease| (lease.terms.run.clone(), lease.fence));
            if let Some((run, fence)) = lease {
                does(fleet, &RevokeRun::new(run, fence), &operator, now);
            }
        }
        _ => {
            let policy = fleet.state().policy().clone();
            does(fleet, &SetPolicy { policy }, &operator, now);
        }
    }
    let worker = World::worker_id(n % 3);
    let prepared = match fleet.state().worker(&worker).unwrap().draining {
        false => fleet.decide(&Drain { worker }, &operator, None, now).unwrap(),
        true => fleet.decide(&Undrain { worker }, &operator, None, now).unwrap(),
    };
    let ticket = fleet.accept(prepared).unwrap();
    (ticket, fleet.propose().unwrap())
}

fn same(replicas: &[&Follower]) {
    let first = replicas[0];
    first.state().unwrap().check_invariants().unwrap();
    for other in &replicas[1..] {
        assert_eq!(first.at(), other.at());
        assert!(first.state() == other.state());
        assert_eq!(first.state().unwrap().digest(), other.state().unwrap().digest());
    }
}

/// A leader loses its leadership with 1, 2 and 100 proposals under way, of which any number is committed, and it has heard
/// of none, of some or of all of those. What was not committed leaves no trace on any replica, no ticket of it is ever
/// redeemed, and nothing of the former leader is believed by the next one.
#[test]
fn leadership_is_lost_at_every_position() {
    let (follower, now) = founded();
    let mut replicas = [follower.clone(), follower.clone(), follower];
    let mut epoch = 1;
    for under_way in [1_u32, 2, 100] {
        for committed in 0..=under_way {
            for heard in [0, committed / 2, committed] {
                epoch += 1;
                // Replica 0 leads; the two others follow it by what the log has committed.
                let [leader, mut second, mut third] = replicas;
                let mut leader = WorkerFleetManager::lead(leader, setup(), term(epoch), now).unwrap();
                let first = leader.propose().unwrap();
                leader.committed(first.last).unwrap();
                second.apply(&first.bytes).unwrap();
                third.apply(&first.bytes).unwrap();
                let proposals: Vec<_> = (0..under_way).map(|n| propose(&mut leader, n, now)).collect();
                if let Some((_, entry)) = proposals.get(..heard as usize).and_then(<[_]>::last) {
                    leader.committed(entry.last).unwrap();
                }
                // Whose record is not committed gets no answer.
                let mut waiting = Vec::new();
                let mut entries = Vec::new();
                for (n, (ticket, entry)) in (0..).zip(proposals) {
                    match ticket.redeem(&leader) {
                        Ok(_) => assert!(n < heard),
                        Err(ticket) => {
                            assert!(n >= heard);
                            waiting.push(ticket);
                        }
                    }
                    entries.push(entry);
                }
                let kept = leader.follower().unwrap().at();
                let mut former = leader.step_down().unwrap();
                assert_eq!(former.at(), kept);
                // It is where it heard to be, as if it had never led.
                let known = &entries[..heard as usize];
                known.iter().for_each(|entry| second.apply(&entry.bytes).unwrap());
                same(&[&former, &second]);
                // What the log has committed after all comes as it comes to everybody.
                for entry in &entries[heard as usize..committed as usize] {
                    former.apply(&entry.bytes).unwrap();
                    second.apply(&entry.bytes).unwrap();
                }
                entries[..committed as usize].iter().for_each(|entry| third.apply(&entry.bytes).unwrap());
                same(&[&former, &second, &third]);
                // The next leader does something else. Whatever arrives late of the former one changes nothing.
                epoch += 1;
                let mut next = WorkerFleetManager::lead(second, setup(), term(epoch), now).unwrap();
                let mut log = vec![next.propose().unwrap()];
                log.extend((0..3).map(|n| propose(&mut next, n + 1, now).1));
                for entry in &entries {
                    assert_eq!(next.committed(entry.last).unwrap_err().code(), code::FLEET_OTHER_EPOCH);
                }
                for ticket in waiting {
                    assert!(ticket.redeem(&next).is_err(), "an answer of another epoch is given");
                }
                let late = entries.get(committed as usize);
                for entry in &log {
                    former.apply(&entry.bytes).unwrap();
                    third.apply(&entry.bytes).unwrap();
                    next.committed(entry.last).unwrap();
                    if let Some(late) = late {
                        let at = former.at();
                        assert_eq!(former.apply(&late.bytes).unwrap_err().code(), code::JOURNAL_NOT_NEXT);
                        assert_eq!(former.at(), at);
                    }
                }
                let second = next.step_down().unwrap();
                same(&[&former, &second, &third]);
                replicas = [third, former, second];
            }
        }
    }
}

/// A promotion that is refused gives the follower back as it was, and a later one succeeds.
#[test]
fn a_refused_promotion_gives_the_follower_back() {
    let (follower, now) = founded();
    let before = follower.at();
    let back = |refused: NotPromoted, code| {
        assert_eq!(refused.code(), code);
        *refused.follower
    };
    let refused = WorkerFleetManager::lead(follower, setup(), term(1), now).unwrap_err();
    let follower = back(refused, code::EPOCH_NOT_LARGER);
    let earlier = Now { mono: now.mono.minus(Millis(1)), ..now };
    let refused = WorkerFleetManager::lead(follower, setup(), term(2), earlier).unwrap_err();
    let follower = back(refused, code::TIME_BACKWARDS);
    assert_eq!(follower.at(), before);
    let empty = Follower::new([1; 16]);
    let refused = WorkerFleetManager::lead(empty, setup(), term(2), now).unwrap_err();
    let empty = back(refused, code::JOURNAL_NOTHING);
    assert_eq!(empty.at().index, 0);
    let leader = WorkerFleetManager::lead(follower, setup(), term(2), now).unwrap();
    assert_eq!(leader.state().epoch(), Epoch(2));
}

/// A newcomer gets a snapshot of a follower, goes on with the entries behind it, and is the same replica.
#[test]
fn a_newcomer_loads_a_snapshot_and_goes_on() {
    let (mut follower, now) = founded();
    let chunks: Vec<_> = follower.snapshot().unwrap().collect::<Result<_, _>>().unwrap();
    let mut loader = Replay::new([9; 16]);
    chunks.iter().for_each(|chunk| loader.chunk(chunk).unwrap());
    let mut newcomer = loader.follower().unwrap();
    same(&[&follower, &newcomer]);
    let mut leader = WorkerFleetManager::lead(follower.clone(), setup(), term(2), now).unwrap();
    let entries = [leader.propose().unwrap(), propose(&mut leader, 0, now).1];
    for entry in &entries {
        follower.apply(&entry.bytes).unwrap();
        newcomer.apply(&entry.bytes).unwrap();
    }
    same(&[&follower, &newcomer]);
    // An entry that was cut is refused, and nothing is lost by it.
    let (_, next) = propose(&mut leader, 1, now);
    let at = newcomer.at();
    assert!(newcomer.apply(&next.bytes[..next.bytes.len() - 1]).is_err());
    assert!(newcomer.apply(&[]).is_err());
    assert_eq!(newcomer.at(), at);
    newcomer.apply(&next.bytes).unwrap();
}

/// After a change of leader no run is leased again before `hold` has passed, whatever this leader's line says; other runs
/// are leased at once (invariant 1).
#[test]
fn a_new_leader_leases_no_run_again_before_its_hold_has_passed() {
    let (follower, now) = founded();
    let mut leader = WorkerFleetManager::lead(follower, setup(), term(2), now).unwrap();
    does(&mut leader, &acquire(1, 1, now), &World::service(), now);
    let lease = leader.state().live_leases().next().unwrap().clone();
    let holder = leader.state().worker(&lease.worker).unwrap().handle;
    let revoke = RevokeRun::new(lease.terms.run.clone(), lease.fence);
    does(&mut leader, &revoke, &World::operator(), now);
    let report = World::clean(&lease);
    let n = (0..4).find(|n| World::worker_id(*n) == lease.worker).unwrap();
    let acknowledge = AcknowledgeRevocation::new(holder, lease.fence, Some(report), None);
    does(&mut leader, &acknowledge, &World::device(n), now);
    let batch = leader.propose().unwrap();
    leader.committed(batch.last).unwrap();
    let free = leader.kernel().clone();
    assert!(free.decide(&setup(), &acquire(1, 2, now), &World::service(), None, now).is_ok(), "it is free");

    let hold = Millis::from_secs(5);
    let next = WorkerFleetManager::lead(leader.step_down().unwrap(), setup(), Term::new(Epoch(3), hold), now);
    let next = next.unwrap();
    let decide = |run, after: Millis| {
        let at = now.plus(after);
        next.decide(&acquire(run, 2, at), &World::service(), None, at).map(|_| ())
    };
    let until = now.mono.plus(hold);
    assert_eq!(decide(1, Millis(0)), Err(AcquireError::RunHeld { until }));
    assert_eq!(decide(1, Millis(4_999)), Err(AcquireError::RunHeld { until }));
    assert_eq!(decide(1, hold), Ok(()));
    assert_eq!(decide(2, Millis(0)), Ok(()));
}

/// A decision of one coordinator is not accepted by the next one, whatever its index is.
#[test]
fn a_decision_of_another_epoch_is_refused() {
    let (follower, now) = founded();
    let drain = Drain { worker: World::worker_id(0) };
    let leader = WorkerFleetManager::lead(follower.clone(), setup(), term(2), now).unwrap();
    let stale = leader.decide(&drain, &World::operator(), None, now).unwrap();
    let mut next = WorkerFleetManager::lead(follower, setup(), term(3), now).unwrap();
    assert_eq!(stale.behind().index, next.state().index());
    assert_eq!(next.accept(stale).unwrap_err().code(), code::FLEET_OTHER_EPOCH);
}
