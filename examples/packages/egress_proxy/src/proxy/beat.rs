//! The clocks of one exchange: one timer for both directions, and what it measures changes with what is waited for.

use std::{
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::{
    Refused, Times,
    refused::{EXCHANGE_TOO_LONG, REQUEST_BODY, TIMEOUT, TUNNEL_IDLE},
};

/// What an exchange waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum For {
    /// A connection, which has its own deadline.
    Connection = 0,
    /// The client's body.
    Client = 1,
    /// The origin, to take the body or to answer.
    Origin = 2,
    /// Either, in the middle of the answer.
    Either = 3,
    /// Either, in a tunnel.
    Tunnel = 4,
}

/// When something moved last, and what is waited for.
pub struct Beat {
    begun: Instant,
    last: AtomicU64,
    waits: AtomicU8,
}

impl Beat {
    /// An exchange that begins now.
    pub fn new() -> Self {
        let waits = AtomicU8::new(For::Connection as u8);
        Self { begun: Instant::now(), last: AtomicU64::new(0), waits }
    }

    /// Something moved, and `waits` is what is waited for next.
    pub fn moved(&self, waits: For) {
        let at = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(at, Ordering::Relaxed);
        self.waits.store(waits as u8, Ordering::Relaxed);
    }

    /// Something moved.
    pub fn moves(&self) {
        let at = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(at, Ordering::Relaxed);
    }

    /// What is waited for.
    pub fn waits(&self) -> For {
        match self.waits.load(Ordering::Relaxed) {
            0 => For::Connection,
            1 => For::Client,
            2 => For::Origin,
            3 => For::Either,
            _ => For::Tunnel,
        }
    }

    /// Waits until one of the clocks has run out, and says which.
    pub async fn out(&self, times: &Times) -> Refused {
        let whole = self.begun + times.exchange;
        loop {
            let last = self.begun + Duration::from_millis(self.last.load(Ordering::Relaxed));
            let waits = self.waits();
            let due = match waits {
                For::Connection => Instant::now() + times.connect,
                For::Client | For::Either => last + times.idle,
                For::Origin => last + times.first_byte,
                For::Tunnel => last + times.tunnel_idle,
            };
            let due = if waits == For::Tunnel { due } else { due.min(whole) };
            if due > Instant::now() {
                // What is waited for may change to something with a shorter clock meanwhile.
                let soon = Instant::now() + times.idle.min(times.first_byte).min(times.tunnel_idle);
                sleep_until(due.min(soon)).await;
                continue;
            }
            let now = Instant::now();
            return match waits {
                _ if waits != For::Tunnel && now >= whole => {
                    Refused::new(504, EXCHANGE_TOO_LONG, "the exchange took longer than it may")
                }
                For::Client => Refused::new(408, REQUEST_BODY, "the body of the request stalled"),
                For::Tunnel => {
                    Refused::new(504, TUNNEL_IDLE, "both sides of the tunnel were silent for too long")
                }
                _ => Refused::new(504, TIMEOUT, "the origin did not answer in time"),
            };
        }
    }
}
