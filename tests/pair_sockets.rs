//! Devices at the coordinator's port, over real sockets with rustls, TLS 1.2 and 1.3.
//!
//! What it proves: whoever has no certificate, or one that stands for nobody, reaches pairing and nothing else on the
//! port; a paired device reaches the fleet; and a revocation is in force at once on a new connection, on a session that
//! is really resumed, and in the middle of an open stream (invariant 12). Sessions are resumable here on purpose: the
//! verifier is not asked again for those, and the core is.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test of sockets waits for them")]

mod pair_support;

use leasehold::{
    code::{self, Code},
    identity::{DeviceCommand, RevocationReason, RevocationSubject},
    lease::Epoch,
    protocol::{
        frame::FrameKind,
        message::{NodeAnswer, NodeMessage, WorkerMessage},
    },
};
use pair_support::{Caller, Credentials, Port, Protocol, device_id, revoke, worker_id};
use rustls::HandshakeKind;

fn worker_hello() -> WorkerMessage {
    WorkerMessage::Hello { worker: worker_id(), resume: None, epoch: Epoch(0) }
}

/// Attack F24: every kind of frame that is not pairing is refused at its header.
#[test]
fn without_a_certificate_a_peer_reaches_pairing_and_nothing_else() {
    for protocol in Protocol::BOTH {
        let port = Port::open(protocol);
        for kind in FrameKind::ALL.into_iter().filter(|kind| *kind != FrameKind::Pairing) {
            let mut stranger = Caller::call(&port, None).unwrap();
            stranger.frame(kind, b"{}");
            assert_eq!(stranger.heard(), None, "{protocol:?} {kind:?}: an answer");
            assert_eq!(port.closed(), (None, code::FRAME_DIRECTION), "{protocol:?} {kind:?}");
        }
        // The same port, and the same peer without a certificate, can pair.
        let device = port.pair();
        let mut paired = Caller::call(&port, Some(&device)).unwrap();
        assert!(paired.worker(worker_hello()), "{protocol:?}");
        assert!(paired.worker(WorkerMessage::Challenge {}), "{protocol:?}");
    }
}

/// A certificate proves nothing by itself: it must be registered, and its key must be there.
#[test]
fn a_certificate_that_stands_for_nobody_reaches_nothing() {
    for protocol in Protocol::BOTH {
        let port = Port::open(protocol);
        let device = port.pair();
        let mut own = Caller::call(&port, Some(&Credentials::self_signed())).unwrap();
        assert_eq!(own.heard(), None);
        assert_eq!(port.closed(), (None, code::CERTIFICATE_UNKNOWN), "{protocol:?}");
        // The device's certificate, which is no secret, with a key of one's own: the handshake itself fails.
        let thief = Credentials::self_signed().with_certificate_of(&device);
        let before = port.came();
        let refused = Caller::call(&port, Some(&thief)).and_then(|mut thief| thief.heard().ok_or(()));
        assert!(refused.is_err(), "{protocol:?}");
        assert!(Caller::call(&port, Some(&device)).unwrap().worker(worker_hello()), "{protocol:?}");
        assert_eq!(port.came(), before + 1, "{protocol:?}: somebody came who did not prove the key");
    }
}

/// What a client gets that comes with a session from before, and what the server's log says of it.
fn resumed(port: &Port, device: &Credentials) -> (Option<HandshakeKind>, bool) {
    port.forget_events();
    let mut caller = Caller::call(port, Some(device)).unwrap();
    let kind = caller.handshake();
    assert_eq!(port.handshake(), kind, "both sides agree on whether the session was resumed");
    (kind, caller.worker(worker_hello()))
}

