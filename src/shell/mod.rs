//! The traits through which time, entropy, secrets, storage and bytes come in, and their std implementations.

mod entropy;

#[cfg(all(feature = "std", unix))]
pub use entropy::OsEntropy;
pub use entropy::{Entropy, EntropyError};
