//! What a check is about: the field of a claim, and the dimension of trust that it belongs to.

use serde::{Deserialize, Serialize};

use crate::code::{self, Code};

/// A dimension of trust. Each has its own tier in the trust vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Dimension {
    /// Who signed the evidence.
    Authenticity,
    /// Worker, device and audience.
    Identity,
    /// The certificate of the connection.
    Binding,
    /// Nonce and times.
    Freshness,
    /// The image.
    Image,
    /// The build.
    Build,
    /// The artifact.
    Artifact,
    /// The SDK protocol.
    Protocol,
    /// The WIT interfaces.
    Wit,
    /// The capabilities.
    Capabilities,
    /// The egress binding.
    Egress,
    /// Build provenance.
    Provenance,
}

impl Dimension {
    /// Every dimension, in the order of the checks.
    pub const ALL: [Self; 12] = [
        Self::Authenticity,
        Self::Identity,
        Self::Binding,
        Self::Freshness,
        Self::Image,
        Self::Build,
        Self::Artifact,
        Self::Protocol,
        Self::Wit,
        Self::Capabilities,
        Self::Egress,
        Self::Provenance,
    ];

    /// The code of this dimension's check, for lists of what was skipped or waived.
    pub const fn code(self) -> Code {
        match self {
            Self::Authenticity => code::ATTESTATION_CHECK_AUTHENTICITY,
            Self::Identity => code::ATTESTATION_CHECK_IDENTITY,
            Self::Binding => code::ATTESTATION_CHECK_BINDING,
            Self::Freshness => code::ATTESTATION_CHECK_FRESHNESS,
            Self::Image => code::ATTESTATION_CHECK_IMAGE,
            Self::Build => code::ATTESTATION_CHECK_BUILD,
            Self::Artifact => code::ATTESTATION_CHECK_ARTIFACT,
            Self::Protocol => code::ATTESTATION_CHECK_PROTOCOL,
            Self::Wit => code::ATTESTATION_CHECK_WIT,
            Self::Capabilities => code::ATTESTATION_CHECK_CAPABILITIES,
            Self::Egress => code::ATTESTATION_CHECK_EGRESS,
            Self::Provenance => code::ATTESTATION_CHECK_PROVENANCE,
        }
    }

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Authenticity => 0,
            Self::Identity => 1,
            Self::Binding => 2,
            Self::Freshness => 3,
            Self::Image => 4,
            Self::Build => 5,
            Self::Artifact => 6,
            Self::Protocol => 7,
            Self::Wit => 8,
            Self::Capabilities => 9,
            Self::Egress => 10,
            Self::Provenance => 11,
        }
    }
}

/// A field of the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Field {
    /// The worker id.
    Worker,
    /// The device id.
    Device,
    /// The audience.
    Audience,
    /// The image digest.
    Image,
    /// The build digest.
    Build,
    /// The artifact digest.
    Artifact,
    /// The SDK protocol range.
    Protocol,
    /// The list of WIT interfaces.
    Wit,
    /// The capability set.
    Capabilities,
    /// The digest of the capabilities' authority.
    Authority,
    /// The egress binding.
    Egress,
    /// The nonce.
    Nonce,
    /// The time of issue.
    Issued,
    /// The time of expiry.
    Expires,
    /// The certificate digest.
    Certificate,
}

impl Field {
    pub(super) const fn missing(self) -> Code {
        match self {
            Self::Worker => code::ATTESTATION_WORKER_MISSING,
            Self::Device => code::ATTESTATION_DEVICE_MISSING,
            Self::Audience => code::ATTESTATION_AUDIENCE_MISSING,
            Self::Image => code::ATTESTATION_IMAGE_MISSING,
            Self::Build => code::ATTESTATION_BUILD_MISSING,
            Self::Artifact => code::ATTESTATION_ARTIFACT_MISSING,
            Self::Protocol => code::ATTESTATION_PROTOCOL_MISSING,
            Self::Wit => code::ATTESTATION_WIT_MISSING,
            Self::Capabilities => code::ATTESTATION_CAPABILITIES_MISSING,
            Self::Authority => code::ATTESTATION_AUTHORITY_MISSING,
            Self::Egress => code::ATTESTATION_EGRESS_MISSING,
            Self::Nonce => code::ATTESTATION_NONCE_MISSING,
            Self::Issued => code::ATTESTATION_ISSUED_MISSING,
            Self::Expires => code::ATTESTATION_EXPIRES_MISSING,
            Self::Certificate => code::ATTESTATION_CERTIFICATE_MISSING,
        }
    }

