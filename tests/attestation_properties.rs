//! Properties of appraisal that hold for every policy and evidence that the fixture can be bent into.

mod attestation_support;

use attestation_support::{Case, NOW, codes, digest, launcher, scoped};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use leasehold::{
    attestation::{
        AttestationPolicy, EvidenceForm, ProtocolRange,
        policy::{KeyRole, Label, ReferenceSet, ReferenceValue, Rule, Window},
        signature::{Ed25519Signer, Signer},
    },
    capability::CapabilitySet,
    code::Coded as _,
    time::Wall,
};
use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};

/// Changes that each break something of their own.
const BREAKS: [fn(&mut Case); 12] = [
    |case| case.claims.image = digest("other"),
    |case| case.claims.build = digest("other"),
    |case| case.claims.artifact = digest("other"),
    |case| case.claims.protocol = ProtocolRange::new(1, 1).unwrap(),
    |case| case.claims.wit = Vec::new(),
    |case| case.claims.capabilities = CapabilitySet::parse(["tool:root"]).unwrap(),
    |case| case.device = "d2".parse().unwrap(),
    |case| case.form.revoked.certificates = vec![digest("certificate")],
    |case| case.claims.expires = Wall(NOW - 100_000),
    |case| case.binding = None,
    |case| case.form.revoked.workers = vec!["w1".parse().unwrap()],
    |case| case.nonce_issued = NOW + 100_000,
];

/// The rules that a policy can waive.
const WAIVERS: [fn(&mut Case); 6] = [
    |case| case.form.image = waived(),
    |case| case.form.build = waived(),
    |case| case.form.artifact = waived(),
    |case| case.form.protocol = waived(),
    |case| case.form.wit = waived(),
    |case| case.form.egress = waived(),
];

fn waived<T>() -> Rule<T> {
    Rule::Waived { reason: Label::new("a test").unwrap() }
}

fn apply(case: &mut Case, changes: &[fn(&mut Case)], mask: u32) {
    changes.iter().enumerate().filter(|(at, _)| mask & 1 << at != 0).for_each(|(_, change)| change(case));
}

