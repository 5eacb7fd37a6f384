//! A second reader of claims, over serde_json, for tests and fuzz targets alone: both must say the same of any bytes.

use alloc::{boxed::Box, collections::BTreeMap, string::String, vec::Vec};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny},
};
use serde_json::{Number, Value};

use super::{
    Claim, DOCUMENT_VERSION, EVIDENCE_PREDICATE, MAX_WIT_INTERFACES, MalformedEntry, Sha512Claims,
    WorkerAttestation, parse_nonce, statement::StatementForm,
};
use crate::{
    attestation::{
        dsse::{self, Envelope, EnvelopeLimits},
        excerpt::Excerpt,
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
    version: Option<Whole>,
    worker_id: Option<String>,
    device_id: Option<String>,
    audience: Option<String>,
    image: Option<String>,
    build: Option<String>,
    artifact: Option<String>,
    image_sha512: Option<String>,
    build_sha512: Option<String>,
    artifact_sha512: Option<String>,
    certificate_sha256: Option<String>,
    nonce: Option<String>,
    issued_at_ms: Option<Whole>,
    expires_at_ms: Option<Whole>,
    sdk_protocol: Option<Range>,
    wit: Option<Vec<String>>,
    capabilities: Option<Vec<String>>,
    capability_authority: Option<String>,
    egress: Option<Value>,
    #[serde(rename = "extensions")]
    _extensions: Option<BTreeMap<String, IgnoredAny>>,
}

/// A whole number, which may be written as a double up to 2^53.
struct Whole(u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = Number::deserialize(deserializer)?;
        let double = || {
            let exact = |value: &f64| (0.0..=9_007_199_254_740_992.0).contains(value) && value % 1.0 == 0.0;
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole and within 2^53"
            )]
            number.as_f64().filter(exact).filter(|value| value.is_sign_positive()).map(|value| value as u64)
        };
        number.as_u64().or_else(double).map(Self).ok_or_else(|| D::Error::custom("no whole number"))
    }
}

/// Whether this reader can tell a whole number from one that only rounds to it: serde_json does not show how a number is
/// written. Numbers with an exponent, or with more than zeros behind the point, are judged by the first reader alone.
pub(crate) fn tells_numbers(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let (mut inside, mut escaped, mut number, mut fraction) = (false, false, false, false);
    for character in text.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            _ if inside => {}
            'e' | 'E' if number => return false,
            '1'..='9' if fraction => return false,
            '0'..='9' => number = true,
            '.' => fraction = true,
            _ => (number, fraction) = (false, false),
        }
    }
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    min: Whole,
    max: Whole,
}

/// What `bytes` are as a plain document, where they are one.
pub(crate) fn document(bytes: &[u8]) -> Option<WorkerAttestation> {
    let form: Form = strict::read(bytes, &Limits::DOCUMENT).ok()?;
    let version = form.version.as_ref().map(|version| version.0);
    (version == Some(u64::from(DOCUMENT_VERSION))).then(|| claims(form)).flatten()
}

/// What `bytes` are as a statement, where they are one.
pub(crate) fn statement(bytes: &[u8]) -> Option<WorkerAttestation> {
    let statement: StatementForm<Form> = StatementForm::read(bytes, EVIDENCE_PREDICATE).ok()?;
    let form = statement.predicate;
    let long = form.image_sha512.is_some() || form.build_sha512.is_some() || form.artifact_sha512.is_some();
    let short = form.image.is_some() || form.build.is_some() || form.artifact.is_some();
    if form.version.is_some() || short || long {
        return None;
    }
    let mut claims = claims(form)?;
    let mut sha512 = Sha512Claims::default();
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
        let long = subject.digest.get("sha512").and_then(|text| text.parse().ok());
        match subject.name.as_str() {
            "image" => sha512.image = long,
            "build" => sha512.build = long,
            _ => sha512.artifact = long,
        }
    }
    claims.sha512 = sha512.boxed();
    Some(claims)
}

/// The list whose entries all parse, or which entry does not; more than `most` are too many.
fn entries<T>(list: Option<Vec<String>>, most: usize, parse: impl Fn(&str) -> Option<T>) -> Claim<Vec<T>> {
    let Some(list) = list else { return Claim::Absent };
    let read = |text: &String| parse(text);
    let parsed: Vec<T> = list.iter().map_while(read).take(most).collect();
    match list.get(parsed.len()) {
        None => Claim::Stated(parsed),
        Some(text) if parse(text).is_some() => Claim::Malformed,
        Some(text) => {
            let entry = MalformedEntry { index: parsed.len(), found: Excerpt::of(text) };
            Claim::MalformedEntry(Box::new(entry))
        }
    }
}

fn claims(form: Form) -> Option<WorkerAttestation> {
    let long =
        |text: Option<String>| text.map(|text| text.parse().ok()).map_or(Some(None), |read| read.map(Some));
    let sha512 = Sha512Claims {
        image: long(form.image_sha512)?,
        build: long(form.build_sha512)?,
        artifact: long(form.artifact_sha512)?,
    };
    let protocol = match form.sdk_protocol {
        None => Claim::Absent,
        Some(Range { min, max }) => {
            let range = RangeForm { min: u32::try_from(min.0).ok()?, max: u32::try_from(max.0).ok()? };
            Claim::read(Some(range), ProtocolRange::try_from)
        }
    };
    let capabilities =
        match entries(form.capabilities, MAX_CAPABILITIES, |text| CapabilityName::new(text).ok()) {
            Claim::Absent => Claim::Absent,
            Claim::MalformedEntry(entry) => Claim::MalformedEntry(entry),
            Claim::Malformed => Claim::Malformed,
            Claim::Stated(names) => {
                let count = names.len();
                let set = CapabilitySet::new(names).ok().filter(|set| set.len() == count);
                set.map_or(Claim::Malformed, Claim::Stated)
            }
        };
    Some(WorkerAttestation {
        worker: Claim::read(form.worker_id, |text| text.parse()),
        device: Claim::read(form.device_id, |text| text.parse()),
        audience: Claim::read(form.audience, |text| text.parse()),
        image: Claim::read(form.image, |text| text.parse()),
        build: Claim::read(form.build, |text| text.parse()),
        artifact: Claim::read(form.artifact, |text| text.parse()),
        protocol,
        wit: entries(form.wit, MAX_WIT_INTERFACES, |text| text.parse().ok()),
        capabilities,
        authority: Claim::read(form.capability_authority, |text| text.parse()),
        egress: form.egress.map_or(Claim::Absent, egress),
        nonce: Claim::read(form.nonce, |text| parse_nonce(&text).ok_or(())),
        issued: form.issued_at_ms.map_or(Claim::Absent, |ms| Claim::Stated(Wall(ms.0))),
        expires: form.expires_at_ms.map_or(Claim::Absent, |ms| Claim::Stated(Wall(ms.0))),
        certificate: Claim::read(form.certificate_sha256, |text| text.parse()),
        sha512: sha512.boxed(),
    })
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
