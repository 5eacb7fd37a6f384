//! A coordinator at a real socket, and the peers that call it: for tests of what TLS and the core do together.
#![allow(dead_code, unused_imports, reason = "every test file uses its part")]

mod caller;
mod port;

/// TLS connections, their verifiers, and the authority, as the examples have them.
#[path = "../../examples/fleet"]
#[allow(dead_code, unreachable_pub, reason = "the examples use all of it")]
pub mod fleet {
    #[path = "../fleet/proxy/duplex.rs"]
    pub mod duplex;
    pub mod issuer;
    #[path = "../fleet/proxy/link.rs"]
    pub mod link;
    pub mod possession;
}

pub use caller::{Caller, Credentials};
use leasehold::{
    id::{DeviceId, WorkerId},
    identity::{DeviceCommand, RevocationReason, RevocationSubject},
};
pub use port::{Port, Shown};
use rustls::{
    SupportedProtocolVersion,
    version::{TLS12, TLS13},
};

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tls12,
    Tls13,
}

impl Protocol {
    pub const BOTH: [Self; 2] = [Self::Tls12, Self::Tls13];

    pub fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        const ONLY: [[&SupportedProtocolVersion; 1]; 2] = [[&TLS12], [&TLS13]];
        match self {
            Self::Tls12 => &ONLY[0],
            Self::Tls13 => &ONLY[1],
        }
    }
}

pub fn device_id() -> DeviceId {
    DeviceId::new("press-1").unwrap()
}

pub fn worker_id() -> WorkerId {
    WorkerId::new("press-1").unwrap()
}

pub fn revoke() -> DeviceCommand {
    let subject = RevocationSubject::Device(device_id());
    DeviceCommand::Revoke { subject, reason: RevocationReason::KeyCompromise }
}
