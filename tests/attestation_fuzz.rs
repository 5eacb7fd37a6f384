//! The fuzz bodies on a stable compiler: over the committed corpus, and over small changes of it.
#![cfg(feature = "testing")]

use std::{fs, path::PathBuf};

use leasehold::testing::{
    fuzz_attachments::attachments,
    fuzz_attestation::{appraisal, document, envelope, statement, strict_reader},
};
use proptest::{prelude::*, sample::Index};

type Target = fn(&[u8]);

/// The seeds of a target.
fn seeds(name: &str) -> Vec<(String, Vec<u8>)> {
    leasehold::testing::fuzz::body(name).expect("a body").seeds()
}

const TARGETS: [(&str, Target); 6] = [
    ("strict_reader", strict_reader),
    ("envelope", envelope),
    ("statement", statement),
    ("document", document),
    ("appraisal", appraisal),
    ("attachments", attachments),
];

fn corpus(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "corpus", target].iter().collect()
}

/// Every committed input of every target runs without a finding, and the seeds are among them.
#[test]
fn the_committed_corpus_holds() {
    for (name, target) in TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(corpus(name)).unwrap() {
            target(&fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs >= seeds(name).len(), "{name} has {inputs} inputs");
        for (seed, bytes) in seeds(name) {
            assert_eq!(
                fs::read(corpus(name).join(&seed)).unwrap(),
                bytes,
                "{name}/{seed}: run `write_seeds`"
            );
        }
    }
}

/// The bugs that `fuzz/planted.sh` plants still fit the code, so that it can show that they are found.
#[test]
fn planted_bugs_fit_the_code() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut planted = 0;
    for entry in fs::read_dir(root.join("tests/planted")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "patch") {
            continue;
        }
        let patch = fs::read_to_string(&path).unwrap();
        let file = patch.lines().find_map(|line| line.strip_prefix("--- a/")).unwrap();
        let code = fs::read_to_string(root.join(file)).unwrap();
        for hunk in patch.split("\n@@ ").skip(1) {
            let before = hunk.lines().skip(1).filter_map(|line| line.strip_prefix([' ', '-']));
            let before: String = before.flat_map(|line| [line, "\n"]).collect();
            assert!(code.contains(&before), "{}: the code has moved on from\n{before}", path.display());
        }
        planted += 1;
    }
    assert_eq!(planted, 4);
}

/// Writes the seeds where the fuzzer finds them. Run by hand after a change of a format.
#[test]
#[ignore = "writes into tests/corpus"]
fn write_seeds() {
    for (name, _) in TARGETS {
        fs::create_dir_all(corpus(name)).unwrap();
        for (seed, bytes) in seeds(name) {
            fs::write(corpus(name).join(seed), bytes).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Seeds with a part cut out, doubled or overwritten keep every promise.
    #[test]
    fn changed_seeds_hold(seed in any::<Index>(), from in any::<Index>(), length in 0usize..40, change in 0u8..3,
                          with in prop::collection::vec(any::<u8>(), 0..8)) {
        let seeds: Vec<_> = ["appraisal", "attachments"].into_iter().flat_map(seeds).collect();
        let (_, bytes) = seed.get(&seeds);
        let from = from.index(bytes.len() + 1);
        let to = (from + length).min(bytes.len());
        let mut changed = bytes.clone();
        match change {
            0 => drop(changed.splice(from..to, with)),
            1 => drop(changed.splice(from..from, bytes[from..to].iter().copied())),
            _ => changed.truncate(from),
        }
        for (_, target) in TARGETS {
            target(&changed);
        }
    }

    /// Evidence with claims changed is judged as the rules say, written down a second time.
    #[test]
    fn changed_claims_are_judged_by_the_rules(changes in prop::collection::vec(any::<u8>(), 0..37)) {
        appraisal(&changes);
    }
}
