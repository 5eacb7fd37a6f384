//! What the endpoints of one connection share: the law, the decoder, the bounded output, and the patience with
//! half a frame.

use alloc::{collections::VecDeque, vec::Vec};

use super::{
    ProtocolError,
    endpoint::{EndpointError, Input, Output},
    frame::{self, Frame, FrameDecoder, FrameKind},
    message::Document,
};
use crate::{
    code::{self, Code},
    time::{Millis, Mono, Now},
};

/// Bytes that may wait to be polled. More is [`EndpointError::Full`] for acts, and closes for answers.
const MAX_OUT_BYTES: usize = 4 << 20;

#[derive(Debug)]
pub(crate) struct Link<E> {
    out: VecDeque<Output<E>>,
    out_bytes: usize,
    drained: bool,
    last: Mono,
    up: bool,
    decoder: FrameDecoder,
    /// When the first byte of a frame came whose last has not.
    partial_since: Option<Mono>,
    /// When the peer last sent a whole frame.
    heard: Mono,
    patience: Millis,
    /// How often the peer has something to say where all is well, by its own word on this connection.
    rhythm: Millis,
}

/// Answers of the peer that may be missing before it counts as silent.
const MISSED: u64 = 3;

impl<E> Link<E> {
    /// `patience` is with a peer that says nothing, or not the rest of a frame.
    pub(crate) fn new(patience: Millis) -> Self {
        Self {
            out: VecDeque::new(),
            out_bytes: 0,
            drained: true,
            last: Mono::START,
            up: false,
            decoder: FrameDecoder::new(),
            partial_since: None,
            heard: Mono::START,
            patience,
            rhythm: Millis::ZERO,
        }
    }

    /// Checks the law. Called first for every input.
    pub(crate) fn enter<A>(&mut self, input: &Input<'_, A>, now: Now) -> Result<(), EndpointError> {
        if self.up && matches!(input, Input::Connected { .. }) {
            return Err(EndpointError::Connected);
        }
        if !self.drained {
            return Err(EndpointError::NotDrained);
        }
        if now.mono < self.last {
            return Err(EndpointError::TimeBackwards { last: self.last, now: now.mono });
        }
        self.last = now.mono;
        Ok(())
    }

    pub(crate) fn poll(&mut self, deadline: Option<Mono>) -> Output<E> {
        match self.out.pop_front() {
            Some(output) => {
                if let Output::Send(bytes) = &output {
                    self.out_bytes = self.out_bytes.saturating_sub(bytes.len());
                }
                output
            }
            None => {
                self.drained = true;
                Output::Wait(deadline)
            }
        }
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.up
    }

    /// The time that it was given last.
    pub(crate) const fn last(&self) -> Mono {
        self.last
    }

    /// When the patience with a peer that says nothing ends.
    pub(crate) fn silent_at(&self) -> Mono {
        self.heard.plus(self.patience.max(Millis(self.rhythm.0.saturating_mul(MISSED))))
    }

    /// The peer is asked only so often on this connection, and silent in between: the patience is never shorter than
    /// three times that.
    pub(crate) const fn asked_every(&mut self, rhythm: Millis) {
        self.rhythm = rhythm;
    }

    pub(crate) fn open(&mut self, now: Now) {
        self.up = true;
        self.decoder = FrameDecoder::new();
        self.partial_since = None;
        self.heard = now.mono;
        self.rhythm = Millis::ZERO;
    }

    /// The connection is gone; what waited for it goes with it. Events stay.
    pub(crate) fn gone(&mut self) {
        self.up = false;
        self.partial_since = None;
        self.out.retain(|output| !matches!(output, Output::Send(_)));
        self.out_bytes = 0;
    }

    /// Closes the connection from this side.
    pub(crate) fn close(&mut self, code: Code) {
        if self.up {
            self.gone();
            self.push(Output::Close(code));
        }
    }

    fn push(&mut self, output: Output<E>) {
        self.drained = false;
        self.out.push_back(output);
    }

    pub(crate) fn event(&mut self, event: E) {
        self.push(Output::Event(event));
    }

    /// Whether another `bytes` may wait.
    pub(crate) const fn has_room(&self, bytes: usize) -> bool {
        self.out_bytes.saturating_add(bytes) <= MAX_OUT_BYTES
    }

    fn send_bytes(&mut self, bytes: Vec<u8>) -> Result<(), ProtocolError> {
        if !self.has_room(bytes.len()) {
            return Err(ProtocolError::TooLarge(bytes.len()));
        }
        self.out_bytes = self.out_bytes.saturating_add(bytes.len());
        self.push(Output::Send(bytes));
        Ok(())
    }

    /// Sends a document. Nothing where the link is down: whoever asks keeps what must be asked again.
    pub(crate) fn send<D: Document>(&mut self, document: &D) -> Result<(), ProtocolError> {
        if !self.up {
            return Ok(());
        }
        let mut bytes = Vec::new();
        document.write(&mut bytes)?;
        self.send_bytes(bytes)
    }

    pub(crate) fn send_frame(&mut self, kind: FrameKind, body: &[u8]) -> Result<(), ProtocolError> {
        let mut bytes = Vec::new();
        frame::encode(kind, body, &mut bytes)?;
        self.send_bytes(bytes)
    }

    /// The next whole frame of `input`.
    pub(crate) fn frame(&mut self, input: &mut &[u8], now: Now) -> Result<Option<Frame>, ProtocolError> {
        let frame = self.decoder.decode(input)?;
        if frame.is_some() {
            self.heard = now.mono;
            self.partial_since = None;
        } else if self.decoder.is_partial() && self.partial_since.is_none() {
            self.partial_since = Some(now.mono);
        }
        Ok(frame)
    }

    /// When the patience with half a frame ends.
    pub(crate) fn frame_deadline(&self) -> Option<Mono> {
        self.partial_since.map(|since| since.plus(self.patience))
    }

    /// Closes where half a frame has been waited with for too long.
    pub(crate) fn check_stalled(&mut self, now: Now) -> bool {
        let stalled = self.up && self.frame_deadline().is_some_and(|deadline| now.mono >= deadline);
        if stalled {
            self.close(code::FRAME_STALLED);
        }
        stalled
    }
}
