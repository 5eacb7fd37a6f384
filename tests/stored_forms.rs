//! Stored forms: what commit 4c7c9d8 wrote is read for ever, with the meaning that it had (invariant 8).
//!
//! `tests/stored/v1` holds journals with the snapshots that they follow, where they follow one (`NN.journal`,
//! `NN.snapshot`), the snapshot of the state that they end in (`NN.end`), and their records in JSON as that commit showed
//! them (`NN.jsonl`); a directory of a `FileJournal`; policies; and frames of the protocol.

use std::{collections::BTreeSet, fs, path::PathBuf};

use leasehold::{
    attestation::signature::DefaultVerifier,
    code::{self, Coded as _},
    digest::{FieldHasher, Sha256Digest},
    egress::EgressPolicy,
    fleet::*,
    lease::{Epoch, Fence},
    shell::{FileJournal, replay},
    time::{Millis, Mono, Now},
};
use serde_json::Value;

fn first() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/stored/v1")
}

fn file(name: &str) -> Option<Vec<u8>> {
    fs::read(first().join(name)).ok()
}

fn text(name: &str) -> String {
    String::from_utf8(file(name).expect("a stored file")).expect("a text")
}

/// The numbers of the stories, each with its journal.
fn stories() -> Vec<(String, Vec<u8>)> {
    let all: Vec<_> = (1..)
        .map(|n| format!("{n:02}"))
        .map_while(|n| Some((n.clone(), file(&format!("{n}.journal"))?)))
        .collect();
    assert!(all.len() > 20, "{} stories", all.len());
    all
}

/// A state on its way back from the story `n`, before its journal.
fn from_snapshot(n: &str) -> Replay {
    let mut replay = Replay::new([3; 16]);
    if let Some(snapshot) = file(&format!("{n}.snapshot")) {
        replay.chunk(&snapshot).unwrap();
    }
    replay
}

/// The section of a snapshot that holds everything that a state has one of.
const HEAD: u8 = 0;
/// The section that holds the workers.
const PLACES: u8 = 1;
/// The section that holds spent grants.
const GRANTS: u8 = 4;
/// The section that holds the devices.
const DEVICES: u8 = 9;

/// What a state had one of then.
fn head(replay: &Replay) -> (WorkerFleetPolicy, Epoch, u64, u64, Now, Fence, Mono) {
    let state = replay.state().unwrap();
    let counts = (state.index(), state.version());
    let fence = state.last_fence();
    let policy = state.policy().clone();
    (policy, state.epoch(), counts.0, counts.1, state.last(), fence, state.quiet_until())
}

/// The chunks of a state, without what chains them.
fn sections(replay: &Replay) -> Vec<Vec<u8>> {
    let body = |chunk: Vec<u8>| chunk[5..chunk.len() - 32].to_vec();
    replay.snapshot().unwrap().map(|chunk| body(chunk.unwrap())).collect()
}

/// Everything that `then` says, `now` says too. What is new since may have been added.
fn says(now: &Value, then: &Value) -> bool {
    match (now, then) {
        (Value::Object(now), Value::Object(then)) => {
            then.iter().all(|(name, then)| now.get(name).is_some_and(|now| says(now, then)))
        }
        (Value::Array(now), Value::Array(then)) => {
            now.len() == then.len() && now.iter().zip(then).all(|(now, then)| says(now, then))
        }
        _ => now == then,
    }
}

/// The names of the events in `value`, with those of their changes.
fn events(value: &Value, names: &mut BTreeSet<String>) {
    let Value::Object(event) = value else { return };
    for (name, body) in event {
        names.insert(name.clone());
        if let Some(change) = body.get("change") {
            events(change, names);
        }
    }
}

/// Invariant 8, over versions: the journals fold to what they folded to, and each record means what it meant.
#[test]
fn journals_of_the_first_form_fold_to_what_they_folded_to() {
    let mut names = BTreeSet::new();
    for (n, journal) in stories() {
        let lines = text(&format!("{n}.jsonl"));
        let mut then = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut followed = from_snapshot(&n);
        let seen = |record: &FleetRecord| {
            let (now, then) = (serde_json::to_value(record).unwrap(), then.next().expect("a record"));
            assert!(says(&now, &then), "{n}: {then} is read as {now}");
            then["events"].as_array().unwrap().iter().for_each(|event| events(event, &mut names));
        };
        followed.journal_with(&journal, seen).unwrap();
        assert_eq!(then.next(), None, "{n}: a record is missing");
        let mut loaded = Replay::new([4; 16]);
        loaded.chunk(&file(&format!("{n}.end")).unwrap()).unwrap();
        let (sections, kept) = (sections(&followed), sections(&loaded));
        assert_eq!(sections.len(), kept.len(), "{n}");
        for (now, then) in sections.iter().zip(&kept) {
            let same = match now[0] {
                // Snapshots of then do not have the bounds of time that are folded from a journal; what they have is compared.
                HEAD => head(&followed) == head(&loaded),
                // Nor what is folded of a worker since: all that others see of it is compared.
                PLACES => followed.state().unwrap().workers().eq(loaded.state().unwrap().workers()),
                // Nor the certificates that others took over from.
                DEVICES => {
                    let devices = |replay: &Replay| -> Vec<_> {
                        replay.state().unwrap().devices().devices().cloned().collect()
                    };
                    devices(&followed) == devices(&loaded)
                }
                // They remember spent grants by the wall, in minutes, which the line puts off a little.
                GRANTS => now.len() == then.len(),
                _ => now == then,
            };
            assert!(same, "{n}: the snapshot of then is not where the journal leads, in section {}", now[0]);
        }
        followed.state().unwrap().check_invariants().unwrap();
    }
    // The stories have all events of then but one: 34 of the fleet, 32 of its parts.
    assert!(names.len() > 60, "{names:?}");
}