    pub(super) const fn malformed(self) -> Code {
        match self {
            Self::Worker => code::ATTESTATION_WORKER_MALFORMED,
            Self::Device => code::ATTESTATION_DEVICE_MALFORMED,
            Self::Audience => code::ATTESTATION_AUDIENCE_MALFORMED,
            Self::Image => code::ATTESTATION_IMAGE_MALFORMED,
            Self::Build => code::ATTESTATION_BUILD_MALFORMED,
            Self::Artifact => code::ATTESTATION_ARTIFACT_MALFORMED,
            Self::Protocol => code::ATTESTATION_PROTOCOL_MALFORMED,
            Self::Wit => code::ATTESTATION_WIT_MALFORMED,
            Self::Capabilities => code::ATTESTATION_CAPABILITIES_MALFORMED,
            Self::Authority => code::ATTESTATION_AUTHORITY_MALFORMED,
            Self::Egress => code::ATTESTATION_EGRESS_MALFORMED,
            Self::Nonce => code::ATTESTATION_NONCE_MALFORMED,
            Self::Issued => code::ATTESTATION_ISSUED_MALFORMED,
            Self::Expires => code::ATTESTATION_EXPIRES_MALFORMED,
            Self::Certificate => code::ATTESTATION_CERTIFICATE_MALFORMED,
        }
    }

    pub(super) const fn dimension(self) -> Dimension {
        match self {
            Self::Worker | Self::Device | Self::Audience => Dimension::Identity,
            Self::Certificate => Dimension::Binding,
            Self::Nonce | Self::Issued | Self::Expires => Dimension::Freshness,
            Self::Image => Dimension::Image,
            Self::Build => Dimension::Build,
            Self::Artifact => Dimension::Artifact,
            Self::Protocol => Dimension::Protocol,
            Self::Wit => Dimension::Wit,
            Self::Capabilities | Self::Authority => Dimension::Capabilities,
            Self::Egress => Dimension::Egress,
        }
    }

    /// What is due where the field is missing or cannot be read.
    pub(super) const fn due(self) -> &'static str {
        match self {
            Self::Worker | Self::Device | Self::Audience => {
                "an id of 1 to 128 bytes, lowercase letters, digits, `.`, `_`, `:` and `-`, a letter or a digit first"
            }
            Self::Image | Self::Build | Self::Artifact | Self::Authority | Self::Certificate => {
                "a SHA-256 of exactly 64 lowercase hex digits, without a prefix such as `sha256:`"
            }
            Self::Protocol => "an object with `min` and `max`, `min` at least 1 and at most `max`",
            Self::Wit => "a list of at most 64 interfaces, each like `namespace:package/interface@1.2.3`",
            Self::Capabilities => {
                "a list of at most 64 names like `tool:hash`, each once, of 1 to 128 bytes, lowercase letters, digits, `.`, `_`, `:` and `-`"
            }
            Self::Egress => "an envelope that an egress proxy signed, as an object or as base64",
            Self::Nonce => "the challenge's 8 to 64 bytes in lowercase hex",
            Self::Issued | Self::Expires => "a whole number of milliseconds since the Unix epoch",
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker id",
            Self::Device => "device id",
            Self::Audience => "audience",
            Self::Image => "image digest",
            Self::Build => "build digest",
            Self::Artifact => "artifact digest",
            Self::Protocol => "SDK protocol range",
            Self::Wit => "list of WIT interfaces",
            Self::Capabilities => "capability set",
            Self::Authority => "digest of the capabilities' authority",
            Self::Egress => "egress binding",
            Self::Nonce => "nonce",
            Self::Issued => "time of issue",
            Self::Expires => "time of expiry",
            Self::Certificate => "certificate digest",
        }
    }
}

/// A digest that reference values are kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Measurement {
    /// The image that runs.
    Image,
    /// The build that made it.
    Build,
    /// The artifact that is executed.
    Artifact,
}

impl Measurement {
    pub(super) const fn dimension(self) -> Dimension {
        match self {
            Self::Image => Dimension::Image,
            Self::Build => Dimension::Build,
            Self::Artifact => Dimension::Artifact,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Build => "build",
            Self::Artifact => "artifact",
        }
    }

    pub(super) const fn field(self) -> Field {
        match self {
            Self::Image => Field::Image,
            Self::Build => Field::Build,
            Self::Artifact => Field::Artifact,
        }
    }

    pub(super) const fn codes(self) -> ReferenceCodes {
        match self {
            Self::Image => ReferenceCodes {
                no_reference: code::ATTESTATION_IMAGE_NO_REFERENCE,
                mismatch: code::ATTESTATION_IMAGE_MISMATCH,
                denied: code::ATTESTATION_IMAGE_DENIED,
                outside_window: code::ATTESTATION_IMAGE_OUTSIDE_WINDOW,
            },
            Self::Build => ReferenceCodes {
                no_reference: code::ATTESTATION_BUILD_NO_REFERENCE,
                mismatch: code::ATTESTATION_BUILD_MISMATCH,
                denied: code::ATTESTATION_BUILD_DENIED,
                outside_window: code::ATTESTATION_BUILD_OUTSIDE_WINDOW,
            },
            Self::Artifact => ReferenceCodes {
                no_reference: code::ATTESTATION_ARTIFACT_NO_REFERENCE,
                mismatch: code::ATTESTATION_ARTIFACT_MISMATCH,
                denied: code::ATTESTATION_ARTIFACT_DENIED,
                outside_window: code::ATTESTATION_ARTIFACT_OUTSIDE_WINDOW,
            },
        }
    }
}

/// The codes of the ways in which a digest can fail against its references.
pub(super) struct ReferenceCodes {
    pub(super) no_reference: Code,
    pub(super) mismatch: Code,
    pub(super) denied: Code,
    pub(super) outside_window: Code,
}
