//! What builders' provenance costs beside the evidence: verified for the first time, remembered, and read alone.

use std::hint::black_box;

use leasehold::attestation::{
    Appraisal, Appraiser, AttestationPolicy, EvidenceForm, Learned, PROVENANCE_PREDICATE, ProvenanceMemory,
    Submission,
    dsse::{pae, seal},
    evidence::PAYLOAD_TYPE,
    policy::{AttestationPolicyForm, KeyRole, ProvenanceRule, ScopedKey, Window},
    signature::{DefaultVerifier, Ed25519Signer, SignatureVerifier, Signer, TrustedKey},
    strict::{self, Limits},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Peer, Signed,
    bars::{least, least_of, row, time},
    decoded, digest,
};

const BUILDER: &str = "https://ci.example/builder@v1";

fn builder() -> Ed25519Signer {
    Ed25519Signer::from_seed("builder", &[3; 32])
}

/// A statement as GitHub's builders publish it, with so many dependencies.
fn statement(subject: &str, dependencies: usize) -> Vec<u8> {
    let dependency = |n: usize| {
        json!({"uri": format!("git+https://git.example/acme/dependency-{n:04}@refs/tags/v1.{n}"),
               "digest": {"gitCommit": digest(&format!("{n}")).to_string()[..40].to_owned()}})
    };
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1", "predicateType": PROVENANCE_PREDICATE,
        "subject": [{"name": subject, "digest": {"sha256": digest(subject).to_string()}}],
        "predicate": {
            "buildDefinition": {
                "buildType": "https://ci.example/types/image@v1",
                "externalParameters": {"workflow": {"repository": "https://git.example/acme/app", "ref": "refs/tags/v1.2.3",
                                                    "path": ".ci/release.yml"}},
                "internalParameters": {"runner": {"event_name": "push", "repository_id": "495574555"}},
                "resolvedDependencies": (0..dependencies).map(dependency).collect::<Vec<_>>(),
            },
            "runDetails": {"builder": {"id": BUILDER},
                           "metadata": {"invocationId": "https://ci.example/runs/5904696764/attempts/1"}},
        },
    });
    serde_json::to_vec(&statement).unwrap()
}

/// The members that an appraisal looks at, as everybody reads them.
#[derive(Deserialize)]
#[allow(dead_code)]
struct Typed {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<TypedSubject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Value,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct TypedSubject {
    name: String,
    digest: std::collections::BTreeMap<String, String>,
}

struct Attached {
    envelope: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl Attached {
    fn new(subject: &str, dependencies: usize) -> Self {
        let payload = statement(subject, dependencies);
        let message = pae(PAYLOAD_TYPE, &payload);
        let signature = builder().sign(&message).unwrap();
        Self { envelope: seal(PAYLOAD_TYPE, &payload, &[&builder()]).unwrap(), message, signature }
    }
}

struct Provenance {
    policy: AttestationPolicy,
    signed: Signed,
    peer: Peer,
    attached: Vec<Attached>,
    key: TrustedKey,
}

impl Provenance {
    /// Evidence of one KiB with so many attachments, which are alike but for the first two: those are about image and build.
    fn new(attachments: usize) -> Self {
        let signed = Signed::new(1);
        let mut form: AttestationPolicyForm = signed.policy.form().clone();
        let key = builder().trusted_key("ci").unwrap();
        form.keys.push(ScopedKey {
            key: key.clone(),
            roles: vec![KeyRole::Builder],
            workers: Vec::new(),
            predicates: vec![PROVENANCE_PREDICATE.into()],
            builders: vec![BUILDER.into()],
            window: Window::default(),
        });
        form.provenance = Some(ProvenanceRule::new(1));
        let names = ["image", "build", "image", "build"];
        let attached = (0..attachments).map(|n| Attached::new(names[n % 4], 8 + n)).collect();
        Self { policy: AttestationPolicy::try_from(form).unwrap(), signed, peer: Peer::new(), attached, key }
    }

    fn judge(&self, policy: &AttestationPolicy, memory: Option<&ProvenanceMemory>) -> (Appraisal, Learned) {
        let attachments: Vec<&[u8]> = self.attached.iter().map(|attached| &attached.envelope[..]).collect();
        let submission =
            Submission { form: EvidenceForm::Dsse, bytes: &self.signed.envelope, attachments: &attachments };
        let mut appraiser = Appraiser::new(policy, &DefaultVerifier);
        appraiser.memory = memory;
        appraiser.appraise(&submission, &self.peer.context())
    }

    fn check_attached(&self) {
        for attached in &self.attached {
            assert!(DefaultVerifier.verify(
                self.key.key(),
                black_box(&attached.message),
                &attached.signature
            ));
        }
    }
}

/// Provenance of a megabyte.
fn megabyte() -> Vec<u8> {
    let small = statement("image", 1).len();
    let each = statement("image", 2).len() - small;
    let mut dependencies = ((1 << 20) - small) / each;
    while statement("image", dependencies).len() < 1 << 20 {
        dependencies += 1;
    }
    statement("image", dependencies)
}

pub fn bars() {
    let four = Provenance::new(4);
    assert!(four.judge(&four.policy, None).0.accepted().is_some());
    let [ours, check, parts, checks, read] = least([
        &mut || drop(black_box(four.judge(&four.policy, None))),
        &mut || assert!(four.signed.check()),
        &mut || {
            assert!(four.signed.check());
            drop(black_box(four.signed.decode()));
            drop(black_box(four.signed.plain.judge()));
        },
        &mut || four.check_attached(),
        &mut || {
            four.check_attached();
            for attached in &four.attached {
                let (_, payload, _) = decoded(black_box(&attached.envelope));
                drop(black_box(serde_json::from_slice::<Typed>(&payload).unwrap()));
            }
        },
    ]);
    let bar = check + 1.2 * (parts - check) + checks + 1.2 * (read - checks);
    let how = format!("{:.3} x the bars of its parts, {}", ours / bar, time(bar));
    row("signed, four attachments", ours, 1.05 * bar, &how);
    for count in [2, 4] {
        let known = Provenance::new(count);
        let mut memory = ProvenanceMemory::new();
        memory.learn(known.judge(&known.policy, Some(&memory)).1);
        assert_eq!(memory.len(), count);
        assert!(known.judge(&known.policy, Some(&memory)).0.accepted().is_some());
        let bytes: usize = known.attached.iter().map(|attached| attached.envelope.len()).sum();
        let [with, without, check] = least([
            &mut || drop(black_box(known.judge(&known.policy, Some(&memory)))),
            // The same policy as the evidence alone is judged by: nothing is asked of attachments.
            &mut || drop(black_box(known.judge(&known.signed.policy, None))),
            &mut || assert!(known.signed.check()),
        ]);
        let how = format!("{:.3} bare checks for {bytes} bytes", (with - without) / check);
        row(&format!("{count} attachments, remembered"), with - without, 0.2 * check, &how);
    }
    let large = megabyte();
    let [ours, serde] = least_of(
        30,
        [&mut || strict::check(black_box(&large), &Limits::PROVENANCE).unwrap(), &mut || {
            drop(black_box(serde_json::from_slice::<Value>(black_box(&large)).unwrap()))
        }],
    );
    let how = format!("{:.2} x serde_json to a value", ours / serde);
    row(&format!("strict, {} bytes of provenance", large.len()), ours, 1.2 * serde, &how);
}
