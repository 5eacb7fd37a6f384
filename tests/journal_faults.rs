//! A file journal on a disk that breaks: an error with a code, and never a wrong state (invariant 8, F19, F25).

#[path = "journal_support/mod.rs"]
mod journal_support;

use std::collections::BTreeMap;

use journal_support::{FAULTS, Fault, FaultDisk, KEY, Story, folded};
use leasehold::{
    code::{self, Code, Coded},
    shell::*,
};
use proptest::prelude::*;

thread_local! {
    static STORY: Story = Story::new();
}

/// Parts that are closed after so few bytes that the story has many.
const PART: u64 = 1_000;

type Opened = Result<FileJournal<FaultDisk>, JournalError>;

fn open(disk: &FaultDisk) -> Opened {
    FileJournal::open_on(disk.clone()).map(|journal| journal.with_part_bytes(PART))
}

/// What one life of the journal did.
#[derive(Debug, Default)]
struct Life {
    /// The last index for which `append` returned.
    acknowledged: u64,
    /// The last index that was tried.
    tried: u64,
    error: Option<Code>,
}

/// Opens the journal, checks what it leads to, and goes on with the story from there; a snapshot after every `every`
/// batches. Ends at the end of the story or at the first error.
fn live(disk: &FaultDisk, story: &Story, every: usize, floor: u64, ceiling: u64) -> Life {
    let mut life = Life { acknowledged: floor, tried: ceiling, error: None };
    let fail = |life: Life, error: &dyn Coded| Life { error: Some(error.code()), ..life };
    let mut journal = match open(disk) {
        Ok(journal) => journal,
        Err(error) => return fail(life, &error),
    };
    let found = match folded(&mut journal, story) {
        Ok(found) => found,
        Err(error) => return fail(life, &error),
    };
    assert!((floor..=ceiling).contains(&found), "{found} of {floor} to {ceiling}");
    (life.acknowledged, life.tried) = (found, found);
    for (at, (last, batch)) in story.after(found).enumerate() {
        life.tried = *last;
        if let Err(error) = journal.append(*last, batch) {
            // F25: it is not tried again, and the disk is not asked again.
            let calls = disk.calls();
            assert_eq!(journal.append(*last, batch), Err(error.clone()));
            assert!(journal.read(&mut |_| true).is_err() && journal.seal().is_err());
            assert_eq!(disk.calls(), calls);
            return fail(life, &error);
        }
        life.acknowledged = *last;
        if (at + 1) % every == 0 {
            // A snapshot that fails harms nothing, unless the next part could not be begun.
            match journal.seal().map_err(ReplayError::from).and_then(|work| compact(work, KEY)) {
                Ok(done) => assert_eq!(done.index, *last),
                Err(error) => life.error = Some(error.code()),
            }
        }
    }
    life
}

/// Everything that a disk or its damage may make a journal say.
const KNOWN: [Code; 8] = [
    code::JOURNAL_FAILED,
    code::JOURNAL_FULL,
    code::JOURNAL_UNREADABLE,
    code::JOURNAL_DAMAGED,
    code::JOURNAL_GAP,
    code::JOURNAL_VERSION,
    code::JOURNAL_MALFORMED,
    code::JOURNAL_INCONSISTENT,
];

/// A disk with a snapshot and several parts.
fn written(story: &Story) -> FaultDisk {
    let disk = FaultDisk::default();
    let life = live(&disk, story, 15, 0, 0);
    assert_eq!((life.acknowledged, life.error), (story.last(), None));
    let files = disk.files();
    let of = |kind: &str| files.keys().filter(|name| name.starts_with(kind)).count();
    assert!(of("journal-") > 2 && of("snapshot-") == 1, "{:?}", files.keys());
    disk
}

fn outcome(files: &BTreeMap<String, Vec<u8>>, story: &Story) -> Result<u64, Code> {
    let mut journal = open(&FaultDisk::of(files)).map_err(|error| error.code())?;
    folded(&mut journal, story).map_err(|error| error.code())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 96, ..ProptestConfig::default() })]

    /// Any fault at any call, several lives in a row: what was acknowledged is there, what was never tried is not, and
    /// without a flipped bit the journal opens again and goes on to the end.
    #[test]
    fn a_fault_anywhere_loses_nothing_that_was_acknowledged(
        lives in prop::collection::vec((1_u64..120, prop::sample::select(&FAULTS[..]), any::<bool>(), any::<u64>()), 1..5),
        every in 1_usize..9,
    ) {
        STORY.with(|story| {
            let disk = FaultDisk::default();
            let (mut floor, mut ceiling, mut flipped) = (0, 0, false);
            for (after, fault, power, dice) in lives {
                disk.plan(after, fault);
                let life = live(&disk, story, every, floor, ceiling);
                flipped |= fault == Fault::Flip;
                (floor, ceiling) = (life.acknowledged.max(floor), life.tried.max(ceiling));
                prop_assert!(life.error.is_none_or(|code| KNOWN.contains(&code)), "{:?}", life.error);
                disk.restart(power, dice);
            }
            let last = live(&disk, story, every, floor, ceiling);
            match last.error {
                None => prop_assert_eq!(last.acknowledged, story.last()),
                Some(code) => prop_assert!(flipped && KNOWN.contains(&code), "{code}, flipped: {flipped}"),
            }
            Ok(())
        })?;
    }
}

