//! What the certificates of clients chain to: the authorities that the fleet's own anchors accept.
//!
//! An authority is followed by another with overlap, like the coordinator itself: an operator announces the next one
//! (`ManageAnchors`), both are accepted by TLS until the use of the next one is confirmed, and the former is not in the
//! configuration of the next start any more. Devices that are registered stay so: the registry knows their certificates
//! and not their issuers.

use std::sync::Arc;

use leasehold::{
    coordinator::OperatorCommand,
    fleet::ManageAnchors,
    identity::{AnchorCommand, AnchorRole},
};
use rustls::ServerConfig;

use super::Process;
use crate::{
    Failure,
    tls::{self, Identity, Root},
};

impl Process {
    /// The configuration of the coordinator's port. Of the roots that this process knows the fleet's anchors choose; the
    /// first start of a fleet pins them.
    pub(super) fn port(&mut self, identity: &Identity, known: &[Root]) -> Result<Arc<ServerConfig>, Failure> {
        let anchors = self.control.coordinator.fleet().state().nodes().anchors();
        if anchors.of(AnchorRole::Authority).next().is_none() {
            for root in known {
                let certificate = root.facts()?.into();
                let pin = AnchorCommand::Pin { role: AnchorRole::Authority, certificate };
                self.command(OperatorCommand::ManageAnchors(ManageAnchors::new(pin)))?;
            }
        }
        let anchors = self.control.coordinator.fleet().state().nodes().anchors();
        tls::mutual_server_of(identity, &tls::accepted(known, anchors, self.control.now()))
    }
}
