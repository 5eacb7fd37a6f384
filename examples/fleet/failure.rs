//! What went wrong, in words: the end of an attempt, of a connection, or of a process.

use std::fmt;

use leasehold::code::Coded;

/// A failure that somebody will read.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// A failure in these words.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }

    /// A refusal of the library: its code and its words.
    pub fn coded(refusal: impl Coded) -> Self {
        Self(format!("{}: {refusal}", refusal.code()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Errors that are failures by their own words. Each is named, so that no refusal of the library loses its code.
macro_rules! from {
    ($($error:ty),+ $(,)?) => {$(
        impl From<$error> for $crate::Failure {
            fn from(error: $error) -> Self {
                Self::new(error.to_string())
            }
        }
    )+};
}
pub(crate) use from;

from!(std::io::Error, rcgen::Error, rustls::Error, rustls::server::VerifierBuilderError, serde_json::Error,);
