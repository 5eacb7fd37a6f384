//! The signature checks of one submission are bounded over everything in it, and their end has a code of its own.

use std::sync::atomic::{AtomicUsize, Ordering};

use leasehold::attestation::{
    Appraiser, EvidenceForm, Submission,
    evidence::PAYLOAD_TYPE,
    policy::{KeyRole, ScopedKey},
    signature::{Algorithm, DefaultVerifier, Ed25519Signer, KeyError, PublicKey, SignatureVerifier},
};
use serde_json::json;

use crate::{
    MISSING,
    attestation_support::{Case, codes, policy, scoped},
    case,
    published::{Statement, seal},
};

/// Counts what it is asked, and says what the default verifier says.
#[derive(Default)]
pub struct Counting(AtomicUsize);

impl Counting {
    pub fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl SignatureVerifier for Counting {
    fn supports(&self, algorithm: Algorithm) -> bool {
        DefaultVerifier.supports(algorithm)
    }
    fn check_key(&self, key: &PublicKey) -> Result<(), KeyError> {
        DefaultVerifier.check_key(key)
    }
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        DefaultVerifier.verify(key, message, signature)
    }
}

fn crowd(from: u8, count: u8) -> Vec<Ed25519Signer> {
    (from..from + count).map(|seed| Ed25519Signer::from_seed(&format!("k{seed}"), &[seed; 32])).collect()
}

/// A case with so many more builder keys, the one of these tests last.
fn with_builders(count: u8, attachments: &[Vec<u8>]) -> Case {
    let mut case = case(attachments);
    let last = case.form.keys.pop().unwrap();
    case.form.keys.extend(crowd(10, count).iter().map(|signer| ScopedKey {
        builders: last.builders.clone(),
        predicates: last.predicates.clone(),
        ..scoped(signer, signer_name(signer), KeyRole::Builder)
    }));
    case.form.keys.push(last);
    case
}

fn signer_name(signer: &Ed25519Signer) -> &str {
    leasehold::attestation::signature::Signer::key_id(signer)
}

fn spent(case: &Case) -> (usize, Vec<&'static str>) {
    let verifier = Counting::default();
    let attachments: Vec<&[u8]> = case.attachments.iter().map(Vec::as_slice).collect();
    let bytes = case.envelope();
    let submission = Submission { form: EvidenceForm::Dsse, bytes: &bytes, attachments: &attachments };
    let policy = policy(case.form.clone());
    let verdict = Appraiser::new(&policy, &verifier).appraise(&submission, &case.context()).0;
    (verifier.take(), codes(&verdict))
}

/// With a key id a signature finds its key at once; without, two signatures are tried with every key that a policy can have.
#[test]
fn key_ids_narrow_and_order_decides_nothing() {
    let builder = crate::attestation_support::builder();
    let stranger = Ed25519Signer::from_seed("stranger", &[200; 32]);
    let payload = Statement::default().bytes();
    let named = seal(&payload, PAYLOAD_TYPE, &[(&builder, json!("builder"))]);
    let (checks, failures) = spent(&with_builders(100, &[named]));
    assert_eq!((checks, failures), (2 + 1, vec![]), "evidence, binding, and the one key");
    let beside =
        seal(&payload, PAYLOAD_TYPE, &[(&stranger, json!("stranger")), (&builder, json!("builder"))]);
    let (checks, failures) = spent(&with_builders(100, &[beside]));
    assert_eq!((checks, failures), (2 + 1 + 100, vec![]), "a stranger's is tried last, with the other keys");
    for signers in [[&stranger, &builder], [&builder, &stranger]] {
        let bare = seal(&payload, PAYLOAD_TYPE, &signers.map(|signer| (signer, json!(""))));
        let (checks, failures) = spent(&with_builders(100, &[bare]));
        assert_eq!(failures, [""; 0]);
        assert!(checks <= 2 + 202, "{checks}");
    }
}

#[test]
fn a_submission_is_bounded_over_all_its_envelopes() {
    let strangers = crowd(200, 16);
    let envelope = |keyid: &dyn Fn(&Ed25519Signer) -> serde_json::Value| {
        let signers: Vec<_> = strangers.iter().map(|signer| (signer, keyid(signer))).collect();
        seal(b"{}", PAYLOAD_TYPE, &signers)
    };
    let named = envelope(&|signer| json!(signer_name(signer)));
    let bare = envelope(&|_| json!(""));
    for (attachment, most) in [(named, 128), (bare, 256)] {
        let (checks, failures) = spent(&with_builders(120, &vec![attachment; 8]));
        assert_eq!(checks, most, "all of the budget, with the two of evidence and binding");
        let spent = failures.iter().filter(|code| **code == "dsse.verifications").count();
        assert_eq!((failures[0], spent), (MISSING, 8));
    }
    // Evidence that nobody trusted signed: what is left of the budget looks for another role, and no more.
    let mut case = with_builders(120, &[]);
    case.form.keys.extend(crowd(140, 4).iter().map(|signer| scoped(signer, "x", KeyRole::Evidence)));
    let verifier = Counting::default();
    let payload = case.claims().to_statement();
    let signers: Vec<_> = strangers.iter().map(|signer| (signer, json!(signer_name(signer)))).collect();
    let bytes = seal(&payload, PAYLOAD_TYPE, &signers);
    let submission = Submission { form: EvidenceForm::Dsse, bytes: &bytes, attachments: &[] };
    let policy = policy(case.form.clone());
    let verdict = Appraiser::new(&policy, &verifier).appraise(&submission, &case.context()).0;
    assert_eq!((verifier.take(), codes(&verdict)), (128, vec!["dsse.untrusted"]));
}
