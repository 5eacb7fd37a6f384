//! Every sample case of `examples/scenarios/` through the real `explain`, in one process, as a user would.
//!
//! `expect` is the part of the answer that the case is about: listed members must be there, arrays as long and equal
//! element by element.
#![allow(clippy::disallowed_methods)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

/// How `leasehold test` compares answers, too.
#[path = "../src/bin/leasehold/compare.rs"]
mod compare;
use compare::missing;

/// The example as `cargo test` built it, beside this test.
fn explain() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let path = profile.join("examples").join("explain");
    assert!(path.exists(), "{} is not built", path.display());
    path
}

struct Explain {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Explain {
    fn start() -> Self {
        let mut child = Command::new(explain())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("explain runs");
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    /// Asks, and waits for the answer before anything else is asked: output is flushed line by line.
    fn ask(&mut self, line: &[u8]) -> Value {
        self.input.write_all(line).unwrap();
        self.input.write_all(b"\n").unwrap();
        self.input.flush().unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error} in {answer:?}"))
    }

    fn end(mut self) {
        drop(self.input);
        assert!(self.child.wait().unwrap().success(), "explain ends with status 0 at the end of input");
    }
}

#[test]
fn every_scenario_is_answered_as_its_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/scenarios");
    let mut explain = Explain::start();
    let mut wrong = Vec::new();
    let kinds =
        ["address", "attestation", "dsse", "egress", "fleet", "host_rule", "json", "placement", "policy"];
    for kind in kinds {
        let text = fs::read_to_string(folder.join(format!("{kind}.jsonl"))).unwrap_or_default();
        let mut cases = 0;
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let scenario: Value = serde_json::from_str(line).unwrap();
            let mut case = scenario["case"].clone();
            case["id"] = json!([kind, number]);
            let mut expect = scenario["expect"].clone();
            expect["id"] = case["id"].clone();
            let answer = explain.ask(&serde_json::to_vec(&case).unwrap());
            if let Some(what) = missing(&expect, &answer, "") {
                wrong.push(format!("{kind}.jsonl:{}: {}: {what}", number + 1, scenario["note"]));
            }
            cases += 1;
        }
        assert!(cases >= 5, "{kind} has {cases} cases");
    }
    explain.end();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_line_that_is_not_understood_is_an_error_and_the_next_one_is_read() {
    let mut explain = Explain::start();
    let mut endless = b"{\"kind\":\"address\",\"ip\":\"".to_vec();
    endless.resize(9 << 20, b'1');
    let cases: &[(&[u8], &str)] = &[
        (b"", "json.truncated"),
        (b"nonsense", "json.not_an_object"),
        (b"[1]", "json.not_an_object"),
        (b"{\"kind\":\"address\",\"ip\":\"::1\",\"ip\":\"::2\"}", "json.duplicate_key"),
        (b"{\"kind\":\"nothing\"}", "explain.unknown_kind"),
        (b"{\"ip\":\"::1\"}", "explain.malformed"),
        (b"{\"kind\":\"address\"}", "explain.malformed"),
        (b"{\"kind\":\"address\",\"ip\":\"::1\",\"more\":1}", "explain.malformed"),
        (b"\xff", "json.utf8"),
        (&endless, "explain.too_long"),
    ];
    for (line, code) in cases {
        let answer = explain.ask(line);
        let text = String::from_utf8_lossy(&line[..line.len().min(60)]);
        assert_eq!(answer["error"]["code"], *code, "{text}");
        let answer = explain.ask(b"{\"kind\":\"address\",\"ip\":\"1.1.1.1\",\"id\":null}");
        assert_eq!((&answer["public"], answer.get("id")), (&json!(true), Some(&Value::Null)), "after {text}");
    }
    explain.end();
}
