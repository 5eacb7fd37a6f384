//! Why evidence does not pass: one failure for each check that did not hold, with the facts that led to it.

use alloc::{string::String, vec::Vec};

use super::{Dimension, Field, Measurement};
use crate::{
    attestation::{
        dsse::DsseError,
        egress_binding::BindingError,
        evidence::{EvidenceError, EvidenceForm},
        policy::Label,
        version::{ProtocolRange, WitInterface, WitName},
    },
    capability::CapabilityName,
    code::{self, Code, Coded},
    digest::Sha256Digest,
    id::{DeviceId, FleetId, WorkerId},
    time::{Millis, Wall},
};

/// A check that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The policy does not take this wire form.
    #[error("the policy does not take evidence of the form {0:?}")]
    Form(EvidenceForm),
    /// The envelope does not hold.
    #[error(transparent)]
    Envelope(#[from] DsseError),
    /// The signed payload is of another type.
    #[error("the signed payload is no in-toto statement")]
    PayloadType,
    /// The signer's key is trusted, for another role.
    #[error("key {0} is trusted for another role")]
    KeyRole(String),
    /// The signer's key is trusted, at another time.
    #[error("key {0} is trusted at another time")]
    KeyTime(String),
    /// The signer's key is trusted, for other workers.
    #[error("key {0} is trusted for other workers")]
    KeyWorker(String),
    /// The signer's key is trusted, for other predicate types.
    #[error("key {0} is trusted for other predicate types")]
    KeyPredicate(String),
    /// The signer's key is revoked.
    #[error("key {0} is revoked")]
    KeyRevoked(String),
    /// The bytes are not evidence.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The evidence does not state a field.
    #[error("the evidence states no {}", .0.name())]
    Missing(Field),
    /// The evidence states a field that cannot be read.
    #[error("the {} cannot be read", .0.name())]
    Malformed(Field),
    /// The worker is revoked.
    #[error("worker {0} is revoked")]
    WorkerRevoked(WorkerId),
    /// Evidence of another device than the one connected.
    #[error("evidence of device {stated} over a connection of {connected}")]
    DeviceMismatch {
        /// The device that the evidence states.
        stated: DeviceId,
        /// The device of the connection.
        connected: DeviceId,
    },
    /// The device is revoked.
    #[error("device {0} is revoked")]
    DeviceRevoked(DeviceId),
    /// Evidence for another fleet.
    #[error("evidence addressed to {0}")]
    AudienceMismatch(FleetId),
    /// Evidence bound to another certificate than that of the connection.
    #[error("evidence bound to certificate {0}, which is not that of the connection")]
    CertificateMismatch(Sha256Digest),
    /// The certificate is revoked.
    #[error("certificate {0} is revoked")]
    CertificateRevoked(Sha256Digest),
    /// Evidence over another nonce.
    #[error("the evidence answers another challenge")]
    NonceMismatch,
    /// Evidence from before the challenge that it claims to answer.
    #[error("issued at {issued}, before the challenge of {challenged}")]
    PredatesChallenge {
        /// When the evidence was issued.
        issued: Wall,
        /// When the challenge was issued.
        challenged: Wall,
    },
    /// Evidence from the future.
    #[error("issued {0} in the future")]
    FromFuture(Millis),
    /// Evidence that is too old.
    #[error("issued {0} ago, over the maximum age")]
    TooOld(Millis),
    /// Evidence that has expired.
    #[error("expired at {0}")]
    Expired(Wall),
    /// Evidence that claims too long a life, or none.
    #[error("a lifetime of {0}, which is none or over the maximum")]
    Lifetime(Millis),
    /// The policy has no reference value.
    #[error("the policy has no reference value for the {}", .0.name())]
    NoReference(Measurement),
    /// The digest is no reference value.
    #[error("{} {digest} is no reference value", .what.name())]
    Mismatch {
        /// What was measured.
        what: Measurement,
        /// Its digest.
        digest: Sha256Digest,
    },
    /// The digest is denied.
    #[error("{} {digest} is on the deny list", .what.name())]
    Denied {
        /// What was measured.
        what: Measurement,
        /// Its digest.
        digest: Sha256Digest,
    },
    /// The digest is trusted at another time.
    #[error("{} {label} is trusted at another time", .what.name())]
    OutsideWindow {
        /// What was measured.
        what: Measurement,
        /// The reference value's label.
        label: Label,
    },
    /// The policy has no protocol range.
    #[error("the policy has no protocol range")]
    ProtocolNoRule,
    /// The worker speaks only older protocol versions.
    #[error("the worker speaks {0}: upgrade the worker")]
    ProtocolTooOld(ProtocolRange),
    /// The worker speaks only newer protocol versions.
    #[error("the worker speaks {0}: upgrade the fleet")]
    ProtocolTooNew(ProtocolRange),
    /// Every common protocol version is denied.
    #[error("every common version of {0} is on the deny list")]
    ProtocolDenied(ProtocolRange),
    /// The policy requires no interface.
    #[error("the policy requires no WIT interface")]
    WitNoRule,
    /// A required interface is not there.
    #[error("the worker has no {0}")]
    WitAbsent(WitName),
    /// An interface is below the minimum.
    #[error("{0} is below the minimum: upgrade the worker")]
    WitTooOld(WitInterface),
    /// An interface is on a later track.
    #[error("{0} is on a later track: upgrade the fleet")]
    WitTooNew(WitInterface),
    /// A pre-release is not the one required.
    #[error("{0} is not exactly the version required")]
    WitOtherTrack(WitInterface),
    /// An interface's version is denied.
    #[error("{0} is on the deny list")]
    WitDenied(WitInterface),
    /// The authority is not known.
    #[error("authority {0} is not known")]
    AuthorityUnknown(Sha256Digest),
    /// The authority counts at another time.
    #[error("authority {0} counts at another time")]
    AuthorityOutsideWindow(Label),
    /// Capabilities beyond what the authority grants.
    #[error("claimed and not granted: {}", list(.0))]
    CapabilitiesExceedAuthority(Vec<CapabilityName>),
    /// Capabilities beyond what the fleet trusts.
    #[error("claimed and not trusted: {}", list(.0))]
    CapabilitiesUntrusted(Vec<CapabilityName>),
    /// No capability is claimed.
    #[error("no capability is claimed")]
    CapabilitiesEmpty,
    /// The policy accepts no egress policy.
    #[error("the policy names no egress policy that a proxy may enforce")]
    EgressNoRule,
    /// The binding is not signed by a proxy that may.
    #[error("no proxy of the fleet signed the egress binding for this worker: {0}")]
    EgressUntrusted(DsseError),
    /// The signed payload is no binding.
    #[error(transparent)]
    EgressMalformed(#[from] BindingError),
    /// A binding for another worker.
    #[error("the egress binding is for worker {0}")]
    EgressWorker(WorkerId),
    /// A binding for another fleet.
    #[error("the egress binding is for fleet {0}")]
    EgressAudience(FleetId),
    /// A binding for another certificate.
    #[error("the egress binding is for certificate {0}")]
    EgressCertificate(Sha256Digest),
    /// A binding under another policy.
    #[error("egress policy {0} is not accepted")]
    EgressPolicy(Sha256Digest),
    /// A binding over another nonce.
    #[error("the egress binding answers another challenge")]
    EgressNonce,
    /// A binding from the future.
    #[error("the egress binding was signed {0} in the future")]
    EgressFromFuture(Millis),
    /// A binding that has expired.
    #[error("the egress binding expired at {0}")]
    EgressExpired(Wall),
    /// A binding that claims too long a life, or none.
    #[error("the egress binding has a lifetime of {0}, which is none or over the maximum")]
    EgressLifetime(Millis),
    /// Too few builders agree.
    #[error("{have} of {need} builders vouch for image and build")]
    Provenance {
        /// How many do.
        have: usize,
        /// How many must.
        need: usize,
    },
    /// More attached envelopes than the limit.
    #[error("{0} envelopes come with the evidence, over the limit")]
    TooManyAttachments(usize),
}

fn list(names: &[CapabilityName]) -> String {
    names.iter().map(CapabilityName::as_str).collect::<Vec<_>>().join(", ")
}

impl Failure {
    /// The dimension of trust that this failure belongs to.
    pub fn dimension(&self) -> Dimension {
        match self {
            Self::Form(_)
            | Self::Envelope(_)
            | Self::PayloadType
            | Self::KeyRole(_)
            | Self::KeyTime(_)
            | Self::KeyWorker(_)
            | Self::KeyPredicate(_)
            | Self::KeyRevoked(_)
            | Self::Evidence(_)
            | Self::TooManyAttachments(_) => Dimension::Authenticity,
            Self::Missing(field) | Self::Malformed(field) => field.dimension(),
            Self::WorkerRevoked(_)
            | Self::DeviceMismatch { .. }
            | Self::DeviceRevoked(_)
            | Self::AudienceMismatch(_) => Dimension::Identity,
            Self::CertificateMismatch(_) | Self::CertificateRevoked(_) => Dimension::Binding,
            Self::NonceMismatch
            | Self::PredatesChallenge { .. }
            | Self::FromFuture(_)
            | Self::TooOld(_)
            | Self::Expired(_)
            | Self::Lifetime(_) => Dimension::Freshness,
            Self::NoReference(what)
            | Self::Mismatch { what, .. }
            | Self::Denied { what, .. }
            | Self::OutsideWindow { what, .. } => what.dimension(),
            Self::ProtocolNoRule
            | Self::ProtocolTooOld(_)
            | Self::ProtocolTooNew(_)
            | Self::ProtocolDenied(_) => Dimension::Protocol,
            Self::WitNoRule
            | Self::WitAbsent(_)
            | Self::WitTooOld(_)
            | Self::WitTooNew(_)
            | Self::WitOtherTrack(_)
            | Self::WitDenied(_) => Dimension::Wit,
            Self::AuthorityUnknown(_)
            | Self::AuthorityOutsideWindow(_)
            | Self::CapabilitiesExceedAuthority(_)
            | Self::CapabilitiesUntrusted(_)
            | Self::CapabilitiesEmpty => Dimension::Capabilities,
            Self::EgressNoRule
            | Self::EgressUntrusted(_)
            | Self::EgressMalformed(_)
            | Self::EgressWorker(_)
            | Self::EgressAudience(_)
            | Self::EgressCertificate(_)
            | Self::EgressPolicy(_)
            | Self::EgressNonce
            | Self::EgressFromFuture(_)
            | Self::EgressExpired(_)
            | Self::EgressLifetime(_) => Dimension::Egress,
            Self::Provenance { .. } => Dimension::Provenance,
        }
    }
}

impl Coded for Failure {
    fn code(&self) -> Code {
        match self {
            Self::Form(_) => code::ATTESTATION_FORM,
            Self::Envelope(error) => error.code(),
            Self::PayloadType => code::ATTESTATION_PAYLOAD_TYPE,
            Self::KeyRole(_) => code::ATTESTATION_KEY_ROLE,
            Self::KeyTime(_) => code::ATTESTATION_KEY_TIME,
            Self::KeyWorker(_) => code::ATTESTATION_KEY_WORKER,
            Self::KeyPredicate(_) => code::ATTESTATION_KEY_PREDICATE,
            Self::KeyRevoked(_) => code::ATTESTATION_KEY_REVOKED,
            Self::Evidence(error) => error.code(),
            Self::Missing(field) => field.missing(),
            Self::Malformed(field) => field.malformed(),
            Self::WorkerRevoked(_) => code::ATTESTATION_WORKER_REVOKED,
            Self::DeviceMismatch { .. } => code::ATTESTATION_DEVICE_MISMATCH,
            Self::DeviceRevoked(_) => code::ATTESTATION_DEVICE_REVOKED,
            Self::AudienceMismatch(_) => code::ATTESTATION_AUDIENCE_MISMATCH,
            Self::CertificateMismatch(_) => code::ATTESTATION_CERTIFICATE_MISMATCH,
            Self::CertificateRevoked(_) => code::ATTESTATION_CERTIFICATE_REVOKED,
            Self::NonceMismatch => code::ATTESTATION_NONCE_MISMATCH,
            Self::PredatesChallenge { .. } => code::ATTESTATION_PREDATES_CHALLENGE,
            Self::FromFuture(_) => code::ATTESTATION_FROM_FUTURE,
            Self::TooOld(_) => code::ATTESTATION_TOO_OLD,
            Self::Expired(_) => code::ATTESTATION_EXPIRED,
            Self::Lifetime(_) => code::ATTESTATION_LIFETIME,
            Self::NoReference(what) => what.codes().no_reference,
            Self::Mismatch { what, .. } => what.codes().mismatch,
            Self::Denied { what, .. } => what.codes().denied,
            Self::OutsideWindow { what, .. } => what.codes().outside_window,
            Self::ProtocolNoRule => code::ATTESTATION_PROTOCOL_NO_RULE,
            Self::ProtocolTooOld(_) => code::ATTESTATION_PROTOCOL_TOO_OLD,
            Self::ProtocolTooNew(_) => code::ATTESTATION_PROTOCOL_TOO_NEW,
            Self::ProtocolDenied(_) => code::ATTESTATION_PROTOCOL_DENIED,
            Self::WitNoRule => code::ATTESTATION_WIT_NO_RULE,
            Self::WitAbsent(_) => code::ATTESTATION_WIT_ABSENT,
            Self::WitTooOld(_) => code::ATTESTATION_WIT_TOO_OLD,
            Self::WitTooNew(_) => code::ATTESTATION_WIT_TOO_NEW,
            Self::WitOtherTrack(_) => code::ATTESTATION_WIT_OTHER_TRACK,
            Self::WitDenied(_) => code::ATTESTATION_WIT_DENIED,
            Self::AuthorityUnknown(_) => code::ATTESTATION_AUTHORITY_UNKNOWN,
            Self::AuthorityOutsideWindow(_) => code::ATTESTATION_AUTHORITY_OUTSIDE_WINDOW,
            Self::CapabilitiesExceedAuthority(_) => code::ATTESTATION_CAPABILITIES_EXCEED_AUTHORITY,
            Self::CapabilitiesUntrusted(_) => code::ATTESTATION_CAPABILITIES_UNTRUSTED,
            Self::CapabilitiesEmpty => code::ATTESTATION_CAPABILITIES_EMPTY,
            Self::EgressNoRule => code::ATTESTATION_EGRESS_NO_RULE,
            Self::EgressUntrusted(_) => code::ATTESTATION_EGRESS_UNTRUSTED,
            Self::EgressMalformed(_) => code::ATTESTATION_EGRESS_MALFORMED,
            Self::EgressWorker(_) => code::ATTESTATION_EGRESS_WORKER,
            Self::EgressAudience(_) => code::ATTESTATION_EGRESS_AUDIENCE,
            Self::EgressCertificate(_) => code::ATTESTATION_EGRESS_CERTIFICATE,
            Self::EgressPolicy(_) => code::ATTESTATION_EGRESS_POLICY,
            Self::EgressNonce => code::ATTESTATION_EGRESS_NONCE,
            Self::EgressFromFuture(_) => code::ATTESTATION_EGRESS_FROM_FUTURE,
            Self::EgressExpired(_) => code::ATTESTATION_EGRESS_EXPIRED,
            Self::EgressLifetime(_) => code::ATTESTATION_EGRESS_LIFETIME,
            Self::Provenance { .. } => code::ATTESTATION_PROVENANCE_MISSING,
            Self::TooManyAttachments(_) => code::ATTESTATION_TOO_MANY_ATTACHMENTS,
        }
    }
}
