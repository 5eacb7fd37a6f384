//! The command line `leasehold`, as a user runs it: what it prints, and that its exit status is never 0 by mistake.
#![cfg(feature = "cli")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("leasehold-cli-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Status, standard output, standard error.
fn leasehold(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_leasehold")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

const POLICY: &str = r#"{"rules": [{"id": "models", "hosts": ["api.example.com"], "paths": ["/v1/"]}]}"#;

/// Invariant 11 for files: what is malformed is refused with a status that is not 0, a code and the place.
#[test]
fn every_command_ends_with_the_status_that_it_documents() {
    let folder = Folder::new("status");
    let good = folder.file("good.json", POLICY);
    let toml = folder
        .file("good.toml", "[[rules]]\nid = \"models\"\nhosts = [\"api.example.com\"]\npaths = [\"/v1/\"]\n");
    let bad = folder.file("bad.json", &POLICY.replace("hosts", "hots"));
    let wide = folder.file("wide.json", r#"{"rules": [{"id": "all", "any_host": true}]}"#);
    let vague = folder.file("vague.json", "{}");
    let missing = folder.0.join("missing.json").to_str().unwrap().to_string();
    let url = ["--url", "https://api.example.com/v1/x", "--dns", "api.example.com=93.184.215.14"];
    let ask = |policy: &str, more: &[&str]| {
        let mut arguments = vec!["egress", "test", policy];
        arguments.extend_from_slice(more);
        leasehold(&arguments)
    };
    let cases = [
        (leasehold(&["policy", "check", &good]), 0, "valid egress policy"),
        (leasehold(&["policy", "check", &toml]), 0, "valid egress policy"),
        (leasehold(&["attacks", &good]), 0, " held, 0 let through, 0 controls refused, 0 without an answer"),
        (leasehold(&["attacks", &good, "--list"]), 0, r#""invariant":9"#),
        (leasehold(&["attacks", &good, "--json"]), 0, r#""verdict":"held""#),
        (leasehold(&["attacks", &bad]), 2, "did you mean `hosts`?"),
        // Programs that give no answers, and one that is not there.
        (leasehold(&["attacks", &good, "--program", "cat"]), 1, "no answer: "),
        (leasehold(&["attacks", &good, "--program", "true"]), 2, "gives no answer"),
        (leasehold(&["attacks", &good, "--program", &missing]), 2, "No such file"),
        (leasehold(&["policy", "check", &bad]), 1, "1:29: rules[0].hots (rule `models`)"),
        (leasehold(&["policy", "check", &missing]), 2, "missing.json"),
        (leasehold(&["policy", "check", &vague]), 2, "--kind"),
        (leasehold(&["policy", "check", &vague, "--kind", "egress"]), 0, "valid"),
        (leasehold(&["policy", "lint", &good]), 0, "0 warnings"),
        (leasehold(&["policy", "lint", &wide]), 1, "egress.lint.any_host"),
        (leasehold(&["policy", "lint", &bad]), 1, "did you mean `hosts`?"),
        (leasehold(&["policy", "diff", &good, &toml]), 0, "0 members differ"),
        (leasehold(&["policy", "diff", &good, &wide]), 1, "+ rules[all].any_host: true"),
        (leasehold(&["policy", "diff", &good, &bad]), 2, "hots"),
        (leasehold(&["policy", "fmt", "--check", &good]), 1, "usual form"),
        (leasehold(&["policy", "fmt", "--check", &toml]), 2, "JSON"),
        (ask(&good, &url), 0, "allowed by rule models"),
        (ask(&toml, &url), 0, "93.184.215.14:443"),
        (ask(&good, &url[..2]), 1, "egress.dns.no_answer"),
        (ask(&good, &["--url", "https://other.example/"]), 1, "egress.host.not_allowed"),
        (ask(&good, &["--connect", "api.example.com:443"]), 1, "egress.method.not_allowed"),
        (ask(&bad, &url), 2, "hots"),
        (ask(&good, &["--url", "https://api.example.com/", "--dns", "x"]), 2, "NAME=ADDRESS"),
        (
            ask(&good, &["--url", "https://api.example.com/", "--dns", "x=1.2.3"]),
            2,
            "egress.address.malformed",
        ),
        (ask(&good, &[]), 2, "--url"),
        (leasehold(&["codes", "lease"]), 0, "lease.stale_fence: "),
        (leasehold(&["codes", "lea"]), 2, "no code"),
        (leasehold(&["completions", "bash"]), 0, "_leasehold"),
        (leasehold(&["completions", "cobol"]), 2, "cobol"),
        (leasehold(&[]), 2, "Usage"),
        (leasehold(&["--help"]), 0, "Exit status"),
    ];
    for (nth, ((status, out, err), wanted, says)) in cases.into_iter().enumerate() {
        assert_eq!(status, wanted, "case {nth}\n{out}\n{err}");
        assert!(out.contains(says) || err.contains(says), "case {nth}: no {says:?} in\n{out}\n{err}");
        assert!(!out.contains('\u{1b}') && !err.contains('\u{1b}'), "case {nth}: colours without a terminal");
    }
}

/// What `fmt` writes is the usual form: the same policy, and formatted already.
#[test]
fn formatting_twice_changes_nothing() {
    let folder = Folder::new("fmt");
    let file = folder.file("policy.json", POLICY);
    let before = leasehold(&["policy", "check", &file]).1;
    assert_eq!(leasehold(&["policy", "fmt", "--write", &file]).0, 0);
    assert_eq!(leasehold(&["policy", "fmt", "--check", &file]).0, 0);
    assert_eq!(leasehold(&["policy", "check", &file]).1, before, "the digest is the same");
}

/// A case that cannot be read is never a case that passed.
#[test]
fn scenario_files() {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/scenarios");
    let (status, out, err) = leasehold(&["test", scenarios.to_str().unwrap()]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    assert!(out.ends_with(" cases, 0 not as expected\n"), "{out}");

    let folder = Folder::new("cases");
    let case = r#"{"note": "n", "case": {"kind": "address", "ip": "1.1.1.1"}, "expect": {"public": true}}"#;
    let cases = [
        (case.to_string(), 0, "1 cases, 0 not as expected"),
        (case.replace("true", "false"), 1, "cases.jsonl:1: n: .public: want false, got true"),
        (String::from("\n"), 2, "no case in it"),
        (format!("{case}\nnonsense"), 2, "cases.jsonl:2"),
        (case.replace("expect", "expects"), 2, "unknown field `expects`"),
        (case.replace("{\"public\": true}", "{}"), 2, "at least one member"),
    ];
    for (text, wanted, says) in cases {
        let file = folder.file("cases.jsonl", &text);
        let (status, out, err) = leasehold(&["test", &file]);
        assert_eq!(status, wanted, "{text}\n{out}\n{err}");
        assert!(out.contains(says) || err.contains(says), "no {says:?} in\n{out}\n{err}");
    }
    assert_eq!(leasehold(&["test", folder.0.join("nothing").to_str().unwrap()]).0, 2);
}

/// Signed evidence of the sample scenarios, through files.
#[test]
fn evidence_in_files() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/scenarios/attestation.jsonl");
    let text = fs::read_to_string(scenarios).unwrap();
    let folder = Folder::new("evidence");
    for line in text.lines().take(6) {
        let scenario: serde_json::Value = serde_json::from_str(line).unwrap();
        let case = &scenario["case"];
        if case.get("attachments").is_some() {
            continue;
        }
        let evidence = folder.0.join("evidence");
        fs::write(&evidence, STANDARD.decode(case["document"].as_str().unwrap()).unwrap()).unwrap();
        let policy = folder.file("policy.json", &case["policy"].to_string());
        let context = folder.file("context.json", &case["context"].to_string());
        let (status, out, err) = leasehold(&[
            "attest",
            "test",
            &policy,
            "--evidence",
            evidence.to_str().unwrap(),
            "--form",
            case["form"].as_str().unwrap(),
            "--context",
            &context,
        ]);
        let accepted = scenario["expect"]["accepted"].as_bool().unwrap();
        assert_eq!(status, i32::from(!accepted), "{}\n{out}\n{err}", scenario["note"]);
        assert!(out.starts_with(if accepted { "accepted worker" } else { "refused worker" }), "{out}");
    }
}
