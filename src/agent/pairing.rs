//! The device's endpoint while it pairs: one [`DevicePairing`] over any number of connections without a certificate.

use alloc::boxed::Box;

use crate::{
    code::{self, Code, Coded as _},
    digest::Sha256Digest,
    identity::pairing::{DevicePairing, DeviceStep, Digits, PairedDevice, PairingError},
    protocol::{
        ProtocolError,
        endpoint::{Endpoint, EndpointError, Input, Output},
        frame::FrameKind,
        link::Link,
    },
    time::{Millis, Mono, Now},
};

/// What the user tells a device that pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PairingAct {
    /// The digits are the ones that the operator sees. With a comparison, no certificate is accepted before.
    DigitsAgree,
    /// The digits differ, or the user gives up. Final.
    Abandon,
}

/// What a device that pairs tells its user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PairingProgress {
    /// The same digits that the operator is shown.
    Digits(Digits),
    /// The coordinator says no, without a reason. Anybody on the way can say so: ask on, or give up.
    Refused,
    /// Done: the certificate is there. The connection is closed; the next one is made with the certificate.
    Paired(Box<PairedDevice>),
    /// It failed, for good.
    Failed {
        /// Why.
        code: Code,
    },
    /// The connection is gone: connect again.
    LinkLost {
        /// Why.
        why: Code,
    },
}

/// The device's endpoint while it pairs.
#[derive(Debug)]
pub struct PairingAgent {
    pairing: DevicePairing,
    link: Link<PairingProgress>,
    peer: Option<Sha256Digest>,
    ask_every: Millis,
    ask_at: Mono,
    over: bool,
}

impl PairingAgent {
    /// An endpoint for `pairing`, which asks every `ask_every` (at least 100 ms) whether the operator has decided.
    pub fn new(pairing: DevicePairing, ask_every: Millis) -> Self {
        let ask_every = ask_every.max(Millis(100));
        let link = Link::new(Millis::from_secs(15));
        Self { pairing, link, peer: None, ask_every, ask_at: Mono::NEVER, over: false }
    }

    /// The pairing.
    pub const fn pairing(&self) -> &DevicePairing {
        &self.pairing
    }

    fn send(&mut self, message: &[u8]) {
        if self.link.is_up()
            && let Err(error) = self.link.send_frame(FrameKind::Pairing, message)
        {
            self.lose_link(error.code());
        }
    }

    fn lose_link(&mut self, why: Code) {
        if self.link.is_up() {
            self.link.close(why);
            self.link_lost(why);
        }
    }

    fn link_lost(&mut self, why: Code) {
        self.ask_at = Mono::NEVER;
        if !self.over {
            self.link.event(PairingProgress::LinkLost { why });
        }
    }

    fn received(&mut self, mut bytes: &[u8], now: Now) {
        while self.link.is_up() {
            match self.link.frame(&mut bytes, now) {
                Ok(Some(frame)) if frame.kind == FrameKind::Pairing => self.hear(&frame.body, now),
                Ok(Some(_)) => self.lose_link(ProtocolError::Direction.code()),
                Ok(None) => return,
                Err(error) => self.lose_link(error.code()),
            }
        }
    }

    fn hear(&mut self, message: &[u8], now: Now) {
        let Some(peer) = self.peer else { return };
        match self.pairing.receive(&peer, message, now) {
            Ok(DeviceStep::Confirm { message, digits }) => {
                self.link.event(PairingProgress::Digits(digits));
                self.send(&message);
            }
            // What was issued waits until the digits were compared.
            Ok(DeviceStep::Waiting) | Err(PairingError::NotCompared) => {
                self.ask_at = now.mono.plus(self.ask_every);
            }
            Ok(DeviceStep::Refused) => {
                self.ask_at = now.mono.plus(self.ask_every);
                self.link.event(PairingProgress::Refused);
            }
            Ok(DeviceStep::Paired) => {
                self.over = true;
                if let Some(paired) = self.pairing.paired().cloned() {
                    self.link.event(PairingProgress::Paired(Box::new(paired)));
                }
                self.link.close(code::CONNECTION_CLOSED);
            }
            // A stranger's message ends nothing; one that does is final in the pairing itself.
            Err(PairingError::Order | PairingError::Malformed) => {}
            Err(error) => self.fail(error.code()),
        }
    }

    fn fail(&mut self, code: Code) {
        self.over = true;
        self.link.event(PairingProgress::Failed { code });
        self.link.close(code);
    }

    /// Asks again what became of it: the hello before an answer, the question after.
    fn ask(&mut self, now: Now) {
        self.ask_at = now.mono.plus(self.ask_every);
        let message = if self.pairing.digits().is_some() {
            self.pairing.fetch()
        } else {
            self.pairing.message().to_vec()
        };
        self.send(&message);
    }
}

impl Endpoint for PairingAgent {
    type Act = PairingAct;
    type Event = PairingProgress;

    fn handle(&mut self, input: Input<'_, PairingAct>, now: Now) -> Result<(), EndpointError> {
        self.link.enter(&input, now)?;
        match input {
            Input::Connected { .. } if self.over => {
                return Err(EndpointError::NotNow("the pairing is over"));
            }
            Input::Connected { peer } => {
                self.link.open(now);
                self.peer = Some(peer);
                let message = self.pairing.message().to_vec();
                self.send(&message);
                self.ask_at = now.mono.plus(self.ask_every);
            }
            Input::Received(bytes) => self.received(bytes, now),
            Input::Closed => {
                if self.link.is_up() {
                    self.link.gone();
                    self.link_lost(code::CONNECTION_CLOSED);
                }
            }
            Input::Timeout => {}
            Input::Act(PairingAct::DigitsAgree) => {
                let agreed = self.pairing.digits_agree();
                agreed.map_err(|_| EndpointError::NotNow("there are no digits to compare"))?;
                self.ask_at = self.ask_at.min(now.mono);
            }
            Input::Act(PairingAct::Abandon) => {
                self.pairing.abandon();
                self.fail(PairingError::Confirmation.code());
            }
        }
        if self.link.check_stalled(now) {
            self.link_lost(code::FRAME_STALLED);
        }
        if self.link.is_up() && now.mono >= self.ask_at {
            self.ask(now);
        }
        Ok(())
    }

    fn poll(&mut self) -> Output<PairingProgress> {
        self.link.poll(self.next_deadline())
    }

    fn next_deadline(&self) -> Option<Mono> {
        if !self.link.is_up() {
            return None;
        }
        [Some(self.ask_at), self.link.frame_deadline()].into_iter().flatten().min()
    }
}
