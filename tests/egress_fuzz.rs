//! The fuzz bodies on a stable compiler: over the committed corpus, and over small changes of it.
#![cfg(feature = "testing")]

use std::{fs, path::PathBuf};

use leasehold::testing::fuzz_egress::{
    address_literals, header_rules, host_rules, policies, seeds, url_and_policy,
};
use proptest::{prelude::*, sample::Index};

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 5] = [
    ("egress_url_and_policy", url_and_policy),
    ("egress_host_rules", host_rules),
    ("egress_header_rules", header_rules),
    ("egress_address_literals", address_literals),
    ("egress_policies", policies),
];

fn corpus(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", "corpus", target].iter().collect()
}

/// Every committed input of every target runs without a finding, and the seeds are among them.
#[test]
fn the_committed_corpus_holds() {
    for (name, target) in TARGETS {
        for entry in fs::read_dir(corpus(name)).unwrap() {
            target(&fs::read(entry.unwrap().path()).unwrap());
        }
        for (seed, bytes) in seeds() {
            assert_eq!(fs::read(corpus(name).join(seed)).unwrap(), bytes, "{name}/{seed}: run `write_seeds`");
        }
    }
}

/// Writes the seeds where the fuzzer finds them. Run by hand after a change of the seeds.
#[test]
#[ignore = "writes into fuzz/corpus"]
fn write_seeds() {
    for (name, _) in TARGETS {
        fs::create_dir_all(corpus(name)).unwrap();
        for (seed, bytes) in seeds() {
            fs::write(corpus(name).join(seed), bytes).unwrap();
        }
    }
}

proptest! {
    /// What a fuzzer would do to the seeds first: change, cut, join.
    #[test]
    fn neighbours_of_the_seeds_hold(
        one: Index,
        two: Index,
        at: Index,
        byte in prop_oneof![any::<u8>(), prop::sample::select(b"./:%@\\[]-_#?\n0xX".to_vec())],
        cut: Index,
    ) {
        let seeds = seeds();
        let (_, mut changed) = seeds[one.index(seeds.len())].clone();
        let (_, other) = &seeds[two.index(seeds.len())];
        let place = at.index(changed.len());
        changed[place] = byte;
        let mut joined = changed[..cut.index(changed.len())].to_vec();
        joined.extend_from_slice(&other[cut.index(other.len())..]);
        for (_, target) in TARGETS {
            target(&changed);
            target(&joined);
        }
    }
}
