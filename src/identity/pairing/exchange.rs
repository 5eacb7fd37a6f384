//! One exchange on the coordinator's side: what was said, the key it led to, and the check of the device's proof.

use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroizing;

use super::{
    error::PairingError,
    message::{Hello, Message, Reply},
    method::PairingMethod,
    pake::PairingTools,
    secret::Secret,
    session::PairingPeer,
    transcript::{Answer, Label, Opening, VERSIONS, same, tag},
};
use crate::{digest::Sha256Digest, id::FleetId, identity::certificate::request_key};

/// An exchange that passed every check that needs no code. Nothing was charged yet.
pub(super) struct Prepared {
    hello: Hello,
    asked: Sha256Digest,
    key_digest: Sha256Digest,
    version: u8,
    fleet: FleetId,
    nonce: [u8; 32],
    coordinator: Sha256Digest,
}

/// An exchange that was charged and answered.
pub(super) struct Exchange {
    prepared: Prepared,
    share: Vec<u8>,
    key: Secret,
    reply: Vec<u8>,
    accepted: Option<[u8; 32]>,
}

impl Exchange {
    pub(super) fn prepare(
        hello: Hello,
        bytes: &[u8],
        fleet: &FleetId,
        coordinator: Sha256Digest,
        tools: &mut PairingTools<'_>,
    ) -> Result<Prepared, PairingError> {
        let (lowest, highest) = hello.versions;
        let version = highest.min(VERSIONS.1);
        if lowest > highest || version < lowest.max(VERSIONS.0) {
            return Err(PairingError::Version);
        }
        let is_pin = hello.method == PairingMethod::Pin;
        if is_pin == hello.share.is_empty() {
            return Err(PairingError::Malformed);
        }
        if is_pin && tools.pake.is_none() {
            return Err(PairingError::NoPake);
        }
        let key_digest = request_key(&hello.request)?;
        let mut nonce = [0; 32];
        tools.entropy.fill(&mut nonce)?;
        let (asked, fleet) = (Sha256Digest::of(bytes), fleet.clone());
        Ok(Prepared { hello, asked, key_digest, version, fleet, nonce, coordinator })
    }

    /// The reply that was given to these very bytes.
    pub(super) fn answered(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        (self.prepared.asked == Sha256Digest::of(bytes)).then(|| self.reply.clone())
    }

    /// Checks the device's proof and gives the transcript that it is over.
    pub(super) fn check(&mut self, proof: &[u8; 32]) -> Result<Sha256Digest, PairingError> {
        let hello = &self.prepared.hello;
        let transcript = if hello.method == PairingMethod::Compare {
            let commitment = self.prepared.opening().commitment(proof);
            if !same(commitment.as_bytes(), &hello.nonce) {
                return Err(PairingError::Confirmation);
            }
            self.prepared.transcript(proof, &self.share)
        } else {
            let transcript = self.prepared.transcript(&hello.nonce, &self.share);
            if !same(&tag(self.key.bytes(), Label::Device, &transcript, b"")?, proof) {
                return Err(PairingError::Confirmation);
            }
            transcript
        };
        self.accepted = Some(*proof);
        Ok(transcript)
    }

    pub(super) fn confirmed_by(&self, proof: &[u8; 32]) -> bool {
        self.accepted.is_some_and(|accepted| same(&accepted, proof))
    }

    pub(super) fn peer(&self) -> PairingPeer {
        let hello = &self.prepared.hello;
        PairingPeer {
            device: hello.device.clone(),
            kind: hello.kind,
            key: self.prepared.key_digest,
            request: Sha256Digest::of(&hello.request),
        }
    }

    pub(super) fn request(&self) -> &[u8] {
        &self.prepared.hello.request
    }

    /// The key that delivery is proved with. Empty for a comparison, which has no shared secret: there the
    /// channel's certificate, which the digits cover, says where a message comes from.
    pub(super) fn key(&self) -> &[u8] {
        self.key.bytes()
    }
}

impl Prepared {
    pub(super) fn key_digest(&self) -> Sha256Digest {
        self.key_digest
    }

    fn opening(&self) -> Opening<'_> {
        Opening {
            session: &self.hello.session,
            versions: self.hello.versions,
            method: self.hello.method,
            device: &self.hello.device,
            kind: self.hello.kind,
            request: &self.hello.request,
            coordinator: &self.coordinator,
        }
    }

    fn transcript(&self, device_nonce: &[u8; 32], share: &[u8]) -> Sha256Digest {
        self.opening().transcript(&Answer {
            version: self.version,
            fleet: &self.fleet,
            device_nonce,
            coordinator_nonce: &self.nonce,
            device_share: &self.hello.share,
            coordinator_share: share,
        })
    }

    /// Computes what depends on the code. The attempt is charged by now, whatever comes of it.
    pub(super) fn answer(
        self,
        secret: Secret,
        tools: &mut PairingTools<'_>,
    ) -> Result<(Exchange, Vec<u8>), PairingError> {
        let (share, key) = match self.hello.method {
            PairingMethod::Qr | PairingMethod::Enrolment => (Vec::new(), secret),
            PairingMethod::Compare => (Vec::new(), Secret::new(Zeroizing::new(Vec::new()))),
            PairingMethod::Pin => {
                let pake = tools.pake.ok_or(PairingError::NoPake)?;
                let context = self.opening().context();
                let (share, key) =
                    pake.respond(&self.hello.share, secret.bytes(), &context, tools.entropy)?;
                if share.is_empty() || share.len() > super::message::MAX_SHARE {
                    return Err(PairingError::Pake(super::pake::PakeError));
                }
                (share, Secret::new(key.into_bytes()))
            }
        };
        let tag = if self.hello.method == PairingMethod::Compare {
            [0; 32]
        } else {
            tag(key.bytes(), Label::Coordinator, &self.transcript(&self.hello.nonce, &share), b"")?
        };
        let reply = Message::Reply(Reply {
            session: self.hello.session.clone(),
            version: self.version,
            fleet: self.fleet.clone(),
            nonce: self.nonce,
            share: share.clone(),
            tag,
        })
        .encode();
        Ok((Exchange { prepared: self, share, key, reply: reply.clone(), accepted: None }, reply))
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("device", &self.prepared.hello.device).finish_non_exhaustive()
    }
}
