//! How long the certificate of a connection stands for its device: asked when it is made, when the registry has changed,
//! and when a date or the overlap of a rotation has come.

use alloc::vec::Vec;

use super::{connection::Connection, endpoint::Coordinator, io::ConnectionId};
use crate::{
    code::{self, Code, Coded as _},
    fleet::FleetState,
    time::{Mono, Now},
};

/// Until when the certificate stands for the device, as far as can be said at `now`; later than `now`.
fn stands_until(state: &FleetState, connection: &Connection, now: Now) -> Result<Mono, Code> {
    let now = state.discipline(now).map_or(now, |(now, _)| now);
    match state.devices().authenticate_fingerprint(connection.certificate, now) {
        Ok(authenticated) if *authenticated.device() == connection.device => {
            let valid = FleetState::mono_at(now, authenticated.certificate().not_after());
            Ok(valid.min(authenticated.ends().unwrap_or(Mono::NEVER)))
        }
        Ok(_) => Err(code::CERTIFICATE_UNKNOWN),
        Err(error) => Err(error.code()),
    }
}

impl Coordinator {
    /// Asks whether the certificate of a connection still stands for its device, and sets the timer for when it ends.
    pub(super) fn watch_certificate(&mut self, id: ConnectionId, now: Now) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match stands_until(self.manager.state(), connection, now) {
            Ok(until) => {
                connection.authenticated_until = until;
                self.arm(id);
            }
            Err(code) => self.close(id, code),
        }
    }

    /// Asks for every connection again where the registry has changed (invariant 12).
    pub(super) fn authenticate_again(&mut self, now: Now) {
        let state = self.manager.state();
        let generation = state.devices().generation();
        if generation == self.generation {
            return;
        }
        self.generation = generation;
        let mut sooner = Vec::new();
        for (id, connection) in &mut self.connections {
            match stands_until(state, connection, now) {
                Ok(until) => {
                    connection.authenticated_until = until;
                    if until < connection.armed {
                        sooner.push((*id, None));
                    }
                }
                Err(code) => sooner.push((*id, Some(code))),
            }
        }
        for (id, over) in sooner {
            match over {
                Some(code) => self.close(id, code),
                None => self.arm(id),
            }
        }
    }
}
