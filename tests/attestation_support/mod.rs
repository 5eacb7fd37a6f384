//! A fleet, a policy and evidence that passes, for tests that change one thing at a time.
#![allow(dead_code)]

use leasehold::{
    attestation::{
        Appraisal, AttestationPolicy, EgressBinding, EvidenceContext, EvidenceForm, ProtocolRange,
        Submission, WorkerClaims, appraise_submission,
        evidence::EVIDENCE_PREDICATE,
        policy::{
            AttestationPolicyForm, Authority, CapabilityRules, EgressRule, KeyRole, Label, ProtocolRule,
            ReferenceSet, ReferenceValue, Rule, ScopedKey, TimeRules, Window, WitRequirement,
        },
        signature::{DefaultVerifier, Ed25519Signer, TrustedKey},
    },
    capability::CapabilitySet,
    code::Coded as _,
    digest::Sha256Digest,
    id::{DeviceId, FleetId},
    time::{Millis, Wall},
};

pub const NOW: u64 = 1_764_000_000_000;
pub const NONCE: [u8; 64] = [7; 64];

pub fn digest(text: &str) -> Sha256Digest {
    Sha256Digest::of(text.as_bytes())
}

pub fn launcher() -> Ed25519Signer {
    Ed25519Signer::from_seed("launcher", &[1; 32])
}

pub fn proxy() -> Ed25519Signer {
    Ed25519Signer::from_seed("proxy", &[2; 32])
}

pub fn builder() -> Ed25519Signer {
    Ed25519Signer::from_seed("builder", &[3; 32])
}

pub fn scoped(key: &Ed25519Signer, owner: &str, role: KeyRole) -> ScopedKey {
    ScopedKey {
        key: key.trusted_key(owner).unwrap(),
        roles: [role].into(),
        workers: ["*".parse().unwrap()].into(),
        predicates: [EVIDENCE_PREDICATE.into()].into(),
        builders: Vec::new(),
        window: Window::default(),
    }
}

pub fn references(names: &[&str]) -> Rule<ReferenceSet> {
    let value = |name: &&str| ReferenceValue {
        digest: digest(name),
        label: Label::new(name).unwrap(),
        window: Window::default(),
    };
    Rule::Require(ReferenceSet::new(names.iter().map(value).collect(), Vec::new()).unwrap())
}

/// A policy under which [`Case::claims`] passes.
pub fn form() -> AttestationPolicyForm {
    let times = TimeRules {
        max_age_ms: Millis::from_secs(60),
        max_lifetime_ms: Millis::from_secs(3600),
        future_skew_ms: Millis::from_secs(2),
        expiry_skew_ms: Millis::from_secs(1),
    };
    let mut form = AttestationPolicyForm::new(times);
    form.keys = vec![
        scoped(&launcher(), "node", KeyRole::Evidence),
        scoped(&proxy(), "network", KeyRole::EgressProxy),
    ];
    form.image = references(&["image-1", "image-2"]);
    form.build = references(&["build-1"]);
    form.artifact = references(&["artifact-1"]);
    form.protocol =
        Rule::Require(Some(ProtocolRule { range: ProtocolRange::new(2, 4).unwrap(), denied: vec![4] }));
    form.wit = Rule::Require(vec![WitRequirement {
        minimum: "tools:hash/run@1.2.0".parse().unwrap(),
        denied: vec!["1.3.0".parse().unwrap()],
    }]);
    form.capabilities = CapabilityRules {
        authorities: vec![Authority {
            digest: digest("authority"),
            label: Label::new("authority").unwrap(),
            grants: CapabilitySet::parse(["tool:hash", "tool:zip", "os:linux"]).unwrap(),
            window: Window::default(),
        }],
        trusted: CapabilitySet::parse(["tool:hash", "os:linux"]).unwrap(),
    };
    form.egress = Rule::Require(EgressRule { policies: vec![digest("egress-policy")] });
    form
}

pub fn policy(form: AttestationPolicyForm) -> AttestationPolicy {
    AttestationPolicy::try_from(form).unwrap()
}

