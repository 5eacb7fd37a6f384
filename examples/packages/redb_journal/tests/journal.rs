//! The journal in redb keeps what the trait promises, on a real fleet's records.

use std::{
    fs,
    path::{Path, PathBuf},
};

use leasehold::{
    code::{self, Coded as _},
    fleet::{Drain, FleetState, QuarantineWorker},
    shell::{Journal, JournalError, compact, replay},
    testing::World,
};
use redb_journal::RedbJournal;

const KEY: [u8; 16] = [5; 16];

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("leasehold-redb-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("journal.redb")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A fleet, the batches that it gives, and the index and digest of its state after each.
fn story() -> (Vec<(u64, Vec<u8>)>, World) {
    let mut world = World::default();
    let (mut batches, mut from) = (Vec::new(), 0);
    for turn in 0..8 {
        world.join(turn, "a");
        match turn % 3 {
            0 => drop(world.acquire(turn, "a").unwrap()),
            1 => drop(world.ask(&Drain { worker: World::worker_id(turn) }, &World::operator()).unwrap()),
            _ => drop(
                world.ask(&QuarantineWorker { worker: World::worker_id(turn) }, &World::operator()).unwrap(),
            ),
        }
        batches.push((world.fleet.state().index(), world.journal[from..].to_vec()));
        from = world.journal.len();
    }
    (batches, world)
}

fn index(path: &Path) -> Option<u64> {
    replay(&mut RedbJournal::open(path).unwrap(), KEY).unwrap().state().map(FleetState::index)
}

/// Invariant 8: what was appended is there after every reopening, with and without snapshots.
#[test]
fn what_was_appended_is_there_again() {
    let scratch = Scratch::new("again");
    let path = scratch.file();
    let (batches, world) = story();
    assert_eq!(index(&path), None);
    for (at, (last, batch)) in batches.iter().enumerate() {
        let mut journal = RedbJournal::open(&path).unwrap();
        journal.append(*last, batch).unwrap();
        assert_eq!(journal.append(*last, batch), Err(JournalError::Order));
        if at % 3 == 2 {
            let work = journal.seal().unwrap();
            assert!(matches!(journal.seal(), Err(JournalError::Busy)));
            assert_eq!(compact(work, KEY).unwrap().index, *last);
        }
        drop(journal);
        assert_eq!(index(&path), Some(*last));
    }
    let replayed = replay(&mut RedbJournal::open(&path).unwrap(), KEY).unwrap();
    assert!(replayed.state() == Some(world.fleet.state()));
}

/// A snapshot is there whole or not at all, and appending goes on while it is written.
#[test]
fn a_snapshot_that_was_not_finished_leaves_nothing() {
    let scratch = Scratch::new("half");
    let path = scratch.file();
    let (batches, world) = story();
    let mut journal = RedbJournal::open(&path).unwrap();
    let (first, rest) = batches.split_at(4);
    first.iter().for_each(|(last, batch)| journal.append(*last, batch).unwrap());
    let mut work = journal.seal().unwrap();
    work.chunk(b"half of a snapshot").unwrap();
    rest.iter().for_each(|(last, batch)| journal.append(*last, batch).unwrap());
    drop((work, journal));
    let mut journal = RedbJournal::open(&path).unwrap();
    assert!(replay(&mut journal, KEY).unwrap().state() == Some(world.fleet.state()));
    let mut work = journal.seal().unwrap();
    work.chunk(b"another half").unwrap();
    drop(work);
    compact(journal.seal().unwrap(), KEY).unwrap();
    assert!(replay(&mut journal, KEY).unwrap().state() == Some(world.fleet.state()));
}

/// One writer at a time, and damage is found by the core's own chain where the database does not look.
#[test]
fn others_are_kept_out_and_other_bytes_are_refused() {
    let scratch = Scratch::new("others");
    let path = scratch.file();
    let (batches, _) = story();
    let mut journal = RedbJournal::open(&path).unwrap();
    assert_eq!(RedbJournal::open(&path).err(), Some(JournalError::Locked));
    let (last, batch) = &batches[0];
    let mut wrong = batch.clone();
    let middle = wrong.len() / 2;
    wrong[middle] ^= 1;
    journal.append(*last, &wrong).unwrap();
    let refused = replay(&mut journal, KEY).err().map(|error| error.code());
    assert_eq!(refused, Some(code::JOURNAL_INCONSISTENT));
    drop(journal);
    let other = scratch.0.join("notes.txt");
    fs::write(&other, "these are notes, and no database at all".repeat(40)).unwrap();
    let refused = RedbJournal::open(&other).err();
    assert!(matches!(refused, Some(JournalError::Foreign | JournalError::Unreadable(_))), "{refused:?}");
}

/// A snapshot that cannot be written, or whose file cannot get its name, costs nothing but itself: appending goes on, and the
/// next one replaces what the journal held.
#[test]
fn a_snapshot_that_fails_does_not_stop_the_journal() {
    let scratch = Scratch::new("fails");
    let path = scratch.file();
    let (batches, world) = story();
    let mut journal = RedbJournal::open(&path).unwrap();
    let (first, rest) = batches.split_at(4);
    first.iter().for_each(|(last, batch)| journal.append(*last, batch).unwrap());
    // Nothing can be made where the draft would be, and later nothing gets the name of the snapshot.
    for name in ["journal.redb.draft", "journal.redb.snapshot"] {
        let in_the_way = scratch.0.join(name);
        fs::create_dir_all(in_the_way.join("full")).unwrap();
        assert!(compact(journal.seal().unwrap(), KEY).is_err(), "{name}");
        fs::remove_dir_all(in_the_way).unwrap();
    }
    rest.iter().for_each(|(last, batch)| journal.append(*last, batch).unwrap());
    compact(journal.seal().unwrap(), KEY).unwrap();
    assert!(replay(&mut journal, KEY).unwrap().state() == Some(world.fleet.state()));
    drop(journal);
    assert!(
        replay(&mut RedbJournal::open(&path).unwrap(), KEY).unwrap().state() == Some(world.fleet.state())
    );
}

/// A layout of another build is refused with its number, and stays as it is.
#[test]
fn a_layout_of_another_build_is_refused_and_stays() {
    let scratch = Scratch::new("layout");
    let path = scratch.file();
    let facts = redb::TableDefinition::<&str, u64>::new("facts");
    let database = redb::Database::create(&path).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(facts).unwrap().insert("version", 3).unwrap();
    write.commit().unwrap();
    drop(database);
    assert_eq!(RedbJournal::open(&path).err(), Some(JournalError::Version(3)));
    use redb::ReadableDatabase as _;
    let database = redb::Database::open(&path).unwrap();
    let read = database.begin_read().unwrap();
    let table = read.open_table(facts).unwrap();
    assert_eq!((table.len_of(), table.get("version").unwrap().map(|version| version.value())), (1, Some(3)));
}

trait LenOf {
    fn len_of(&self) -> usize;
}

impl LenOf for redb::ReadOnlyTable<&'static str, u64> {
    fn len_of(&self) -> usize {
        use redb::ReadableTable as _;
        self.iter().unwrap().count()
    }
}
