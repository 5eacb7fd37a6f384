//! Lease tokens: how a worker shows an enforcement point which lease it acts under, where it has no certificate.
//!
//! `MAC.EPOCH.COUNTER.WORKER`, and the MAC is over the rest. A token is worth what its lease is worth: it names one
//! fence, and the view says whether that is live. It is a bearer token, so it travels over TLS or over loopback.

use alloc::{borrow::ToOwned, format, string::String, vec::Vec};
use core::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

use super::Bearer;
use crate::{
    code::{self, Code, Coded},
    digest::FieldHasher,
    id::WorkerId,
    lease::{Epoch, Fence},
};

/// The longest token, in bytes: 64 of MAC, two numbers of 20, a worker id of 128, three dots.
pub const MAX_TOKEN_BYTES: usize = 235;

/// Why a text is no token for here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not of the form.
    #[error("not a lease token")]
    Malformed,
    /// Not made with a key of this enforcement point.
    #[error("the lease token was not made with a key of this enforcement point")]
    Forged,
}

impl Coded for TokenError {
    fn code(&self) -> Code {
        match self {
            Self::Malformed => code::EGRESS_TOKEN_MALFORMED,
            Self::Forged => code::EGRESS_TOKEN_FORGED,
        }
    }
}

/// The key that lease tokens are made with: shared by who grants leases and the enforcement points. Wiped when dropped,
/// in no `Debug`.
#[derive(Clone)]
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// The key in `bytes`: 32 random bytes. The caller wipes its own copy.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn mac(&self, bearer: &Bearer) -> [u8; 32] {
        let digest = FieldHasher::new("egress.token.v1")
            .number(bearer.fence.epoch.0)
            .number(bearer.fence.counter)
            .field(bearer.worker.as_str().as_bytes())
            .finish();
        // RFC 2104 section 2 fills a key up with zeros to the block of the hash.
        let mut block = zeroize::Zeroizing::new([0; 64]);
        block.iter_mut().zip(self.0).for_each(|(byte, own)| *byte = own);
        let mut mac = Hmac::<Sha256>::new((&*block).into());
        mac.update(digest.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// The token that says that its holder is `bearer`.
    ///
    /// ```
    /// use leasehold::{egress::{Bearer, TokenKey}, id::WorkerId, lease::{Epoch, Fence}};
    /// let bearer = Bearer { worker: WorkerId::new("w1")?, fence: Fence::new(Epoch(1), 7) };
    /// let key = TokenKey::new([9; 32]);
    /// assert_eq!(TokenKey::verify(&[key.clone()], &key.token(&bearer))?, bearer);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn token(&self, bearer: &Bearer) -> String {
        let Fence { epoch, counter } = bearer.fence;
        format!("{}.{}.{counter}.{}", hex::encode(self.mac(bearer)), epoch.0, bearer.worker)
    }

    /// Who holds `token`, where one of `keys` made it. Several keys are for the time of a change. Cost: one MAC a key,
    /// whichever is right.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(keys: &[Self], token: &str) -> Result<Bearer, TokenError> {
        let (mac, bearer) = parse(token).ok_or(TokenError::Malformed)?;
        let matches = keys.iter().map(|key| key.mac(&bearer).ct_eq(&mac));
        let any = matches.fold(subtle::Choice::from(0), |any, this| any | this);
        if bool::from(any) { Ok(bearer) } else { Err(TokenError::Forged) }
    }
}

fn parse(token: &str) -> Option<([u8; 32], Bearer)> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let mut parts = token.splitn(4, '.');
    let [mac, epoch, counter, worker] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let mut bytes = [0; 32];
    hex::decode_to_slice(mac, &mut bytes).ok().filter(|()| mac == mac.to_ascii_lowercase())?;
    let fence = Fence::new(Epoch(number(epoch)?), number(counter)?);
    Some((bytes, Bearer { worker: WorkerId::new(worker).ok()?, fence }))
}

/// Digits in their one spelling.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| digits)
}

impl Drop for TokenKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(***)")
    }
}

/// What a client says in `Proxy-Authorization` (RFC 9110 section 11.7.2), as far as it concerns leases.
#[derive(Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)]
pub enum Claim {
    /// `Bearer TOKEN`, and `Basic` with the token as its password, which is what clients make of a proxy URL.
    Token(String),
    /// `Lease EPOCH.COUNTER`: for a client that its certificate names.
    Fence(Fence),
}

/// Without the token.
impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token(***)"),
            Self::Fence(fence) => write!(f, "Fence({fence:?})"),
        }
    }
}

impl Claim {
    /// Reads the value of the field. The scheme's name is taken in any case.
    ///
    /// # Errors
    /// [`TokenError::Malformed`].
    pub fn read(value: &[u8]) -> Result<Self, TokenError> {
        let text = core::str::from_utf8(value).map_err(|_| TokenError::Malformed)?;
        let (scheme, rest) = text.split_once(' ').ok_or(TokenError::Malformed)?;
        let claim = match scheme.to_ascii_lowercase().as_str() {
            "bearer" => Some(Self::Token(rest.to_owned())),
            "basic" => password(rest).map(Self::Token),
            "lease" => rest.split_once('.').and_then(|(epoch, counter)| {
                Some(Self::Fence(Fence::new(Epoch(number(epoch)?), number(counter)?)))
            }),
            _ => None,
        };
        claim.ok_or(TokenError::Malformed)
    }
}

