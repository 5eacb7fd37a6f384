//! Why evidence does not pass: one failure for each check that did not hold, with the facts that led to it.

use alloc::{format, string::String, vec::Vec};

use super::{AttachmentError, AttachmentPlace, Dimension, Field, MAX_ATTACHMENTS, Measurement};
use crate::{
    attestation::{
        dsse::DsseError,
        egress_binding::BindingError,
        evidence::{EvidenceError, EvidenceForm, PAYLOAD_TYPE},
        excerpt::Excerpt,
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
    #[error("the evidence is of the form `{}`; {} is due", .found.as_str(), forms(.due))]
    Form {
        /// The form that it is of.
        found: EvidenceForm,
        /// Those that the policy takes.
        due: Vec<EvidenceForm>,
    },
    /// The envelope does not hold.
    #[error(transparent)]
    Envelope(#[from] DsseError),
    /// The signed payload is of another type.
    #[error("the signed payload is of type {0}; `{PAYLOAD_TYPE}` is due")]
    PayloadType(Excerpt),
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
    #[error("the evidence states no {}; {} is due", .0.name(), .0.due())]
    Missing(Field),
    /// The evidence states a field that cannot be read.
    #[error("the {} cannot be read; {} is due", .0.name(), .0.due())]
    Malformed(Field),
    /// The evidence states a list, and one of its entries cannot be read.
    #[error("entry {index}, counted from 0, of the {} is {found}; {} is due", .field.name(), .field.due())]
    MalformedEntry {
        /// The list.
        field: Field,
        /// The place of the first such entry.
        index: usize,
        /// How it begins.
        found: Excerpt,
    },
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
    #[error("the evidence is addressed to fleet {found}; {due} is due")]
    AudienceMismatch {
        /// The fleet that it is addressed to.
        found: FleetId,
        /// This fleet.
        due: FleetId,
    },
    /// Evidence bound to another certificate than that of the connection.
    #[error("the evidence is bound to certificate {found}; {due}, that of the connection, is due")]
    CertificateMismatch {
        /// The certificate that it is bound to.
        found: Sha256Digest,
        /// The certificate of the connection.
        due: Sha256Digest,
    },
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
    #[error("the evidence was issued {ahead} in the future; at most {most} are due")]
    FromFuture {
        /// How far ahead.
        ahead: Millis,
        /// How far it may be.
        most: Millis,
    },
    /// Evidence that is too old.
    #[error("the evidence was issued {age} ago; at most {most} are due")]
    TooOld {
        /// How long ago.
        age: Millis,
        /// How long ago it may have been.
        most: Millis,
    },
    /// Evidence that has expired.
    #[error("the evidence expired at {at}; it is {now} now")]
    Expired {
        /// When.
        at: Wall,
        /// The time of the appraisal.
        now: Wall,
    },
    /// Evidence that claims too long a life, or none.
    #[error("the evidence claims a lifetime of {lifetime}; more than 0 and at most {most} are due")]
    Lifetime {
        /// What it claims.
        lifetime: Millis,
        /// What it may claim.
        most: Millis,
    },
    /// The policy has no reference value.
    #[error("the policy has no reference value for the {}", .0.name())]
    NoReference(Measurement),
    /// The digest is no reference value.
    #[error("{} {digest} is no reference value; due is {}", .what.name(), labels(.due, *.of))]
    Mismatch {
        /// What was measured.
        what: Measurement,
        /// Its digest.
        digest: Sha256Digest,
        /// The labels of reference values: a few of them.
        due: Vec<Label>,
        /// How many there are.
        of: usize,
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
    #[error("the worker speaks {found}; a version in {due} is due: upgrade the worker")]
    ProtocolTooOld {
        /// What it speaks.
        found: ProtocolRange,
        /// What the fleet speaks.
        due: ProtocolRange,
    },
    /// The worker speaks only newer protocol versions.
    #[error("the worker speaks {found}; a version in {due} is due: upgrade the fleet")]
    ProtocolTooNew {
        /// What it speaks.
        found: ProtocolRange,
        /// What the fleet speaks.
        due: ProtocolRange,
    },
    /// Every common protocol version is denied.
    #[error("every version of {found} that is in {due} is on the deny list")]
    ProtocolDenied {
        /// What the worker speaks.
        found: ProtocolRange,
        /// What the fleet speaks.
        due: ProtocolRange,
    },
    /// The policy requires no interface.
    #[error("the policy requires no WIT interface")]
    WitNoRule,
    /// A required interface is not there.
    #[error("the worker has no {0}")]
    WitAbsent(WitName),
    /// An interface is below the minimum.
    #[error("{found} is below {due}, the least that is due: upgrade the worker")]
    WitTooOld {
        /// The worker's.
        found: WitInterface,
        /// The least that is due.
        due: WitInterface,
    },
    /// An interface is on a later track.
    #[error("{found} is on a later track than {due}, which is due: upgrade the fleet")]
    WitTooNew {
        /// The worker's.
        found: WitInterface,
        /// The least that is due.
        due: WitInterface,
    },
    /// A pre-release is not the one required.
    #[error("{found} is not {due}, which is due exactly: one of them is a pre-release")]
    WitOtherTrack {
        /// The worker's.
        found: WitInterface,
        /// The one that is due.
        due: WitInterface,
    },
    /// An interface's version is denied.
    #[error("{0} is on the deny list")]
    WitDenied(WitInterface),
    /// The authority is not known.
    #[error("authority {found} is not known; due is {}", labels(.due, *.of))]
    AuthorityUnknown {
        /// The digest that the evidence names.
        found: Sha256Digest,
        /// The labels of authorities: a few of them.
        due: Vec<Label>,
        /// How many there are.
        of: usize,
    },
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
    #[error("the egress binding is for worker {found}; {} is due", .due.as_ref().map_or("that of the evidence", WorkerId::as_str))]
    EgressWorker {
        /// Whom it is for.
        found: WorkerId,
        /// The worker of the evidence.
        due: Option<WorkerId>,
    },
    /// A binding for another fleet.
    #[error("the egress binding is for fleet {found}; {due} is due")]
    EgressAudience {
        /// Whom it is for.
        found: FleetId,
        /// This fleet.
        due: FleetId,
    },
    /// A binding for another certificate.
    #[error("the egress binding is for certificate {found}; {due}, that of the connection, is due")]
    EgressCertificate {
        /// What it is for.
        found: Sha256Digest,
        /// The certificate of the connection.
        due: Sha256Digest,
    },
    /// A binding under another policy.
    #[error("egress policy {0} is not accepted")]
    EgressPolicy(Sha256Digest),
    /// A binding over another nonce.
    #[error("the egress binding answers another challenge")]
    EgressNonce,
    /// A binding from the future.
    #[error("the egress binding was signed {ahead} in the future; at most {most} are due")]
    EgressFromFuture {
        /// How far ahead.
        ahead: Millis,
        /// How far it may be.
        most: Millis,
    },
    /// A binding that has expired.
    #[error("the egress binding expired at {0}")]
    EgressExpired(Wall),
    /// A binding that claims too long a life, or none.
    #[error("the egress binding claims a lifetime of {lifetime}; more than 0 and at most {most} are due")]
    EgressLifetime {
        /// What it claims.
        lifetime: Millis,
        /// What it may claim.
        most: Millis,
    },
    /// Too few builders agree. Why an attachment does not count follows as [`Failure::Attachment`].
    #[error("too few builders vouch for what runs: {}", builders(.have, *.need))]
    Provenance {
        /// For how much of what is due how many owners of builder keys and identities vouch.
        have: Vec<(Measurement, usize)>,
        /// How many must, for each.
        need: usize,
    },
    /// An attachment does not count, and too few others do.
    #[error("{place}: {reason}")]
    Attachment {
        /// Which one.
        place: AttachmentPlace,
        /// Why.
        reason: AttachmentError,
    },
    /// More attachments than the limit.
    #[error("{0} attachments come with the evidence; at most {MAX_ATTACHMENTS} are due")]
    TooManyAttachments(usize),
}

fn forms(forms: &[EvidenceForm]) -> String {
    let names: Vec<String> = forms.iter().map(|form| format!("`{}`", form.as_str())).collect();
    names.join(" or ")
}

fn builders(have: &[(Measurement, usize)], need: usize) -> String {
    let one = |(what, have): &(Measurement, usize)| format!("{have} of {need} for the {}", what.name());
    have.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The most labels that a failure shows.
const MAX_LABELS: usize = 3;

/// Labels of what would do, for a failure: a few of all.
pub(super) fn few<'p>(labels: impl Iterator<Item = &'p Label>) -> Vec<Label> {
    labels.take(MAX_LABELS).cloned().collect()
}

fn labels(due: &[Label], of: usize) -> String {
    let names: Vec<&str> = due.iter().map(Label::as_str).collect();
    match of.saturating_sub(due.len()) {
        _ if due.is_empty() => "one that the policy names, and it names none".into(),
        0 => names.join(" or "),
        more => format!("{} or one of {more} more", names.join(" or ")),
    }
}

fn list(names: &[CapabilityName]) -> String {
    names.iter().map(CapabilityName::as_str).collect::<Vec<_>>().join(", ")
}

impl Failure {
    /// The dimension of trust that this failure belongs to.
    pub fn dimension(&self) -> Dimension {
        match self {
            Self::Form { .. }
            | Self::Envelope(_)
            | Self::PayloadType(_)
            | Self::KeyRole(_)
            | Self::KeyTime(_)
            | Self::KeyWorker(_)
            | Self::KeyPredicate(_)
            | Self::KeyRevoked(_)
            | Self::Evidence(_)
            | Self::TooManyAttachments(_) => Dimension::Authenticity,
            Self::Missing(field) | Self::Malformed(field) | Self::MalformedEntry { field, .. } => {
                field.dimension()
            }
            Self::WorkerRevoked(_)
            | Self::DeviceMismatch { .. }
            | Self::DeviceRevoked(_)
            | Self::AudienceMismatch { .. } => Dimension::Identity,
            Self::CertificateMismatch { .. } | Self::CertificateRevoked(_) => Dimension::Binding,
            Self::NonceMismatch
            | Self::PredatesChallenge { .. }
            | Self::FromFuture { .. }
            | Self::TooOld { .. }
            | Self::Expired { .. }
            | Self::Lifetime { .. } => Dimension::Freshness,
            Self::NoReference(what)
            | Self::Mismatch { what, .. }
            | Self::Denied { what, .. }
            | Self::OutsideWindow { what, .. } => what.dimension(),
            Self::ProtocolNoRule
            | Self::ProtocolTooOld { .. }
            | Self::ProtocolTooNew { .. }
            | Self::ProtocolDenied { .. } => Dimension::Protocol,
            Self::WitNoRule
            | Self::WitAbsent(_)
            | Self::WitTooOld { .. }
            | Self::WitTooNew { .. }
            | Self::WitOtherTrack { .. }
            | Self::WitDenied(_) => Dimension::Wit,
            Self::AuthorityUnknown { .. }
            | Self::AuthorityOutsideWindow(_)
            | Self::CapabilitiesExceedAuthority(_)
            | Self::CapabilitiesUntrusted(_)
            | Self::CapabilitiesEmpty => Dimension::Capabilities,
            Self::EgressNoRule
            | Self::EgressUntrusted(_)
            | Self::EgressMalformed(_)
            | Self::EgressWorker { .. }
            | Self::EgressAudience { .. }
            | Self::EgressCertificate { .. }
            | Self::EgressPolicy(_)
            | Self::EgressNonce
            | Self::EgressFromFuture { .. }
            | Self::EgressExpired(_)
            | Self::EgressLifetime { .. } => Dimension::Egress,
            Self::Provenance { .. } | Self::Attachment { .. } => Dimension::Provenance,
        }
    }
}

impl Coded for Failure {
    fn code(&self) -> Code {
        match self {
            Self::Form { .. } => code::ATTESTATION_FORM,
            Self::Envelope(error) => error.code(),
            Self::PayloadType(_) => code::ATTESTATION_PAYLOAD_TYPE,
            Self::KeyRole(_) => code::ATTESTATION_KEY_ROLE,
            Self::KeyTime(_) => code::ATTESTATION_KEY_TIME,
            Self::KeyWorker(_) => code::ATTESTATION_KEY_WORKER,
            Self::KeyPredicate(_) => code::ATTESTATION_KEY_PREDICATE,
            Self::KeyRevoked(_) => code::ATTESTATION_KEY_REVOKED,
            Self::Evidence(error) => error.code(),
            Self::Missing(field) => field.missing(),
            Self::Malformed(field) | Self::MalformedEntry { field, .. } => field.malformed(),
            Self::WorkerRevoked(_) => code::ATTESTATION_WORKER_REVOKED,
            Self::DeviceMismatch { .. } => code::ATTESTATION_DEVICE_MISMATCH,
            Self::DeviceRevoked(_) => code::ATTESTATION_DEVICE_REVOKED,
            Self::AudienceMismatch { .. } => code::ATTESTATION_AUDIENCE_MISMATCH,
            Self::CertificateMismatch { .. } => code::ATTESTATION_CERTIFICATE_MISMATCH,
            Self::CertificateRevoked(_) => code::ATTESTATION_CERTIFICATE_REVOKED,
            Self::NonceMismatch => code::ATTESTATION_NONCE_MISMATCH,
            Self::PredatesChallenge { .. } => code::ATTESTATION_PREDATES_CHALLENGE,
            Self::FromFuture { .. } => code::ATTESTATION_FROM_FUTURE,
            Self::TooOld { .. } => code::ATTESTATION_TOO_OLD,
            Self::Expired { .. } => code::ATTESTATION_EXPIRED,
            Self::Lifetime { .. } => code::ATTESTATION_LIFETIME,
            Self::NoReference(what) => what.codes().no_reference,
            Self::Mismatch { what, .. } => what.codes().mismatch,
            Self::Denied { what, .. } => what.codes().denied,
            Self::OutsideWindow { what, .. } => what.codes().outside_window,
            Self::ProtocolNoRule => code::ATTESTATION_PROTOCOL_NO_RULE,
            Self::ProtocolTooOld { .. } => code::ATTESTATION_PROTOCOL_TOO_OLD,
            Self::ProtocolTooNew { .. } => code::ATTESTATION_PROTOCOL_TOO_NEW,
            Self::ProtocolDenied { .. } => code::ATTESTATION_PROTOCOL_DENIED,
            Self::WitNoRule => code::ATTESTATION_WIT_NO_RULE,
            Self::WitAbsent(_) => code::ATTESTATION_WIT_ABSENT,
            Self::WitTooOld { .. } => code::ATTESTATION_WIT_TOO_OLD,
            Self::WitTooNew { .. } => code::ATTESTATION_WIT_TOO_NEW,
            Self::WitOtherTrack { .. } => code::ATTESTATION_WIT_OTHER_TRACK,
            Self::WitDenied(_) => code::ATTESTATION_WIT_DENIED,
            Self::AuthorityUnknown { .. } => code::ATTESTATION_AUTHORITY_UNKNOWN,
            Self::AuthorityOutsideWindow(_) => code::ATTESTATION_AUTHORITY_OUTSIDE_WINDOW,
            Self::CapabilitiesExceedAuthority(_) => code::ATTESTATION_CAPABILITIES_EXCEED_AUTHORITY,
            Self::CapabilitiesUntrusted(_) => code::ATTESTATION_CAPABILITIES_UNTRUSTED,
            Self::CapabilitiesEmpty => code::ATTESTATION_CAPABILITIES_EMPTY,
            Self::EgressNoRule => code::ATTESTATION_EGRESS_NO_RULE,
            Self::EgressUntrusted(_) => code::ATTESTATION_EGRESS_UNTRUSTED,
            Self::EgressMalformed(_) => code::ATTESTATION_EGRESS_MALFORMED,
            Self::EgressWorker { .. } => code::ATTESTATION_EGRESS_WORKER,
            Self::EgressAudience { .. } => code::ATTESTATION_EGRESS_AUDIENCE,
            Self::EgressCertificate { .. } => code::ATTESTATION_EGRESS_CERTIFICATE,
            Self::EgressPolicy(_) => code::ATTESTATION_EGRESS_POLICY,
            Self::EgressNonce => code::ATTESTATION_EGRESS_NONCE,
            Self::EgressFromFuture { .. } => code::ATTESTATION_EGRESS_FROM_FUTURE,
            Self::EgressExpired(_) => code::ATTESTATION_EGRESS_EXPIRED,
            Self::EgressLifetime { .. } => code::ATTESTATION_EGRESS_LIFETIME,
            Self::Provenance { .. } => code::ATTESTATION_PROVENANCE_MISSING,
            Self::Attachment { reason, .. } => reason.code(),
            Self::TooManyAttachments(_) => code::ATTESTATION_TOO_MANY_ATTACHMENTS,
        }
    }
}
