//! Secrets on their way from the store to the upstream.

use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroizing;

use crate::{
    code::{self, Code, Coded},
    lease::SecretRef,
};

/// The longest secret, in bytes.
pub const MAX_SECRET_BYTES: usize = 16 * 1024;

/// A secret value. It wipes itself, prints as `***`, and can be neither cloned, compared nor serialised.
///
/// ```
/// use leasehold::egress::Secret;
/// let secret = Secret::new(b"hunter2".to_vec())?;
/// assert_eq!(format!("{secret:?}"), "***");
/// assert_eq!(secret.expose(), b"hunter2");
/// # Ok::<(), leasehold::egress::SecretError>(())
/// ```
pub struct Secret(Zeroizing<Vec<u8>>);

/// Why a secret cannot be used. No text of it, ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Empty, too long, with blanks around it, or with bytes outside visible ASCII and space.
    #[error("the secret is empty, too long, or has bytes that no header value may have")]
    Value,
    /// The store did not answer.
    #[error("the secret store did not answer")]
    Store,
    /// A required secret that the store does not have.
    #[error("the store has no such secret")]
    Missing,
}

impl Coded for SecretError {
    fn code(&self) -> Code {
        match self {
            Self::Value => code::EGRESS_CREDENTIALS_VALUE,
            Self::Store => code::EGRESS_CREDENTIALS_STORE,
            Self::Missing => code::EGRESS_CREDENTIALS_MISSING,
        }
    }
}

impl Secret {
    /// Takes a secret. Where it is refused, its bytes are wiped all the same.
    ///
    /// # Errors
    /// [`SecretError::Value`]: the newline at the end of a secret's file is the usual cause.
    pub fn new(bytes: Vec<u8>) -> Result<Self, SecretError> {
        let secret = Self(Zeroizing::new(bytes));
        let visible = secret.0.iter().all(|byte| (b' '..=b'~').contains(byte));
        let blank = secret.0.first() == Some(&b' ') || secret.0.last() == Some(&b' ');
        if secret.0.is_empty() || secret.0.len() > MAX_SECRET_BYTES || !visible || blank {
            return Err(SecretError::Value);
        }
        Ok(secret)
    }

    /// The bytes, for writing to the upstream and nothing else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where secrets come from. Asked as late as possible: when the headers of an allowed request are written.
pub trait SecretStore {
    /// The secret that `reference` names; `None` where the store has none.
    ///
    /// # Errors
    /// [`SecretError`] where the store did not answer or the value cannot be used.
    fn secret(&self, reference: &SecretRef) -> Result<Option<Secret>, SecretError>;
}

/// A store without secrets.
impl SecretStore for () {
    fn secret(&self, _reference: &SecretRef) -> Result<Option<Secret>, SecretError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    /// Attack E14.
    #[test]
    fn e14_a_secret_prints_as_stars() {
        let secret = Secret::new(b"hunter2".to_vec()).unwrap();
        assert_eq!(format!("{secret:?} {secret:#?}"), "*** ***");
        let error = Secret::new(b"hunter2\n".to_vec()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter"));
    }

    #[test]
    fn only_visible_ascii_is_a_secret() {
        for bad in [&b""[..], b"a\r\nb", b"a\n", b"\0", b" a", b"a ", b"a\tb", b"\xff", b"a\x7f"] {
            assert_eq!(Secret::new(bad.to_vec()).err(), Some(SecretError::Value), "{bad:?}");
        }
        assert_eq!(Secret::new(b"a".repeat(MAX_SECRET_BYTES + 1)).err(), Some(SecretError::Value));
        assert_eq!(Secret::new(b"a b~!".to_vec()).unwrap().expose(), b"a b~!");
    }
}
