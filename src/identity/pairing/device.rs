//! The device's side: from a code and a certificate request to a certificate.

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use zeroize::Zeroizing;

use super::{
    error::PairingError,
    message::{Hello, Message, Reply, Status},
    method::PairingMethod,
    pake::{PairingTools, PakePending},
    secret::{DeviceCode, Secret},
    transcript::{Answer, Digits, Label, Opening, VERSIONS, same, tag},
};
use crate::{
    digest::Sha256Digest,
    id::{DeviceId, FleetId, SessionId},
    identity::{DeviceCertificate, DeviceKind, certificate::request_key},
    time::{Mono, Now},
};

/// Who the device says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceProfile {
    device: DeviceId,
    kind: DeviceKind,
    request: Vec<u8>,
    key: Sha256Digest,
}

impl DeviceProfile {
    /// A device that wants `device` as its id. `request` is a PKCS #10 certificate request (DER) for a key that
    /// the device made; the private key never leaves it.
    ///
    /// # Errors
    /// [`PairingError::Certificate`] where the request is not readable.
    pub fn new(device: DeviceId, kind: DeviceKind, request: Vec<u8>) -> Result<Self, PairingError> {
        let key = request_key(&request)?;
        Ok(Self { device, kind, request, key })
    }
}

enum Stage {
    /// The hello was made; the answer is due.
    Asked {
        nonce: [u8; 32],
        share: Vec<u8>,
        pending: Option<Box<dyn PakePending>>,
    },
    /// The coordinator proved itself, or digits are being compared; the operator decides.
    Confirmed {
        key: Secret,
        compared: bool,
    },
    Paired,
    /// Final. One wrong answer is enough: more would be guesses at the code.
    Failed(PairingError),
}

/// What a message led to on the device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceStep {
    /// Send this, and show the digits.
    #[non_exhaustive]
    Confirm {
        /// The message.
        message: Vec<u8>,
        /// The same digits that the operator is shown.
        digits: Digits,
    },
    /// The operator has not decided yet; ask again with [`DevicePairing::fetch`].
    Waiting,
    /// The coordinator says no. Anybody on the way can say so, thus it ends nothing: ask again, or give up.
    Refused,
    /// Done: [`DevicePairing::paired`].
    Paired,
}

/// What a device has after pairing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PairedDevice {
    /// The device's id.
    pub device: DeviceId,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// The fleet that it belongs to.
    pub fleet: FleetId,
    /// The coordinator's certificate: what the device accepts from here on.
    pub coordinator: Sha256Digest,
    /// The transcript that both sides have.
    pub transcript: Sha256Digest,
}

/// One pairing as the device sees it: a state machine without I/O.
pub struct DevicePairing {
    session: SessionId,
    method: PairingMethod,
    secret: Secret,
    profile: DeviceProfile,
    /// The certificate that the coordinator presented on the channel.
    channel: Sha256Digest,
    expires: Mono,
    outgoing: Vec<u8>,
    stage: Stage,
    agreed: Option<(FleetId, Sha256Digest)>,
    paired: Option<PairedDevice>,
}

impl DevicePairing {
    /// Begins. `channel` is the SHA-256 of the certificate (exact DER) that the coordinator presented on this
    /// connection, trusted or not: pairing is what makes it so. The pairing gives up at `expires`.
    ///
    /// [`Self::message`] is the first message to send.
    ///
    /// # Errors
    /// [`PairingError::Channel`] where the QR code names another certificate, [`PairingError::NoPake`] for a PIN
    /// without a provider, [`PairingError::Entropy`].
    pub fn begin(
        code: DeviceCode,
        profile: DeviceProfile,
        channel: Sha256Digest,
        expires: Mono,
        tools: &mut PairingTools<'_>,
    ) -> Result<Self, PairingError> {
        let DeviceCode { session, method, secret, coordinator } = code;
        if coordinator.is_some_and(|named| named != channel) {
            return Err(PairingError::Channel);
        }
        let mut nonce = [0; 32];
        tools.entropy.fill(&mut nonce)?;
        let opening = Opening {
            session: &session,
            versions: VERSIONS,
            method,
            device: &profile.device,
            kind: profile.kind,
            request: &profile.request,
            coordinator: &channel,
        };
        let (pending, share) = if method == PairingMethod::Pin {
            let pake = tools.pake.ok_or(PairingError::NoPake)?;
            let (pending, share) = pake.start(secret.bytes(), &opening.context(), tools.entropy)?;
            (Some(pending), share)
        } else {
            (None, Vec::new())
        };
        let shown = match method {
            PairingMethod::Compare => *opening.commitment(&nonce).as_bytes(),
            PairingMethod::Qr | PairingMethod::Pin | PairingMethod::Enrolment => nonce,
        };
        let outgoing = Message::Hello(Hello {
            session: session.clone(),
            versions: VERSIONS,
            method,
            device: profile.device.clone(),
            kind: profile.kind,
            request: profile.request.clone(),
            nonce: shown,
            share: share.clone(),
        })
        .encode();
        let stage = Stage::Asked { nonce, share, pending };
        Ok(Self {
            session,
            method,
            secret,
            profile,
            channel,
            expires,
            outgoing,
            stage,
            agreed: None,
            paired: None,
        })
    }

