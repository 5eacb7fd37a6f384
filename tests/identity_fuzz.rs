//! The fuzz bodies of pairing and dispatch on a stable compiler: over the committed corpus, and over changes of it.
#![cfg(feature = "testing")]

use std::{fs, path::PathBuf};

use leasehold::testing::{
    fuzz_frames::{dispatch_seeds, pairing_seeds},
    fuzz_identity::pairing_messages,
    fuzz_nodes::dispatch_frames,
};
use proptest::{prelude::*, sample::Index};

type Target = fn(&[u8]);
type Seeds = fn() -> Vec<(String, Vec<u8>)>;

const TARGETS: [(&str, Target, Seeds); 2] = [
    ("pairing_messages", pairing_messages, pairing_seeds),
    ("dispatch_frames", dispatch_frames, dispatch_seeds),
];

fn corpus(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "corpus", target].iter().collect()
}

/// Every committed input of every target runs without a finding, and the seeds are among them.
#[test]
fn the_committed_corpus_holds() {
    for (name, target, seeds) in TARGETS {
        for (seed, bytes) in seeds() {
            assert_eq!(
                fs::read(corpus(name).join(&seed)).unwrap(),
                bytes,
                "{name}/{seed}: run `write_seeds`"
            );
        }
        for entry in fs::read_dir(corpus(name)).unwrap() {
            target(&fs::read(entry.unwrap().path()).unwrap());
        }
    }
}

/// Writes the seeds where the fuzzer finds them. Run by hand after a change of a format.
#[test]
#[ignore = "writes into tests/corpus"]
fn write_seeds() {
    for (name, _, seeds) in TARGETS {
        fs::create_dir_all(corpus(name)).unwrap();
        for (seed, bytes) in seeds() {
            fs::write(corpus(name).join(seed), bytes).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Seeds with a part cut out, doubled or overwritten keep every promise.
    #[test]
    fn changed_seeds_hold(seed in any::<Index>(), from in any::<Index>(), length in 0usize..40, change in 0u8..3,
                          with in prop::collection::vec(any::<u8>(), 0..60)) {
        for (_, target, seeds) in TARGETS {
            let seeds = seeds();
            let (_, bytes) = seed.get(&seeds);
            let from = from.index(bytes.len() + 1);
            let to = (from + length).min(bytes.len());
            let mut changed = bytes.clone();
            match change {
                0 => drop(changed.splice(from..to, with.iter().copied())),
                1 => drop(changed.splice(from..from, bytes[from..to].iter().copied())),
                _ => changed.extend(&with),
            }
            target(&changed);
        }
    }
}