/// A journal of the first form goes on in the present one, record by record, and its snapshots are written in that.
#[test]
fn a_journal_of_the_first_form_goes_on() {
    for (n, journal) in stories() {
        let mut replay = from_snapshot(&n);
        replay.journal(&journal).unwrap();
        let (last, epoch) = replay.state().map(|state| (state.last(), state.epoch())).unwrap();
        let setup = Setup::new([7; 64], Sha256Digest::of(b"yet another"), Box::new(DefaultVerifier));
        let mut fleet = replay.recover(setup, Epoch(epoch.0 + 1), last.plus(Millis(1))).unwrap();
        let batch = fleet.take_journal().unwrap();
        let mut again = from_snapshot(&n);
        again.journal(&[journal, batch.bytes].concat()).unwrap();
        assert!(again.state() == Some(fleet.state()), "{n}");
        let chunks: Vec<_> = again.snapshot().unwrap().collect::<Result<_, _>>().unwrap();
        let mut loaded = Replay::new([5; 16]);
        chunks.iter().for_each(|chunk| loaded.chunk(chunk).unwrap());
        assert!(loaded.state() == again.state(), "{n}");
    }
}

/// The files of a journal, as the shell keeps them.
#[test]
fn a_directory_of_the_first_form_opens() {
    let dir = std::env::temp_dir().join(format!("leasehold-stored-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    for entry in fs::read_dir(first().join("files")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
    }
    let mut journal = FileJournal::open(&dir).unwrap();
    let followed = replay(&mut journal, [1; 16]).unwrap();
    let mut loaded = Replay::new([2; 16]);
    loaded.chunk(&file("files.end").unwrap()).unwrap();
    assert!(followed.state() == loaded.state());
    assert_eq!(journal.last(), loaded.state().unwrap().index());
    drop(journal);
    fs::remove_dir_all(&dir).unwrap();
}

/// What is stored in a version that nobody wrote yet is refused, and so is a snapshot of two versions.
#[test]
fn other_versions_are_refused() {
    let (_, journal) = stories().remove(10);
    let end = file("11.end").unwrap();
    for version in [0, 3, 9, 255] {
        let mut other = journal.clone();
        other[4] = version;
        assert_eq!(Replay::new([1; 16]).journal(&other).unwrap_err(), RecoverError::Version(version));
    }
    for version in [0, 1, 2, 5] {
        let mut other = end.clone();
        other[4] = version;
        let error = Replay::new([1; 16]).chunk(&other).unwrap_err();
        assert_eq!((error.code(), error), (code::JOURNAL_VERSION, RecoverError::Version(version)));
    }
    // The chain covers the version: what was written as one cannot be read as the other.
    let mut other = journal.clone();
    other[4] = 2;
    assert_eq!(Replay::new([1; 16]).journal(&other).unwrap_err().code(), code::JOURNAL_INCONSISTENT);
}

/// Policies of then are policies, and say what they said.
#[test]
fn policies_of_the_first_form_are_read() {
    let then = text("fleet-policy.json");
    let policy: WorkerFleetPolicy = serde_json::from_str(&then).unwrap();
    let (now, then): (Value, Value) =
        (serde_json::from_str(&policy.to_json()).unwrap(), serde_json::from_str(&then).unwrap());
    assert!(says(&now, &then), "{then} is read as {now}");
    serde_json::from_str::<EgressPolicy>(&text("egress-policy.json")).unwrap();
}

/// A rule that a policy has to obey from now on does not make a journal unreadable that holds one from before: such a
/// policy is refused from outside, and read from a journal.
#[test]
fn a_policy_in_a_journal_is_read_and_not_judged() {
    let (_, journal) = stories().into_iter().find(|(n, _)| file(&format!("{n}.snapshot")).is_none()).unwrap();
    let (whole, broken) = (br#""renew_every_ms":"#, br#""renew_every_ms":9"#);
    let length = 4 + usize::try_from(u32::from_be_bytes(journal[..4].try_into().unwrap())).unwrap();
    let body = &journal[5..length - 32];
    let at = body.windows(whole.len()).position(|window| window == whole).expect("a policy") + whole.len();
    let mut body = body.to_vec();
    // Renewals that are rarer than the longest lease, with as many digits as before.
    let digits = body[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    body[at..at + digits].fill(b'9');
    assert!(body.windows(broken.len()).any(|window| window == broken));
    let json = std::str::from_utf8(&body[body.iter().position(|byte| *byte == b'{').unwrap()..]).unwrap();
    let json = &json[..json.rfind('}').unwrap() + 1];
    assert!(serde_json::from_str::<WorkerFleetPolicy>(json).is_err(), "no rule is broken");
    let genesis = FieldHasher::new("fleet-journal.v1").finish();
    let link = FieldHasher::new("fleet-journal.v1").number(1).field(genesis.as_bytes()).field(&body).finish();
    let record = [&journal[..5], &body[..], link.as_bytes()].concat();
    let mut replay = Replay::new([1; 16]);
    replay.journal(&record).unwrap();
    let held = &replay.state().unwrap().policy().lease;
    assert!(held.renew_every_ms > held.ttl_max_ms);
    let setup = Setup::new([7; 64], Sha256Digest::of(b"yet another"), Box::new(DefaultVerifier));
    replay.recover(setup, Epoch(99), Now::new(10_000_000, 1_764_000_100_000)).unwrap();
}
