//! A refusal as the client hears it: a status, a stable code in a field of its own, and a short JSON body.
//!
//! Codes `egress.*` are the library's. Those of the socket side are here, all of them.

use std::io;

use leasehold::code::Coded;
use serde_json::json;

use super::{
    escape::{self, shown},
    wire::{BodyError, HeadError},
};

/// No identity was shown: the only refusal with 407, which asks a client for one.
pub const IDENTITY_MISSING: &str = "proxy.identity.missing";
/// The certificate is of the right authority and no worker's.
pub const DEVICE_UNKNOWN: &str = "proxy.device.unknown";
/// The token is another worker's than the certificate.
pub const OTHER_DEVICE: &str = "proxy.device.other";
/// The head did not come in time.
pub const HEAD_TOO_SLOW: &str = "proxy.head.too_slow";
/// A request that was here before, by its Via.
pub const LOOP: &str = "proxy.loop";
/// An address that this proxy listens on.
pub const OWN_ADDRESS: &str = "proxy.own_address";
/// Max-Forwards is used up.
pub const MAX_FORWARDS: &str = "proxy.max_forwards";
/// A path of the proxy itself that is none.
pub const NO_SUCH_PAGE: &str = "proxy.no_such_page";
/// Bytes came before the tunnel was open.
pub const EARLY: &str = "proxy.tunnel.early";
/// The hello of a tunnel did not come, or not in time.
pub const NO_HELLO: &str = "proxy.tunnel.no_hello";
/// The body of a request is over its limit, or ended early.
pub const REQUEST_BODY: &str = "proxy.request.body";
/// No pinned address answered.
pub const UNREACHABLE: &str = "proxy.upstream.unreachable";
/// No pinned address answered in time, or the origin fell silent.
pub const TIMEOUT: &str = "proxy.upstream.timeout";
/// The origin's certificate, or its TLS.
pub const UPSTREAM_TLS: &str = "proxy.upstream.tls";
/// The origin's head is not one that can be passed on.
pub const UPSTREAM_HEAD: &str = "proxy.upstream.head";
/// The origin's body was cut, or its chunks were malformed.
pub const UPSTREAM_BODY: &str = "proxy.upstream.body";
/// The origin's body is over its limit.
pub const RESPONSE_TOO_LARGE: &str = "proxy.response.too_large";
/// An HTTP/1.0 client could not tell whether a body of unknown length is whole.
pub const LENGTH_UNKNOWN: &str = "proxy.response.length_unknown";
/// The client left.
pub const CLIENT_GONE: &str = "proxy.client.gone";

/// A refusal, for the one who asked.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// In words. Names no secret and no resolved address.
    pub message: String,
}

impl Refused {
    /// A refusal of the socket side.
    pub fn new(status: u16, code: &str, message: impl ToString) -> Self {
        Self { status, code: code.to_owned(), message: message.to_string() }
    }

    /// A refusal of the library.
    pub fn coded(status: u16, refusal: &impl Coded) -> Self {
        Self::new(status, refusal.code().as_str(), refusal)
    }

    /// What failed on the way to or from an origin: 504 where it was the time.
    pub fn upstream(code: &str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                Self::new(504, TIMEOUT, "the origin did not answer in time")
            }
            _ => Self::new(502, code, error),
        }
    }

    /// A head from a client that is none.
    pub fn head(error: &HeadError) -> Self {
        match error {
            HeadError::Http(error) => Self::coded(error.http_status(), error),
            HeadError::TooSlow => Self::new(408, HEAD_TOO_SLOW, "the head did not come in time"),
            HeadError::Nothing | HeadError::Io(_) => Self::new(400, CLIENT_GONE, "the client left"),
        }
    }

    /// A head from an origin that is none.
    pub fn upstream_head(error: &HeadError) -> Self {
        match error {
            HeadError::TooSlow => Self::new(504, TIMEOUT, "the origin did not answer in time"),
            HeadError::Io(error) => Self::upstream(UPSTREAM_HEAD, error),
            HeadError::Http(error) => Self::new(502, UPSTREAM_HEAD, error),
            HeadError::Nothing => Self::new(502, UPSTREAM_HEAD, "the origin closed without an answer"),
        }
    }

    /// A body from an origin that is none.
    pub fn upstream_body(error: &BodyError) -> Self {
        match error {
            BodyError::Io(error) => Self::upstream(UPSTREAM_BODY, error),
            other => Self::new(502, UPSTREAM_BODY, other),
        }
    }

    /// The whole answer.
    pub fn answer(&self) -> Vec<u8> {
        // The same escaping as in logs: what a client sent may stand in the message.
        let body =
            escape::line(&json!({ "code": self.code, "message": shown(&self.message) })).unwrap_or_default();
        let authenticate = match self.status {
            407 => "proxy-authenticate: Basic realm=\"lease\"\r\nproxy-authenticate: Bearer\r\n",
            429 => "retry-after: 1\r\n",
            _ => "",
        };
        let head = format!(
            "HTTP/1.1 {} Refused\r\ncontent-type: application/json\r\ncontent-length: {}\r\nleasehold-code: {}\r\n\
             {authenticate}connection: close\r\n\r\n",
            self.status,
            body.len(),
            shown(&self.code),
        );
        [head.into_bytes(), body].concat()
    }
}
