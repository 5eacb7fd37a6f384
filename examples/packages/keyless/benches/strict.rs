//! Strict reading of a megabyte of provenance against `simd-json` and `serde_json` to a value, in turns in one run.
//!
//! `cargo bench --bench strict`. It exits with 1 where strict reading takes more than 1.2 times the faster of the two.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench looks at the clock")]

use std::{
    hint::black_box,
    process::ExitCode,
    time::{Duration, Instant},
};

use leasehold::attestation::strict::{self, Limits};
use serde_json::{Value, json};

/// How often each is measured. The least counts: what else the machine does only adds.
const TURNS: usize = 60;

fn megabyte() -> Vec<u8> {
    let dependency = |n: usize| {
        json!({"uri": format!("git+https://git.example/acme/dependency-{n:04}@refs/tags/v1.{n}"),
               "digest": {"gitCommit": format!("{n:040x}")}})
    };
    let statement = |count: usize| {
        let dependencies: Vec<Value> = (0..count).map(dependency).collect();
        serde_json::to_vec(&json!({
            "_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1",
            "subject": [{"name": "image", "digest": {"sha256": "0".repeat(64)}}],
            "predicate": {"buildDefinition": {"buildType": "https://ci.example/types/image@v1",
                                              "externalParameters": {}, "resolvedDependencies": dependencies},
                          "runDetails": {"builder": {"id": "https://ci.example/builder@v1"}}},
        }))
        .expect("JSON")
    };
    let mut count = 6_000;
    while statement(count).len() < 1 << 20 {
        count += 100;
    }
    statement(count)
}

fn timed(act: &mut dyn FnMut()) -> Duration {
    let start = Instant::now();
    act();
    start.elapsed()
}

fn main() -> ExitCode {
    let document = megabyte();
    let mut scratch = document.clone();
    let (mut ours, mut simd, mut copy, mut serde) =
        (Duration::MAX, Duration::MAX, Duration::MAX, Duration::MAX);
    for _ in 0..TURNS {
        let mut check = || strict::check(black_box(&document), &Limits::PROVENANCE).expect("strict");
        ours = ours.min(timed(&mut check));
        // It changes its input, so that each reading needs a copy, which is taken off.
        copy = copy.min(timed(&mut || black_box(&mut scratch).copy_from_slice(black_box(&document))));
        simd = simd.min(timed(&mut || {
            drop(black_box(simd_json::to_borrowed_value(black_box(&mut scratch)).expect("JSON")));
        }));
        let mut value =
            || drop(black_box(serde_json::from_slice::<Value>(black_box(&document)).expect("JSON")));
        serde = serde.min(timed(&mut value));
    }
    let bar = simd.min(serde);
    println!("{} bytes of provenance", document.len());
    println!(
        "strict reading {ours:?}; simd-json {simd:?} (and {copy:?} to copy its input); serde_json {serde:?}"
    );
    let ratio = ours.as_secs_f64() / bar.as_secs_f64();
    println!("{ratio:.2} of the faster, may take 1.20");
    if ratio <= 1.2 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
