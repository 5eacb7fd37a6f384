//! The source of random bytes, which the shell implements.

/// A source of unpredictable bytes for keys, codes, nonces and session ids.
///
/// An implementation must be cryptographically strong. Tests may use a counter.
pub trait Entropy {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// [`EntropyError`] if the source fails. `bytes` must not be used then, and the operation is refused.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError>;
}

impl<E: Entropy + ?Sized> Entropy for &mut E {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        (**self).fill(bytes)
    }
}

/// The source gave no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entropy source gave no bytes")]
pub struct EntropyError;

impl crate::code::Coded for EntropyError {
    fn code(&self) -> crate::code::Code {
        crate::code::ENTROPY_UNAVAILABLE
    }
}
