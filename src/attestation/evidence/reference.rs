//! A second reader of claims, over serde_json, for tests and fuzz targets alone: both must say the same of any bytes.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{
    Claim, DOCUMENT_VERSION, EVIDENCE_PREDICATE, MAX_WIT_INTERFACES, WorkerAttestation, parse_nonce,
    statement::StatementForm,
};
use crate::{
    attestation::{
        dsse::{self, Envelope, EnvelopeLimits},
        strict::{self, Limits},
        version::{ProtocolRange, RangeForm},
    },
    capability::{CapabilityName, CapabilitySet, MAX_CAPABILITIES},
    time::Wall,
};

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Form {
    version: Option<u32>,
    worker_id: Option<String>,
    device_id: Option<String>,
    audience: Option<String>,
    image: Option<String>,
    build: Option<String>,
    artifact: Option<String>,
    certificate_sha256: Option<String>,
    nonce: Option<String>,
    issued_at_ms: Option<u64>,
    expires_at_ms: Option<u64>,
    sdk_protocol: Option<RangeForm>,
    wit: Option<Vec<String>>,
    capabilities: Option<Vec<String>>,
    capability_authority: Option<String>,
    egress: Option<Value>,
    #[serde(rename = "extensions")]
    _extensions: Option<BTreeMap<String, IgnoredAny>>,
}

/// What `bytes` are as a plain document, where they are one.
pub(crate) fn document(bytes: &[u8]) -> Option<WorkerAttestation> {
    let form: Form = strict::read(bytes, &Limits::DOCUMENT).ok()?;
    (form.version == Some(DOCUMENT_VERSION)).then(|| claims(form))
}

/// What `bytes` are as a statement, where they are one.
pub(crate) fn statement(bytes: &[u8]) -> Option<WorkerAttestation> {
    let statement: StatementForm<Form> = StatementForm::read(bytes, EVIDENCE_PREDICATE).ok()?;
    let form = statement.predicate;
    if form.version.is_some() || form.image.is_some() || form.build.is_some() || form.artifact.is_some() {
        return None;
    }
    let mut claims = claims(form);
    for subject in &statement.subject {
        let slot = match subject.name.as_str() {
            "image" => &mut claims.image,
            "build" => &mut claims.build,
            "artifact" => &mut claims.artifact,
            _ => return None,
        };
        if *slot != Claim::Absent {
            return None;
        }
        *slot = match subject.sha256() {
            Claim::Absent => Claim::Malformed,
            claim => claim,
        };
    }
    Some(claims)
}

fn claims(form: Form) -> WorkerAttestation {
    WorkerAttestation {
        worker: Claim::read(form.worker_id, |text| text.parse()),
        device: Claim::read(form.device_id, |text| text.parse()),
        audience: Claim::read(form.audience, |text| text.parse()),
        image: Claim::read(form.image, |text| text.parse()),
        build: Claim::read(form.build, |text| text.parse()),
        artifact: Claim::read(form.artifact, |text| text.parse()),
        protocol: Claim::read(form.sdk_protocol, ProtocolRange::try_from),
        wit: Claim::read(form.wit, |list| {
            let parsed: Result<Vec<_>, _> = list.iter().map(|text| text.parse()).collect();
            parsed.ok().filter(|parsed| parsed.len() <= MAX_WIT_INTERFACES).ok_or(())
        }),
        capabilities: Claim::read(form.capabilities, |list| {
            let names: Result<Vec<_>, _> = list.iter().map(|text| CapabilityName::new(text)).collect();
            let set = names.ok().and_then(|names| CapabilitySet::new(names).ok());
            set.filter(|set| set.len() == list.len() && list.len() <= MAX_CAPABILITIES).ok_or(())
        }),
        authority: Claim::read(form.capability_authority, |text| text.parse()),
        egress: form.egress.map_or(Claim::Absent, egress),
        nonce: Claim::read(form.nonce, |text| parse_nonce(&text).ok_or(())),
        issued: form.issued_at_ms.map_or(Claim::Absent, |ms| Claim::Stated(Wall(ms))),
        expires: form.expires_at_ms.map_or(Claim::Absent, |ms| Claim::Stated(Wall(ms))),
        certificate: Claim::read(form.certificate_sha256, |text| text.parse()),
    }
}

fn egress(value: Value) -> Claim<Envelope> {
    let limits = EnvelopeLimits::DEFAULT;
    let envelope = match value {
        Value::Object(_) => serde_json::to_vec(&value).ok().map(|bytes| (bytes, limits)),
        Value::String(text) => dsse::decode(&text).map(|bytes| (bytes, limits.bytes(16 << 10))),
        _ => None,
    };
    Claim::read(Some(envelope), |envelope| {
        envelope.and_then(|(bytes, limits)| Envelope::parse(&bytes, &limits).ok()).ok_or(())
    })
}
