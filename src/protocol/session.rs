//! What the endpoints of a device do alike with a connection: admit its peer, read its frames, give it up.

use super::{
    ProtocolError,
    endpoint::{EndpointError, Input},
    frame::Frame,
    link::Link,
    message::AnchorNotice,
    trust::{Trust, TrustEvent},
};
use crate::{
    code::{self, Code, Coded as _},
    time::Now,
};

/// An endpoint over one connection to its coordinator at a time.
pub(crate) trait Session {
    type Act;
    type Event;

    fn parts(&mut self) -> (&mut Link<Self::Event>, &mut Trust);
    /// The peer is a coordinator that is believed: say hello.
    fn greet(&mut self, now: Now);
    /// A whole frame came.
    fn frame(&mut self, frame: Frame, now: Now) -> Result<(), ProtocolError>;
    fn act(&mut self, act: Self::Act, now: Now) -> Result<(), EndpointError>;
    fn tick(&mut self, now: Now);
    /// The connection is gone.
    fn link_lost(&mut self, why: Code);
    fn of_trust(event: TrustEvent) -> Self::Event;

    /// Takes one input. What is over by time is over before anything else is looked at.
    fn take(&mut self, input: Input<'_, Self::Act>, now: Now) -> Result<(), EndpointError> {
        self.parts().0.enter(&input, now)?;
        self.tick(now);
        let mut outcome = Ok(());
        match input {
            Input::Connected { peer } => {
                let (link, trust) = self.parts();
                link.open(now);
                match trust.admit(peer, now) {
                    Ok(()) => self.greet(now),
                    Err(code) => self.lose_link(code),
                }
            }
            Input::Received(bytes) => self.received(bytes, now),
            Input::Closed if self.parts().0.is_up() => {
                self.parts().0.gone();
                self.link_lost(code::CONNECTION_CLOSED);
            }
            Input::Closed | Input::Timeout => {}
            Input::Act(act) => outcome = self.act(act, now),
        }
        self.tick(now);
        outcome
    }

    fn received(&mut self, mut bytes: &[u8], now: Now) {
        while self.parts().0.is_up() {
            let outcome = match self.parts().0.frame(&mut bytes, now) {
                Ok(Some(frame)) => self.frame(frame, now),
                Ok(None) => return,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                self.lose_link(error.code());
            }
        }
    }

    /// Closes the connection from this side.
    fn lose_link(&mut self, why: Code) {
        let link = self.parts().0;
        if link.is_up() {
            link.close(why);
            self.link_lost(why);
        }
    }

    /// Gives up a coordinator that says nothing, or not the rest of a frame.
    fn watch(&mut self, now: Now) {
        let link = self.parts().0;
        if !link.is_up() {
            return;
        }
        if now.mono >= link.silent_at() {
            self.lose_link(code::COORDINATOR_SILENT);
        } else if link.check_stalled(now) {
            self.link_lost(code::FRAME_STALLED);
        }
    }

    /// The coordinator has opened the session. False where it is not to be believed after all, and the connection gone.
    fn believed(&mut self, now: Now) -> bool {
        let (link, trust) = self.parts();
        match trust.used(now) {
            Ok(event) => {
                event.into_iter().for_each(|event| link.event(Self::of_trust(event)));
                true
            }
            Err(code) => {
                self.lose_link(code);
                false
            }
        }
    }

    /// Who follows the certificate of this connection.
    fn told(&mut self, notice: &AnchorNotice, now: Now) {
        let (link, trust) = self.parts();
        trust.told(notice, now).into_iter().for_each(|event| link.event(Self::of_trust(event)));
    }
}