/// Attack P8, invariant 12.
#[test]
fn p8_a_revoked_device_is_refused_anew_resumed_and_in_the_middle_of_a_stream() {
    for protocol in Protocol::BOTH {
        let port = Port::open(protocol);
        let device = port.pair();
        assert_eq!(resumed(&port, &device), (Some(HandshakeKind::Full), true), "{protocol:?}");
        // Resumption works here, and is good for a device that is.
        assert_eq!(resumed(&port, &device), (Some(HandshakeKind::Resumed), true), "{protocol:?}");
        let mut stream = Caller::call(&port, Some(&device)).unwrap();
        assert_eq!(stream.handshake(), Some(HandshakeKind::Resumed));
        assert!(stream.worker(worker_hello()), "{protocol:?}");
        port.forget_events();

        port.order(revoke());

        assert_eq!(stream.heard(), None, "{protocol:?}: the open stream is cut");
        let cut: (_, Code) = port.closed();
        assert_eq!(cut, (Some(device_id()), code::DEVICE_REVOKED), "{protocol:?}");
        let again = resumed(&port, &device);
        assert_eq!(again, (Some(HandshakeKind::Resumed), false), "{protocol:?}: a resumed session");
        assert_eq!(port.closed(), (None, code::DEVICE_REVOKED), "{protocol:?}");
        let anew = resumed(&port, &device.without_sessions());
        assert_eq!(anew, (Some(HandshakeKind::Full), false), "{protocol:?}: a new connection");
        assert_eq!(port.closed(), (None, code::DEVICE_REVOKED), "{protocol:?}");

        // Only an operator takes it back; then the old session is as good as a new one.
        port.order(DeviceCommand::ClearRevocation { subject: RevocationSubject::Device(device_id()) });
        assert!(Caller::call(&port, Some(&device)).unwrap().worker(worker_hello()), "{protocol:?}");
    }
}

/// The same for one certificate and for a key, and for a device that revokes itself.
#[test]
fn p8_a_revoked_certificate_or_key_and_a_device_that_leaves_are_refused_as_well() {
    for protocol in Protocol::BOTH {
        let subjects: [(fn(&Credentials) -> RevocationSubject, Code); 2] = [
            (|device| RevocationSubject::Certificate(device.fingerprint()), code::CERTIFICATE_REVOKED),
            (|device| RevocationSubject::Key(device.key()), code::KEY_REVOKED),
        ];
        for (subject, why) in subjects {
            let port = Port::open(protocol);
            let device = port.pair();
            assert!(resumed(&port, &device).1);
            let mut stream = Caller::call(&port, Some(&device)).unwrap();
            assert!(stream.worker(worker_hello()));
            port.forget_events();
            let reason = RevocationReason::KeyCompromise;
            port.order(DeviceCommand::Revoke { subject: subject(&device), reason });
            assert_eq!(stream.heard(), None);
            assert_eq!(port.closed(), (Some(device_id()), why), "{protocol:?}");
            assert_eq!(resumed(&port, &device), (Some(HandshakeKind::Resumed), false), "{protocol:?}");
            assert_eq!(port.closed(), (None, why), "{protocol:?}");
        }
        let port = Port::open(protocol);
        let device = port.pair();
        let mut leaving = Caller::call(&port, Some(&device)).unwrap();
        assert!(matches!(
            leaving.node(NodeMessage::Hello { epoch: Epoch(0) }),
            Some(NodeAnswer::Welcome { .. })
        ));
        assert_eq!(leaving.node(NodeMessage::RevokeSelf {}), None, "{protocol:?}: cut by its own word");
        assert_eq!(port.closed(), (Some(device_id()), code::DEVICE_REVOKED), "{protocol:?}");
        assert_eq!(resumed(&port, &device), (Some(HandshakeKind::Resumed), false), "{protocol:?}");
        assert_eq!(port.closed(), (None, code::DEVICE_REVOKED), "{protocol:?}");
    }
}

/// Attack P9 over sockets: make before break, and what was broken stays so when resumed.
#[test]
fn p9_a_rotated_certificate_ends_with_the_first_use_of_the_next() {
    for protocol in Protocol::BOTH {
        let port = Port::open(protocol);
        let old = port.pair();
        assert!(resumed(&port, &old).1);
        let mut asking = Caller::call(&port, Some(&old)).unwrap();
        asking.node(NodeMessage::Hello { epoch: Epoch(0) }).unwrap();
        let (next, request) = Credentials::wanted();
        let Some(NodeAnswer::Certificate { certificate }) = asking.node(NodeMessage::Rotate { request })
        else {
            panic!("{protocol:?}: no certificate");
        };
        let next = next.with(certificate.0);
        // Both are good until the next one was used.
        assert_eq!(resumed(&port, &old), (Some(HandshakeKind::Resumed), true), "{protocol:?}");
        assert_eq!(resumed(&port, &next), (Some(HandshakeKind::Full), true), "{protocol:?}");
        port.forget_events();
        assert_eq!(resumed(&port, &old), (Some(HandshakeKind::Resumed), false), "{protocol:?}");
        let (device, why) = port.closed();
        assert!(
            device.is_none() && [code::CERTIFICATE_UNKNOWN, code::CERTIFICATE_RETIRED].contains(&why),
            "{why}"
        );
        assert!(resumed(&port, &next).1, "{protocol:?}");
    }
}