/// One appraisal: change a member, then [`Case::judge`].
pub struct Case {
    pub form: AttestationPolicyForm,
    pub claims: WorkerClaims,
    pub binding: Option<EgressBinding>,
    pub signer: Ed25519Signer,
    pub proxy: Ed25519Signer,
    pub paired: Vec<TrustedKey>,
    pub attachments: Vec<Vec<u8>>,
    pub now: u64,
    pub nonce: Vec<u8>,
    pub nonce_issued: u64,
    pub audience: FleetId,
    pub device: DeviceId,
    pub certificate: Sha256Digest,
}

impl Default for Case {
    fn default() -> Self {
        let certificate = digest("certificate");
        let (worker, audience): (leasehold::id::WorkerId, FleetId) =
            ("w1".parse().unwrap(), "f1".parse().unwrap());
        let claims = WorkerClaims {
            worker: worker.clone(),
            device: "d1".parse().unwrap(),
            audience: audience.clone(),
            image: digest("image-1"),
            build: digest("build-1"),
            artifact: digest("artifact-1"),
            protocol: ProtocolRange::new(1, 3).unwrap(),
            wit: vec!["tools:hash/run@1.2.5".parse().unwrap()],
            capabilities: CapabilitySet::parse(["tool:hash"]).unwrap(),
            authority: digest("authority"),
            egress: None,
            nonce: NONCE.to_vec(),
            issued: Wall(NOW - 1_000),
            expires: Wall(NOW + 600_000),
            certificate,
        };
        let binding = EgressBinding {
            worker,
            audience: audience.clone(),
            certificate,
            policy: digest("egress-policy"),
            nonce: NONCE.to_vec(),
            issued: Wall(NOW - 2_000),
            expires: Wall(NOW + 300_000),
        };
        Self {
            form: form(),
            claims,
            binding: Some(binding),
            signer: launcher(),
            proxy: proxy(),
            paired: Vec::new(),
            attachments: Vec::new(),
            now: NOW,
            nonce: NONCE.to_vec(),
            nonce_issued: NOW - 5_000,
            audience,
            device: "d1".parse().unwrap(),
            certificate,
        }
    }
}

impl Case {
    pub fn claims(&self) -> WorkerClaims {
        let egress = self.binding.as_ref().map(|binding| binding.seal(&[&self.proxy]).unwrap());
        WorkerClaims { egress: egress.or(self.claims.egress.clone()), ..self.claims.clone() }
    }

    pub fn envelope(&self) -> Vec<u8> {
        self.claims().seal(&[&self.signer]).unwrap()
    }

    pub fn context(&self) -> EvidenceContext<'_> {
        EvidenceContext {
            now: Wall(self.now),
            nonce: &self.nonce,
            nonce_issued: Wall(self.nonce_issued),
            audience: &self.audience,
            device: &self.device,
            certificate: self.certificate,
        }
    }

    pub fn judge_bytes(&self, form: EvidenceForm, bytes: &[u8]) -> Appraisal {
        let context = self.context();
        let attachments: Vec<&[u8]> = self.attachments.iter().map(Vec::as_slice).collect();
        let submission = Submission { form, bytes, attachments: &attachments };
        appraise_submission(&submission, &policy(self.form.clone()), &self.paired, &context, &DefaultVerifier)
    }

    pub fn judge(&self) -> Appraisal {
        self.judge_bytes(EvidenceForm::Dsse, &self.envelope())
    }
}

/// The codes of the failures, after checking that failures and acceptance exclude each other.
pub fn codes(appraisal: &Appraisal) -> Vec<&'static str> {
    assert_eq!(
        appraisal.accepted().is_none(),
        !appraisal.failures().is_empty(),
        "{:?}",
        appraisal.failures()
    );
    appraisal.failures().iter().map(|failure| failure.code().as_str()).collect()
}

/// The codes after one change to a case that passes.
pub fn after(change: impl FnOnce(&mut Case)) -> Vec<&'static str> {
    let mut case = Case::default();
    change(&mut case);
    codes(&case.judge())
}
