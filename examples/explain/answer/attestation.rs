//! Kind `attestation`: evidence against a policy in a context.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use leasehold::{
    attestation::{
        AttestationPolicy, EvidenceContext, EvidenceForm, Submission, appraise_submission,
        signature::{DefaultVerifier, TrustedKey},
        strict::{self, Limits},
    },
    code::{self, Coded as _},
    digest::Sha256Digest,
    id::{DeviceId, FleetId},
    time::Wall,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use super::Refused;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    #[serde(default, rename = "id")]
    _id: IgnoredAny,
    form: EvidenceForm,
    document: String,
    /// Envelopes of builders, each as base64.
    #[serde(default)]
    attachments: Vec<String>,
    policy: AttestationPolicy,
    context: Context,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Context {
    now: Wall,
    nonce: String,
    #[serde(default)]
    nonce_issued: Wall,
    audience: FleetId,
    device: Device,
    /// The keys of the paired node.
    #[serde(default)]
    keys: Vec<TrustedKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Device {
    id: DeviceId,
    certificate_sha256: Sha256Digest,
}

fn bytes(name: &str, text: &str) -> Result<Vec<u8>, Refused> {
    STANDARD.decode(text).map_err(|error| Refused::new(code::EXPLAIN_MALFORMED, format!("{name}: {error}")))
}

/// Reads the line as strictly as a policy file: what the strict reader refuses, serde may explain better.
fn read(line: &[u8]) -> Result<Line, Refused> {
    strict::read(line, &Limits::GENERAL).map_err(|error| match serde_json::from_slice::<Line>(line) {
        Err(reason) => reason.into(),
        Ok(_) => Refused::new(error.code(), error.to_string()),
    })
}

/// The checks of an answer as the lines of a table: claim, reference, verdict.
pub fn table(answer: &Value) -> Option<Vec<String>> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let mut rows = vec![["check", "claim", "reference", "verdict"].map(str::to_owned)];
    for row in answer.get("checks")?.as_array()? {
        let codes: Vec<&str> = row["codes"].as_array()?.iter().filter_map(Value::as_str).collect();
        let verdict = format!("{} {}", text(row, "verdict"), codes.join(" ")).trim_end().to_owned();
        let check = text(row, "check");
        let check = check.rsplit('.').next().unwrap_or_default().to_owned();
        rows.push([check, text(row, "claim"), text(row, "reference"), verdict]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2].map(width);
    let line = |[check, claim, reference, verdict]: &[String; 4]| {
        let [one, two, three] = widths;
        format!("{check:<one$}  {claim:<two$}  {reference:<three$}  {verdict}")
    };
    Some(rows.iter().map(line).collect())
}

pub fn answer(line: &[u8]) -> Result<Value, Refused> {
    let line: Line = read(line)?;
    let document = bytes("document", &line.document)?;
    let attachments =
        line.attachments.iter().map(|text| bytes("attachments", text)).collect::<Result<Vec<_>, _>>()?;
    let attachments: Vec<&[u8]> = attachments.iter().map(Vec::as_slice).collect();
    let context = &line.context;
    let nonce = hex::decode(&context.nonce)
        .map_err(|error| Refused::new(code::EXPLAIN_MALFORMED, format!("nonce: {error}")))?;
    let evidence_context = EvidenceContext {
        now: context.now,
        nonce: &nonce,
        nonce_issued: context.nonce_issued,
        audience: &context.audience,
        device: &context.device.id,
        certificate: context.device.certificate_sha256,
    };
    let submission = Submission { form: line.form, bytes: &document, attachments: &attachments };
    let verdict =
        appraise_submission(&submission, &line.policy, &context.keys, &evidence_context, &DefaultVerifier);
    let mut answer = serde_json::to_value(verdict.report())?;
    if let Some(object) = answer.as_object_mut() {
        object.insert("code".into(), json!(verdict.coarse().code));
        let rows = verdict.table(&submission, &line.policy, &evidence_context);
        object.insert("checks".into(), serde_json::to_value(rows)?);
    }
    Ok(answer)
}
