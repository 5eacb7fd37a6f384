//! A coordinator that changes its certificate, over real sockets with rustls, TLS 1.2 and 1.3.
//!
//! What it proves: a device that was told while the present certificate stood goes on with the next one without being
//! paired again, refuses the former one from then on, and nobody else at any time; and what was announced survives the
//! coordinator's death in the middle.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test of sockets waits for them")]

mod pair_support;

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use leasehold::{
    agent::{NodeAgent, NodeAgentConfig, NodeAgentEvent},
    capability::CapabilitySet,
    code::{self, Code},
    digest::Sha256Digest,
    dispatch::Incarnation,
    identity::{AnchorCommand, AnchorRole, Announcement, PinnedCertificate, TrustAnchors},
    lease::Epoch,
    shell::{Arrived, Driver, SystemClock, Transport, TransportError},
    time::Millis,
};
use pair_support::{Credentials, Port, Protocol, Shown, fleet::duplex::Duplex};

/// How long the test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

struct Wire(Duplex);

impl Transport for Wire {
    fn receive(&mut self, buffer: &mut [u8], _: Millis) -> Result<Arrived, TransportError> {
        match self.0.read(buffer) {
            Ok(0) => Ok(Arrived::End),
            Ok(bytes) => Ok(Arrived::Bytes(bytes)),
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                Ok(Arrived::Nothing)
            }
            Err(_) => Err(TransportError),
        }
    }

    fn send(&mut self, bytes: &[u8], _: Millis) -> Result<usize, TransportError> {
        self.0.write_all(bytes).map(|()| bytes.len()).map_err(|_| TransportError)
    }
}

/// A paired device: the library's agent over TLS.
struct Device {
    driver: Driver<NodeAgent, Wire>,
    clock: SystemClock,
    credentials: Credentials,
    /// What it has kept of the coordinator's certificates, as it would on its disk.
    kept: String,
}

impl Device {
    fn new(credentials: Credentials, anchors: &TrustAnchors) -> Self {
        let nobody = Sha256Digest::of(b"replaced below");
        let claims = CapabilitySet::parse(["cam"]).unwrap();
        let config = NodeAgentConfig::new(nobody, Incarnation(1), claims, 1).trusting(anchors.clone());
        let driver = Driver::new(NodeAgent::new(config));
        let kept = serde_json::to_string(anchors).unwrap();
        Self { driver, clock: SystemClock::start(), credentials, kept }
    }

    /// The device's process starts anew with what it has kept.
    fn restarted(self) -> Self {
        let anchors: TrustAnchors = serde_json::from_str(&self.kept).unwrap();
        Self::new(self.credentials, &anchors)
    }

    /// Calls a port, and goes on until `wanted` comes; the events until then.
    fn call(&mut self, port: &Port, wanted: fn(&NodeAgentEvent) -> bool) -> Vec<NodeAgentEvent> {
        let duplex = self.credentials.dial(port);
        duplex.set_timeouts(Some(Duration::from_millis(20)), Some(PATIENCE)).unwrap();
        let peer = duplex.peer().unwrap();
        let events = self.driver.attach(Wire(duplex), peer, &self.clock).unwrap();
        self.until(events, wanted)
    }

    fn wait(&mut self, wanted: fn(&NodeAgentEvent) -> bool) -> Vec<NodeAgentEvent> {
        self.until(Vec::new(), wanted)
    }

    fn until(
        &mut self,
        mut events: Vec<NodeAgentEvent>,
        wanted: fn(&NodeAgentEvent) -> bool,
    ) -> Vec<NodeAgentEvent> {
        let begun = Instant::now();
        while !events.iter().any(wanted) {
            assert!(begun.elapsed() < PATIENCE, "{events:?}");
            events.extend(self.driver.turn(&self.clock).unwrap());
        }
        for event in &events {
            if let NodeAgentEvent::AnchorsChanged { anchors } = event {
                self.kept = serde_json::to_string(&anchors).unwrap();
            }
        }
        events
    }

