//! What a policy can ask of every statement: builder ids, build types, sources, parameters. And what stays of it when the
//! policy changes.

use leasehold::{
    attestation::{
        AttestationPolicy, Measurement, PROVENANCE_PREDICATE_V02,
        policy::{OtherParameters, ParameterRule, ProvenanceRule},
        reappraise,
    },
    code::Coded as _,
    time::Wall,
};
use serde_json::json;

use crate::{
    MISSING,
    attestation_support::{Case, NOW, builder, codes, policy},
    case,
    published::{Statement, sha256},
};

fn with(statement: &Statement, change: impl FnOnce(&mut ProvenanceRule)) -> Vec<&'static str> {
    let mut case = case(&[statement.signed(&builder())]);
    change(case.form.provenance.as_mut().unwrap());
    codes(&case.judge())
}

#[test]
fn builder_ids_are_texts_versions_or_patterns() {
    for (pattern, want) in [
        ("https://ci.example/builder@v1", true),
        ("https://ci.example/builder@*", true),
        ("https://ci.example/*", true),
        ("https://ci.example/builder", false),
        ("https://ci.example/build@*", false),
        ("https://ci.example/builder@v1.*", false),
    ] {
        let mut case = case(&[Statement::default().signed(&builder())]);
        case.form.keys[2].builders = vec![pattern.into()];
        assert_eq!(case.judge().accepted().is_some(), want, "{pattern}");
    }
}

#[test]
fn build_types_sources_and_parameters_are_what_the_policy_asks_for() {
    let v1 = Statement::default();
    let v02 = Statement {
        predicate_type: PROVENANCE_PREDICATE_V02,
        external: json!({"profile": "release"}),
        ..v1.clone()
    };
    for statement in [&v1, &v02] {
        assert_eq!(
            with(statement, |rule| rule.build_types = vec!["https://ci.example/types/image@*".into()]),
            [""; 0]
        );
        assert_eq!(
            with(statement, |rule| rule.build_types = vec!["https://ci.example/types/other@*".into()]),
            [MISSING, "attestation.provenance.build_type"]
        );
        assert_eq!(
            with(statement, |rule| rule.sources = vec!["https://git.example/acme/app@refs/tags/*".into()]),
            [""; 0]
        );
        assert_eq!(
            with(statement, |rule| rule.sources = vec!["https://git.example/acme/app@refs/heads/*".into()]),
            [MISSING, "attestation.provenance.source"]
        );
    }
    // A source that the parameters state is not outweighed by a dependency, and every one that is stated must match.
    let both = Statement {
        external: json!({"source": {"uri": "git+https://git.example/acme/app@refs/tags/v1"},
                         "workflow": {"repository": "https://git.example/evil/app", "ref": "refs/tags/v1"}}),
        ..v1.clone()
    };
    let sources = || vec!["https://git.example/acme/app@refs/tags/*".into()];
    assert_eq!(with(&both, |rule| rule.sources = sources()), [MISSING, "attestation.provenance.source"]);
    let dependency = Statement { external: json!({}), ..v1.clone() };
    assert_eq!(with(&dependency, |rule| rule.sources = sources()), [""; 0]);
    let parameters = |pairs: &[(&str, &str)], others| {
        let expected = pairs.iter().map(|(name, value)| ((*name).into(), vec![(*value).into()])).collect();
        move |rule: &mut ProvenanceRule| rule.parameters = Some(ParameterRule { expected, others })
    };
    let (repository, reference) =
        (("/workflow/repository", "https://git.example/acme/app"), ("/workflow/ref", "refs/tags/v1.2.3"));
    assert_eq!(with(&v1, parameters(&[repository, reference], OtherParameters::Refuse)), [""; 0]);
    assert_eq!(with(&v1, parameters(&[repository], OtherParameters::Ignore)), [""; 0]);
    let refused = [MISSING, "attestation.provenance.parameters"];
    assert_eq!(
        with(&v1, parameters(&[repository], OtherParameters::Refuse)),
        refused,
        "a parameter that nobody expects"
    );
    assert_eq!(
        with(&v1, parameters(&[("/workflow/ref", "refs/heads/main")], OtherParameters::Ignore)),
        refused
    );
    assert_eq!(
        with(&v1, parameters(&[("/workflow/path", "x")], OtherParameters::Ignore)),
        refused,
        "not there"
    );
    assert_eq!(
        with(&v02, parameters(&[("/parameters/profile", "release")], OtherParameters::Ignore)),
        [""; 0]
    );
    let wide = Statement { external: json!({"inputs": vec![1; 2000]}), ..v1 };
    assert_eq!(with(&wide, parameters(&[], OtherParameters::Ignore)), refused, "more than are compared");
}

