//! A journal that begins from a state without one: what was restored stale survives its next restart (invariants 2 and 8).

use leasehold::{
    attestation::signature::DefaultVerifier,
    code::{self, Coded as _},
    digest::Sha256Digest,
    fleet::*,
    lease::Epoch,
    shell::{FileJournal, Journal as _, replay},
    testing::World,
};

fn setup() -> Setup {
    Setup::new([7; 64], Sha256Digest::of(b"coordinator"), Box::new(DefaultVerifier))
}

#[test]
fn a_restored_fleet_survives_its_next_restart() {
    let dir = std::env::temp_dir().join(format!("leasehold-begin-{}", std::process::id()));
    let mut world = World::default();
    world.join(1, "a");
    world.acquire(1, "a").unwrap();
    let snapshot = world.checkpoint();
    let mut kept = Replay::new([1; 16]);
    kept.chunk(&snapshot).unwrap();
    let kept = kept.follower().unwrap();
    let mut fleet = WorkerFleetManager::restore_stale(&snapshot, setup(), Epoch(9), 0, world.now).unwrap();

    // A begin that a crash cut short can be done again.
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(format!("snapshot-{:020}.draft", kept.at().index)), b"half").unwrap();
    let mut journal = FileJournal::begin(&dir, &kept).unwrap();
    let batch = fleet.take_journal().unwrap();
    journal.append(batch.last.index, &batch.bytes).unwrap();
    fleet.durable(batch.last).unwrap();
    drop(journal);

    // It is no place to begin another one, and stays as it is.
    let refused = FileJournal::begin(&dir, &kept).map(drop).unwrap_err();
    assert_eq!(refused.code(), code::JOURNAL_FOREIGN);
    let mut journal = FileJournal::open(&dir).unwrap();
    let again = replay(&mut journal, [2; 16]).unwrap();
    assert!(again.state() == Some(fleet.state()), "the next restart gives another fleet");
    let again = again.recover(setup(), Epoch(10), world.now).unwrap();
    assert_eq!(again.state().quiet_until(), fleet.state().quiet_until());

    let empty = FileJournal::begin(dir.join("empty"), &Follower::new([1; 16])).map(drop).unwrap_err();
    assert_eq!(empty.code(), code::JOURNAL_NOTHING);
    drop(journal);
    std::fs::remove_dir_all(&dir).unwrap();
}
