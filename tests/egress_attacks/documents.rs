//! Policies as documents: how they are read, and what in them is legal and unwise.

use leasehold::{
    attestation::strict::StrictErrorKind,
    code::Coded,
    egress::{EgressPolicy, EgressProxyPolicyService, PublicSuffixes, lint},
    fleet::WorkerFleetPolicyForm,
};
use serde_json::{Value, json};

use crate::world::one_rule;

/// Attack A8: serde alone takes arrays for structs.
/// Invariant 11.
#[test]
fn a8_no_policy_takes_an_array_for_an_object() {
    for text in [
        r#"{"rules":[["a",["a.example.com"]]]}"#,
        r#"[[],[[],[],[]]]"#,
        r#"{"deny":[["a.example.com"],[],[]]}"#,
        r#"{"rules":[{"id":"a","hosts":["a.example"],"credentials":[["authorization","vault:a"]]}]}"#,
        r#"{"rules":[],"rules":[]}"#,
        r#"{"rules":[]} {}"#,
    ] {
        assert!(EgressPolicy::from_json(text.as_bytes()).is_err(), "{text}");
    }
    let text = one_rule(json!({"paths": ["/v1/"], "nat64": "refuse"}));
    assert_eq!(
        EgressPolicy::from_json(text.to_string().as_bytes()).unwrap_err().kind,
        StrictErrorKind::Shape
    );
    let text = one_rule(json!({"paths": ["/v1/"]})).to_string();
    assert_eq!(EgressPolicy::from_json(text.as_bytes()).unwrap(), serde_json::from_str(&text).unwrap());

    let fleet = json!({"fleet": "f", "attestation": {"accept": []}, "lease": [1, 2]}).to_string();
    assert!(WorkerFleetPolicyForm::from_json(fleet.as_bytes()).is_err());
}

struct Suffixes;

impl PublicSuffixes for Suffixes {
    fn is_public_suffix(&self, name: &str) -> bool {
        name == "github.io"
    }
}

fn warnings(policy: Value) -> Vec<(&'static str, String)> {
    let policy: EgressPolicy = serde_json::from_value(policy).unwrap();
    let service = EgressProxyPolicyService::compile(&policy).unwrap();
    let found = lint(&policy, &service, &Suffixes);
    found.iter().map(|warning| (warning.code().as_str(), warning.to_string())).collect()
}

/// Each warning has its code, and its message says what to write instead.
#[test]
fn what_is_legal_and_unwise_is_warned_about() {
    for (rule, code, says) in [
        (json!({"methods": ["*"]}), "egress.lint.method", "list the methods"),
        (json!({"methods": ["get"]}), "egress.lint.method", "get is not GET"),
        (json!({"paths": ["/v1/*"]}), "egress.lint.path_star", "stands for itself"),
        (json!({"methods": ["GET", "CONNECT"], "paths": ["/v1/"]}), "egress.lint.connect", "without paths"),
        (
            json!({"methods": ["GET", "CONNECT"], "credentials": [{"header": "x", "secret": "vault:a"}]}),
            "egress.lint.connect",
            "required",
        ),
        (
            json!({"methods": ["CONNECT"], "hidden_server_name": true}),
            "egress.lint.hidden_server_name",
            "every server",
        ),
        (json!({"hidden_server_name": true}), "egress.lint.hidden_server_name", "no CONNECT"),
        (json!({"ports": [80]}), "egress.lint.scheme_port", "https on port 80"),
        (json!({"ports": [443], "schemes": ["http"]}), "egress.lint.scheme_port", "http on port 443"),
        (json!({"hosts": ["10.1.2.3"]}), "egress.lint.private_host", "private_addresses"),
        (json!({"hosts": ["db.internal"]}), "egress.lint.private_host", "private_addresses"),
        (json!({"hosts": ["vault"]}), "egress.lint.private_host", "private_addresses"),
        (
            json!({"ports": [443], "private_addresses": ["fd00::/16"]}),
            "egress.lint.wide_private_range",
            "/48",
        ),
        (
            json!({"ports": [443], "private_addresses": ["10.0.0.0/8"]}),
            "egress.lint.wide_private_range",
            "/16",
        ),
        (
            json!({"ports": [443], "private_addresses": ["169.254.0.0/16"]}),
            "egress.lint.metadata_range",
            "169.254.169.254",
        ),
        (
            json!({"ports": [443], "private_addresses": ["fd00:c1::/48"]}),
            "egress.lint.metadata_range",
            "Oracle",
        ),
        (
            json!({"hosts": [], "suffixes": ["github.io"]}),
            "egress.lint.public_suffix",
            "list the names below it",
        ),
    ] {
        let found = warnings(one_rule(rule.clone()));
        let named = found.iter().filter(|(found, _)| *found == code).collect::<Vec<_>>();
        assert!(named.iter().any(|(_, message)| message.contains(says)), "{rule}: {found:?}");
    }
    let mut policy = one_rule(json!({}));
    policy["deny"] = json!({"hosts": ["93.184.216.34", "a.example"]});
    let [(code, message)] = &warnings(policy)[..] else { panic!("one warning") };
    assert_eq!((*code, message.starts_with("deny.hosts")), ("egress.lint.deny_address", true));
}

/// What is written as it should be has no warnings.
#[test]
fn an_ordinary_rule_has_no_warnings() {
    for rule in [
        json!({}),
        json!({"methods": ["GET", "PATCH"], "paths": ["/v1/", "/@scope%2Fname"], "ports": [443, 8443]}),
        json!({"methods": ["CONNECT"]}),
        json!({"schemes": ["http", "https"], "ports": [80, 443]}),
        json!({"hosts": ["10.1.2.3"], "ports": [8443], "private_addresses": ["10.1.2.0/24"]}),
        json!({"hosts": ["db.internal"], "ports": [8443], "private_addresses": ["fd12:3456:789a::/48"]}),
        json!({"hosts": [], "suffixes": ["example.com"]}),
    ] {
        assert_eq!(warnings(one_rule(rule.clone())), [], "{rule}");
    }
}
