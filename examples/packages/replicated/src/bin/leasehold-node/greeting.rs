//! The first word of a node to whoever comes as a client: whether it leads, or who is thought to.
//!
//! It is said before anything of the fleet's own protocol, on the authenticated channel, and has a fixed length.

use std::time::{Duration, Instant};

use crate::{Failure, duplex::Duplex};

/// The form of greetings that this build speaks.
const FORM: u8 = 1;
/// Its length: form, whether it leads, who leads or 0, and the term.
const LENGTH: usize = 18;

/// What a node says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// This node leads the fleet, and goes on with the fleet's protocol.
    pub leads: bool,
    /// Who is thought to lead; 0 for nobody.
    pub leader: u64,
    /// The term that this node has seen, which is the fleet's epoch where it leads.
    pub term: u64,
}

impl Greeting {
    /// As it travels.
    pub fn encode(self) -> Vec<u8> {
        let mut out = vec![FORM, self.leads.into()];
        out.extend_from_slice(&self.leader.to_be_bytes());
        out.extend_from_slice(&self.term.to_be_bytes());
        out
    }

    fn decode(bytes: [u8; LENGTH]) -> Option<Self> {
        let number = |at: usize| bytes[at..].first_chunk().copied().map(u64::from_be_bytes);
        let leads = match (bytes[0], bytes[1]) {
            (FORM, 0) => false,
            (FORM, 1) => true,
            _ => return None,
        };
        Some(Self { leads, leader: number(2)?, term: number(10)? })
    }

    /// Waits for the greeting at the beginning of a connection, for at most `patience`.
    pub fn read(duplex: &Duplex, patience: Duration) -> Result<Self, Failure> {
        duplex.set_timeouts(Some(patience), None)?;
        let deadline = Instant::now() + patience;
        let (mut bytes, mut have) = ([0; LENGTH], 0);
        while have < LENGTH {
            match duplex.read_by(&mut bytes[have..], Some(deadline))? {
                0 => return Err(Failure::new("the node closed the connection before it said anything")),
                more => have += more,
            }
        }
        Self::decode(bytes).ok_or_else(|| {
            Failure::new("greeting.form: the node greets in a form that this build does not read")
        })
    }
}
