//! Commands about the fleet's own trust anchors, as `operator`: `pin_anchor` (`role`, `certificate_sha256`, and with
//! `not_after` the facts of the certificate: `key_sha256`, `not_before`), `announce_anchor` (`role`, `succeeds`, and the
//! next certificate as in `register_device`), `withdraw_anchor`, `confirm_anchor` and `revoke_anchor`
//! (`certificate_sha256`; the last with a `reason`). `by` is the certificate that the coordinator presents, where it is
//! left out.

use leasehold::{
    digest::Sha256Digest,
    fleet::{ManageAnchors, WorkerFleetManager},
    identity::{
        AnchorCommand, AnchorRole, Announcement, DeviceCertificate, PinnedCertificate, RevocationReason,
    },
    time::Wall,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Done, Rejection, commands::read, peers::Peers};

pub const OPERATOR: [&str; 5] =
    ["pin_anchor", "announce_anchor", "withdraw_anchor", "confirm_anchor", "revoke_anchor"];

/// The certificate that the coordinator of this tool presents.
pub fn own() -> Sha256Digest {
    Sha256Digest::of(b"explain")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    role: Option<AnchorRole>,
    by: Option<Sha256Digest>,
    succeeds: Option<Sha256Digest>,
    certificate_sha256: Sha256Digest,
    key_sha256: Option<Sha256Digest>,
    not_before: Option<u64>,
    not_after: Option<u64>,
    reason: Option<RevocationReason>,
}

impl Form {
    fn certificate(&self) -> Result<DeviceCertificate, Rejection> {
        let key = self.key_sha256.unwrap_or_else(|| Sha256Digest::of(self.certificate_sha256.as_bytes()));
        let (begin, end) = (Wall(self.not_before.unwrap_or(0)), self.not_after.map_or(Wall::NEVER, Wall));
        Ok(DeviceCertificate::new(self.certificate_sha256, key, begin, end)?)
    }
}

pub fn operator(peers: &mut Peers, name: &str, body: &Value) -> Result<Done, Rejection> {
    let form: Form = read(body)?;
    let (by, fingerprint) = (form.by.unwrap_or_else(own), form.certificate_sha256);
    let dated = form.key_sha256.is_some() || form.not_before.is_some() || form.not_after.is_some();
    let command = match (name, form.role, form.succeeds, form.reason) {
        ("pin_anchor", Some(role), None, None) if form.by.is_none() => {
            let certificate = match dated {
                true => form.certificate()?.into(),
                false => PinnedCertificate::Fingerprint(fingerprint),
            };
            AnchorCommand::Pin { role, certificate }
        }
        ("announce_anchor", Some(role), Some(succeeds), None) => {
            let announcement = Announcement { role, succeeds, next: form.certificate()? };
            AnchorCommand::Announce { by, announcement }
        }
        ("withdraw_anchor", None, None, None) if !dated => AnchorCommand::Withdraw { by, fingerprint },
        ("confirm_anchor", None, None, None) if !dated && form.by.is_none() => {
            AnchorCommand::ConfirmUse { fingerprint }
        }
        ("revoke_anchor", None, None, reason) if !dated && form.by.is_none() => {
            let reason = reason.unwrap_or(RevocationReason::Operator);
            AnchorCommand::Revoke { fingerprint, reason }
        }
        _ => return Err(Rejection::malformed("these members do not belong to this command")),
    };
    peers.tell(&ManageAnchors::new(command), &Peers::operator()?)
}

/// What is pinned after the last command, and what is revoked of it; nothing where neither is there.
pub fn show(fleet: &WorkerFleetManager) -> Option<Value> {
    let anchors = fleet.state().nodes().anchors();
    let pinned: Vec<Value> = [AnchorRole::Coordinator, AnchorRole::Authority]
        .into_iter()
        .flat_map(|role| anchors.of(role))
        .map(|anchor| {
            json!({
                "role": anchor.role,
                "certificate_sha256": anchor.certificate.fingerprint(),
                "succeeds": anchor.succeeds,
            })
        })
        .collect();
    let revoked: Vec<_> = anchors.revoked().map(|(fingerprint, _)| *fingerprint).collect();
    let shown = !pinned.is_empty() || !revoked.is_empty();
    shown.then(|| json!({"pinned": pinned, "revoked": revoked}))
}