    /// Why a call was given up.
    fn refused(&mut self, port: &Port) -> Code {
        let events = self.call(port, |event| matches!(event, NodeAgentEvent::LinkLost { .. }));
        match events.last() {
            Some(NodeAgentEvent::LinkLost { why }) => *why,
            other => panic!("{other:?}"),
        }
    }

    fn accepts(&self) -> Vec<Sha256Digest> {
        let anchors = self.driver.endpoint().anchors();
        anchors.of(AnchorRole::Coordinator).map(|anchor| anchor.certificate.fingerprint()).collect()
    }
}

fn welcome(event: &NodeAgentEvent) -> bool {
    matches!(event, NodeAgentEvent::Welcome { .. })
}

fn changed(event: &NodeAgentEvent) -> bool {
    matches!(event, NodeAgentEvent::AnchorsChanged { .. })
}

fn sorted<const N: usize>(mut all: [Sha256Digest; N]) -> Vec<Sha256Digest> {
    all.sort();
    all.to_vec()
}

/// The coordinator's certificate rotates with overlap: invariant 12, and attack P9 in the other direction.
#[test]
fn p9_a_device_follows_its_coordinator_to_the_next_certificate_and_to_nobody_else() {
    for protocol in Protocol::BOTH {
        let (present, next, impostor) = (Shown::new(), Shown::new(), Shown::new());
        let (old, new) = (present.fingerprint(), next.fingerprint());
        let port = Port::found(protocol, &present);
        let mut device = Device::new(port.pair(), &TrustAnchors::of_coordinator(old));
        device.call(&port, welcome);

        // While the device is connected, the operator announces what will follow.
        let role = AnchorRole::Coordinator;
        port.anchors(AnchorCommand::Pin { role, certificate: PinnedCertificate::Fingerprint(old) });
        let announcement = Announcement { role, succeeds: old, next: next.facts() };
        port.anchors(AnchorCommand::Announce { by: old, announcement });
        device.wait(changed);
        assert_eq!(device.accepts(), sorted([old, new]), "{protocol:?}");

        // The coordinator dies in the middle, and the announcement is still open: another device hears of it.
        let journal = port.crash();
        device.wait(|event| matches!(event, NodeAgentEvent::LinkLost { .. }));
        let port = Port::recover(protocol, &present, journal, Epoch(2));
        device.call(&port, welcome);
        let late = Device::new(device.credentials.without_sessions(), &TrustAnchors::of_coordinator(old));
        let mut late = late;
        late.call(&port, changed);
        assert_eq!(late.accepts(), sorted([old, new]), "{protocol:?}");

        // Somebody else with a certificate of their own, before and after: nobody to this device.
        let elsewhere = Port::found(protocol, &impostor);
        assert_eq!(device.refused(&elsewhere), code::COORDINATOR_OTHER_CERTIFICATE, "{protocol:?}");

        // The coordinator comes back with the next certificate. Nobody is paired again.
        let journal = port.crash();
        let port = Port::recover(protocol, &next, journal.clone(), Epoch(3));
        let mut device = device.restarted();
        let events = device.call(&port, welcome);
        assert!(events.iter().any(changed), "{protocol:?}: {events:?}");
        assert_eq!(device.accepts(), [new], "{protocol:?}");

        // The former certificate, with whatever epoch, and the impostor stay outside; the next one is at home.
        let former = Port::recover(protocol, &present, journal, Epoch(9));
        assert_eq!(device.refused(&former), code::COORDINATOR_OTHER_CERTIFICATE, "{protocol:?}");
        assert_eq!(device.refused(&elsewhere), code::COORDINATOR_OTHER_CERTIFICATE, "{protocol:?}");
        let mut device = device.restarted();
        assert!(!device.call(&port, welcome).iter().any(changed), "{protocol:?}: nothing is new");
    }
}
