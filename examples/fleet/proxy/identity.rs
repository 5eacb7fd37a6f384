//! Who asks, and under which lease.

use std::collections::BTreeMap;

use leasehold::{
    digest::Sha256Digest,
    egress::{Bearer, Claim, TokenError, TokenKey, http1::RequestHead},
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
/// replaces it.
const SDK_FIELDS: [&str; 3] = ["authorization", "x-api-key", "api-key"];

impl Identities {
    /// The bearer, and the fields that were for this proxy and go no further.
    pub fn bearer(
        &self,
        certificate: Option<Sha256Digest>,
        head: &RequestHead,
        routed: bool,
    ) -> Result<(Bearer, Vec<&'static str>), Refused> {
        let device = certificate.map(|shown| self.workers.get(&shown));
        let mut said = head.fields.iter().filter(|(name, _)| name == "proxy-authorization");
        let (claim, used) = match (said.next(), said.next()) {
            (Some((_, value)), None) => (Claim::read(value), Vec::new()),
            (Some(_), Some(_)) => return Err(missing("there are two proxy-authorization fields")),
            (None, _) => match self.routed_claim(head).filter(|_| routed) {
                Some((token, field)) => (Ok(Claim::Token(token)), vec![field]),
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

    fn routed_claim(&self, head: &RequestHead) -> Option<(String, &'static str)> {
        SDK_FIELDS.into_iter().find_map(|field| {
            let (_, value) = head.fields.iter().find(|(name, _)| name == field)?;
            let text = std::str::from_utf8(value).ok()?;
            let token = text.strip_prefix("Bearer ").unwrap_or(text);
            // Only what is a token: another key belongs to the worker, and the rule decides about it.
            TokenKey::verify(&self.keys, token).is_ok().then(|| (token.to_owned(), field))
        })
    }
}

fn missing(message: &str) -> Refused {
    Refused::new(407, IDENTITY_MISSING, message)
}