/// The newest part cut at any byte is a prefix: the torn tail goes, and nothing else.
#[test]
fn a_torn_tail_is_cut_wherever_it_was_torn() {
    STORY.with(|story| {
        let disk = FaultDisk::default();
        let mut journal = FileJournal::open_on(disk.clone()).unwrap();
        story.batches.iter().for_each(|(last, batch)| journal.append(*last, batch).unwrap());
        let files = disk.files();
        let newest = files.keys().next().unwrap();
        let whole = files[newest].len();
        let mut found = Vec::new();
        for length in (85..=whole).step_by(29).chain([whole]) {
            let mut torn = files.clone();
            torn.get_mut(newest).unwrap().truncate(length);
            found.push(outcome(&torn, story).unwrap());
        }
        // The file has grown, and its last block or blocks have not arrived.
        let content = &files[newest];
        let (mut begin, mut grown) = (85, 0);
        while begin < whole {
            let length = content[begin + 8..begin + 12].try_into().map(u32::from_be_bytes).unwrap();
            let end = begin + 16 + length as usize + 32;
            let mut cut = files.clone();
            cut.get_mut(newest).unwrap().truncate(begin);
            let before = outcome(&cut, story);
            for block in (begin.next_multiple_of(512)..end).step_by(512) {
                let mut torn = files.clone();
                let file = torn.get_mut(newest).unwrap();
                file.truncate(end);
                file[block..].fill(0);
                assert_eq!(outcome(&torn, story), before, "zeros from {block} on, of {begin} to {end}");
                grown += 1;
            }
            begin = end;
        }
        assert!(grown > 0);
        assert!(found.is_sorted() && found.last() == Some(&story.last()) && found[0] < story.last());
        for length in 0..85 {
            let mut torn = files.clone();
            torn.get_mut(newest).unwrap().truncate(length);
            assert_eq!(outcome(&torn, story), Err(code::JOURNAL_DAMAGED), "no header is ever torn");
        }
    });
}

/// Damage anywhere else is refused: any byte of any file, any file that is cut, and any that is missing.
#[test]
fn damage_is_refused_and_never_cut() {
    STORY.with(|story| {
        let files = written(story).files();
        let newest = files.keys().rfind(|name| name.starts_with("journal-")).unwrap();
        for (name, content) in &files {
            for at in (0..content.len()).step_by(17).chain(0..130) {
                let mut damaged = files.clone();
                damaged.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
                let outcome = outcome(&damaged, story);
                assert!(outcome.is_err_and(|code| KNOWN.contains(&code)), "{name}, {at}: {outcome:?}");
            }
            if name == newest {
                continue;
            }
            for length in (0..content.len()).step_by(61) {
                let mut cut = files.clone();
                cut.get_mut(name).unwrap().truncate(length);
                let outcome = outcome(&cut, story);
                assert!(outcome.is_err_and(|code| KNOWN.contains(&code)), "{name}, {length}: {outcome:?}");
            }
            let mut missing = files.clone();
            missing.remove(name);
            let outcome = outcome(&missing, story);
            assert_eq!(outcome, Err(code::JOURNAL_GAP), "{name}");
        }
    });
}

/// Parts of another journal are not taken for this one's.
#[test]
fn a_part_of_another_journal_is_refused() {
    STORY.with(|story| {
        let files = written(story).files();
        let other = FaultDisk::default();
        let mut journal = open(&other).unwrap();
        for (last, batch) in &story.batches {
            // The same indexes, other bytes.
            journal.append(*last, &[batch.as_slice(), b"x"].concat()).unwrap();
        }
        let foreign = other.files();
        let shared: Vec<&String> = files.keys().filter(|name| foreign.contains_key(*name)).collect();
        for name in shared {
            let mut mixed = files.clone();
            mixed.insert(name.clone(), foreign[name].clone());
            assert!(outcome(&mixed, story).is_err(), "{name}");
        }
        let mut strange = files.clone();
        strange.insert("notes.txt".into(), Vec::new());
        assert_eq!(outcome(&strange, story), Err(code::JOURNAL_FOREIGN));
    });
}

/// One compaction at a time, batches in order, and a compaction that is dropped leaves nothing.
#[test]
fn order_and_turns_are_kept() {
    STORY.with(|story| {
        for journal in [
            Box::new(open(&FaultDisk::default()).unwrap()) as Box<dyn Journal>,
            Box::new(MemoryJournal::default()),
        ] {
            let mut journal = journal;
            let (first, rest) = story.batches.split_first().unwrap();
            journal.append(first.0, &first.1).unwrap();
            assert_eq!(journal.append(first.0, &first.1), Err(JournalError::Order));
            let mut work = journal.seal().unwrap();
            assert!(matches!(journal.seal(), Err(JournalError::Busy)));
            work.chunk(b"half a snapshot").unwrap();
            drop(work);
            for (last, batch) in rest {
                journal.append(*last, batch).unwrap();
            }
            let work = journal.seal().unwrap();
            assert_eq!(compact(work, KEY).unwrap().index, story.last());
            assert_eq!(folded(&mut *journal, story), Ok(story.last()));
            assert_eq!(journal.append(1, b"x"), Err(JournalError::Order), "also after a snapshot");
        }
    });
}