#[test]
fn a_policy_that_cannot_be_met_is_refused_when_it_is_built() {
    let built = |change: &dyn Fn(&mut Case)| {
        let mut case = case(&[]);
        change(&mut case);
        AttestationPolicy::try_from(case.form)
    };
    let rule =
        |change: &dyn Fn(&mut ProvenanceRule)| built(&|case| change(case.form.provenance.as_mut().unwrap()));
    assert!(built(&|_| ()).is_ok());
    assert!(built(&|case| case.form.keys[2].builders = vec!["https://ci.example/b*".into()]).is_err());
    assert!(built(&|case| case.form.keys[2].builders = vec!["*".into()]).is_err());
    assert!(rule(&|rule| rule.threshold = 2).is_err(), "one owner");
    assert!(rule(&|rule| rule.of = vec![Measurement::Image, Measurement::Image]).is_err());
    assert!(rule(&|rule| rule.sources = vec![String::new()]).is_err());
    assert!(rule(&|rule| rule.max_bytes = Some(0)).is_err());
    assert!(rule(&|rule| rule.max_bytes = Some((4 << 20) + 1)).is_err());
    let parameters = |name: &str, values: Vec<String>| {
        let parameters =
            ParameterRule { expected: [(name.into(), values)].into(), ..ParameterRule::default() };
        rule(&|rule| rule.parameters = Some(parameters.clone()))
    };
    assert!(parameters("/x", vec!["y".into()]).is_ok());
    assert!(parameters("x", vec!["y".into()]).is_err());
    assert!(parameters("/x", vec![]).is_err());
}

/// Larger provenance than evidence may be: as large as the policy says.
#[test]
fn provenance_may_be_larger_than_evidence() {
    let mut statement = Statement::default();
    statement.subjects.extend((0..700).map(|n| sha256(&format!("file-{n}"))));
    let large = statement.signed(&builder());
    assert!(large.len() > 64 << 10);
    assert_eq!(with(&statement, |_| ()), [MISSING, "json.too_large"]);
    assert_eq!(with(&statement, |rule| rule.max_bytes = Some(1 << 20)), [""; 0]);
}

/// Invariants 4 and 12: what builders vouched for is judged again with the policy, exactly as far as that can be done
/// without their statements; otherwise the evidence is judged as if nobody had vouched.
#[test]
fn what_builders_vouched_for_is_judged_again() {
    let before = case(&[Statement::default().signed(&builder())]);
    let accepted = before.judge();
    let facts = accepted.accepted().unwrap().facts();
    let again = |change: &dyn Fn(&mut Case)| {
        let mut case = case(&[]);
        change(&mut case);
        let failures = reappraise(facts, &policy(case.form), Wall(NOW)).err().unwrap_or_default();
        failures.iter().map(|failure| failure.code().as_str()).collect::<Vec<_>>()
    };
    let rule =
        |change: &dyn Fn(&mut ProvenanceRule)| again(&|case| change(case.form.provenance.as_mut().unwrap()));
    assert_eq!(again(&|_| ()), [""; 0]);
    assert_eq!(again(&|case| case.form.keys[2].builders = vec!["https://ci.example/*".into()]), [""; 0]);
    assert_eq!(rule(&|rule| rule.of = vec![Measurement::Build]), [""; 0], "less than was asked for");
    assert_eq!(rule(&|rule| rule.of = vec![Measurement::Artifact]), [MISSING], "nobody was asked for that");
    assert_eq!(rule(&|rule| rule.build_types = vec!["https://ci.example/types/image@*".into()]), [MISSING]);
    assert_eq!(again(&|case| case.form.keys[2].builders = vec!["https://ci.example/2".into()]), [MISSING]);
    assert_eq!(
        again(&|case| case.form.keys[2].predicates = vec![PROVENANCE_PREDICATE_V02.into()]),
        [MISSING]
    );
    let fingerprint = facts.profile.builders[0].clone().by;
    let leasehold::attestation::BuilderSigner::Key(fingerprint) = fingerprint else { panic!("a key signed") };
    assert_eq!(again(&|case| case.form.revoked.keys = vec![fingerprint]), [MISSING]);
}
