//! Every fuzz body under its name, with inputs to begin with and words to mix in.
//!
//! A body takes any bytes and panics only where a promise of this crate is broken. It reads no clock, draws no random
//! number and keeps nothing from one call to the next, so an input that fails does so again everywhere: under
//! cargo-fuzz, bolero, AFL, or in a loop of one's own. The whole target of a downstream crate:
//!
//! ```
//! // fuzz_targets/envelope.rs would be: libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body.run(bytes));
//! let body = leasehold::testing::fuzz::body("envelope").expect("a body of this name");
//! for (_, seed) in body.seeds() {
//!     body.run(&seed);
//! }
//! ```

use alloc::{string::String, vec::Vec};

use super::{
    fuzz_attachments, fuzz_attestation, fuzz_egress, fuzz_frames, fuzz_identity, fuzz_nodes, fuzz_paths,
    fuzz_proxy,
};

/// Words of the attestation formats, in the dictionary form that libFuzzer and AFL read.
const ATTESTATION: &str = include_str!("dictionaries/attestation.dict");
/// Words of URLs, rules and header fields.
const EGRESS: &str = include_str!("dictionaries/egress.dict");

/// One fuzz body.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Body {
    /// Its name, which is also the name of its cargo-fuzz target and of its corpus.
    pub name: &'static str,
    /// What it checks, in a sentence.
    pub checks: &'static str,
    /// A dictionary, empty where words do not help.
    pub dictionary: &'static str,
    run: fn(&[u8]),
    seeds: Seeds,
}

#[derive(Clone, Copy, Debug)]
enum Seeds {
    Named(fn() -> Vec<(&'static str, Vec<u8>)>),
    /// The seeds of one list whose names begin with the text.
    Of(fn() -> Vec<(&'static str, Vec<u8>)>, &'static str),
    Made(fn() -> Vec<(String, Vec<u8>)>),
}

impl Body {
    /// Runs the body on one input.
    ///
    /// # Panics
    /// Where a promise of the crate is broken.
    pub fn run(&self, bytes: &[u8]) {
        (self.run)(bytes);
    }

    /// Its own inputs to begin with, by name.
    pub fn seeds(&self) -> Vec<(String, Vec<u8>)> {
        let named = |seeds: Vec<(&str, Vec<u8>)>, prefix: &str| {
            let own = seeds.into_iter().filter(|(name, _)| name.starts_with(prefix));
            own.map(|(name, bytes)| (name.into(), bytes)).collect()
        };
        match self.seeds {
            Seeds::Named(all) => named(all(), ""),
            Seeds::Of(all, prefix) => named(all(), prefix),
            Seeds::Made(all) => all(),
        }
    }
}

/// Every body, in no order that matters.
pub const fn bodies() -> &'static [Body] {
    BODIES
}

/// The body of this name.
pub fn body(name: &str) -> Option<&'static Body> {
    BODIES.iter().find(|body| body.name == name)
}

const BODIES: &[Body] = &[
    Body {
        name: "strict_reader",
        checks: "the strict JSON reader against serde_json, and every key spelled twice",
        dictionary: ATTESTATION,
        run: fuzz_attestation::strict_reader,
        seeds: Seeds::Named(fuzz_attestation::seeds),
    },
    Body {
        name: "envelope",
        checks: "what verifies was signed by the key, over the bytes that came",
        dictionary: ATTESTATION,
        run: fuzz_attestation::envelope,
        seeds: Seeds::Named(fuzz_attestation::seeds),
    },
    Body {
        name: "statement",
        checks: "statements against a second reader, and there and back",
        dictionary: ATTESTATION,
        run: fuzz_attestation::statement,
        seeds: Seeds::Named(fuzz_attestation::seeds),
    },
    Body {
        name: "document",
        checks: "plain documents against a second reader, and there and back",
        dictionary: ATTESTATION,
        run: fuzz_attestation::document,
        seeds: Seeds::Named(fuzz_attestation::seeds),
    },
    Body {
        name: "appraisal",
        checks: "the verdict on changed evidence against the rules, written a second time",
        dictionary: ATTESTATION,
        run: fuzz_attestation::appraisal,
        seeds: Seeds::Named(fuzz_attestation::seeds),
    },
    Body {
        name: "attachments",
        checks: "what stands beside evidence vouches where a second reader says so, denies nothing, and is named",
        dictionary: ATTESTATION,
        run: fuzz_attachments::attachments,
        seeds: Seeds::Named(fuzz_attachments::seeds),
    },
    Body {
        name: "egress_url_and_policy",
        checks: "the host that is judged is the one that another parser dials; pinned addresses are public",
        dictionary: EGRESS,
        run: fuzz_egress::url_and_policy,
        seeds: Seeds::Of(fuzz_egress::seeds, "url-"),
    },
    Body {
        name: "egress_paths",
        checks: "a path under a prefix is under it for models of servers, written a second time",
        dictionary: EGRESS,
        run: fuzz_paths::paths,
        seeds: Seeds::Named(fuzz_paths::seeds),
    },
    Body {
        name: "egress_host_rules",
        checks: "compiled host rules against a comparison of labels",
        dictionary: EGRESS,
        run: fuzz_egress::host_rules,
        seeds: Seeds::Of(fuzz_egress::seeds, "rule-"),
    },
    Body {
        name: "egress_header_rules",
        checks: "what is sent holds each credential once and nothing of the connection",
        dictionary: EGRESS,
        run: fuzz_egress::header_rules,
        seeds: Seeds::Of(fuzz_egress::seeds, "headers-"),
    },
    Body {
        name: "egress_address_literals",
        checks: "an address literal has one spelling, and no address is public and under the floor",
        dictionary: EGRESS,
        run: fuzz_egress::address_literals,
        seeds: Seeds::Of(fuzz_egress::seeds, "literal-"),
    },
    Body {
        name: "egress_policies",
        checks: "a policy compiles or says why, and what compiles decides",
        dictionary: EGRESS,
        run: fuzz_egress::policies,
        seeds: Seeds::Of(fuzz_egress::seeds, "policy"),
    },
    Body {
        name: "egress_proxy_head",
        checks: "heads, framing, chunks and TLS hellos: one reading, wherever the bytes are cut",
        dictionary: EGRESS,
        run: fuzz_proxy::proxy_head,
        seeds: Seeds::Named(fuzz_proxy::seeds),
    },
    Body {
        name: "pairing_messages",
        checks: "pairing messages and whole exchanges: a wrong byte ends the session, and nothing else",
        dictionary: "",
        run: fuzz_identity::pairing_messages,
        seeds: Seeds::Made(fuzz_frames::pairing_seeds),
    },
    Body {
        name: "dispatch_frames",
        checks: "frames of devices and services against the model of dispatch",
        dictionary: "",
        run: fuzz_nodes::dispatch_frames,
        seeds: Seeds::Made(fuzz_frames::dispatch_seeds),
    },
];
