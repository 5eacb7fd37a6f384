//! Journals and snapshots that are damaged, shuffled, or made up: recovery refuses them with a code, or gives what a
//! prefix of the truth gives. It never panics (invariant 11) and never guesses (invariant 8).

use leasehold::{
    attestation::signature::DefaultVerifier,
    code::{self, Code, Coded},
    digest::{FieldHasher, Sha256Digest},
    fleet::*,
    id::ClientId,
    lease::Epoch,
    testing::World,
    time::{Millis, Now},
};
use proptest::prelude::*;

/// A world with a bit of everything in its journal, and the offsets at which its records end.
struct Story {
    journal: Vec<u8>,
    ends: Vec<usize>,
    now: Now,
    /// A snapshot in the middle, and how long the journal was then.
    snapshot: (Vec<u8>, usize),
}

fn story() -> Story {
    let mut world = World::default();
    let handle = world.join(0, "a");
    world.join(1, "ab");
    let first = world.acquire(0, "a").unwrap().answer;
    let device = World::device(0);
    world.ask(&Start { worker: handle, fence: first.lease.fence }, &device).unwrap();
    world.pass(1_000);
    world.ask(&Renew { worker: handle, fence: first.lease.fence }, &device).unwrap();
    let snapshot = (world.checkpoint(), world.journal.len());
    world.ask(&World::completion(handle, &first.lease), &device).unwrap();
    let second = world.acquire(1, "b").unwrap().answer;
    world.ask(&RevokeRun::new(World::run_id(1), second.lease.fence), &World::service()).unwrap();
    world.ask(&QuarantineWorker { worker: World::worker_id(0) }, &World::operator()).unwrap();
    world.ask(&Drain { worker: World::worker_id(1) }, &World::operator()).unwrap();
    world.pass(60_000);
    world.expire();
    world.attest(0, "ab", Some(handle)).unwrap();
    world.ask(&Release { worker: World::worker_id(0) }, &World::operator()).unwrap();
    let ends = ends(&world.journal);
    Story { ends, now: world.now, snapshot, journal: world.journal }
}

/// Where the records of `journal` end: after a length of four bytes and as many bytes as it says.
fn ends(journal: &[u8]) -> Vec<usize> {
    let mut ends = vec![0];
    let mut at = 0;
    while let Some(length) = journal.get(at..at + 4) {
        at += 4 + u32::from_be_bytes(length.try_into().unwrap()) as usize;
        ends.push(at);
    }
    ends
}

fn setup() -> Setup {
    Setup::new([7; 64], Sha256Digest::of(b"coordinator"), Box::new(DefaultVerifier))
}

fn recover(snapshot: Option<&[u8]>, journal: &[u8], now: Now) -> Result<WorkerFleetManager, RecoverError> {
    WorkerFleetManager::recover(snapshot, journal, setup(), Epoch(9), now)
}

fn refused(result: Result<WorkerFleetManager, RecoverError>) -> Option<Code> {
    result.err().map(|error| error.code())
}

/// Journals that are not what was written are refused as one of these.
const DAMAGED: [Code; 3] = [code::JOURNAL_INCONSISTENT, code::JOURNAL_MALFORMED, code::JOURNAL_VERSION];

/// The same records with the chain made anew: what a forger could write who knows the format.
fn rechained(records: &[&[u8]]) -> Vec<u8> {
    let mut chain = FieldHasher::new("fleet-journal.v1").finish();
    let mut journal = Vec::new();
    for record in records {
        let (head, rest) = record.split_at(5);
        let body = &rest[..rest.len() - 32];
        chain = FieldHasher::new("fleet-journal.v1").number(2).field(chain.as_bytes()).field(body).finish();
        journal.extend_from_slice(head);
        journal.extend_from_slice(body);
        journal.extend_from_slice(chain.as_bytes());
    }
    journal
}

impl Story {
    fn records(&self) -> Vec<&[u8]> {
        self.ends.windows(2).map(|ends| &self.journal[ends[0]..ends[1]]).collect()
    }
}

/// Invariant 8: a journal that was cut where a record ends is a shorter past; anywhere else it is refused.
#[test]
fn a_journal_cut_anywhere_is_refused_or_a_prefix() {
    let story = story();
    let mut last = None;
    for cut in 0..=story.journal.len() {
        let result = recover(None, &story.journal[..cut], story.now);
        let Some(records) = story.ends.iter().position(|end| *end == cut) else {
            assert_eq!(refused(result), Some(code::JOURNAL_MALFORMED), "cut at {cut}");
            continue;
        };
        if cut == 0 {
            assert_eq!(refused(result), Some(code::JOURNAL_NOTHING));
            continue;
        }
        let state = result.unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        // One record more than the prefix has: the one of this recovery.
        assert_eq!(state.state().index(), records as u64 + 1);
        assert!(last.is_none_or(|version| version < state.state().version()));
        last = Some(state.state().version());
    }
}

