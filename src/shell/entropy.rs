//! Where random bytes come from: the core asks, the shell answers.

/// A source of unpredictable bytes: keys, codes, nonces and session ids are made of them.
///
/// An implementation must be cryptographically strong. Tests may pass a counter.
pub trait Entropy {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// [`EntropyError`] where the source cannot; `bytes` is then of no use, and the operation that asked is refused.
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

#[cfg(all(feature = "std", unix))]
pub use os::OsEntropy;

#[cfg(all(feature = "std", unix))]
mod os {
    use std::{fs::File, io::Read as _};

    use super::{Entropy, EntropyError};

    /// The operating system's generator, through `/dev/urandom`. On other systems, implement [`Entropy`] over
    /// the system's own call.
    #[derive(Debug)]
    pub struct OsEntropy(File);

    impl OsEntropy {
        /// Opens the generator.
        ///
        /// # Errors
        /// [`EntropyError`] where the device cannot be opened.
        ///
        /// ```
        /// use leasehold::shell::{Entropy as _, OsEntropy};
        /// let (mut one, mut two) = ([0; 32], [0; 32]);
        /// let mut entropy = OsEntropy::open()?;
        /// entropy.fill(&mut one)?;
        /// entropy.fill(&mut two)?;
        /// assert_ne!(one, two);
        /// # Ok::<(), leasehold::shell::EntropyError>(())
        /// ```
        pub fn open() -> Result<Self, EntropyError> {
            File::open("/dev/urandom").map(Self).map_err(|_| EntropyError)
        }
    }

    impl Entropy for OsEntropy {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
            self.0.read_exact(bytes).map_err(|_| EntropyError)
        }
    }
}
