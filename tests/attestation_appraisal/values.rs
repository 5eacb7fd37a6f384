//! What is claimed against what the policy trusts: reference values, versions, capabilities, revocations (invariant 4).

use leasehold::{
    attestation::{
        Dimension, ProtocolRange, Tier,
        policy::{CapabilityRules, Label, ReferenceSet, ReferenceValue, Rule, Window},
    },
    capability::CapabilitySet,
    time::Wall,
};

use crate::attestation_support::{Case, NOW, after, codes, digest};

fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

/// A6: a digest for which no reference value is configured is refused, whatever it is.
#[test]
fn a6_no_reference_value_is_never_any() {
    assert_eq!(after(|case| case.form.image = Rule::default()), ["attestation.image.no_reference"]);
    assert_eq!(after(|case| case.form.build = Rule::default()), ["attestation.build.no_reference"]);
    assert_eq!(after(|case| case.form.artifact = Rule::default()), ["attestation.artifact.no_reference"]);
    assert_eq!(after(|case| case.form.protocol = Rule::default()), ["attestation.protocol.no_rule"]);
    assert_eq!(after(|case| case.form.wit = Rule::default()), ["attestation.wit.no_rule"]);
    assert_eq!(after(|case| case.form.keys.truncate(0)), ["dsse.untrusted"]);
    let nothing = CapabilityRules::default();
    assert_eq!(
        after(|case| case.form.capabilities = nothing),
        ["attestation.authority.unknown", "attestation.capabilities.untrusted"]
    );
    // To skip a check the policy says so, and the verdict shows it.
    let mut case = Case::default();
    case.claims.image = digest("anything");
    case.form.image = Rule::Waived { reason: label("no reference values yet") };
    let verdict = case.judge();
    assert_eq!(codes(&verdict), [""; 0]);
    assert_eq!(verdict.waived(), [(Dimension::Image, label("no reference values yet"))]);
    assert_eq!(verdict.trust().tier(Dimension::Image), Tier::Waived);
}

/// A12: versions that are too old, too new, denied or not there, each with its code.
#[test]
fn a12_versions_outside_their_bounds_are_refused() {
    let protocol = |min, max| after(|case| case.claims.protocol = ProtocolRange::new(min, max).unwrap());
    assert_eq!(protocol(3, 9), [""; 0]);
    assert_eq!(protocol(1, 1), ["attestation.protocol.too_old"]);
    assert_eq!(protocol(5, 9), ["attestation.protocol.too_new"]);
    assert_eq!(protocol(4, 9), ["attestation.protocol.denied"]);
    let wit = |list: &[&str]| {
        after(|case| case.claims.wit = list.iter().map(|text| text.parse().unwrap()).collect())
    };
    assert_eq!(wit(&["tools:hash/run@1.1.9"]), ["attestation.wit.too_old"]);
    assert_eq!(wit(&["tools:hash/run@0.9.0"]), ["attestation.wit.too_old"]);
    assert_eq!(wit(&["tools:hash/run@2.0.0"]), ["attestation.wit.too_new"]);
    assert_eq!(wit(&["tools:hash/run@1.3.0"]), ["attestation.wit.denied"]);
    assert_eq!(wit(&["tools:hash/run@1.4.0-rc.1"]), ["attestation.wit.other_track"]);
    assert_eq!(wit(&["tools:hash/walk@1.2.0"]), ["attestation.wit.absent"]);
    assert_eq!(wit(&[]), ["attestation.wit.absent"]);
    // During a roll-out a worker has both: one that fits is enough.
    assert_eq!(wit(&["tools:hash/run@1.3.0", "tools:hash/run@2.0.0", "tools:hash/run@1.2.0"]), [""; 0]);
}

/// A13: a capability beyond its authority or beyond the fleet's trust is a failure, not trimmed away.
#[test]
fn a13_an_excess_of_capabilities_is_refused() {
    let claim = |names: &[&str]| {
        after(|case| case.claims.capabilities = CapabilitySet::parse(names.iter().copied()).unwrap())
    };
    assert_eq!(claim(&["tool:hash", "os:linux"]), [""; 0]);
    assert_eq!(claim(&["tool:hash", "tool:zip"]), ["attestation.capabilities.untrusted"]);
    assert_eq!(
        claim(&["tool:hash", "tool:root"]),
        ["attestation.capabilities.exceed_authority", "attestation.capabilities.untrusted"]
    );
    assert_eq!(claim(&[]), ["attestation.capabilities.empty"]);
    assert_eq!(after(|case| case.claims.authority = digest("own")), ["attestation.authority.unknown"]);
    let over = Window { not_before_ms: None, not_after_ms: Some(Wall(NOW)) };
    assert_eq!(
        after(|case| case.form.capabilities.authorities[0].window = over),
        ["attestation.authority.outside_window"]
    );
}

/// Reference values have windows, so that roll-outs overlap; the deny list wins over all of them.
#[test]
fn references_overlap_and_denied_wins() {
    let value = |name: &str, from: Option<u64>, to: Option<u64>| ReferenceValue {
        digest: digest("image-1"),
        label: label(name),
        window: Window { not_before_ms: from.map(Wall), not_after_ms: to.map(Wall) },
    };
    let with = |values: Vec<ReferenceValue>, denied: Vec<&str>| {
        let mut case = Case::default();
        let denied = denied.into_iter().map(digest).collect();
        case.form.image = Rule::Require(ReferenceSet::new(values, denied).unwrap());
        case.judge()
    };
    let over = value("old", None, Some(NOW));
    let soon = value("next", Some(NOW + 1), None);
    let brief = value("now", None, Some(NOW + 7));
    assert_eq!(codes(&with(vec![over.clone(), soon.clone()], vec![])), ["attestation.image.outside_window"]);
    let overlap = with(vec![over, soon, brief.clone()], vec![]);
    assert_eq!(overlap.valid_until(), Some(Wall(NOW + 7)));
    assert_eq!(codes(&with(vec![brief], vec!["image-1"])), ["attestation.image.denied"]);
}

/// Invariant 12: what is revoked authorises nothing, whatever else holds.
#[test]
fn revoked_workers_devices_and_certificates_are_refused() {
    assert_eq!(
        after(|case| case.form.revoked.workers = vec!["w1".parse().unwrap()]),
        ["attestation.worker.revoked"]
    );
    assert_eq!(
        after(|case| case.form.revoked.devices = vec!["d1".parse().unwrap()]),
        ["attestation.device.revoked"]
    );
    assert_eq!(
        after(|case| case.form.revoked.certificates = vec![digest("certificate")]),
        ["attestation.certificate.revoked"]
    );
}
