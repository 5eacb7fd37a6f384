//! Signatures over requests, with a key from the secret store: AWS Signature Version 4, and HMAC over a template.
//!
//! A signature is made when everything that it covers is known: the target with the secrets in it, the header fields as they go
//! out, the time, and where the scheme asks for it the whole body.

mod aws;
mod mac;
mod request;
mod signer;
mod template;

pub(super) use aws::{AccessKey, AwsSigner};
pub(super) use request::{Request, Unsigned};
pub use request::{SignError, SignedBody};
pub(super) use signer::Signer;
pub(super) use template::{Encoding, Hash, KeyForm, TemplateSigner, TimeUnit, parse as parse_template};
