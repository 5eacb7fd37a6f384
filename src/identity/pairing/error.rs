//! Why pairing refuses.

use super::{pake::PakeError, session::PairingEnd};
use crate::{
    code::{self, Code, Coded},
    entropy::EntropyError,
    identity::{CertificateError, DeviceError, OrderError},
};

/// Why a step of pairing is refused. For the log and the operator; the other side is told no reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PairingError {
    /// The bytes are not a message, or one over its limits.
    #[error("not a pairing message")]
    Malformed,
    /// No version of the handshake is common to both.
    #[error("no common version of the handshake")]
    Version,
    /// No such session is open or remembered.
    #[error("no such pairing session")]
    UnknownSession,
    /// The session has another method.
    #[error("the session has another method")]
    Method,
    /// The message does not fit where the session stands; a reflected message never does.
    #[error("the message does not fit where the session stands")]
    Order,
    /// The session is past its time.
    #[error("the session has expired")]
    Expired,
    /// Every attempt was used.
    #[error("every attempt of the session was used")]
    Attempts,
    /// The session has ended, for good.
    #[error("the session has ended: {0}")]
    Ended(PairingEnd),
    /// Too many exchanges started in too short a time, over all sessions.
    #[error("too many exchanges are being started")]
    Rate,
    /// As many open sessions as the policy allows (`max_sessions`), or as many issued certificates that may still be
    /// fetched as are remembered (`max_remembered`).
    #[error(
        "there are as many pairing sessions as the policy allows; one ends with its device, its time or a cancel"
    )]
    Sessions,
    /// A PIN needs a PAKE provider, and there is none.
    #[error("a PIN needs a PAKE provider, and there is none")]
    NoPake,
    /// The key exchange failed.
    #[error(transparent)]
    Pake(#[from] PakeError),
    /// The other side does not know the code, or saw another transcript.
    #[error("the other side did not prove the code over this transcript")]
    Confirmation,
    /// The certificate on the channel is not the one that the code names, or not the one of this session.
    #[error("the channel has another certificate")]
    Channel,
    /// The session belongs to another key.
    #[error("the session belongs to another key")]
    Conflict,
    /// The session is not for this device.
    #[error("the session is not for this device")]
    WrongDevice,
    /// There is nothing to approve, or not what was shown.
    #[error("what is approved is not what was confirmed")]
    Approval,
    /// The approval is past its time.
    #[error("the approval has expired")]
    ApprovalExpired,
    /// The digits were not compared on the device yet.
    #[error("the digits were not compared yet")]
    NotCompared,
    /// The certificate is for another key than the request.
    #[error("the certificate is for another key")]
    WrongKey,
    /// The request or the certificate is not readable.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The registry does not take the device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The enrolment key is none, or allows no more.
    #[error(transparent)]
    Enrolment(#[from] OrderError),
    /// The code did not survive a restart, because it is never stored. Open a new session.
    #[error("the code was lost in a restart")]
    SecretLost,
    /// Not a code that this version gives out.
    #[error("not a pairing code")]
    BadCode,
    /// This coordinator pairs nobody.
    #[error("this coordinator pairs nobody")]
    Closed,
    /// The entropy source failed.
    #[error("the entropy source failed")]
    Entropy,
}

impl From<EntropyError> for PairingError {
    fn from(_: EntropyError) -> Self {
        Self::Entropy
    }
}

impl Coded for PairingError {
    fn code(&self) -> Code {
        match self {
            Self::Malformed => code::PAIRING_MALFORMED,
            Self::Version => code::PAIRING_VERSION,
            Self::UnknownSession => code::PAIRING_UNKNOWN,
            Self::Method => code::PAIRING_METHOD,
            Self::Order => code::PAIRING_ORDER,
            Self::Expired => code::PAIRING_EXPIRED,
            Self::Attempts | Self::Ended(PairingEnd::Locked) => code::PAIRING_LOCKED,
            Self::Ended(PairingEnd::Expired) => code::PAIRING_EXPIRED,
            Self::Ended(PairingEnd::SecretLost) | Self::SecretLost => code::PAIRING_SECRET_LOST,
            Self::Ended(_) => code::PAIRING_ENDED,
            Self::Rate => code::PAIRING_RATE,
            Self::Sessions => code::PAIRING_SESSIONS,
            Self::NoPake => code::PAIRING_NO_PAKE,
            Self::Pake(_) => code::PAIRING_PAKE,
            Self::Confirmation => code::PAIRING_CONFIRMATION,
            Self::Channel => code::PAIRING_CHANNEL,
            Self::Conflict => code::PAIRING_CONFLICT,
            Self::WrongDevice => code::PAIRING_WRONG_DEVICE,
            Self::Approval => code::PAIRING_APPROVAL,
            Self::ApprovalExpired => code::PAIRING_APPROVAL_EXPIRED,
            Self::NotCompared => code::PAIRING_NOT_COMPARED,
            Self::WrongKey => code::PAIRING_WRONG_KEY,
            Self::Certificate(error) => error.code(),
            Self::Device(error) => error.code(),
            Self::Enrolment(error) => error.code(),
            Self::BadCode => code::PAIRING_BAD_CODE,
            Self::Closed => code::PAIRING_CLOSED,
            Self::Entropy => code::ENTROPY_UNAVAILABLE,
        }
    }
}