fn accepts(breaks: u32, waivers: u32) -> bool {
    let mut case = Case::default();
    apply(&mut case, &BREAKS, breaks);
    apply(&mut case, &WAIVERS, waivers);
    case.judge().accepted().is_some()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Adding a failure never turns a refusal into an acceptance, and never hides another failure.
    #[test]
    fn failures_only_add_up(mask in 0u32..1 << BREAKS.len(), more in 0..BREAKS.len()) {
        let judge = |mask| {
            let mut case = Case::default();
            apply(&mut case, &BREAKS, mask);
            codes(&case.judge())
        };
        let (fewer, all) = (judge(mask), judge(mask | 1 << more));
        prop_assert_eq!(fewer.is_empty(), mask == 0);
        prop_assert!(!all.is_empty());
        prop_assert!(fewer.iter().all(|code| all.contains(code)), "{:?} and then {:?}", fewer, all);
    }

    /// Removing a waiver never accepts more.
    #[test]
    fn a_waiver_that_goes_never_accepts_more(breaks in 0u32..1 << BREAKS.len(), waivers in 0u32..1 << WAIVERS.len(),
                                             gone in 0..WAIVERS.len()) {
        let fewer = waivers & !(1 << gone);
        prop_assert!(!accepts(breaks, fewer) || accepts(breaks, waivers));
        // One break at a time, so that acceptance under a waiver is reached too.
        let single = 1 << (breaks as usize % BREAKS.len());
        prop_assert!(!accepts(single, fewer) || accepts(single, waivers));
    }

    /// One bit of the payload, its type or a signature changed: refused. Anything else in the envelope: the evidence
    /// that is accepted, if any is, is the same.
    #[test]
    fn a_changed_envelope_is_refused(at in any::<Index>(), bit in 0u8..8, part in 0..3usize, byte in any::<u8>()) {
        let case = Case::default();
        let bytes = case.envelope();
        let identity = case.judge_bytes(EvidenceForm::Dsse, &bytes).accepted().unwrap().evidence();
        let mut envelope: Value = serde_json::from_slice(&bytes).unwrap();
        let slot = match part {
            0 => &mut envelope["payload"],
            1 => &mut envelope["signatures"][0]["sig"],
            _ => &mut envelope["payloadType"],
        };
        let text = slot.as_str().unwrap();
        let mut content = if part == 2 { text.as_bytes().to_vec() } else { STANDARD.decode(text).unwrap() };
        let place = at.index(content.len());
        content[place] ^= 1 << bit;
        if part < 2 {
            *slot = json!(STANDARD.encode(&content));
        } else if let Ok(text) = String::from_utf8(content) {
            *slot = json!(text);
        } else {
            return Ok(());
        }
        let changed = serde_json::to_vec(&envelope).unwrap();
        prop_assert!(case.judge_bytes(EvidenceForm::Dsse, &changed).accepted().is_none());
        let mut raw = bytes.clone();
        raw[at.index(bytes.len())] = byte;
        if let Some(accepted) = case.judge_bytes(EvidenceForm::Dsse, &raw).accepted() {
            prop_assert_eq!(accepted.evidence(), identity);
        }
    }

    /// Any other challenge, device, certificate or fleet than the evidence is bound to: refused.
    #[test]
    fn a_changed_context_is_refused(at in 0usize..64, flip in 1u8.., device in "[a-z]{1,8}", fleet in "[a-z]{1,8}") {
        let refused = |change: &dyn Fn(&mut Case)| {
            let mut case = Case::default();
            change(&mut case);
            case.judge().accepted().is_none()
        };
        prop_assert!(refused(&|case| case.nonce[at] ^= flip));
        prop_assert!(refused(&|case| case.nonce.truncate(at)));
        prop_assert!(refused(&|case| case.device = device.parse().unwrap()));
        prop_assert!(refused(&|case| case.audience = fleet.parse().unwrap()));
        prop_assert!(refused(&|case| case.certificate = digest(&device)));
    }

    /// The order of claims, of reference values, of keys and of signatures does not matter.
    #[test]
    fn order_does_not_matter(order in Just([0usize, 1, 2, 3]).prop_shuffle(), broken in any::<bool>()) {
        let other = Ed25519Signer::from_seed("second", &[4; 32]);
        let judge = |order: &[usize; 4]| {
            let mut case = Case::default();
            case.form.keys.push(scoped(&other, "other", KeyRole::Evidence));
            case.form.keys.push(scoped(&Ed25519Signer::from_seed("third", &[5; 32]), "third", KeyRole::Evidence));
            case.form.keys = order.iter().map(|at| case.form.keys[*at].clone()).collect();
            let names = ["image-1", "image-2", "image-3", "image-4"];
            let values = order.iter().map(|at| ReferenceValue {
                digest: digest(names[*at]),
                label: Label::new(names[*at]).unwrap(),
                window: Window::default(),
            });
            case.form.image = Rule::Require(ReferenceSet::new(values.collect(), Vec::new()).unwrap());
            let wit = ["tools:hash/run@1.2.5", "tools:hash/run@2.0.0", "tools:hash/run@1.3.0", "a:b/c@1.0.0"];
            case.claims.wit = order.iter().map(|at| wit[*at].parse().unwrap()).collect();
            if broken {
                case.claims.wit.retain(|wit| wit.to_string() != "tools:hash/run@1.2.5");
            }
            let mut signers: Vec<&dyn Signer> = vec![&case.signer, &other];
            if order[0] > order[1] {
                signers.reverse();
            }
            let verdict = case.judge_bytes(EvidenceForm::Dsse, &case.claims().seal(&signers).unwrap());
            let references = AttestationPolicy::try_from(leasehold::attestation::policy::AttestationPolicyForm {
                keys: Vec::new(),
                ..case.form.clone()
            });
            let codes: Vec<_> = verdict.failures().iter().map(|failure| failure.code()).collect();
            (codes, verdict.valid_until(), references.unwrap().digest())
        };
        prop_assert_eq!(judge(&order), judge(&[0, 1, 2, 3]));
        prop_assert_eq!(judge(&order).0.is_empty(), !broken);
    }

    /// Time only takes away: evidence that is refused for its age or its end stays refused.
    #[test]
    fn time_only_takes_away(early in 0u64..400_000, later in 0u64..400_000) {
        let accepts = |now: u64| {
            let mut case = Case { now, nonce_issued: NOW - 5_000, ..Case::default() };
            case.signer = launcher();
            case.judge().accepted().is_some()
        };
        let start = NOW - 10_000;
        let (first, second) = (start + early, start + early + later);
        // Issued at NOW - 1 s, with 2 s of skew: once it has begun to count, a later refusal is final.
        prop_assert!(first < NOW - 3_000 || accepts(first) || !accepts(second));
    }
}
