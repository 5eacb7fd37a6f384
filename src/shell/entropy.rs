//! Random bytes of the operating system.

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
