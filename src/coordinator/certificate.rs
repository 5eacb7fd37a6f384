//! How long the certificate of a connection stands for its device: asked when it is made, when the registry has changed,
//! and when a date or the overlap of a rotation has come.

use alloc::vec::Vec;

use super::{connection::Connection, endpoint::Coordinator, io::ConnectionId};
use crate::{
    code::{self, Code, Coded as _},
    fleet::FleetState,
    time::{Mono, Now},
};

impl Coordinator {
    /// Until when the certificate stands for the device, as far as can be said at `now`; later than `now`.
    fn stands_until(&self, connection: &Connection, now: Now) -> Result<Mono, Code> {
        let state = self.manager.state();
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

    fn note(&mut self, id: ConnectionId, stands: Result<Mono, Code>) {
        match stands {
            Ok(until) => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.authenticated_until = until;
                }
                self.arm(id);
            }
            Err(code) => self.close(id, code),
        }
    }

    /// Asks whether the certificate of a connection still stands for its device, and sets the timer for when it ends.
    pub(super) fn watch_certificate(&mut self, id: ConnectionId, now: Now) {
        if let Some(connection) = self.connections.get(&id) {
            let stands = self.stands_until(connection, now);
            self.note(id, stands);
        }
    }

    /// Asks for every connection again where the registry has changed (invariant 12).
    pub(super) fn authenticate_again(&mut self, now: Now) {
        let generation = self.manager.state().devices().generation();
        if generation == self.generation {
            return;
        }
        self.generation = generation;
        let open = self.connections.iter();
        let stands: Vec<_> = open.map(|(id, it)| (*id, self.stands_until(it, now))).collect();
        for (id, stands) in stands {
            self.note(id, stands);
        }
    }
}