    /// The message that is due: the first one, then the confirmation. Sending it again is harmless.
    pub fn message(&self) -> &[u8] {
        &self.outgoing
    }

    /// The question what became of it, for after the confirmation.
    pub fn fetch(&self) -> Vec<u8> {
        Message::Fetch { session: self.session.clone(), key: self.profile.key }.encode()
    }

    /// The digits to show, once the coordinator has answered.
    pub fn digits(&self) -> Option<Digits> {
        self.agreed.as_ref().map(|(_, transcript)| Digits::of(transcript))
    }

    /// What the device has, once it is paired.
    pub const fn paired(&self) -> Option<&PairedDevice> {
        self.paired.as_ref()
    }

    /// The user says that the digits on the device are the ones that the operator sees. With
    /// [`PairingMethod::Compare`], no certificate is accepted before.
    ///
    /// # Errors
    /// [`PairingError::Order`] where there are no digits to compare.
    pub fn digits_agree(&mut self) -> Result<(), PairingError> {
        match &mut self.stage {
            Stage::Confirmed { compared, .. } => {
                *compared = true;
                Ok(())
            }
            Stage::Failed(error) => Err(error.clone()),
            Stage::Asked { .. } | Stage::Paired => Err(PairingError::Order),
        }
    }

    /// The user says that the digits differ, or gives up. Final.
    pub fn abandon(&mut self) {
        if !matches!(self.stage, Stage::Paired) {
            self.stage = Stage::Failed(PairingError::Confirmation);
        }
    }

    /// Takes a message of the coordinator that came over a channel with the certificate `channel`.
    ///
    /// # Errors
    /// [`PairingError`]. A wrong answer to the first message is final; anything else leaves the device waiting,
    /// so that a stranger's message ends nothing.
    pub fn receive(
        &mut self,
        channel: &Sha256Digest,
        bytes: &[u8],
        now: Now,
    ) -> Result<DeviceStep, PairingError> {
        if let Stage::Failed(error) = &self.stage {
            return Err(error.clone());
        }
        if *channel != self.channel {
            return Err(PairingError::Channel);
        }
        if now.mono >= self.expires && self.paired.is_none() {
            self.stage = Stage::Failed(PairingError::Expired);
            return Err(PairingError::Expired);
        }
        match Message::decode(bytes)? {
            Message::Reply(reply) if reply.session == self.session => self.reply(&reply),
            Message::Status { session, status } if session == self.session => self.status(status, now),
            // Another session, or what a device says, said to a device: a reflection.
            _ => Err(PairingError::Order),
        }
    }

    fn reply(&mut self, reply: &Reply) -> Result<DeviceStep, PairingError> {
        let Stage::Asked { nonce, share, pending } = &mut self.stage else {
            return Err(PairingError::Order);
        };
        let (nonce, share, pending) = (*nonce, core::mem::take(share), pending.take());
        match self.judge(reply, &nonce, &share, pending) {
            Ok((key, transcript, proof)) => {
                self.agreed = Some((reply.fleet.clone(), transcript));
                self.outgoing = Message::Confirm { session: self.session.clone(), proof }.encode();
                // From here on only the key of this exchange is needed.
                self.secret = Secret::none();
                self.stage = Stage::Confirmed { key, compared: self.method != PairingMethod::Compare };
                Ok(DeviceStep::Confirm { message: self.outgoing.clone(), digits: Digits::of(&transcript) })
            }
            Err(error) => {
                self.secret = Secret::none();
                self.stage = Stage::Failed(error.clone());
                Err(error)
            }
        }
    }

