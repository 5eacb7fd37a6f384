//! Commands about devices: their certificates, their pairing, and what they are asked for.
//!
//! As `worker`, over the channel of `device` (and optionally of `certificate_sha256`): `confirm_use`, `revoke_self`,
//! `open_stream` (`incarnation`, `claims`, `window`), `device_message` (`message`: a `DeviceMessage`), `close_stream`
//! (`incarnation`); and `pair` (`message`: the bytes of a pairing message in base64, from a peer without a channel).
//! As `service`: `enqueue` (an `EnqueueRequest`), `cancel_request`, `collect_result`. As `operator`:
//! `register_device`, `replace_device`, `rotate_device`, `abandon_rotation`, `settle_rotation`, `revoke_device`,
//! `revoke_certificate`, `revoke_key`, `clear_revocation`, `remove_device`, `grant_capabilities`, `order_dispatch` (a
//! `DispatchCommand`), `cancel_request`, `offer_pairing` (`method`, `target`), `approve_pairing`, `reject_pairing`,
//! `cancel_pairing`, and `complete_pairing` with the certificate that the issuer signed, in base64.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use leasehold::{
    capability::CapabilitySet,
    digest::Sha256Digest,
    dispatch::{DeviceMessage, DispatchCommand, EnqueueRequest, Incarnation},
    fleet::*,
    id::*,
    identity::{
        DeviceCertificate, DeviceCommand, DeviceKind, OverlapEnd, RevocationReason, RevocationSubject,
        pairing::{PairingMethod, PairingTarget},
    },
    time::{Millis, Wall},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Done, Rejection, commands::read, peers::Peers};

pub const WORKER: [&str; 6] =
    ["confirm_use", "revoke_self", "open_stream", "device_message", "close_stream", "pair"];
