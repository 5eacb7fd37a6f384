//! Policy files with a mistake each, in both notations: the finding names line, column, member, rule and a likely fix.

use leasehold::{
    code::Coded as _,
    policy_file::{Finding, Notation, read_attestation, read_egress, read_fleet},
    time::Wall,
};

const ATTESTATION: &str = r#"{"accept": ["dsse"], "times":
    {"max_age_ms": 60000, "max_lifetime_ms": 3600000, "future_skew_ms": 2000, "expiry_skew_ms": 0}}"#;

fn egress(text: &str) -> Finding {
    read_egress(text.as_bytes(), Notation::Json, &()).unwrap_err()
}

struct Case {
    text: &'static str,
    at: (u32, u32),
    path: &'static str,
    code: &'static str,
    says: &'static [&'static str],
}

const fn case(
    text: &'static str,
    at: (u32, u32),
    path: &'static str,
    code: &'static str,
    says: &'static [&'static str],
) -> Case {
    Case { text, at, path, code, says }
}

fn hold(cases: &[Case], read: impl Fn(&str) -> Finding) {
    let mut wrong = Vec::new();
    for case in cases {
        let finding = read(case.text);
        let shown = finding.to_string();
        let same = (finding.line, finding.column) == case.at
            && finding.path == case.path
            && finding.code().as_str() == case.code
            && case.says.iter().all(|words| shown.contains(words));
        if !same {
            wrong.push(format!(
                "{}\n  wanted {:?} {} {} {:?}\n  got {shown}",
                case.text, case.at, case.path, case.code, case.says
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Invariant 11: whatever is wrong is refused, and the finding leads to it.
#[test]
fn mistakes_in_egress_policies() {
    let cases = [
        case(
            "{\n  \"rules\": [\n    {\"id\": \"a\", \"hosts\": [\"a.example\"], \"methds\": [\"GET\"]}\n  ]\n}",
            (3, 41),
            "rules[0].methds",
            "egress.policy.malformed",
            &["rule `a`", "did you mean `methods`?"],
        ),
        case("{\"rulez\": []}", (1, 2), "rulez", "egress.policy.malformed", &["did you mean `rules`?"]),
        case("{\"quux\": 1}", (1, 2), "quux", "egress.policy.malformed", &["allowed are rules, deny, mode"]),
        case(
            "{\"mode\": \"observ\"}",
            (1, 2),
            "mode",
            "egress.policy.malformed",
            &["\"observ\"", "did you mean `observe`?"],
        ),
        case(
            "{\"rules\": [{\"id\": \"a\", \"ports\": [\"443\"]}]}",
            (1, 34),
            "rules[0].ports[0]",
            "egress.policy.malformed",
            &["invalid type: string", "expected u16"],
        ),
        case(
            "{\"rules\": [{\"hosts\": [\"a.example\"]}]}",
            (1, 12),
            "rules[0]",
            "egress.policy.malformed",
            &["add the member `id`"],
        ),
        case(
            "{\"rules\": [{\"id\": \"a\",\n \"hosts\": [\"a.example\", \"b_.example:1\"]}]}",
            (2, 25),
            "rules[0].hosts[1]",
            "egress.policy.host",
            &["it is \"b_.example:1\""],
        ),
        case(
            "{\"rules\": [{\"id\": \"a\", \"hosts\": [\"a.example\"]},\n {\"id\": \"a\", \"hosts\": [\"b.example\"]}]}",
            (2, 3),
            "rules[1].id",
            "egress.policy.duplicate_id",
            &["another rule has this id"],
        ),
        case("{\"rules\": [],}", (1, 14), "", "json.grammar", &["remove the comma after the last entry"]),
        case("{\n// rules\n}", (2, 1), "", "json.grammar", &["JSON has no comments"]),
        case("{\"rules\": [", (1, 12), "", "json.truncated", &["closing bracket"]),
        case(
            "{\"mode\": \"enforce\",\n\"mode\": \"observe\"}",
            (2, 1),
            "",
            "json.duplicate_key",
            &["keep one"],
        ),
        case("{\"max_redirects\": 1.5}", (1, 19), "", "json.number_integer", &["whole number"]),
        case("[]", (1, 1), "", "json.not_an_object", &[]),
        case(
            "{\"rules\": [[\"a\"]]}",
            (1, 12),
            "rules[0]",
            "egress.policy.malformed",
            &["invalid type: sequence"],
        ),
        case("{\"max_redirects\": 33}", (1, 2), "max_redirects", "egress.policy.redirects", &["it is 33"]),
    ];
    hold(&cases, egress);
}

/// A rule between two members shows both values, and which of them is a default.
#[test]
fn contradictions_show_both_values() {
    let fleet = |lease: &str| {
        let text = format!("{{\"fleet\": \"prod\",\n\"attestation\": {ATTESTATION},\n\"lease\": {lease}}}");
        read_fleet(text.as_bytes(), Notation::Json, Wall(0)).unwrap_err()
    };
    let finding = fleet("{\"ttl_max_ms\": 15000}");
    assert_eq!((finding.line, finding.path.as_str()), (4, "lease.ttl_max_ms"), "{finding}");
    let help = finding.help.unwrap();
    assert!(help.contains("lease.renew_every_ms is 20000 by default"), "{help}");
    assert!(help.contains("lease.ttl_max_ms is 15000") && !help.contains("15000 by"), "{help}");

    let attestation = ATTESTATION.replace("3600000", "1000");
    let finding = read_attestation(attestation.as_bytes(), Notation::Json, Wall(0)).unwrap_err();
    assert_eq!((finding.line, finding.path.as_str()), (2, "times.future_skew_ms"), "{finding}");
    let help = finding.help.unwrap();
    assert!(help.contains("times.future_skew_ms is 2000, times.max_lifetime_ms is 1000"), "{help}");

    let inner = format!("{{\"fleet\": \"prod\",\n\"attestation\": {attestation}}}");
    let finding = read_fleet(inner.as_bytes(), Notation::Json, Wall(0)).unwrap_err();
    assert_eq!((finding.line, finding.path.as_str()), (3, "attestation.times.future_skew_ms"), "{finding}");
    assert!(finding.help.unwrap().contains("attestation.times.max_lifetime_ms is 1000"));
}

/// What is legal and unwise has a place, too.
#[test]
fn warnings_have_places() {
    let text = b"{\"rules\": [\n {\"id\": \"all\", \"hosts\": [], \"any_host\": true}]}";
    let checked = read_egress(text, Notation::Json, &()).unwrap();
    let places: Vec<_> = checked
        .warnings
        .iter()
        .map(|warning| (warning.line, warning.rule.as_deref(), warning.code().as_str()))
        .collect();
    assert_eq!(places, [(2, Some("all"), "egress.lint.any_host")]);

    let checked = read_attestation(ATTESTATION.as_bytes(), Notation::Json, Wall(0)).unwrap();
    assert!(checked.warnings.iter().any(|warning| warning.path == "image"), "{:?}", checked.warnings);
}

/// Both notations give the same policy, and the same finding at their own places.
#[cfg(feature = "cli")]
#[test]
fn toml_is_the_same_policy() {
    let toml = "max_redirects = 2\n\n[[rules]]\nid = \"a\"\nhosts = [\"a.example\"]\nports = [0x1bb]\n";
    let json =
        "{\"max_redirects\": 2, \"rules\": [{\"id\": \"a\", \"hosts\": [\"a.example\"], \"ports\": [443]}]}";
    let one = read_egress(toml.as_bytes(), Notation::Toml, &()).unwrap();
    let other = read_egress(json.as_bytes(), Notation::Json, &()).unwrap();
    assert_eq!((one.document, one.policy.digest()), (other.document, other.policy.digest()));

    let cases = [
        case(
            "[[rules]]\nid = \"a\"\n\n[[rules]]\nid = \"b\"\nhost = [\"b.example\"]\n",
            (6, 1),
            "rules[1].host",
            "egress.policy.malformed",
            &["rule `b`", "did you mean `hosts`?"],
        ),
        case(
            "[[rules]]\nid = \"a\"\nhosts = [\n  \"a.example\",\n  \"*.example\"]\n",
            (5, 3),
            "rules[0].hosts[1]",
            "egress.policy.host",
            &["*.example"],
        ),
        case("[[rules]\n", (1, 9), "", "json.grammar", &["not TOML"]),
        case("max_redirects = 1.5", (1, 17), "", "json.shape", &["whole number"]),
        case("mode = 1979-05-27", (1, 8), "", "json.shape", &["milliseconds since 1970"]),
    ];
    hold(&cases, |text| read_egress(text.as_bytes(), Notation::Toml, &()).unwrap_err());
}
