//! The list of fuzz bodies is whole: each is a cargo-fuzz target with a corpus, begins somewhere, and holds there.

use std::{collections::BTreeSet, fs, path::Path};

use leasehold::testing::fuzz;

/// Every body has seeds of its own, a corpus that is replayed, and where the repository is whole a target; nothing
/// else is a target.
#[test]
fn every_body_has_seeds_a_corpus_and_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = BTreeSet::new();
    for body in fuzz::bodies() {
        assert!(names.insert(body.name.to_string()), "{} stands twice", body.name);
        assert!(fuzz::body(body.name).is_some());
        let seeds = body.seeds();
        assert!(!seeds.is_empty(), "{} begins nowhere", body.name);
        for (_, seed) in seeds {
            body.run(&seed);
        }
        assert!(root.join("tests/corpus").join(body.name).is_dir(), "{} has no corpus", body.name);
    }
    assert!(fuzz::body("no such body").is_none());
    // A published crate comes without the folder of cargo-fuzz.
    let targets = root.join("fuzz/fuzz_targets");
    if targets.exists() {
        let files = fs::read_dir(targets).unwrap().map(|entry| entry.unwrap().path());
        let targets: BTreeSet<_> =
            files.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
        assert_eq!(targets, names);
    }
}

/// A dictionary is in the form that fuzzers read: a quoted word or a comment on each line.
#[test]
fn dictionaries_can_be_read() {
    for body in fuzz::bodies() {
        for line in body.dictionary.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            assert!(line.len() > 2 && line.starts_with('"') && line.ends_with('"'), "{}: {line}", body.name);
        }
    }
}
