//! Public bundles through the program, as a user would: what it says, and its exit status.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

fn bundle(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bundles").join(name)
}

/// A policy under which the npm package's release workflow is a builder, changed.
fn policy(change: impl FnOnce(&mut Value)) -> Value {
    let mut policy = json!({
        "accept": ["dsse"],
        "times": {"max_age_ms": 60000, "max_lifetime_ms": 3600000, "future_skew_ms": 2000, "expiry_skew_ms": 0},
        "provenance": {
            "threshold": 1, "of": ["artifact"],
            "build_types": ["https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1"],
            "sources": ["https://github.com/sigstore/sigstore-js@refs/heads/main"],
            "parameters": {"expected": {"/workflow/path": [".github/workflows/release.yml"],
                "/workflow/ref": ["refs/heads/main"],
                "/workflow/repository": ["https://github.com/sigstore/sigstore-js"]}},
        },
        "identities": [{
            "issuer": "https://token.actions.githubusercontent.com", "owner": "npm",
            "repositories": ["https://github.com/sigstore/sigstore-js"], "refs": ["refs/heads/main"],
            "workflows": ["https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@*"],
            "predicates": ["https://slsa.dev/provenance/v1"], "builders": ["https://github.com/actions/runner/*"],
        }],
    });
    change(&mut policy);
    policy
}

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

/// What the program answers, and its status.
fn run(bundle: &Path, policy: &Path, more: &[&str]) -> (i32, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_leasehold-keyless"))
        .arg("verify")
        .arg(bundle)
        .arg("--policy")
        .arg(policy)
        .args(more)
        .output()
        .unwrap();
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

#[test]
fn a_public_bundle_is_verified_offline() {
    let scratch = Scratch::new("good");
    let good = scratch.file("policy.json", &policy(|_| ()).to_string());
    let (status, answer) = run(&bundle("npm-sigstore-2.0.0.json"), &good, &[]);
    assert_eq!((status, &answer["accepted"]), (0, &json!(true)), "{answer:#}");
    let statement = &answer["statements"][0];
    assert_eq!(statement["builder"], "https://github.com/actions/runner/github-hosted");
    let identity = &statement["signers"][0]["identity"];
    assert_eq!(identity["issuer"], "https://token.actions.githubusercontent.com");
    assert_eq!(identity["repository"], "https://github.com/sigstore/sigstore-js");
    assert_eq!(identity["ref"], "refs/heads/main");
    let digest = statement["subjects"][0]["sha512"].as_str().unwrap();
    assert!(digest.starts_with("46d4e2f74c48") && digest.len() == 128);
    // The same as lines.
    let text = std::fs::read_to_string(bundle("npm-sigstore-2.0.0.json")).unwrap();
    let line = serde_json::from_str::<Value>(&text).unwrap().to_string();
    let lines = scratch.file("lines.jsonl", &format!("{line}\n{line}\n"));
    assert_eq!(run(&lines, &good, &[]).0, 0);
}

#[test]
fn what_is_refused_has_its_code_and_status() {
    let scratch = Scratch::new("bad");
    let good = scratch.file("policy.json", &policy(|_| ()).to_string());
    let npm = bundle("npm-sigstore-2.0.0.json");
    let mut count = 0;
    let mut with = |change: &dyn Fn(&mut Value)| {
        count += 1;
        let file = scratch.file(&format!("policy-{count}.json"), &policy(change).to_string());
        let (status, answer) = run(&npm, &file, &[]);
        (status, answer["statements"][0]["code"].as_str().unwrap_or_default().to_owned())
    };
    for (change, want) in [
        (
            ("/identities/0/repositories/0", json!("https://github.com/sigstore/other")),
            "keyless.identity.unknown",
        ),
        (("/identities/0/issuer", json!("https://accounts.example")), "keyless.identity.unknown"),
        (("/identities/0/refs/0", json!("refs/tags/*")), "keyless.identity.unknown"),
        (("/identities/0/builders/0", json!("https://ci.example/1")), "attestation.provenance.builder"),
        (("/provenance/sources/0", json!("https://github.com/other/x@*")), "attestation.provenance.source"),
        (("/provenance/build_types/0", json!("https://ci.example/x")), "attestation.provenance.build_type"),
        (
            ("/provenance/parameters/expected/~1workflow~1ref/0", json!("refs/tags/v1")),
            "attestation.provenance.parameters",
        ),
    ] {
        let (pointer, value) = change;
        let found = with(&|policy| *policy.pointer_mut(pointer).unwrap() = value.clone());
        assert_eq!(found, (1, want.to_owned()), "{pointer}");
    }
    // Another predicate; a signature without an envelope; signed under another trust root.
    for (name, status, want) in
        [("conda.json", 1, "statement.predicate_type"), ("blob.json", 2, "bundle.no_envelope")]
    {
        let (found, answer) = run(&bundle(name), &good, &[]);
        assert_eq!((found, answer["statements"][0]["code"].as_str()), (status, Some(want)), "{answer:#}");
    }
    let (status, answer) = run(&bundle("github-private.json"), &good, &[]);
    let code = answer["statements"][0]["code"].as_str().unwrap();
    assert!(status == 1 && code.starts_with("keyless."), "{answer:#}");
    // Bytes that are no bundle, a policy that is none, files that are not there.
    let junk = scratch.file("junk.json", "{");
    assert_eq!(run(&junk, &good, &[]).0, 2);
    assert_eq!(run(&npm, &junk, &[]).0, 2);
    assert_eq!(run(&scratch.0.join("nowhere"), &good, &[]).0, 2);
}

/// A bundle that was changed in any part does not verify.
#[test]
fn a_changed_bundle_does_not_verify() {
    let scratch = Scratch::new("changed");
    let good = scratch.file("policy.json", &policy(|_| ()).to_string());
    let text = std::fs::read_to_string(bundle("npm-sigstore-2.0.0.json")).unwrap();
    let original: Value = serde_json::from_str(&text).unwrap();
    let code = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut changed = original.clone();
        change(&mut changed);
        assert_ne!(changed, original, "{name}");
        let file = scratch.file(name, &changed.to_string());
        let (status, answer) = run(&file, &good, &[]);
        assert_ne!(status, 0, "{name}");
        answer["statements"][0]["code"].as_str().unwrap_or_default().to_owned()
    };
    let entry = "/verificationMaterial/tlogEntries/0";
    let log = code("log.json", &|bundle| {
        *bundle.pointer_mut(&format!("{entry}/logId/keyId")).unwrap() =
            json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    });
    assert_eq!(log, "keyless.log.unknown");
    let payload = code("payload.json", &|bundle| {
        // One bit, within the digest of the subject.
        let mut text = bundle["dsseEnvelope"]["payload"].as_str().unwrap().as_bytes().to_vec();
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let value = alphabet.find(char::from(text[200])).unwrap();
        text[200] = alphabet.as_bytes()[value ^ 1];
        bundle["dsseEnvelope"]["payload"] = json!(String::from_utf8(text).unwrap());
    });
    assert!(payload.starts_with("keyless."), "{payload}");
    let time = code("time.json", &|bundle| {
        *bundle.pointer_mut(&format!("{entry}/integratedTime")).unwrap() = json!("1792473254")
    });
    assert!(time.starts_with("keyless."), "{time}");
    let certificates = code("certificate.json", &|bundle| {
        let chain = "/verificationMaterial/x509CertificateChain/certificates/0/rawBytes";
        *bundle.pointer_mut(chain).unwrap() = json!("MAA=");
    });
    assert!(certificates.starts_with("keyless."), "{certificates}");
}

