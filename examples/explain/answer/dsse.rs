//! Kind `dsse`: an envelope against a set of keys and a threshold.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use leasehold::{
    attestation::{
        dsse::{Envelope, EnvelopeLimits, TrustRoot},
        signature::{Algorithm, DefaultVerifier, TrustedKey},
    },
    code::{self, Code, Coded},
    digest::Sha256Digest,
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
    envelope: String,
    keys: Vec<Key>,
    threshold: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    keyid: String,
    algorithm: Algorithm,
    public_key: String,
    owner: String,
}

impl Key {
    fn trusted(&self) -> Result<TrustedKey, (Code, String)> {
        let bytes = hex::decode(&self.public_key).unwrap_or_default();
        TrustedKey::new(&self.keyid, self.algorithm, &bytes, &self.owner).map_err(because)
    }
}

fn because(error: impl Coded) -> (Code, String) {
    (error.code(), error.to_string())
}

pub fn answer(line: &[u8]) -> Result<Value, Refused> {
    let line: Line = serde_json::from_slice(line)?;
    let bytes = STANDARD
        .decode(&line.envelope)
        .map_err(|error| Refused::new(code::EXPLAIN_MALFORMED, format!("envelope: {error}")))?;
    let envelope = Envelope::parse(&bytes, &EnvelopeLimits::DEFAULT).map_err(because);
    let verdict = envelope.as_ref().map_err(Clone::clone).and_then(|envelope| {
        let keys = line.keys.iter().map(Key::trusted).collect::<Result<Vec<_>, _>>()?;
        let root = TrustRoot::new(keys, line.threshold).map_err(because)?;
        root.check_keys(&DefaultVerifier).map_err(because)?;
        let verified = root.verify(envelope, &EnvelopeLimits::DEFAULT, &DefaultVerifier).map_err(because)?;
        Ok(verified.signers().iter().map(|key| key.keyid().to_owned()).collect::<Vec<_>>())
    });
    // What an envelope holds is shown before it is believed: this is a tool for looking.
    let envelope = envelope.ok();
    let payload_type = envelope.as_ref().map(Envelope::unverified_type);
    let digest = envelope.as_ref().map(|envelope| Sha256Digest::of(envelope.unverified_payload()));
    let (verified, code, message, signers) = match verdict {
        Ok(signers) => (true, code::DSSE_VERIFIED, "enough trusted owners signed".to_owned(), signers),
        Err((code, message)) => (false, code, message, Vec::new()),
    };
    Ok(json!({
        "verified": verified, "code": code, "message": message, "signers": signers,
        "payload_type": payload_type, "payload_sha256": digest,
    }))
}
