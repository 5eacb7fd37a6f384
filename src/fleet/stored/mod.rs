//! The stored forms of a fleet: records of a journal, and chunks of a snapshot. Replicas receive the same
//! forms.
//!
//! Each form has a number, in the byte after the length of every record and chunk. This build writes the
//! present form and reads it and every former one; the files of `tests/stored` prove that. A former form is a
//! module of its own. Its types describe the bytes, and convert to the present types.
//!
//! Postcard writes values one after the other, without names. A change of a stored type therefore changes the
//! form, even if it only reorders members or variants. A new variant at the end of an event does not change
//! it. Until the first release the present form may still change: data that was written by a build in between
//! is lost then, released data is not. ARCHITECTURE.md, "What is stored", says what to do when a type
//! changes.

mod error;
mod load;
mod record;
mod snapshot;
mod v1;

use serde::de::DeserializeOwned;

pub use self::{error::RecoverError, snapshot::SnapshotWriter};
pub(super) use self::{
    load::Loader,
    record::{Reader, append, genesis},
};

/// The longest record that is written or read, in bytes. It also bounds what one operation may do.
pub const MAX_RECORD_BYTES: usize = 64 << 20;

/// A stored form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The form that commit 4c7c9d8 wrote.
    V1,
    /// The form that this build writes.
    V2,
}

/// An item of a snapshot, with its types in former forms.
trait Stored: DeserializeOwned {
    /// The type in the first form. It is `Self` if the type has not changed since.
    type V1: DeserializeOwned + Into<Self>;
}

/// Decodes the value at the front of `bytes` and returns the rest.
fn take<T: Stored>(form: Form, bytes: &[u8]) -> Option<(T, &[u8])> {
    match form {
        Form::V1 => postcard::take_from_bytes::<T::V1>(bytes).ok().map(|(value, rest)| (value.into(), rest)),
        Form::V2 => postcard::take_from_bytes(bytes).ok(),
    }
}
