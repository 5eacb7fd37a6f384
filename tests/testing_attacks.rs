//! The attack catalogue: it finds what a policy lets through, says so of other programs too, and skips no case.
#![allow(clippy::disallowed_methods, reason = "a test starts the example")]

use std::{
    io::{BufReader, Cursor},
    process::{Command, Stdio},
};

use leasehold::{
    egress::EgressPolicy,
    testing::attacks::{self, Report, Verdict},
};

fn policy(text: &str) -> EgressPolicy {
    serde_json::from_str(text).unwrap()
}

/// What careful people write: exact hosts, path prefixes, one private endpoint, credentials, a tunnel.
fn careful() -> EgressPolicy {
    policy(
        r#"{"rules": [
            {"id": "models", "hosts": ["api.example.com"], "methods": ["GET", "POST"], "paths": ["/v1/", "/beta/x"],
             "credentials": [{"header": "authorization", "secret": "vault:team/models", "prefix": "Bearer "}]},
            {"id": "vault", "hosts": ["vault.corp.example"], "ports": [8200], "private_addresses": ["10.1.0.0/16"]},
            {"id": "git", "suffixes": ["git.example.net"], "methods": ["CONNECT"]},
            {"id": "feed", "hosts": ["feed.example.org"], "max_request_bytes": 0}],
           "max_redirects": 3}"#,
    )
}

fn names(report: &Report) -> Vec<&str> {
    report.let_through().map(|row| row.name.as_str()).collect()
}

/// Invariants 9 and 10: nothing of the catalogue gets through a careful policy, and what it is for does.
#[test]
fn a_careful_policy_lets_nothing_through() {
    let report = attacks::replay(&careful()).unwrap();
    assert!(report.holds(), "{report}");
    assert_eq!(report.count(Verdict::ControlRefused), 0, "{report}");
    assert!(report.rows.len() > 500, "{}", report.rows.len());
}

/// What a wide policy allows is said: any host, and with it the tunnel and the redirect to anywhere.
#[test]
fn a_wide_policy_is_told_what_it_lets_through() {
    let wide = policy(
        r#"{"rules": [{"id": "all", "any_host": true, "methods": ["GET", "CONNECT"]}], "max_redirects": 1}"#,
    );
    let report = attacks::replay(&wide).unwrap();
    assert!(!report.holds());
    let through = names(&report);
    for due in ["egress.host.unlisted", "egress.tunnel.unlisted"] {
        assert!(through.contains(&due), "{due}: {report}");
    }
    assert!(through.iter().any(|name| name.starts_with("egress.redirect")), "{report}");
    assert!(!through.iter().any(|name| name.starts_with("egress.address")), "the floor holds: {report}");
    let observing = EgressPolicy { mode: leasehold::egress::Mode::Observe, ..careful() };
    assert!(names(&attacks::replay(&observing).unwrap()).contains(&"egress.host.unlisted"));
}

/// A program that allows everything fails every attack; one that is silent, or speaks something else, passes none.
#[test]
fn no_case_is_skipped() {
    let (policy, cases) = (careful(), attacks::egress(&careful()));
    let all = cases.len();
    let answers = |line: &str| Cursor::new(format!("{line}\n").repeat(all));
    let told = |line: &str| attacks::ask(&cases, &policy, std::io::sink(), answers(line)).unwrap();
    let yes = told(r#"{"allow":true,"headers":[["x-http-method-override","DELETE"]]}"#);
    let controls = yes.rows.iter().filter(|row| row.name.starts_with("egress.control")).count();
    assert_eq!(controls, policy.rules.len());
    assert!(yes.let_through().count() > all / 2 && !yes.holds());
    for (line, verdict) in
        [("{}", Verdict::NoAnswer), ("no", Verdict::NoAnswer), ("[true]", Verdict::NoAnswer)]
    {
        let report = told(line);
        assert_eq!((report.count(verdict), report.holds()), (all, false), "{line}");
    }
    let no = told(r#"{"allow":false}"#);
    assert_eq!(no.count(Verdict::ControlRefused), controls, "refusing everything is no success: {no}");
    let cut = attacks::ask(&cases, &policy, std::io::sink(), Cursor::new("{\"allow\":false}\n"));
    assert!(cut.unwrap_err().to_string().contains(&cases[1].name), "it names the case without an answer");
    assert!(!Report::default().holds(), "a report without a case proves nothing");
}

/// `explain`, asked over its line protocol, answers as the decision that `replay` asks.
#[test]
fn explain_gives_the_same_report() {
    let test = std::env::current_exe().unwrap();
    let explain = test.parent().and_then(std::path::Path::parent).unwrap().join("examples").join("explain");
    let mut child =
        Command::new(explain).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("explain runs");
    let (questions, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let policy = careful();
    let theirs = attacks::ask(&attacks::egress(&policy), &policy, questions, answers).unwrap();
    assert!(child.wait().unwrap().success());
    let ours = attacks::replay(&policy).unwrap();
    for (ours, theirs) in ours.rows.iter().zip(&theirs.rows) {
        assert_eq!(
            (&ours.name, ours.verdict),
            (&theirs.name, theirs.verdict),
            "{} {}",
            ours.found,
            theirs.found
        );
    }
    assert_eq!(ours.rows.len(), theirs.rows.len());
}
