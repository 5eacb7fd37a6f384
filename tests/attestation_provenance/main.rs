//! Provenance as builders publish it: which shapes are read, what counts for what, and why something does not.

#[path = "../attestation_support/mod.rs"]
mod attestation_support;
mod budget;
mod keyless;
mod memory;
mod published;
mod reasons;
mod shapes;
mod terms;

use attestation_support::{Case, builder, codes, scoped};
use leasehold::attestation::{
    PROVENANCE_PREDICATE, PROVENANCE_PREDICATE_V02,
    policy::{KeyRole, ProvenanceRule, ScopedKey},
};

/// The entry of a builder's key that may speak for the builder of these tests.
pub fn builder_key() -> ScopedKey {
    ScopedKey {
        predicates: vec![PROVENANCE_PREDICATE.into(), PROVENANCE_PREDICATE_V02.into()],
        builders: vec![published::BUILDER.into()],
        ..scoped(&builder(), "ci", KeyRole::Builder)
    }
}

/// A case whose policy asks one builder, with these attachments.
pub fn case(attachments: &[Vec<u8>]) -> Case {
    let mut case = Case { attachments: attachments.to_vec(), ..Case::default() };
    case.form.keys.push(builder_key());
    case.form.provenance = Some(ProvenanceRule::new(1));
    case
}

/// The codes of the failures with these attachments.
pub fn judged(attachments: &[Vec<u8>]) -> Vec<&'static str> {
    codes(&case(attachments).judge())
}

pub const MISSING: &str = "attestation.provenance.missing";
