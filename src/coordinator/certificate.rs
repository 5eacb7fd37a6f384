//! How long the certificate of a connection stands for its device: asked when it is made, when the registry has changed,
//! and when a date or the overlap of a rotation has come.

use super::{connection::DevicePeer, io::ConnectionId, parts::Coordinator};
use crate::{
    code::{self, Code, Coded as _},
    fleet::FleetState,
    identity::{AuthError, Renewable},
    time::{Millis, Mono, Now},
};

/// Until when the certificate stands for the device, as far as can be said at `now`; later than `now`.
fn stands_until(state: &FleetState, peer: &DevicePeer, now: Now) -> Result<Mono, Code> {
    let now = state.discipline(now).map_or(now, |(now, _)| now);
    if peer.renews {
        return renewable_until(state, peer, now);
    }
    match state.devices().authenticate_fingerprint(peer.certificate, now) {
        Ok(authenticated) if *authenticated.device() == peer.device => {
            let valid = FleetState::mono_at(now, authenticated.certificate().expires());
            Ok(valid.min(authenticated.ends().unwrap_or(Mono::NEVER)))
        }
        Ok(_) => Err(code::CERTIFICATE_UNKNOWN),
        // The connection was authenticated with it, and the device is there: it was rotated away since.
        Err(AuthError::Unknown(_)) if state.devices().get(&peer.device).is_some() => {
            Err(code::CERTIFICATE_RETIRED)
        }
        Err(error) => Err(error.code()),
    }
}

/// Until when an expired certificate may be renewed, as far as can be said at `now`.
fn renewable_until(state: &FleetState, peer: &DevicePeer, now: Now) -> Result<Mono, Code> {
    match state.devices().renewable(peer.certificate, now) {
        Ok(Renewable::Expired { record, order, through, .. }) if *record.device() == peer.device => {
            let standing = state.devices().renewals().find(|(name, _)| *name == order);
            let ordered = standing.map_or(Mono::NEVER, |(_, standing)| standing.until());
            Ok(FleetState::mono_at(now, through.plus(Millis(1))).min(ordered))
        }
        // It was renewed meanwhile, and the next one is in use.
        Ok(_) => Err(code::CERTIFICATE_RETIRED),
        Err(error) => Err(error.code()),
    }
}

impl Coordinator {
    /// Asks whether the certificate of a connection still stands for its device, and sets the timer for when it ends. False:
    /// it does not, and the connection is closed.
    pub(super) fn watch_certificate(&mut self, id: ConnectionId, now: Now) -> bool {
        let state = self.manager.state();
        let generation = state.devices().generation();
        let Some(peer) = self.connections.device_mut(id) else { return false };
        match stands_until(state, peer, now) {
            Ok(until) => {
                (peer.authenticated_until, peer.generation) = (until, generation);
                self.connections.refresh(id);
                true
            }
            Err(code) => {
                self.close(id, code);
                false
            }
        }
    }

    /// The same, where the registry has changed since it was asked (invariant 12): before anything is done for a peer.
    pub(super) fn is_authenticated(&mut self, id: ConnectionId, now: Now) -> bool {
        let generation = self.manager.state().devices().generation();
        match self.connections.device(id) {
            Some(peer) if peer.generation == generation => true,
            _ => self.watch_certificate(id, now),
        }
    }
}
