//! What was verified once under the same keys is remembered, within bounds, and changes no verdict.

use leasehold::attestation::{Appraisal, Appraiser, EvidenceForm, Learned, ProvenanceMemory, Submission};
use proptest::prelude::*;
use serde_json::json;

use crate::{
    attestation_support::{Case, builder, codes, policy},
    budget::Counting,
    case,
    published::{MEDIA_TYPES, Statement, bundle, certificate_material, key_material, sha256},
};

fn judge(case: &Case, memory: Option<&ProvenanceMemory>) -> (Appraisal, Learned, usize) {
    let verifier = Counting::default();
    let attachments: Vec<&[u8]> = case.attachments.iter().map(Vec::as_slice).collect();
    let bytes = case.envelope();
    let submission = Submission { form: EvidenceForm::Dsse, bytes: &bytes, attachments: &attachments };
    let policy = policy(case.form.clone());
    let mut appraiser = Appraiser::new(&policy, &verifier);
    appraiser.memory = memory;
    let (verdict, learned) = appraiser.appraise(&submission, &case.context());
    (verdict, learned, verifier.take())
}

#[test]
fn the_second_worker_costs_no_signature_of_a_builder() {
    let (image, build) = (Statement::of(&[sha256("image-1")]), Statement::of(&[sha256("build-1")]));
    let one = case(&[image.signed(&builder()), build.signed(&builder())]);
    let mut memory = ProvenanceMemory::new();
    let (verdict, learned, checks) = judge(&one, Some(&memory));
    assert_eq!((codes(&verdict), checks), (vec![], 4));
    memory.learn(learned);
    assert_eq!(memory.len(), 2);
    let (verdict, learned, checks) = judge(&one, Some(&memory));
    assert_eq!((codes(&verdict), checks), (vec![], 2), "evidence and binding alone");
    memory.learn(learned);
    assert_eq!(memory.len(), 2);
    // Claims and time are judged each time.
    let mut other = case(&one.attachments);
    other.claims.image = crate::attestation_support::digest("image-2");
    let (verdict, _, checks) = judge(&other, Some(&memory));
    assert_eq!(checks, 2);
    assert_eq!(codes(&verdict), [crate::MISSING, "attestation.provenance.subject"]);
    // Another policy has other keys, and so no memory.
    let mut revoked = case(&one.attachments);
    revoked.form.revoked.keys = vec![crate::builder_key().key.fingerprint()];
    let (verdict, learned, checks) = judge(&revoked, Some(&memory));
    assert_eq!((checks, verdict.accepted().is_some()), (4, false));
    memory.learn(learned);
    assert_eq!(judge(&one, Some(&memory)).2, 4, "the former policy's is forgotten");
    // Without a memory nothing is hashed for one.
    assert!(judge(&one, None).1.is_empty());
}

/// Invariant 13: however much is learnt, and what is in use stays.
#[test]
fn a_memory_is_bounded() {
    let kept = case(&[Statement::default().signed(&builder())]);
    let mut memory = ProvenanceMemory::new();
    for round in 0..300 {
        let fresh = |n: usize| {
            Statement { external: json!({"n": round * 8 + n}), ..Statement::default() }.signed(&builder())
        };
        memory.learn(judge(&case(&(0..8).map(fresh).collect::<Vec<_>>()), Some(&memory)).1);
        if round % 50 == 0 {
            memory.learn(judge(&kept, Some(&memory)).1);
        }
        assert!(memory.len() <= 1024, "{}", memory.len());
    }
    assert!(memory.len() > 512);
    assert_eq!(judge(&kept, Some(&memory)).2, 2, "what is asked for is kept");
    // Many subjects are read again each time.
    let many =
        Statement { subjects: (0..20).map(|n| sha256(&format!("x{n}"))).collect(), ..Statement::default() };
    assert!(judge(&case(&[many.signed(&builder())]), Some(&memory)).1.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// With a memory and without, and whatever it has learnt: the same verdict, down to every finding.
    #[test]
    fn a_memory_changes_no_verdict(picks in prop::collection::vec(0..8_usize, 1..7), again in prop::collection::vec(0..8_usize, 1..7)) {
        let image = Statement::of(&[sha256("image-1")]).signed(&builder());
        let pool = [
            image.clone(),
            Statement::of(&[sha256("build-1")]).signed(&builder()),
            bundle(MEDIA_TYPES[3], &image, key_material()),
            bundle(MEDIA_TYPES[0], &image, certificate_material()),
            [&image[..], b"\n", &Statement::default().signed(&builder())].concat(),
            [&image[..], b"\nx\n"].concat(),
            b"{}".to_vec(),
            Statement::of(&[sha256("other")]).signed(&builder()),
        ];
        let mut memory = ProvenanceMemory::new();
        for picks in [&picks, &again, &picks] {
            let case = case(&picks.iter().map(|pick| pool[*pick].clone()).collect::<Vec<_>>());
            let (with, learned, checks) = judge(&case, Some(&memory));
            let (without, _, all) = judge(&case, None);
            prop_assert!(checks <= all);
            prop_assert_eq!(with, without);
            memory.learn(learned);
        }
    }
}
