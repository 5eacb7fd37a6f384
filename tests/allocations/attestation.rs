//! How much strict reading allocates.

use leasehold::attestation::strict::{self, Limits};
use serde_json::json;

use crate::counting::counted_bytes;

/// A megabyte of provenance, in many small objects, in long texts and in parameters by name: at most its size is allocated
/// in all. (An object of tens of thousands of short keys is another matter: each is kept until its object is closed.)
#[test]
fn strict_reading_allocates_no_more_than_the_document_has() {
    let dependency = |n: usize| {
        json!({"uri": format!("git+https://git.example/acme/dependency-{n:04}@refs/tags/v1.{n}"),
               "digest": {"gitCommit": format!("{n:040x}")}})
    };
    let parameters = |n: usize| (format!("parameter-{n:06}"), json!("v".repeat(1_000)));
    let shapes = [
        json!({"resolvedDependencies": (0..8_000).map(dependency).collect::<Vec<_>>()}),
        json!({"externalParameters": (0..1_000).map(parameters).collect::<serde_json::Map<_, _>>()}),
        json!({"byproducts": ["x".repeat(1 << 20)]}),
    ];
    for predicate in shapes {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1",
            "subject": [{"name": "image", "digest": {"sha256": "0".repeat(64)}}], "predicate": predicate,
        });
        let bytes = serde_json::to_vec(&statement).unwrap();
        assert!(bytes.len() > 1_000_000, "{}", bytes.len());
        let (verdict, allocated) = counted_bytes(|| strict::check(&bytes, &Limits::PROVENANCE));
        verdict.unwrap();
        assert!(allocated <= bytes.len(), "{allocated} bytes for {}", bytes.len());
    }
}