/// What stands behind the first colon of a Basic credential (RFC 7617 section 2). The user is not looked at.
fn password(encoded: &str) -> Option<String> {
    use base64::Engine as _;
    // No token is longer, and no user needs to be.
    let decoded =
        (encoded.len() <= 512).then(|| base64::engine::general_purpose::STANDARD.decode(encoded))?;
    let text: Vec<u8> = decoded.ok()?;
    let text = String::from_utf8(text).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(worker: &str, counter: u64) -> Bearer {
        Bearer { worker: WorkerId::new(worker).unwrap(), fence: Fence::new(Epoch(3), counter) }
    }

    #[test]
    fn a_token_is_for_one_worker_one_lease_one_key() {
        let (key, other) = (TokenKey::new([1; 32]), TokenKey::new([2; 32]));
        let keys = [other.clone(), key.clone()];
        for own in [bearer("w", 0), bearer("team.worker-1:x", u64::MAX), bearer(&"w".repeat(128), 7)] {
            let token = key.token(&own);
            assert!(token.len() <= MAX_TOKEN_BYTES);
            assert_eq!(TokenKey::verify(&keys, &token), Ok(own.clone()));
            assert_eq!(TokenKey::verify(&keys[..1], &token), Err(TokenError::Forged));
            assert_eq!(TokenKey::verify(&[], &token), Err(TokenError::Forged));
            for at in 0..token.len() {
                let mut bytes = token.clone().into_bytes();
                bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
                let changed = String::from_utf8(bytes).unwrap();
                assert!(TokenKey::verify(&keys, &changed).is_err(), "{changed}");
            }
        }
        let token = key.token(&bearer("w", 7));
        let mac = token.split('.').next().unwrap();
        for bad in [
            "",
            mac,
            &format!("{mac}.3.7"),
            &format!("{mac}.3.07.w"),
            &format!("{mac}.+3.7.w"),
            &format!("{mac}.3.7.W"),
            &format!("{mac}.3.7.w "),
            &token.to_ascii_uppercase(),
            &format!("{token}{}", "w".repeat(200)),
        ] {
            assert_eq!(TokenKey::verify(&keys, bad), Err(TokenError::Malformed), "{bad}");
        }
    }

    /// Attack E14: neither the key nor what a client claims is in `Debug`.
    /// Invariant 9: each field is under the MAC. What is changed here stays within the grammar, so only the MAC tells.
    #[test]
    fn each_field_of_a_token_is_authenticated() {
        let key = TokenKey::new([1; 32]);
        let token = key.token(&bearer("w", 7));
        let (mac, rest) = token.split_once('.').unwrap();
        assert_eq!(rest, "3.7.w");
        let flipped = if mac.starts_with('0') { "1" } else { "0" };
        for changed in [
            format!("{flipped}{}.{rest}", &mac[1..]),
            format!("{}{flipped}.{rest}", &mac[..63]),
            format!("{mac}.4.7.w"),
            format!("{mac}.3.8.w"),
            format!("{mac}.3.7.v"),
            format!("{mac}.7.3.w"),
            format!("{}.{rest}", "0".repeat(64)),
        ] {
            if changed != token {
                assert_eq!(
                    TokenKey::verify(core::slice::from_ref(&key), &changed),
                    Err(TokenError::Forged),
                    "{changed}"
                );
            }
        }
    }

    /// A MAC has one spelling, so that a token is one text.
    #[test]
    fn the_mac_of_a_token_is_written_in_lower_case() {
        let key = TokenKey::new([1; 32]);
        let bearer = Bearer { worker: WorkerId::new("w").unwrap(), fence: Fence::new(Epoch(1), 1) };
        let token = key.token(&bearer);
        assert!(TokenKey::verify(core::slice::from_ref(&key), &token).is_ok());
        let (mac, rest) = token.split_once('.').unwrap();
        let upper = format!("{}.{rest}", mac.to_ascii_uppercase());
        assert!(TokenKey::verify(&[key], &upper).is_err());
    }

    #[test]
    fn e14_keys_and_claims_print_without_what_they_hold() {
        assert_eq!(format!("{:?}", TokenKey::new([7; 32])), "TokenKey(***)");
        assert_eq!(format!("{:?}", Claim::Token("abc".into())), "Token(***)");
    }

    #[test]
    fn a_claim_is_read_in_each_of_its_forms() {
        let read = |text: &str| Claim::read(text.as_bytes());
        assert_eq!(read("Bearer abc"), Ok(Claim::Token("abc".into())));
        // `lease:abc`, `:abc`, `a:b:c`.
        assert_eq!(read("basic bGVhc2U6YWJj"), Ok(Claim::Token("abc".into())));
        assert_eq!(read("Basic OmFiYw=="), Ok(Claim::Token("abc".into())));
        assert_eq!(read("Basic YTpiOmM="), Ok(Claim::Token("b:c".into())));
        assert_eq!(read("Lease 1.7"), Ok(Claim::Fence(Fence::new(Epoch(1), 7))));
        for bad in [
            "",
            "Lease",
            "Lease 1",
            "Lease +1.7",
            "Lease 1.7.1",
            "Lease 01.7",
            "Basic abc!",
            "Basic YWJj",
            "Digest x",
        ] {
            assert_eq!(read(bad), Err(TokenError::Malformed), "{bad}");
        }
    }
}