/// Invariant 8: wherever the snapshot was taken, with the rest of the journal it gives what the whole journal gives.
#[test]
fn a_snapshot_and_the_rest_are_the_whole() {
    let story = story();
    let whole = recover(None, &story.journal, story.now).unwrap();
    let (snapshot, from) = &story.snapshot;
    let resumed = recover(Some(snapshot), &story.journal[*from..], story.now).unwrap();
    assert!(whole.state() == resumed.state());
    for end in &story.ends[1..] {
        let mut part = recover(None, &story.journal[..*end], story.now).unwrap();
        let batch = part.take_journal().unwrap();
        part.durable(batch.last).unwrap();
        let snapshot = part.snapshot().unwrap();
        let again = WorkerFleetManager::recover(Some(&snapshot), &[], setup(), Epoch(10), story.now).unwrap();
        let mut journal = story.journal[..*end].to_vec();
        journal.extend_from_slice(&batch.bytes);
        let folded = WorkerFleetManager::recover(None, &journal, setup(), Epoch(10), story.now).unwrap();
        assert!(again.state() == folded.state(), "at {end}");
        assert_eq!(again.state().digest(), folded.state().digest());
    }
}

/// A snapshot goes with the journal that follows it, and with no other part of it.
#[test]
fn a_snapshot_with_another_part_of_the_journal_is_refused() {
    let story = story();
    let (snapshot, from) = &story.snapshot;
    for end in story.ends.iter().filter(|end| *end != from && **end < story.journal.len()) {
        let result = recover(Some(snapshot), &story.journal[*end..], story.now);
        assert_eq!(refused(result), Some(code::JOURNAL_INCONSISTENT), "from {end}");
    }
}

/// The chain made anew hides nothing: the records themselves say what is missing, repeated or out of order.
#[test]
fn a_record_removed_repeated_or_swapped_is_inconsistent() {
    let story = story();
    let records = story.records();
    assert!(rechained(&records) == story.journal, "the forger knows the format");
    for at in 0..records.len() - 1 {
        let mut removed = records.clone();
        removed.remove(at);
        let mut repeated = records.clone();
        repeated.insert(at, records[at]);
        let mut swapped = records.clone();
        swapped.swap(at, at + 1);
        for (what, forged) in [("removed", removed), ("repeated", repeated), ("swapped", swapped)] {
            for journal in [forged.concat(), rechained(&forged)] {
                let result = recover(None, &journal, story.now);
                assert_eq!(refused(result), Some(code::JOURNAL_INCONSISTENT), "{what}: {at}");
            }
        }
    }
}

