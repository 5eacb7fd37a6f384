//! The one way in which text becomes an address: canonical dotted quads and RFC 4291 literals, nothing else.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::code::{self, Code, Coded};

/// The text is not an address literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a dotted-quad IPv4 or RFC 4291 IPv6 literal (no zone, no brackets, no octal or short forms)")]
pub struct LiteralError;

impl Coded for LiteralError {
    fn code(&self) -> Code {
        code::EGRESS_ADDRESS_MALFORMED
    }
}

/// Parses an address literal: four decimal numbers without leading zeros, or IPv6 as RFC 4291 section 2.2 writes it.
///
/// Zones, brackets, octal, hexadecimal and short IPv4 forms are refused: other programs read them in other ways.
///
/// # Errors
/// [`LiteralError`], code `egress.address.malformed`.
///
/// ```
/// use leasehold::egress::address::parse_literal;
/// assert!(parse_literal("192.0.2.1").is_ok());
/// assert!(parse_literal("0300.0.2.1").is_err());
/// ```
pub fn parse_literal(text: &str) -> Result<IpAddr, LiteralError> {
    // The standard library's parsers hold to both grammars since Rust 1.53 (leading zeros); the tests pin it.
    if text.bytes().any(|byte| byte == b':') {
        text.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| LiteralError)
    } else {
        text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| LiteralError)
    }
}
