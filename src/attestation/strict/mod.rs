//! Strict JSON: a byte-level scanner that every untrusted document passes before serde sees the same bytes.
//!
//! Typed deserialisers forgive what a verifier must not: duplicate keys in ignored members, arrays in place of
//! objects, endless nesting inside values that nobody reads. [`check`] refuses all of that first, within
//! [`Limits`]; [`read`] then fills a type from the very bytes that were checked. Readers of evidence and envelopes take
//! their members from the places that the scan itself wrote down, and need no second pass.

mod error;
mod keys;
mod limits;
mod number;
mod objects;
mod outline;
mod scan;
mod sink;
mod unescape;

use serde::de::DeserializeOwned;

pub(crate) use self::outline::{Node, Outline};
pub use self::{
    error::{StrictError, StrictErrorKind},
    limits::{Limits, Numbers},
};

/// Checks that `bytes` are one strict JSON value within `limits`.
///
/// Strict means: UTF-8 without a byte order mark, the grammar of RFC 8259, keys that are unique in their object
/// after unescaping, no lone surrogates, no number that a double cannot hold finitely, nothing after the value.
///
/// Cost: one pass, O(n) for honest keys and O(n log k) for objects of k hostile ones; memory at most proportional to
/// the input.
///
/// # Errors
/// The first [`StrictError`] in the order of the document, except that the size, a byte order mark and UTF-8 are
/// judged for the whole input before anything else.
///
/// ```
/// use leasehold::attestation::strict::{self, Limits, StrictErrorKind};
/// assert!(strict::check(br#"{"a":[1,2]}"#, &Limits::GENERAL).is_ok());
/// let error = strict::check(br#"{"a":1,"\u0061":2}"#, &Limits::GENERAL).unwrap_err();
/// assert_eq!((error.kind, error.offset), (StrictErrorKind::DuplicateKey, 7));
/// ```
pub fn check(bytes: &[u8], limits: &Limits) -> Result<(), StrictError> {
    scan::run(bytes, limits, &mut ()).map(drop)
}

/// Checks `bytes` and reads a `T` from them. The value at the top must be an object.
///
/// Wherever `T` asks for a struct an object must stand; serde alone would also take an array. Types that buffer
/// what they read (flattened, untagged or internally tagged ones) escape that rule and should not be used here.
///
/// # Errors
/// [`StrictError`]; [`StrictErrorKind::Shape`] where the bytes are strict JSON and not a `T`.
///
/// ```
/// use leasehold::attestation::strict::{self, Limits, StrictErrorKind};
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Point { x: u64, y: u64 }
/// let point: Point = strict::read(br#"{"x":1,"y":2}"#, &Limits::DOCUMENT)?;
/// assert_eq!((point.x, point.y), (1, 2));
/// let kind = |text: &str| strict::read::<Point>(text.as_bytes(), &Limits::DOCUMENT).err().map(|e| e.kind);
/// assert_eq!(kind("[1,2]"), Some(StrictErrorKind::NotAnObject));
/// assert_eq!(kind(r#"{"x":1,"y":2,"z":3}"#), Some(StrictErrorKind::Shape));
/// # Ok::<(), strict::StrictError>(())
/// ```
pub fn read<T: DeserializeOwned>(bytes: &[u8], limits: &Limits) -> Result<T, StrictError> {
    scan::run(bytes, &limits.top_object(), &mut ())?;
    objects::fill(bytes)
}

/// Fills a type from bytes that [`check`] accepted. A failure comes with serde's words, for people who write the document.
#[cfg(feature = "std")]
pub(crate) fn fill_explained<T: DeserializeOwned>(
    bytes: &[u8],
) -> Result<T, (StrictError, alloc::string::String)> {
    objects::fill_explained(bytes)
}
