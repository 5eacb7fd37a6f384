//! Why bytes are not a message that is passed on.

use crate::code::{self, Code, Coded};

/// Why bytes are not an HTTP/1.1 message, or not one that everybody would read in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Longer than [`HeadLimits::bytes`](super::HeadLimits), so many.
    #[error("the head has more than {0} bytes")]
    HeadTooLarge(usize),
    /// More fields than [`HeadLimits::fields`](super::HeadLimits), so many.
    #[error("the head has more than {0} fields")]
    TooManyFields(usize),
    /// A line feed without carriage return, the other way round, or a zero byte.
    #[error("byte {0} of the head is a bare line end or a zero byte")]
    LineEnd(usize),
    /// A line that continues the one before (obs-fold, RFC 9112 section 5.2).
    #[error("a field of the head goes on in a second line")]
    Fold,
    /// A TLS record where a request in plain text is due.
    #[error(
        "this port speaks HTTP without TLS: give the client the proxy as `http://HOST:PORT`, or let the proxy listen with TLS"
    )]
    Tls,
    /// SOCKS, of this version.
    #[error("this is an HTTP proxy and not a SOCKS{0} one: give the client the proxy as `http://HOST:PORT`")]
    Socks(u8),
    /// Not the grammar of RFC 9112.
    #[error("the head is not one of HTTP/1.0 or HTTP/1.1")]
    Malformed,
    /// The framing fields repeat, contradict each other, or are not understood (RFC 9112 section 6).
    #[error("the framing fields repeat, contradict each other, or are not understood")]
    Framing,
    /// No Host field, several, or one that names another host than CONNECT does.
    #[error("there is not one Host field that agrees with the target")]
    Host,
    /// Neither an authority with CONNECT, nor a URL, nor a path of the proxy's own.
    #[error("the request target is of no form that a proxy takes")]
    Target,
    /// A chunk size, an extension or a trailer outside of what is taken.
    #[error("the chunks of the body are malformed, or have long extensions or trailers")]
    Chunk,
}

impl Coded for HttpError {
    fn code(&self) -> Code {
        match self {
            Self::HeadTooLarge(_) => code::EGRESS_HTTP_HEAD_TOO_LARGE,
            Self::TooManyFields(_) => code::EGRESS_HTTP_TOO_MANY_FIELDS,
            Self::LineEnd(_) => code::EGRESS_HTTP_LINE_END,
            Self::Fold => code::EGRESS_HTTP_FOLD,
            Self::Tls => code::EGRESS_HTTP_TLS,
            Self::Socks(_) => code::EGRESS_HTTP_SOCKS,
            Self::Malformed => code::EGRESS_HTTP_MALFORMED,
            Self::Framing => code::EGRESS_HTTP_FRAMING,
            Self::Host => code::EGRESS_HTTP_HOST,
            Self::Target => code::EGRESS_HTTP_TARGET,
            Self::Chunk => code::EGRESS_HTTP_CHUNK,
        }
    }
}

impl HttpError {
    /// The status with which a proxy answers a client: 431 for sizes, 400 for the rest.
    pub const fn http_status(&self) -> u16 {
        match self {
            Self::HeadTooLarge(_) | Self::TooManyFields(_) => 431,
            _ => 400,
        }
    }
}
