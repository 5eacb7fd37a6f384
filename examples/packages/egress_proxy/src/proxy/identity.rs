//! Who asks, and under which lease.

use std::collections::BTreeMap;

use leasehold::{
    digest::Sha256Digest,
    egress::{Bearer, Claim, TokenError, TokenKey, http1::Field},
    id::WorkerId,
};

use super::{
    Refused,
    refused::{DEVICE_UNKNOWN, IDENTITY_MISSING, OTHER_DEVICE},
};

/// What makes a client somebody.
#[derive(Default)]
pub struct Identities {
    /// Whose certificate is whose: by mutual TLS a worker needs no token, only the fence of its lease.
    pub workers: BTreeMap<Sha256Digest, WorkerId>,
    /// The keys that lease tokens are made with. None: no token is believed.
    pub keys: Vec<TokenKey>,
}

/// Fields in which SDKs send their key, and where a token may stand on a base-URL route: the rule's own credential
/// replaces it. `authorization` is Bearer, Basic with the token as password, or the token alone.
const SDK_FIELDS: [&str; 6] =
    ["authorization", "x-api-key", "api-key", "x-goog-api-key", "ocp-apim-subscription-key", "private-token"];

impl Identities {
    /// The bearer, and the field that was for this proxy and goes no further.
    pub fn bearer(
        &self,
        certificate: Option<Sha256Digest>,
        fields: &[Field],
        routed: bool,
    ) -> Result<(Bearer, Option<&'static str>), Refused> {
        let device = certificate.map(|shown| self.workers.get(&shown));
        let mut said = fields.iter().filter(|(name, _)| name == "proxy-authorization");
        let (claim, used) = match (said.next(), said.next()) {
            (Some((_, value)), None) => (Claim::read(value), None),
            (Some(_), Some(_)) => return Err(missing("there are two proxy-authorization fields")),
            (None, _) => match self.routed_claim(fields).filter(|_| routed) {
                Some((token, field)) => (Ok(Claim::Token(token)), Some(field)),
                None => {
                    return Err(missing(
                        "a lease token, or a certificate and the fence of a lease, is required",
                    ));
                }
            },
        };
        let bearer = match (claim, device) {
            (Err(error), _) => return Err(Refused::coded(407, &error)),
            (Ok(Claim::Fence(fence)), Some(Some(worker))) => Bearer { worker: worker.clone(), fence },
            (Ok(Claim::Fence(_)), Some(None)) => {
                return Err(Refused::new(403, DEVICE_UNKNOWN, "no worker of the fleet has this certificate"));
            }
            (Ok(Claim::Fence(_)), None) => {
                return Err(missing("a fence counts with a worker's certificate only"));
            }
            (Ok(Claim::Token(token)), device) => {
                let bearer = TokenKey::verify(&self.keys, &token).map_err(|error| match error {
                    // 407 again would make a client send the same token for ever.
                    TokenError::Forged => Refused::coded(403, &error),
                    _ => Refused::coded(407, &error),
                })?;
                if device.flatten().is_some_and(|worker| *worker != bearer.worker) {
                    return Err(Refused::new(403, OTHER_DEVICE, "the token is not this device's"));
                }
                bearer
            }
        };
        Ok((bearer, used))
    }

    /// The token in a field where an SDK puts its key. Only what is a token: another key belongs to the worker, and the
    /// rule decides about it.
    fn routed_claim(&self, fields: &[Field]) -> Option<(String, &'static str)> {
        SDK_FIELDS.into_iter().find_map(|field| {
            let (_, value) = fields.iter().find(|(name, _)| name == field)?;
            let claimed = match Claim::read(value) {
                Ok(Claim::Token(token)) if field == "authorization" => token,
                _ => std::str::from_utf8(value).ok()?.to_owned(),
            };
            TokenKey::verify(&self.keys, &claimed).is_ok().then_some((claimed, field))
        })
    }
}

fn missing(message: &str) -> Refused {
    Refused::new(407, IDENTITY_MISSING, message)
}
