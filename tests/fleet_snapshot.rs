//! Snapshots as chunks: what is written is read back, and anything else is refused with a code (invariants 8 and 11).

use leasehold::{
    code::{self, Coded},
    fleet::*,
    identity::{AnchorCommand, AnchorRole, PinnedCertificate},
    testing::World,
};
use proptest::prelude::*;

/// A world with something in every section of a snapshot.
fn world() -> World {
    let mut world = World::default();
    let handle = world.join(0, "a");
    world.join(1, "ab");
    let first = world.acquire(0, "a").unwrap().answer;
    let device = World::device(0);
    world.ask(&Start { worker: handle, fence: first.lease.fence }, &device).unwrap();
    world.ask(&World::completion(handle, &first.lease), &device).unwrap();
    world.ask(&QuarantineWorker { worker: World::worker_id(1) }, &World::operator()).unwrap();
    let pin = AnchorCommand::Pin {
        role: AnchorRole::Coordinator,
        certificate: PinnedCertificate::Fingerprint(World::certificate(7)),
    };
    world.ask(&ManageAnchors::new(pin), &World::operator()).unwrap();
    world
}

/// Follows the world's journal on a second state.
fn follower(world: &World) -> Replay {
    let mut replay = Replay::new([3; 16]);
    replay.journal(&world.journal).unwrap();
    replay
}

fn chunks(replay: &Replay) -> Vec<Vec<u8>> {
    replay.snapshot().unwrap().collect::<Result<_, _>>().unwrap()
}

fn load(chunks: &[Vec<u8>]) -> Result<Replay, RecoverError> {
    let mut replay = Replay::new([4; 16]);
    chunks.iter().try_for_each(|chunk| replay.chunk(chunk))?;
    match replay.state() {
        Some(_) => Ok(replay),
        None => Err(RecoverError::Inconsistent("no end")),
    }
}

/// Invariant 8: the state that follows the journal is the state that decides; its snapshot and the records after it
/// are the same state again, and so is its digest.
#[test]
fn a_follower_takes_the_snapshot_and_the_serving_state_goes_on() {
    let mut world = world();
    let mut follower = follower(&world);
    assert!(follower.state() == Some(world.fleet.state()));
    let taken = chunks(&follower);
    let from = world.journal.len();
    world.join(2, "c");
    world.ask(&Drain { worker: World::worker_id(2) }, &World::operator()).unwrap();
    let mut again = load(&taken).unwrap();
    let mut indexes = Vec::new();
    again.journal_with(&world.journal[from..], |record| indexes.push(record.index)).unwrap();
    assert!(indexes.windows(2).all(|pair| pair[0] + 1 == pair[1]) && indexes.len() > 1);
    follower.journal(&world.journal[from..]).unwrap();
    for state in [again.state(), follower.state()] {
        assert!(state == Some(world.fleet.state()));
        assert_eq!(state.map(FleetState::digest), Some(world.fleet.state().digest()));
    }
    assert_eq!(chunks(&again), chunks(&follower), "equal states have equal snapshots");
    assert_eq!(world.checkpoint(), chunks(&again).concat());
}

/// A chunk lost, doubled, out of order, or of another snapshot.
#[test]
fn chunks_that_are_not_the_snapshot_are_refused() {
    let mut world = world();
    let taken = chunks(&follower(&world));
    world.join(2, "c");
    let other = chunks(&follower(&world));
    assert!(taken.len() > 8, "{} chunks", taken.len());
    let refused = |what: &str, chunks: &[Vec<u8>]| {
        let code = load(chunks).err().map(|error| error.code());
        assert_eq!(code, Some(code::JOURNAL_INCONSISTENT), "{what}");
    };
    for at in 0..taken.len() {
        let mut lost = taken.clone();
        lost.remove(at);
        refused("lost", &lost);
        let mut doubled = taken.clone();
        doubled.insert(at, taken[at].clone());
        refused("doubled", &doubled);
        let mut foreign = taken.clone();
        foreign[at].clone_from(&other[at]);
        refused("foreign", &foreign);
        refused("cut", &taken[..at]);
        if at > 0 {
            let mut swapped = taken.clone();
            swapped.swap(at - 1, at);
            refused("swapped", &swapped);
        }
    }
}

/// A refusal stays one, and a follower is no second coordinator: what it reads has to come next.
#[test]
fn a_replay_that_failed_takes_nothing_more() {
    let world = world();
    let taken = chunks(&follower(&world));
    let mut replay = Replay::new([5; 16]);
    replay.chunk(&taken[0]).unwrap();
    assert!(replay.journal(&world.journal).is_err(), "inside of a snapshot");
    assert!(replay.chunk(&taken[1]).is_err());
    assert!(replay.state().is_none() && replay.snapshot().is_none());
    let mut replay = follower(&world);
    assert_eq!(replay.journal(&world.journal).unwrap_err().code(), code::JOURNAL_INCONSISTENT);
    assert!(replay.state().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bit of any chunk.
    #[test]
    fn a_flipped_bit_in_a_chunk_is_refused(chunk in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        TAKEN.with(|taken| {
            let mut taken = taken.clone();
            let chunk = chunk.index(taken.len());
            let at = at.index(taken[chunk].len());
            taken[chunk][at] ^= 1 << bit;
            let code = load(&taken).err().map(|error| error.code());
            let known = [code::JOURNAL_INCONSISTENT, code::JOURNAL_MALFORMED, code::JOURNAL_VERSION];
            prop_assert!(code.is_some_and(|code| known.contains(&code)), "{chunk}, {at}: {code:?}");
            Ok(())
        })?;
    }
}

thread_local! {
    static TAKEN: Vec<Vec<u8>> = chunks(&follower(&world()));
}