pub const SERVICE: [&str; 3] = ["enqueue", "cancel_request", "collect_result"];
pub const OPERATOR: [&str; 18] = [
    "register_device",
    "replace_device",
    "rotate_device",
    "abandon_rotation",
    "settle_rotation",
    "revoke_device",
    "revoke_certificate",
    "revoke_key",
    "clear_revocation",
    "remove_device",
    "grant_capabilities",
    "order_dispatch",
    "cancel_request",
    "offer_pairing",
    "approve_pairing",
    "reject_pairing",
    "cancel_pairing",
    "complete_pairing",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Channel {
    device: DeviceId,
    certificate_sha256: Option<Sha256Digest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenForm {
    device: DeviceId,
    certificate_sha256: Option<Sha256Digest>,
    incarnation: Incarnation,
    claims: CapabilitySet,
    window: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageForm {
    device: DeviceId,
    certificate_sha256: Option<Sha256Digest>,
    message: DeviceMessage,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseForm {
    device: DeviceId,
    incarnation: Incarnation,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PairForm {
    message: String,
}

pub fn worker(peers: &mut Peers, name: &str, body: &Value) -> Result<Done, Rejection> {
    let over = |peers: &Peers, channel: &Channel| peers.channel(&channel.device, channel.certificate_sha256);
    match name {
        "confirm_use" => {
            let principal = over(peers, &read(body)?);
            peers.tell(&ConfirmUse {}, &principal)
        }
        "revoke_self" => {
            let principal = over(peers, &read(body)?);
            peers.tell(&RevokeSelf {}, &principal)
        }
        "open_stream" => {
            let OpenForm { device, certificate_sha256, incarnation, claims, window } = read(body)?;
            let principal = over(peers, &Channel { device, certificate_sha256 });
            let message = DeviceMessage::Connect { incarnation, claims, window };
            peers.tell(&TellDispatch { message }, &principal)
        }
        "device_message" => {
            let MessageForm { device, certificate_sha256, message } = read(body)?;
            let principal = over(peers, &Channel { device, certificate_sha256 });
            peers.tell(&TellDispatch { message }, &principal)
        }
        "close_stream" => {
            let CloseForm { device, incarnation } = read(body)?;
            peers.tell(&StreamEnded::new(device, incarnation), &Principal::Core)
        }
        _ => {
            let PairForm { message } = read(body)?;
            peers.pair(&STANDARD.decode(message).map_err(Rejection::malformed)?)
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestForm {
    request: RequestId,
}

pub fn service(peers: &mut Peers, name: &str, body: &Value) -> Result<Done, Rejection> {
    let service = Peers::service()?;
    match name {
        "enqueue" => peers.tell(&Enqueue { ask: read::<EnqueueRequest>(body)? }, &service),
        "cancel_request" => {
            let RequestForm { request } = read(body)?;
            peers.tell(&CancelRequest { request }, &service)
        }
        _ => {
            let RequestForm { request } = read(body)?;
            peers.tell(&CollectResult { request }, &service)
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateForm {
    device: DeviceId,
    #[serde(default = "worker_kind")]
    kind: DeviceKind,
    certificate_sha256: Sha256Digest,
    key_sha256: Option<Sha256Digest>,
    #[serde(default)]
    not_before: u64,
    not_after: Option<u64>,
    /// Of a rotation only.
    overlap_ms: Option<Millis>,
    at_deadline: Option<OverlapEnd>,
}

const fn worker_kind() -> DeviceKind {
    DeviceKind::Worker
}

impl CertificateForm {
    fn certificate(&self) -> Result<DeviceCertificate, Rejection> {
        let key = self.key_sha256.unwrap_or_else(|| Sha256Digest::of(self.certificate_sha256.as_bytes()));
        let not_after = self.not_after.map_or(Wall::NEVER, Wall);
        Ok(DeviceCertificate::new(self.certificate_sha256, key, Wall(self.not_before), not_after)?)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectForm {
    device: Option<DeviceId>,
    certificate_sha256: Option<Sha256Digest>,
    key_sha256: Option<Sha256Digest>,
    reason: Option<RevocationReason>,
}

impl SubjectForm {
    /// The one subject that is named.
    fn subject(&self) -> Result<RevocationSubject, Rejection> {
        match (&self.device, self.certificate_sha256, self.key_sha256) {
            (Some(device), None, None) => Ok(RevocationSubject::Device(device.clone())),
            (None, Some(certificate), None) => Ok(RevocationSubject::Certificate(certificate)),
            (None, None, Some(key)) => Ok(RevocationSubject::Key(key)),
            _ => Err(Rejection::malformed("one of device, certificate_sha256 and key_sha256")),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceForm {
    device: DeviceId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantForm {
    device: DeviceId,
    capabilities: CapabilitySet,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfferForm {
    method: PairingMethod,
    target: PairingTarget,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionForm {
    session: SessionId,
    transcript: Option<Sha256Digest>,
    certificate: Option<String>,
}

pub fn operator(peers: &mut Peers, name: &str, body: &Value) -> Result<Done, Rejection> {
    if let Some(command) = device_command(name, body)? {
        return peers.tell(&ManageDevice::new(command), &Peers::operator()?);
    }
    let by = Peers::operator()?;
    match name {
        "grant_capabilities" => {
            let GrantForm { device, capabilities } = read(body)?;
            let order = DispatchCommand::Grant { device, capabilities };
            peers.tell(&OrderDispatch { order }, &by)
        }
        "order_dispatch" => peers.tell(&OrderDispatch { order: read(body)? }, &by),
        "cancel_request" => {
            let RequestForm { request } = read(body)?;
            peers.tell(&CancelRequest { request }, &by)
        }
        "offer_pairing" => {
            let OfferForm { method, target } = read(body)?;
            peers.offer(method, target)
        }
        _ => {
            let SessionForm { session, transcript, certificate } = read(body)?;
            match (name, transcript, certificate) {
                ("approve_pairing", Some(transcript), None) => peers.approve(&session, &transcript),
                ("reject_pairing", None, None) => peers.end_pairing(&session, false),
                ("cancel_pairing", None, None) => peers.end_pairing(&session, true),
                ("complete_pairing", None, Some(certificate)) => {
                    let certificate = STANDARD.decode(certificate).map_err(Rejection::malformed)?;
                    peers.complete(&session, &certificate)
                }
                _ => Err(Rejection::malformed(
                    "approve_pairing names a transcript, complete_pairing a certificate",
                )),
            }
        }
    }
}

/// What the command means for the registry, where it is about that alone.
fn device_command(name: &str, body: &Value) -> Result<Option<DeviceCommand>, Rejection> {
    let revoke = |needs: fn(&SubjectForm) -> bool| -> Result<DeviceCommand, Rejection> {
        let form: SubjectForm = read(body)?;
        if !needs(&form) {
            return Err(Rejection::malformed("the subject is not of the kind that the command names"));
        }
        let reason = form.reason.unwrap_or(RevocationReason::Operator);
        Ok(DeviceCommand::Revoke { subject: form.subject()?, reason })
    };
    let about = || read::<DeviceForm>(body).map(|form| form.device);
    Ok(Some(match name {
        "register_device" | "replace_device" | "rotate_device" => {
            let form: CertificateForm = read(body)?;
            let certificate = form.certificate()?;
            let CertificateForm { device, kind, overlap_ms, at_deadline, .. } = form;
            match (name, overlap_ms) {
                ("register_device", None) => DeviceCommand::Register { device, kind, certificate },
                ("replace_device", None) => DeviceCommand::Replace { device, kind, certificate },
                ("rotate_device", Some(overlap)) => {
                    let at_deadline = at_deadline.unwrap_or(OverlapEnd::AbandonNew);
                    DeviceCommand::BeginRotation { device, next: certificate, overlap, at_deadline }
                }
                _ => return Err(Rejection::malformed("overlap_ms belongs to rotate_device, and only there")),
            }
        }
        "abandon_rotation" => DeviceCommand::AbandonRotation { device: about()? },
        "settle_rotation" => DeviceCommand::Settle { device: about()? },
        "remove_device" => DeviceCommand::Remove { device: about()? },
        "revoke_device" => revoke(|form| form.device.is_some())?,
        "revoke_certificate" => revoke(|form| form.certificate_sha256.is_some())?,
        "revoke_key" => revoke(|form| form.key_sha256.is_some())?,
        "clear_revocation" => {
            DeviceCommand::ClearRevocation { subject: read::<SubjectForm>(body)?.subject()? }
        }
        _ => return Ok(None),
    }))
}

/// The devices and their requests, as they stand after the last command.
pub fn show(fleet: &WorkerFleetManager) -> (Vec<Value>, Vec<Value>) {
    let nodes = fleet.state().nodes();
    let devices = nodes.registry().devices().map(|record| {
        let subject = RevocationSubject::Device(record.device().clone());
        let dispatch = nodes.dispatch().device(record.device());
        json!({
            "id": record.device(),
            "kind": record.kind(),
            "certificate_sha256": record.certificate().fingerprint(),
            "next_certificate_sha256": record.rotation().map(|rotation| rotation.next.fingerprint()),
            "revoked": nodes.registry().revocation(&subject).is_some(),
            "dispatch": dispatch,
        })
    });
    let requests = nodes.dispatch().records().map(|record| {
        json!({
            "id": record.id(),
            "device": record.device(),
            "capability": record.capability(),
            "state": record.state(),
            "attempt": record.attempt(),
            "result": STANDARD.encode(record.result().as_bytes()),
        })
    });
    (devices.collect(), requests.collect())
}