    fn judge(
        &self,
        reply: &Reply,
        nonce: &[u8; 32],
        share: &[u8],
        pending: Option<Box<dyn PakePending>>,
    ) -> Result<(Secret, Sha256Digest, [u8; 32]), PairingError> {
        if !(VERSIONS.0..=VERSIONS.1).contains(&reply.version) {
            return Err(PairingError::Version);
        }
        if (self.method == PairingMethod::Pin) == reply.share.is_empty() {
            return Err(PairingError::Malformed);
        }
        let key = match (self.method, pending) {
            (PairingMethod::Qr | PairingMethod::Enrolment, _) => self.secret.copy(),
            (PairingMethod::Compare, _) => Secret::new(Zeroizing::new(Vec::new())),
            (PairingMethod::Pin, Some(pending)) => Secret::new(pending.finish(&reply.share)?.into_bytes()),
            (PairingMethod::Pin, None) => return Err(PairingError::Order),
        };
        let opening = Opening {
            session: &self.session,
            versions: VERSIONS,
            method: self.method,
            device: &self.profile.device,
            kind: self.profile.kind,
            request: &self.profile.request,
            coordinator: &self.channel,
        };
        let transcript = opening.transcript(&Answer {
            version: reply.version,
            fleet: &reply.fleet,
            device_nonce: nonce,
            coordinator_nonce: &reply.nonce,
            device_share: share,
            coordinator_share: &reply.share,
        });
        if self.method == PairingMethod::Compare {
            return if reply.tag == [0; 32] {
                Ok((key, transcript, *nonce))
            } else {
                Err(PairingError::Malformed)
            };
        }
        if !same(&tag(key.bytes(), Label::Coordinator, &transcript, b"")?, &reply.tag) {
            return Err(PairingError::Confirmation);
        }
        let proof = tag(key.bytes(), Label::Device, &transcript, b"")?;
        Ok((key, transcript, proof))
    }

    fn status(&mut self, status: Status, now: Now) -> Result<DeviceStep, PairingError> {
        let (key, compared) = match &self.stage {
            Stage::Confirmed { key, compared } => (key, *compared),
            Stage::Asked { .. } if status == Status::Refused => return Ok(DeviceStep::Refused),
            Stage::Paired => return Ok(DeviceStep::Paired),
            Stage::Asked { .. } | Stage::Failed(_) => return Err(PairingError::Order),
        };
        let (certificate, delivered) = match status {
            Status::Pending => return Ok(DeviceStep::Waiting),
            Status::Refused => return Ok(DeviceStep::Refused),
            Status::Issued { certificate, tag } => (certificate, tag),
        };
        let (fleet, transcript) = self.agreed.clone().ok_or(PairingError::Order)?;
        if !same(&tag(key.bytes(), Label::Delivery, &transcript, &certificate)?, &delivered) {
            return Err(PairingError::Confirmation);
        }
        let leaf = DeviceCertificate::from_der(&certificate)?;
        if leaf.key() != self.profile.key {
            return Err(PairingError::WrongKey);
        }
        if now.wall >= leaf.not_after() {
            return Err(PairingError::Device(crate::identity::DeviceError::Expired));
        }
        if !compared {
            return Err(PairingError::NotCompared);
        }
        let device = self.profile.device.clone();
        let coordinator = self.channel;
        self.paired = Some(PairedDevice { device, certificate, fleet, coordinator, transcript });
        self.stage = Stage::Paired;
        Ok(DeviceStep::Paired)
    }
}

impl fmt::Debug for DevicePairing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::Asked { .. } => "asked",
            Stage::Confirmed { .. } => "confirmed",
            Stage::Paired => "paired",
            Stage::Failed(_) => "failed",
        };
        f.debug_struct("DevicePairing")
            .field("session", &self.session)
            .field("method", &self.method)
            .field("device", &self.profile.device)
            .field("stage", &stage)
            .finish_non_exhaustive()
    }
}
