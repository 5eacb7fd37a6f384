//! The claims on the wire: one closed form for the plain document and for the predicate of the statement.

use alloc::{collections::BTreeMap, string::String, vec::Vec};
use core::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use super::{Claim, MAX_WIT_INTERFACES, NONCE_BYTES, WorkerAttestation};
use crate::{
    attestation::{
        dsse::{self, Envelope, EnvelopeForm, EnvelopeLimits},
        version::{ProtocolRange, RangeForm},
    },
    capability::{CapabilityName, CapabilitySet, MAX_CAPABILITIES},
    time::Wall,
};

/// The claims as JSON. The plain document has all members; in a statement the digests are its subjects and
/// the predicate type is its version, so those four must be absent from the predicate.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClaimsForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<u32>,
    #[serde(default)]
    pub(super) worker_id: Option<String>,
    #[serde(default)]
    pub(super) device_id: Option<String>,
    #[serde(default)]
    pub(super) audience: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) build: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact: Option<String>,
    #[serde(default)]
    pub(super) certificate_sha256: Option<String>,
    #[serde(default)]
    pub(super) nonce: Option<String>,
    #[serde(default)]
    pub(super) issued_at_ms: Option<u64>,
    #[serde(default)]
    pub(super) expires_at_ms: Option<u64>,
    #[serde(default)]
    pub(super) sdk_protocol: Option<RangeForm>,
    #[serde(default)]
    pub(super) wit: Option<Vec<String>>,
    #[serde(default)]
    pub(super) capabilities: Option<Vec<String>>,
    #[serde(default)]
    pub(super) capability_authority: Option<String>,
    #[serde(default, skip_serializing_if = "EgressForm::is_absent")]
    pub(super) egress: EgressForm,
    /// The one place for members that this version does not know. Nothing in it is looked at.
    #[serde(default, rename = "extensions", skip_serializing)]
    pub(super) _extensions: Option<BTreeMap<String, IgnoredAny>>,
}

impl ClaimsForm {
    /// Whether a member stands here that belongs to the plain document alone.
    pub(super) const fn has_document_members(&self) -> bool {
        self.version.is_some() || self.image.is_some() || self.build.is_some() || self.artifact.is_some()
    }

    pub(super) fn into_claims(self) -> WorkerAttestation {
        WorkerAttestation {
            worker: Claim::read(self.worker_id, |text| text.parse()),
            device: Claim::read(self.device_id, |text| text.parse()),
            audience: Claim::read(self.audience, |text| text.parse()),
            image: Claim::read(self.image, |text| text.parse()),
            build: Claim::read(self.build, |text| text.parse()),
            artifact: Claim::read(self.artifact, |text| text.parse()),
            protocol: Claim::read(self.sdk_protocol, ProtocolRange::try_from),
            wit: Claim::read(self.wit, |list| {
                if list.len() > MAX_WIT_INTERFACES {
                    return Err(());
                }
                list.iter().map(|text| text.parse().map_err(drop)).collect()
            }),
            capabilities: Claim::read(self.capabilities, |list| capabilities(&list)),
            authority: Claim::read(self.capability_authority, |text| text.parse()),
            egress: self.egress.into_claim(),
            nonce: Claim::read(self.nonce, |text| parse_nonce(&text).ok_or(())),
            issued: Claim::read(self.issued_at_ms, |ms| Ok::<_, ()>(Wall(ms))),
            expires: Claim::read(self.expires_at_ms, |ms| Ok::<_, ()>(Wall(ms))),
            certificate: Claim::read(self.certificate_sha256, |text| text.parse()),
        }
    }
}

/// A list that names a capability twice, or too many, is not a set.
fn capabilities(list: &[String]) -> Result<CapabilitySet, ()> {
    if list.len() > MAX_CAPABILITIES {
        return Err(());
    }
    let names =
        list.iter().map(|text| CapabilityName::new(text)).collect::<Result<Vec<_>, _>>().map_err(drop)?;
    let set = CapabilitySet::new(names).map_err(drop)?;
    if set.len() == list.len() { Ok(set) } else { Err(()) }
}

/// A nonce is lowercase hex, like every digest.
pub(crate) fn parse_nonce(text: &str) -> Option<Vec<u8>> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    hex::decode(text).ok().filter(|bytes| NONCE_BYTES.contains(&bytes.len()))
}

/// The egress binding on the wire: an envelope as an object, or its bytes as base64. Anything else is kept as
/// malformed, so that it fails its own check and not the reading.
#[derive(Default)]
pub(super) enum EgressForm {
    #[default]
    Absent,
    Object(EnvelopeForm),
    Text(String),
    Malformed,
}

impl EgressForm {
    const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    fn into_claim(self) -> Claim<Envelope> {
        const LIMITS: EnvelopeLimits = EnvelopeLimits::DEFAULT.bytes(16 << 10);
        match self {
            Self::Absent => Claim::Absent,
            Self::Malformed => Claim::Malformed,
            Self::Object(form) => Claim::read(Some(form), |form| Envelope::from_form(form, &LIMITS)),
            Self::Text(text) => Claim::read(Some(text), |text| {
                let bytes = dsse::decode(&text).ok_or(dsse::DsseError::Base64)?;
                Envelope::parse(&bytes, &LIMITS)
            }),
        }
    }
}

impl Serialize for EgressForm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent | Self::Malformed => serializer.serialize_none(),
            Self::Object(form) => form.serialize(serializer),
            Self::Text(text) => text.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for EgressForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        macro_rules! malformed {
            ($($method:ident($type:ty);)*) => {$(
                fn $method<E>(self, _: $type) -> Result<EgressForm, E> {
                    Ok(EgressForm::Malformed)
                }
            )*};
        }

        impl<'de> Visitor<'de> for Any {
            type Value = EgressForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an envelope, as an object or as base64")
            }

            malformed! {
                visit_bool(bool);
                visit_i64(i64);
                visit_u64(u64);
                visit_f64(f64);
            }

            fn visit_unit<E>(self) -> Result<EgressForm, E> {
                Ok(EgressForm::Absent)
            }

            fn visit_str<E>(self, text: &str) -> Result<EgressForm, E> {
                Ok(EgressForm::Text(text.into()))
            }

            fn visit_string<E>(self, text: String) -> Result<EgressForm, E> {
                Ok(EgressForm::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<EgressForm, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(EgressForm::Malformed)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EgressForm, A::Error> {
                EnvelopeForm::deserialize(MapAccessDeserializer::new(map)).map(EgressForm::Object)
            }
        }

        deserializer.deserialize_any(Any)
    }
}
