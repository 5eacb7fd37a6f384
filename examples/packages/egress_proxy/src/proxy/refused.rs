//! A refusal as the client hears it: a status, a stable code in the reason phrase and in a field of its own, and a short
//! JSON body.
//!
//! Codes `egress.*` are the library's. Those of the socket side are here, all of them.

use std::io;

use leasehold::{code::Coded, egress::http1::HttpError};
use serde_json::json;

use super::body::BodyError;
use crate::escape::{self, shown};

/// No identity was shown: 407, which asks a client for one; on a route 401, since there the proxy is the origin.
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
/// Both sides of a tunnel were silent for too long.
pub const TUNNEL_IDLE: &str = "proxy.tunnel.idle";
/// A tunnel is over the rule's limit of bytes.
pub const TUNNEL_BYTES: &str = "proxy.tunnel.bytes";
/// One side of a tunnel broke it off.
pub const TUNNEL_BROKEN: &str = "proxy.tunnel.broken";
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
/// The parent proxy did not open a tunnel.
pub const PARENT: &str = "proxy.parent";
/// The origin's body is over its limit.
pub const RESPONSE_TOO_LARGE: &str = "proxy.response.too_large";
/// A whole exchange took longer than it may.
pub const EXCHANGE_TOO_LONG: &str = "proxy.exchange.too_long";
/// The client left.
pub const CLIENT_GONE: &str = "proxy.client.gone";
/// Every place for connections is taken.
pub const FULL: &str = "proxy.full";
/// Too many connections have not said whose they are.
pub const UNPROVEN: &str = "proxy.full.unproven";
/// The lease has as many requests under way as it may.
pub const LEASE_FULL: &str = "proxy.full.lease";
/// The policy in force does not allow it any more.
pub const POLICY_CHANGED: &str = "proxy.policy.changed";
/// The lease is over.
pub const LEASE_OVER: &str = "proxy.lease.over";
/// The proxy is being stopped.
pub const DRAINING: &str = "proxy.draining";

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
            io::ErrorKind::TimedOut => Self::new(504, TIMEOUT, "the origin did not answer in time"),
            _ => Self::new(502, code, error),
        }
    }

    /// The client is not there any more.
    pub fn gone(error: impl ToString) -> Self {
        Self::new(400, CLIENT_GONE, error)
    }

    /// A head or a body from a client that is none.
    pub fn malformed(error: HttpError) -> Self {
        Self::coded(error.http_status(), &error)
    }

    /// A body from a client that is not whole.
    pub fn request_body(error: &BodyError) -> Self {
        match error {
            BodyError::Http(error) => Self::malformed(*error),
            other => Self::new(400, REQUEST_BODY, other),
        }
    }

    /// A body from an origin that is not whole.
    pub fn upstream_body(error: &BodyError) -> Self {
        match error {
            BodyError::Io(error) => Self::upstream(UPSTREAM_BODY, error),
            other => Self::new(502, UPSTREAM_BODY, other),
        }
    }

    /// Where the proxy is the origin, on a route, who has not said who it is gets 401 (RFC 9110 section 15.5.2).
    #[must_use]
    pub fn on_route(mut self) -> Self {
        if self.status == 407 {
            self.status = 401;
        }
        self
    }

    /// The fields of the answer beside the framing.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields =
            vec![("content-type", "application/json".to_owned()), ("leasehold-code", shown(&self.code))];
        match self.status {
            401 => fields.extend([
                ("www-authenticate", "Bearer".to_owned()),
                ("www-authenticate", "Basic realm=\"lease\"".to_owned()),
            ]),
            407 => fields.extend([
                ("proxy-authenticate", "Basic realm=\"lease\"".to_owned()),
                ("proxy-authenticate", "Bearer".to_owned()),
            ]),
            429 | 503 => fields.push(("retry-after", "1".to_owned())),
            _ => {}
        }
        fields
    }

    /// The body of the answer.
    pub fn body(&self) -> Vec<u8> {
        // The same escaping as in logs: what a client sent may stand in the message.
        escape::line(&json!({ "code": self.code, "message": shown(&self.message) })).unwrap_or_default()
    }

    /// The whole answer in HTTP/1.1. Many clients show nothing of a refused CONNECT but the reason phrase, so that is the
    /// code.
    pub fn answer(&self, stays: bool, head_only: bool) -> Vec<u8> {
        let body = self.body();
        let mut answer = format!("HTTP/1.1 {} {}\r\n", self.status, shown(&self.code)).into_bytes();
        for (name, value) in self.fields() {
            answer.extend(format!("{name}: {value}\r\n").into_bytes());
        }
        let connection = if stays { "" } else { "connection: close\r\n" };
        answer.extend(format!("content-length: {}\r\n{connection}\r\n", body.len()).into_bytes());
        if !head_only {
            answer.extend(body);
        }
        answer
    }
}