/// A trust root that is missing, empty or over is refused with its own code.
#[test]
fn a_trust_root_that_is_missing_or_over_is_refused() {
    let scratch = Scratch::new("roots");
    let good = scratch.file("policy.json", &policy(|_| ()).to_string());
    let npm = bundle("npm-sigstore-2.0.0.json");
    let root = |content: Option<&Value>| {
        let path = scratch.0.join("nowhere.json");
        let path = content.map_or(path, |content| scratch.file("root.json", &content.to_string()));
        let (status, answer) = run(&npm, &good, &["--trust-root", path.to_str().unwrap()]);
        let statement = answer["statements"][0]["code"].as_str();
        (status, statement.or(answer["code"].as_str()).unwrap_or_default().to_owned())
    };
    let mut public: Value =
        serde_json::from_str(sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT).unwrap();
    assert_eq!(root(Some(&public)).0, 0);
    let missing = (1, "keyless.root.missing".to_owned());
    assert_eq!(root(None), missing);
    assert_eq!(root(Some(&json!({}))), missing);
    let logs = public["tlogs"].take();
    public["tlogs"] = json!([]);
    assert_eq!(root(Some(&public)), missing);
    // Another log's key under another id: the entry's log is unknown.
    let mut other = logs.clone();
    for log in other.as_array_mut().unwrap() {
        log["logId"]["keyId"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    }
    other.as_array_mut().unwrap().truncate(1);
    public["tlogs"] = other;
    assert_eq!(root(Some(&public)).1, "keyless.log.unknown");
    public["tlogs"] = logs;
    for authority in public["certificateAuthorities"].as_array_mut().unwrap() {
        authority["validFor"]["end"] = json!("2022-04-13T20:06:15.000Z");
    }
    assert_eq!(root(Some(&public)), (1, "keyless.root.expired".to_owned()));
}
