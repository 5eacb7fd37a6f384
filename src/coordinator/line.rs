//! The bytes of one connection: what has come of a frame, what waits to be taken, and how long both are waited with.

use alloc::{collections::VecDeque, vec::Vec};

use super::config::CoordinatorConfig;
use crate::{
    code::{self, Code},
    protocol::frame::{Frame, FrameDecoder, FrameError},
    time::{Millis, Mono},
};

/// What a line may hold, and how long its peer may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct LineBounds {
    /// Bytes that were handed over and not taken.
    pub(super) unsent: usize,
    /// How long the rest of a frame, or the first one, may take.
    pub(super) frame: Millis,
    /// How long nothing may be taken of what was handed over.
    pub(super) write: Millis,
}

impl LineBounds {
    /// Of a device that was authenticated.
    pub(super) const fn of_device(config: &CoordinatorConfig) -> Self {
        Self { unsent: config.max_unsent, frame: config.frame_patience, write: config.write_patience }
    }

    /// Of a peer without a certificate: pairing messages are small.
    pub(super) const fn of_stranger(config: &CoordinatorConfig) -> Self {
        Self { unsent: 64 << 10, frame: config.frame_patience, write: config.write_patience }
    }
}

/// The bytes of one connection, in both directions.
#[derive(Debug)]
pub(super) struct Line {
    decoder: FrameDecoder,
    bounds: LineBounds,
    /// What was not polled yet.
    outbox: VecDeque<Vec<u8>>,
    /// Bytes that the connection has not taken, polled or not.
    unsent: usize,
    /// Since when a frame is waited for: the first one, or the rest of one.
    partial_since: Option<Mono>,
    heard: Mono,
    /// When it last took something of what waits.
    took: Mono,
}

impl Line {
    pub(super) fn new(decoder: FrameDecoder, bounds: LineBounds, now: Mono) -> Self {
        let outbox = VecDeque::new();
        // The timeout for a partial frame applies before the first byte, too.
        Self { decoder, bounds, outbox, unsent: 0, partial_since: Some(now), heard: now, took: now }
    }

    /// The next whole frame of `input`; `None` when the input is used up.
    pub(super) fn frame(&mut self, input: &mut &[u8], now: Mono) -> Result<Option<Frame>, FrameError> {
        let frame = self.decoder.decode(input)?;
        if frame.is_some() {
            self.heard = now;
            self.partial_since = None;
        } else if self.decoder.is_partial() && self.partial_since.is_none() {
            self.partial_since = Some(now);
        }
        Ok(frame)
    }

    /// Puts bytes in line.
    pub(super) fn queue(&mut self, bytes: Vec<u8>, now: Mono) -> Result<(), Code> {
        if self.unsent == 0 {
            self.took = now;
        }
        self.unsent = self.unsent.saturating_add(bytes.len());
        if self.unsent > self.bounds.unsent {
            return Err(code::CONNECTION_SLOW_READER);
        }
        self.outbox.push_back(bytes);
        Ok(())
    }

    /// The next bytes to hand over.
    pub(super) fn next_out(&mut self) -> Option<Vec<u8>> {
        self.outbox.pop_front()
    }

    /// The connection took so many bytes.
    pub(super) fn taken(&mut self, bytes: usize, now: Mono) {
        self.unsent = self.unsent.saturating_sub(bytes);
        if bytes > 0 {
            self.took = now;
        }
    }

    pub(super) const fn unsent(&self) -> usize {
        self.unsent
    }

    /// Whether half of what may wait is free: the other half is for answers.
    pub(super) const fn has_room(&self) -> bool {
        self.unsent <= self.bounds.unsent / 2
    }

    /// How many bytes it holds, and since when it has held some of them.
    pub(super) fn held(&self) -> (usize, Option<Mono>) {
        let begun = self.decoder.held_bytes();
        let waits = (self.unsent > 0).then_some(self.took);
        let partial = self.partial_since.filter(|_| begun > 0);
        (self.unsent.saturating_add(begun), waits.into_iter().chain(partial).min())
    }

    pub(super) const fn heard(&self) -> Mono {
        self.heard
    }

    /// When it is closed where nothing happens on it, and the code.
    pub(super) fn deadline(&self) -> Option<(Mono, Code)> {
        let stalled = self.partial_since.map(|since| (since.plus(self.bounds.frame), code::FRAME_STALLED));
        let stuck =
            (self.unsent > 0).then(|| (self.took.plus(self.bounds.write), code::CONNECTION_SLOW_READER));
        stalled.into_iter().chain(stuck).min_by_key(|(at, _)| *at)
    }
}
