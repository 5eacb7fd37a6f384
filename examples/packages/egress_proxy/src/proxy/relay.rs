//! Moving bodies: within limits, counted, and flushed when nothing more is there to move.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;

use super::{
    Moved, Refused,
    admission::Underway,
    beat::{Beat, For},
    body::{BodyError, BodyReader, BodyWriter},
};

/// Why a body stops.
pub enum Stop {
    /// Its sender.
    Read(BodyError),
    /// Its recipient.
    Write(io::Error),
    /// Its limit.
    TooLarge,
    /// The lease's budget.
    Budget(Refused),
}

/// What has moved, counted from both directions.
#[derive(Default)]
pub struct Counts {
    /// Towards the origin.
    pub sent: AtomicU64,
    /// Towards the worker.
    pub received: AtomicU64,
}

impl Counts {
    /// As a record has it.
    pub fn moved(&self) -> Moved {
        Moved { sent: self.sent.load(Ordering::Relaxed), received: self.received.load(Ordering::Relaxed) }
    }
}

/// One direction.
pub struct Way<'a> {
    /// The most payload.
    pub limit: u64,
    /// Where it is counted.
    pub count: &'a AtomicU64,
    /// Whose budget it counts against.
    pub underway: &'a Underway<'a>,
    /// Whether it leads to the origin.
    pub up: bool,
    /// The clocks.
    pub beat: &'a Beat,
    /// What is waited for while the sender is read, and while the recipient is written to.
    pub waits: [For; 2],
}

impl Way<'_> {
    /// Counts `bytes`, which are about to go.
    pub fn pass(&self, bytes: u64) -> Result<(), Stop> {
        let spent = if self.up { self.underway.send(bytes) } else { self.underway.receive(bytes) };
        spent.map_err(Stop::Budget)?;
        self.count.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Moves a body to its end, which is not said.
    pub async fn carry(
        &self,
        from: &mut BodyReader,
        to: &mut BodyWriter,
        mut each: impl FnMut(Bytes) -> Bytes,
    ) -> Result<(), Stop> {
        let mut left = self.limit;
        loop {
            if !from.is_ready() {
                to.flush().await.map_err(Stop::Write)?;
                self.beat.moved(self.waits[0]);
            }
            let Some(piece) = from.next().await.map_err(Stop::Read)? else { return Ok(()) };
            self.beat.moved(self.waits[1]);
            let bytes = piece.len() as u64;
            left = left.checked_sub(bytes).ok_or(Stop::TooLarge)?;
            self.pass(bytes)?;
            to.data(each(piece)).await.map_err(Stop::Write)?;
        }
    }
}

/// Moves bytes both ways until both sides have ended.
pub async fn both(
    [up, down]: [&Way<'_>; 2],
    client: (&mut BodyReader, &mut BodyWriter),
    origin: (&mut BodyReader, &mut BodyWriter),
) -> Result<(), Stop> {
    let sent = async {
        up.carry(client.0, origin.1, |piece| piece).await?;
        // The other side may have ended as a whole, which is no failure of this direction.
        let _ = origin.1.finish().await;
        Ok(())
    };
    let received = async {
        down.carry(origin.0, client.1, |piece| piece).await?;
        let _ = client.1.finish().await;
        Ok(())
    };
    tokio::try_join!(sent, received).map(drop)
}
