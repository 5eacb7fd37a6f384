//! Names to addresses. Only a request that the egress policy allowed so far may be looked up (attack E10).

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::code::{self, Code, Coded};

/// The most addresses of one answer that are looked at.
pub const MAX_ADDRESSES: usize = 64;

/// Looks names up.
pub trait Resolver {
    /// Every address of `host`, judged by nobody yet. At most [`MAX_ADDRESSES`].
    ///
    /// # Errors
    /// [`ResolveError`].
    fn resolve(&mut self, host: &str) -> Result<Vec<IpAddr>, ResolveError>;
}

/// A name could not be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name could not be resolved")]
pub struct ResolveError;

impl Coded for ResolveError {
    fn code(&self) -> Code {
        code::RESOLVE_FAILED
    }
}

#[cfg(feature = "std")]
pub use system::SystemResolver;

#[cfg(feature = "std")]
mod system {
    use std::net::ToSocketAddrs as _;

    use super::{IpAddr, MAX_ADDRESSES, ResolveError, Resolver, Vec};

    /// The operating system's resolver. It blocks for as long as that one takes.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct SystemResolver;

    impl Resolver for SystemResolver {
        fn resolve(&mut self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
            let answers = (host, 0).to_socket_addrs().map_err(|_| ResolveError)?;
            let mut addresses = Vec::new();
            for answer in answers {
                if !addresses.contains(&answer.ip()) {
                    // One address more than may be looked at could be the bad one.
                    if addresses.len() >= MAX_ADDRESSES {
                        return Err(ResolveError);
                    }
                    addresses.push(answer.ip());
                }
            }
            if addresses.is_empty() { Err(ResolveError) } else { Ok(addresses) }
        }
    }
}
