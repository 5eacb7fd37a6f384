//! How a rule signs requests, as a document.

use alloc::{boxed::Box, string::String};

use serde::{Deserialize, Serialize};

use super::error::PolicyReason;
use crate::{
    egress::{
        header::HeaderName,
        sign::{
            AccessKey, AwsSigner, Encoding, Hash, KeyForm, Signer, TemplateSigner, TimeUnit, parse_template,
        },
    },
    lease::SecretRef,
};

/// The longest template, in bytes.
const MAX_TEMPLATE_BYTES: usize = 1024;

/// How a request is signed, with the credential's secret as the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SignBinding {
    /// AWS Signature Version 4, in header fields. What the client has signed itself is replaced.
    AwsSigv4(AwsSigv4),
    /// HMAC over a text that a template makes of the request.
    Hmac(HmacTemplate),
}

/// AWS Signature Version 4.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::exhaustive_structs)]
pub struct AwsSigv4 {
    /// The region, such as `eu-central-1`.
    pub region: String,
    /// The service as signatures name it, such as `s3` or `execute-api`.
    pub service: String,
    /// The id of the access key, or the reference of a secret that holds it (`vault:...`).
    pub access_key: String,
    /// The reference of the session token that belongs to a temporary key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<String>,
    /// Whether the signature covers the body.
    #[serde(default)]
    pub payload: SignedPayload,
}

/// Whether a signature covers the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SignedPayload {
    /// It does, so that the body has to be there before the first byte is sent: for bodies of bounded size.
    #[default]
    Hashed,
    /// It does not (`UNSIGNED-PAYLOAD`), and TLS alone protects the body, which is sent as it comes. S3 takes that.
    Unsigned,
}

/// HMAC over a text that a template makes of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::exhaustive_structs)]
pub struct HmacTemplate {
    /// The header field that the signature goes into, behind the credential's `prefix`.
    pub header: String,
    /// The text, with `{method}`, `{host}` (with a port that is not the scheme's own), `{path}`, `{query}`, `{target}` (path
    /// and query as they are sent), `{timestamp}`, `{body_sha256}` (hex) and `{body}`; a brace of its own is doubled.
    pub template: String,
    /// The hash under the MAC.
    #[serde(default)]
    pub hash: HmacHash,
    /// How the MAC is written.
    #[serde(default)]
    pub encoding: HmacEncoding,
    /// What the secret is of the key.
    #[serde(default)]
    pub key: HmacKey,
    /// The header field that carries the time of the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// How the time is written, in that field and in the text.
    #[serde(default)]
    pub timestamp: HmacTimestamp,
}

macro_rules! choices {
    ($(#[$meta:meta])* $name:ident as $own:ty { $($(#[$each:meta])* $variant:ident => $value:expr,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum $name { $($(#[$each])* $variant,)* }

        impl $name {
            const fn own(self) -> $own {
                match self { $(Self::$variant => $value,)* }
            }
        }
    };
}

choices! {
    /// The hash under a MAC.
    HmacHash as Hash {
        /// SHA-256.
        #[default]
        Sha256 => Hash::Sha256,
        /// SHA-512.
        Sha512 => Hash::Sha512,
    }
}

choices! {
    /// How a MAC is written.
    HmacEncoding as Encoding {
        /// Lowercase hex.
        #[default]
        Hex => Encoding::Hex,
        /// Padded base64 (RFC 4648 section 4).
        Base64 => Encoding::Base64,
        /// Base64 for URLs without padding (RFC 4648 section 5).
        Base64url => Encoding::Base64Url,
    }
}

choices! {
    /// What a secret is of the key of a MAC.
    HmacKey as KeyForm {
        /// The key.
        #[default]
        Text => KeyForm::Text,
        /// The key in base64.
        Base64 => KeyForm::Base64,
    }
}

choices! {
    /// How the time of a signature is written.
    HmacTimestamp as TimeUnit {
        /// Seconds since the Unix epoch.
        #[default]
        Seconds => TimeUnit::Seconds,
        /// Milliseconds since the Unix epoch.
        Milliseconds => TimeUnit::Milliseconds,
        /// RFC 3339 in UTC with milliseconds.
        Rfc3339 => TimeUnit::Rfc3339,
    }
}

/// What is wrong with a field.
type Fault = (&'static str, PolicyReason);

impl SignBinding {
    /// The signer that it names. `prefix` is the credential's.
    pub(super) fn compile(&self, prefix: &str) -> Result<Signer, Fault> {
        match self {
            Self::AwsSigv4(aws) if prefix.is_empty() => aws.compile().map(Signer::Aws),
            Self::AwsSigv4(_) => Err(("credentials.prefix", PolicyReason::SignPrefix)),
            Self::Hmac(hmac) => hmac.compile().map(Signer::Template),
        }
    }
}

impl AwsSigv4 {
    fn compile(&self) -> Result<AwsSigner, Fault> {
        let secret = |text: &str, field| SecretRef::new(text).map_err(|error| (field, error.into()));
        let access_key = if self.access_key.contains(':') {
            AccessKey::Secret(secret(&self.access_key, "credentials.sign.access_key")?)
        } else {
            let is_id = (1..=128).contains(&self.access_key.len())
                && self.access_key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !is_id {
                return Err(("credentials.sign.access_key", PolicyReason::AccessKey));
            }
            AccessKey::Id(Box::from(self.access_key.as_str()))
        };
        let token = self.session_token.as_deref();
        let token = token.map(|text| secret(text, "credentials.sign.session_token")).transpose()?;
        let unsigned = self.payload == SignedPayload::Unsigned;
        AwsSigner::new(&self.region, &self.service, access_key, token, unsigned)
            .ok_or(("credentials.sign", PolicyReason::AwsScope))
    }
}

impl HmacTemplate {
    fn compile(&self) -> Result<TemplateSigner, Fault> {
        let header = |text: &str, field| HeaderName::new(text).map_err(|error| (field, error.into()));
        let mut headers = alloc::vec![header(&self.header, "credentials.sign.header")?];
        if let Some(text) = &self.timestamp_header {
            let time = header(text, "credentials.sign.timestamp_header")?;
            if headers.contains(&time) {
                return Err(("credentials.sign.timestamp_header", PolicyReason::CredentialPlace));
            }
            headers.push(time);
        }
        let parts = Some(self.template.as_str())
            .filter(|text| (1..=MAX_TEMPLATE_BYTES).contains(&text.len()))
            .and_then(parse_template)
            .ok_or(("credentials.sign.template", PolicyReason::Template))?;
        Ok(TemplateSigner {
            headers: headers.into_boxed_slice(),
            parts,
            hash: self.hash.own(),
            encoding: self.encoding.own(),
            key: self.key.own(),
            time: self.timestamp.own(),
        })
    }
}