/// Invariant 2: the last record can be dropped by whoever holds the journal; an epoch that was in use cannot be used again.
#[test]
fn an_epoch_that_was_used_is_refused_and_time_does_not_go_back() {
    let story = story();
    let again = WorkerFleetManager::recover(None, &story.journal, setup(), Epoch(1), story.now);
    assert_eq!(refused(again), Some(code::EPOCH_NOT_LARGER));
    let before = Now { mono: story.now.mono.minus(Millis(1)), ..story.now };
    assert_eq!(refused(recover(None, &story.journal, before)), Some(code::TIME_BACKWARDS));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any change of any bit is found: the chain covers every byte of every record.
    #[test]
    fn a_flipped_bit_is_refused(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let story = STORY.with(|story| story.journal.clone());
        let mut journal = story;
        let at = at.index(journal.len());
        journal[at] ^= 1 << bit;
        let code = refused(recover(None, &journal, STORY.with(|story| story.now)));
        prop_assert!(code.is_some_and(|code| DAMAGED.contains(&code)), "byte {at}: {code:?}");
    }

    /// The same for snapshots, at any bit and any length.
    #[test]
    fn a_damaged_snapshot_is_refused(at in any::<prop::sample::Index>(), bit in 0..8_u8, cut in any::<bool>()) {
        let (mut snapshot, now) = STORY.with(|story| (story.snapshot.0.clone(), story.now));
        let at = at.index(snapshot.len());
        if cut { snapshot.truncate(at) } else { snapshot[at] ^= 1 << bit }
        let code = refused(recover(Some(&snapshot), &[], now));
        prop_assert!(code.is_some_and(|code| DAMAGED.contains(&code)), "byte {at}: {code:?}");
    }

    /// Invariant 11: any bytes are refused with a code, as a journal and as a snapshot.
    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        let now = Now::new(1, 1);
        prop_assert!(refused(recover(None, &bytes, now)).is_some());
        prop_assert!(refused(recover(Some(&bytes), &[], now)).is_some());
    }

    /// Invariant 11: a record whose chain is right and whose content was changed does not panic, and what it leads to
    /// holds every invariant, or is refused.
    #[test]
    fn a_forged_record_is_refused_or_possible(
        record in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        STORY.with(|story| {
            let mut records: Vec<Vec<u8>> = story.records().into_iter().map(<[u8]>::to_vec).collect();
            let at = record.index(records.len());
            let forged = &mut records[at];
            for (place, byte) in changes {
                let body = forged.len() - 32 - 5;
                forged[5 + place.index(body)] = byte;
            }
            let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
            match recover(None, &rechained(&records), story.now) {
                Ok(fleet) => prop_assert_eq!(fleet.state().check_invariants(), Ok(())),
                Err(error) => prop_assert!(!error.code().as_str().is_empty()),
            }
            Ok(())
        })?;
    }

    /// Records in any order, with a chain that is right: only the true order is accepted.
    #[test]
    fn records_in_another_order_are_inconsistent(
        order in STORY.with(|story| Just((0..story.records().len()).collect::<Vec<_>>())).prop_shuffle(),
    ) {
        STORY.with(|story| {
            let records = story.records();
            let shuffled: Vec<&[u8]> = order.iter().map(|at| records[*at]).collect();
            let code = refused(recover(None, &rechained(&shuffled), story.now));
            let expected = (!order.is_sorted()).then_some(code::JOURNAL_INCONSISTENT);
            prop_assert_eq!(code, expected);
            Ok(())
        })?;
    }

    /// Invariants of the whole, also where a forger left records out, moved them, and numbered what is left anew.
    #[test]
    fn renumbered_records_are_refused_or_possible(
        picked in prop::collection::vec(any::<prop::sample::Index>(), 1..30),
        sorted in any::<bool>(),
    ) {
        STORY.with(|story| {
            let records = story.records();
            let mut order: Vec<usize> = picked.iter().map(|at| at.index(records.len())).collect();
            order.extend(0..records.len() / 2);
            if sorted {
                order.sort_unstable();
                order.dedup();
            }
            // A record begins with its index, which takes one byte below 128.
            let numbered: Vec<Vec<u8>> = (1_u8..).zip(order).map(|(index, at)| {
                let mut record = records[at].to_vec();
                record[5] = index;
                record
            }).collect();
            let journal = rechained(&numbered.iter().map(Vec::as_slice).collect::<Vec<_>>());
            match recover(None, &journal, story.now) {
                Ok(fleet) => prop_assert_eq!(fleet.state().check_invariants(), Ok(())),
                Err(error) => prop_assert_eq!(error.code(), code::JOURNAL_INCONSISTENT),
            }
            Ok(())
        })?;
    }
}

thread_local! {
    static STORY: Story = story();
}

/// Invariants 8 and 13: a policy that is set under a command number leaves room for that command, or is refused; what was
/// accepted recovers.
#[test]
fn a_policy_leaves_room_for_the_command_that_sets_it() {
    let command = |client: &str| CommandId { client: ClientId::new(client).unwrap(), sequence: 1 };
    let mut world = World::default();
    world.join(1, "a");
    let grant = world.grant(1, "a");
    let acquire = Acquire::new(World::request(grant));
    world.ask_as(&acquire, &World::service(), Some(&command("service"))).unwrap();
    let set = |sessions| {
        let mut form = WorkerFleetPolicyForm::from(World::policy(|_| {}));
        form.limits.sessions = sessions;
        SetPolicy { policy: form.try_into().unwrap() }
    };
    let before = world.fleet.state().clone();
    let refused = world.ask_as(&set(1), &World::operator(), Some(&command("console"))).unwrap_err();
    assert_eq!(refused.code(), code::COMMAND_SESSIONS_FULL);
    assert!(*world.fleet.state() == before);
    world.ask_as(&set(2), &World::operator(), Some(&command("console"))).unwrap();
    recover(None, &world.journal, world.now).unwrap();
}
