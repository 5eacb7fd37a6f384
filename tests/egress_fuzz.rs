//! The fuzz bodies on a stable compiler: over the committed corpus, and over small changes of it.
#![cfg(feature = "testing")]

use std::{fs, path::PathBuf};

use leasehold::testing::{
    fuzz_egress::{self, address_literals, header_rules, host_rules, policies, url_and_policy},
    fuzz_paths::{self, paths},
    fuzz_proxy::{self, proxy_head},
};
use proptest::{prelude::*, sample::Index};

type Target = fn(&[u8]);
type Seeds = fn() -> Vec<(&'static str, Vec<u8>)>;

const TARGETS: [(&str, Target, Seeds); 7] = [
    ("egress_url_and_policy", url_and_policy, fuzz_egress::seeds),
    ("egress_host_rules", host_rules, fuzz_egress::seeds),
    ("egress_header_rules", header_rules, fuzz_egress::seeds),
    ("egress_address_literals", address_literals, fuzz_egress::seeds),
    ("egress_policies", policies, fuzz_egress::seeds),
    ("egress_paths", paths, fuzz_paths::seeds),
    ("egress_proxy_head", proxy_head, fuzz_proxy::seeds),
];

fn corpus(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "corpus", target].iter().collect()
}

/// Every committed input of every target runs without a finding, and the seeds are among them.
#[test]
fn the_committed_corpus_holds() {
    for (name, target, seeds) in TARGETS {
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
#[ignore = "writes into tests/corpus"]
fn write_seeds() {
    for (name, _, seeds) in TARGETS {
        fs::create_dir_all(corpus(name)).unwrap();
        for (seed, bytes) in seeds() {
            fs::write(corpus(name).join(seed), bytes).unwrap();
        }
    }
}

/// Pieces of which paths are made that servers disagree about.
fn hostile_path() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b",
        ".",
        "..",
        ";",
        ";a",
        "/",
        "/",
        "%2f",
        "%2F",
        "%5c",
        "%2e",
        "%2E%2e",
        "%252e",
        "%252f",
        "%255c",
        "%3b",
        "%253b",
        "%3f",
        "%23",
        "%20",
        "%c0%ae",
        "%c0%af",
        "%e0%80%ae",
        "%ff",
        "%25",
        "%61",
    ]);
    prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// No server model leaves a prefix by a path that was let through under it (invariant 9).
    #[test]
    fn no_server_leaves_a_prefix(
        prefix in prop::sample::select(vec!["/", "/v1", "/v1/", "/v1/b/", "/v1//", "/@a%2fb", "/@a%2Fb/"]),
        inside in any::<bool>(),
        path in hostile_path(),
    ) {
        let head = if inside { prefix } else { "/" };
        paths(format!("{prefix}\n{head}{path}").as_bytes());
        paths(format!("{prefix}\n{head}/{path}").as_bytes());
    }

    /// What a fuzzer would do to the seeds first: change, cut, join.
    #[test]
    fn neighbours_of_the_seeds_hold(
        one: Index,
        two: Index,
        at: Index,
        byte in prop_oneof![any::<u8>(), prop::sample::select(b"./:%@\\[]-_#?\r\n0xX ".to_vec())],
        cut: Index,
    ) {
        for (_, target, seeds) in TARGETS {
            let seeds = seeds();
            let (_, mut changed) = seeds[one.index(seeds.len())].clone();
            let (_, other) = &seeds[two.index(seeds.len())];
            let place = at.index(changed.len());
            changed[place] = byte;
            let mut joined = changed[..cut.index(changed.len())].to_vec();
            joined.extend_from_slice(&other[cut.index(other.len())..]);
            target(&changed);
            target(&joined);
        }
    }
}
