//! A second opinion: other implementations of DSSE and in-toto verify what is made here, and theirs is verified here.
//!
//! It runs where `foreign/run.sh` has installed them: `FOREIGN` names the folder.

mod attestation_support;

use std::{env, fs, path::PathBuf, process::Command};

use attestation_support::{Case, NOW};
use leasehold::{
    attestation::{
        dsse::{EnvelopeLimits, TrustRoot, seal},
        seal_summary,
        signature::{DefaultVerifier, Ed25519Signer, TrustedKey},
    },
    time::Wall,
};

#[test]
#[ignore = "needs foreign packages: tests/foreign/run.sh"]
fn other_implementations_agree() {
    let folder = PathBuf::from(env::var_os("FOREIGN").expect("FOREIGN names the folder of foreign/run.sh"));
    let signer = Ed25519Signer::from_seed("ours", &[6; 32]);
    let statement = br#"{"_type":"https://in-toto.io/Statement/v1","made by":"leasehold"}"#;
    let ours = seal("application/vnd.in-toto+json", statement, &[&signer]).unwrap();
    let verdict = Case::default().judge();
    let accepted = verdict.accepted().unwrap();
    let verifier = "https://fleet.example/leasehold";
    let summary = seal_summary(accepted, verifier, Wall(NOW), &[&signer]).unwrap();
    let hex: String = signer.public_key().iter().map(|byte| format!("{byte:02x}")).collect();
    for (name, content) in
        [("ours.json", &ours[..]), ("summary.json", &summary), ("ours.hex", hex.as_bytes())]
    {
        fs::write(folder.join(name), content).unwrap();
    }
    // What a relying party of slsa-verifier states on its command line.
    let expected = serde_json::json!({
        "subject": accepted.image().unwrap().to_string(),
        "verifier_id": verifier,
        "resource_uri": format!("leasehold:fleet/{}/worker/{}", accepted.facts().audience, accepted.facts().worker),
    });
    fs::write(folder.join("expected.json"), expected.to_string()).unwrap();
    for (program, script) in [(folder.join("venv/bin/python"), "peer.py"), ("node".into(), "peer.js")] {
        let run = Command::new(program).arg(folder.join(script)).output().unwrap();
        assert!(run.status.success(), "{script}: {}", String::from_utf8_lossy(&run.stderr));
    }

    let mut seen = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let Some((_, algorithm)) =
            name.split_once('-').filter(|_| path.extension().is_some_and(|end| end == "key"))
        else {
            continue;
        };
        let public_key = fs::read_to_string(&path).unwrap();
        let key = serde_json::json!({
            "keyid": "theirs", "algorithm": algorithm, "public_key": public_key, "owner": "them"
        });
        let key: TrustedKey = serde_json::from_value(key).unwrap();
        let root = TrustRoot::new([key], 1).unwrap();
        let bytes = fs::read(path.with_extension("json")).unwrap();
        let (kind, limits) = ("application/vnd.in-toto+json", EnvelopeLimits::DEFAULT);
        let opened = root.open(&bytes, kind, &limits, &DefaultVerifier).unwrap();
        assert!(opened.payload().starts_with(b"{\"made by\""), "{name}");
        let other = TrustRoot::new([signer.trusted_key("us").unwrap()], 1).unwrap();
        assert!(other.open(&bytes, kind, &limits, &DefaultVerifier).is_err(), "{name}");
        seen += 1;
    }
    assert_eq!(seen, 7);
}
