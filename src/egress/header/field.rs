//! One header field on its way out, which keeps a secret to itself.

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use crate::egress::credentials::Secret;

/// One header field as the upstream gets it. A secret in it prints as `***`.
pub struct OutgoingHeader {
    name: Box<str>,
    value: Value,
}

enum Value {
    Plain(Box<[u8]>),
    Secret { prefix: Box<str>, secret: Secret },
}

impl OutgoingHeader {
    pub(in crate::egress) fn plain(name: &str, value: &[u8]) -> Self {
        Self { name: name.into(), value: Value::Plain(value.into()) }
    }

    pub(in crate::egress) fn secret(name: &str, prefix: Box<str>, secret: Secret) -> Self {
        Self { name: name.into(), value: Value::Secret { prefix, secret } }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a secret was put in.
    pub fn is_injected(&self) -> bool {
        matches!(self.value, Value::Secret { .. })
    }

    /// The value in two parts, to write one after the other to the upstream and to nothing else.
    pub fn expose_value(&self) -> [&[u8]; 2] {
        match &self.value {
            Value::Plain(value) => [value, b""],
            Value::Secret { prefix, secret } => [prefix.as_bytes(), secret.expose()],
        }
    }
}

/// `name: value`, the secret as `***` and what is not ASCII escaped.
impl fmt::Display for OutgoingHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.shown())
    }
}

impl fmt::Debug for OutgoingHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

struct Shown<'a>(&'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Plain(value) => match core::str::from_utf8(value) {
                Ok(text) if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => f.write_str(text),
                _ => fmt::Display::fmt(&value.escape_ascii(), f),
            },
            Value::Secret { prefix, .. } => write!(f, "{prefix}***"),
        }
    }
}

impl OutgoingHeader {
    /// The value as it may be shown: the secret as `***`.
    pub fn shown(&self) -> impl fmt::Display + '_ {
        Shown(&self.value)
    }
}

/// The header fields of a request as the upstream gets them. Host and framing are the connector's to write; the
/// secrets wipe themselves when this is dropped.
#[derive(Debug, Default)]
pub struct OutgoingHeaders(Vec<OutgoingHeader>);

impl OutgoingHeaders {
    pub(in crate::egress) const fn new(fields: Vec<OutgoingHeader>) -> Self {
        Self(fields)
    }

    pub(in crate::egress) fn as_slice(&self) -> &[OutgoingHeader] {
        &self.0
    }

    pub(in crate::egress) fn extend(&mut self, more: Vec<OutgoingHeader>) {
        self.0.extend(more);
    }

    /// The fields, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &OutgoingHeader> {
        self.0.iter()
    }
}
