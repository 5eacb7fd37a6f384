//! The notations in which policy files are written.

/// What a policy file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notation {
    /// JSON, read strictly: RFC 8259, unique keys, integers only.
    Json,
    /// TOML 1.0 without dates and fractions, which no policy has.
    #[cfg(feature = "cli")]
    Toml,
}
