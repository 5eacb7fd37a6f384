//! Devices of a fleet: registry, pairing and dispatch stay in step, and what was written gives the state back.

mod dispatch_support;

use std::collections::BTreeMap;

use dispatch_support::*;
use leasehold::{
    code::{self, Coded},
    digest::Sha256Digest,
    dispatch::{
        DeviceMessage, DispatchCommand, DispatchEffect, FailReason, Incarnation, Outcome, Payload,
        RejectReason, RequestState, Target,
    },
    fleet::{
        CommandError, ConfirmUse, DurableError, Effect, LogId, Principal, RecoverError, RevokeSelf,
        SetPolicy, WorkerFleetManager, WorkerFleetPolicy, WorkerFleetPolicyForm,
    },
    id::RequestId,
    identity::{
        DeviceCertificate, DeviceCommand, DeviceKind, OverlapEnd, RevocationReason, RevocationSubject,
        pairing::{
            CertificateIssuer, DeviceCode, DevicePairing, DeviceProfile, DeviceStep, PairingEnd,
            PairingMethod, PairingTarget, PairingTools,
        },
    },
    lease::Epoch,
    shell::OsEntropy,
    time::{Millis, Mono, Now, Wall},
};
use proptest::prelude::*;
use rcgen::{CertificateParams, Issuer, KeyPair};

/// From the code on a screen to a revoked device, through one runtime and one journal.
#[test]
fn a_device_pairs_works_and_is_revoked() {
    let mut host = Host::new();
    let mut entropy = OsEntropy::open().unwrap();
    let (key, root) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let issuer = Issuer::new(CertificateParams::new(vec!["root".into()]).unwrap(), root);
    let mut authority = Authority(key, issuer);

    let mut tools = PairingTools::new(&mut entropy);
    let target = PairingTarget::New(device("desk"));
    let offer =
        host.fleet.offer_pairing(&operator(), PairingMethod::Qr, target, host.now, &mut tools).unwrap();
    let offered = host.redeem(offer).answer;
    let code = DeviceCode::from_qr(offered.code.expose()).unwrap();
    let request = CertificateParams::new(vec!["desk".into()]).unwrap();
    let request = request.serialize_request(&authority.0).unwrap().der().to_vec();
    let profile = DeviceProfile::new(device("desk"), DeviceKind::DesktopNode, request).unwrap();
    let mut pairing = DevicePairing::begin(code, profile, port(), Mono(10_000_000), &mut tools).unwrap();

    let ticket = host.fleet.pairing_message(pairing.message(), host.now, &mut tools).unwrap();
    let reply = host.redeem(ticket).answer.reply.unwrap();
    let DeviceStep::Confirm { message, .. } = pairing.receive(&port(), &reply, host.now).unwrap() else {
        panic!("no confirmation");
    };
    let ticket = host.fleet.pairing_message(&message, host.now, &mut tools).unwrap();
    let asked = host.redeem(ticket).answer.ask.unwrap();
    host.check_recovery();
    let ticket =
        host.fleet.approve_pairing(&operator(), &asked.session, &asked.transcript, host.now).unwrap();
    let verified = host.redeem(ticket).answer;
    let der = authority.issue(&verified, host.now).unwrap();
    let ticket = host.fleet.complete_pairing(verified, &der, host.now).unwrap();
    assert_eq!(host.redeem(ticket).answer, device("desk"));
    assert_eq!(host.fleet.pairing_end(&asked.session), Some(PairingEnd::Paired));

    // Nothing is granted by pairing alone.
    let leaf = host.fleet.authenticate(&der, host.now).unwrap().certificate().fingerprint();
    let hello = DeviceMessage::Connect { incarnation: Incarnation(1), claims: cam(), window: 2 };
    assert_eq!(host.say(leaf, &hello).unwrap_err(), code::DISPATCH_DEVICE_UNKNOWN);
    host.dispatch(DispatchCommand::Grant { device: device("desk"), capabilities: cam() }).unwrap();
    host.say(leaf, &hello).unwrap();
    host.request(&ask("done", Target::Any)).unwrap();
    let effects = host.poll();
    let [DispatchEffect::Deliver { delivery, .. }] = &effects[..] else { panic!("{effects:?}") };
    let answer = DeviceMessage::Answer {
        incarnation: Incarnation(1),
        request: delivery.request.clone(),
        attempt: 1,
        outcome: Outcome::Succeeded(Payload::new(b"seen")),
    };
    host.say(leaf, &answer).unwrap();
    host.request(&ask("held", Target::Any)).unwrap();
    host.poll();
    host.request(&ask("waits", Target::Device(device("desk")))).unwrap();

    // A pairing is under way that would give the same device another certificate.
    let replace = PairingTarget::Replace(device("desk"));
    let offer =
        host.fleet.offer_pairing(&operator(), PairingMethod::Qr, replace, host.now, &mut tools).unwrap();
    let second = host.redeem(offer).answer.session;

    // Revoked: in one record, all of it (P5, P8, invariant 12).
    let records = host.fleet.state().index();
    let effects = host.dispatch(DispatchCommand::Revoke { device: device("desk") }).unwrap();
    assert_eq!(host.fleet.state().index(), records + 1);
    let rejected = RequestState::Rejected(RejectReason::DeviceRevoked);
    assert_eq!((host.state_of("held"), host.state_of("waits")), (rejected, rejected));
    assert_eq!(host.state_of("done"), RequestState::Succeeded);
    assert!(effects.contains(&Effect::Cut { device: device("desk") }));
    assert!(effects.contains(&Effect::Dispatch(DispatchEffect::Close { device: device("desk") }.into())));
    assert_eq!(host.fleet.pairing_end(&second), Some(PairingEnd::Rejected));
    assert_eq!(host.say(leaf, &hello).unwrap_err(), code::DEVICE_REVOKED);
    assert_eq!(host.fleet.authenticate(&der, host.now).unwrap_err().code(), code::DEVICE_REVOKED);
    let again = DispatchCommand::Grant { device: device("desk"), capabilities: cam() };
    assert_eq!(host.dispatch(again).unwrap_err(), code::DEVICE_REVOKED);
    host.check_recovery();
}

fn certificate(n: u8) -> DeviceCertificate {
    let (leaf, key) = (Sha256Digest::of(&[b'c', n]), Sha256Digest::of(&[b'k', n / 2]));
    DeviceCertificate::new(leaf, key, Wall(0), Wall(u64::MAX)).unwrap()
}

fn registered(host: &mut Host, name: &str, n: u8) -> Sha256Digest {
    let kind = DeviceKind::DesktopNode;
    host.order(DeviceCommand::Register { device: device(name), kind, certificate: certificate(n) }).unwrap();
    host.dispatch(DispatchCommand::Grant { device: device(name), capabilities: cam() }).unwrap();
    let leaf = certificate(n).fingerprint();
    let hello = DeviceMessage::Connect { incarnation: Incarnation(7), claims: cam(), window: 1 };
    host.say(leaf, &hello).unwrap();
    leaf
}

/// A certificate or a key is revoked: the stream that used it ends, and what it had; the device may come back with
/// another one. A device that is replaced begins anew, and one that is removed leaves nothing.
#[test]
fn what_happens_to_a_device_happens_to_its_requests() {
    let subjects = [
        RevocationSubject::Certificate(certificate(0).fingerprint()),
        RevocationSubject::Key(certificate(0).key()),
        RevocationSubject::Device(device("a")),
    ];
    for subject in subjects {
        let mut host = Host::new();
        let leaf = registered(&mut host, "a", 0);
        host.request(&ask("r", Target::Any)).unwrap();
        host.poll();
        host.order(DeviceCommand::Revoke { subject: subject.clone(), reason: RevocationReason::Lost })
            .unwrap();
        assert_eq!(host.state_of("r"), RequestState::Rejected(RejectReason::DeviceRevoked), "{subject}");
        let view = host.fleet.state().nodes().dispatch().device(&device("a")).unwrap();
        assert!(!view.connected, "{subject}");
        let beat = DeviceMessage::Heartbeat { incarnation: Incarnation(7) };
        let revoked = [code::CERTIFICATE_REVOKED, code::KEY_REVOKED, code::DEVICE_REVOKED];
        assert!(revoked.contains(&host.say(leaf, &beat).unwrap_err()), "{subject}");
        host.check_recovery();
    }

    let mut host = Host::new();
    registered(&mut host, "a", 0);
    host.request(&ask("r", Target::Any)).unwrap();
    host.poll();
    let kind = DeviceKind::DesktopNode;
    host.order(DeviceCommand::Replace { device: device("a"), kind, certificate: certificate(4) }).unwrap();
    assert_eq!(host.state_of("r"), RequestState::Rejected(RejectReason::DeviceReplaced));
    // Another machine counts its lives from one.
    let hello = DeviceMessage::Connect { incarnation: Incarnation(1), claims: cam(), window: 1 };
    host.say(certificate(4).fingerprint(), &hello).unwrap();
    host.request(&ask("s", Target::Any)).unwrap();
    host.order(DeviceCommand::Remove { device: device("a") }).unwrap();
    assert_eq!(host.state_of("s"), RequestState::Rejected(RejectReason::DeviceRemoved));
    assert_eq!(host.fleet.state().nodes().dispatch().device(&device("a")), None);
    let grant = DispatchCommand::Grant { device: device("a"), capabilities: cam() };
    assert_eq!(host.dispatch(grant).unwrap_err(), code::DEVICE_UNKNOWN);
    host.check_recovery();
}

/// The first use of the next certificate ends a rotation: connections of the former one are cut, and no others. A
/// device may revoke itself, and only an operator takes that back (invariant 12).
#[test]
fn a_device_rotates_and_revokes_itself() {
    let mut host = Host::new();
    let (old, next) = (registered(&mut host, "a", 0), certificate(2));
    host.request(&ask("r", Target::Any)).unwrap();
    let rotate = DeviceCommand::BeginRotation {
        device: device("a"),
        next,
        overlap: Millis(10_000),
        at_deadline: OverlapEnd::RetireOld,
    };
    host.order(rotate).unwrap();
    let by = |certificate| Principal::Device { device: device("a"), certificate };
    assert_eq!(host.ask(&ConfirmUse {}, &by(old)).unwrap(), [], "the former one ends nothing");
    let cut = Effect::CutCertificate { device: device("a"), certificate: old.into() };
    assert_eq!(host.ask(&ConfirmUse {}, &by(next.fingerprint())).unwrap(), [cut]);
    assert!(!host.state_of("r").is_final(), "its requests go on");
    let beat = DeviceMessage::Heartbeat { incarnation: Incarnation(7) };
    assert_eq!(host.say(old, &beat).unwrap_err(), code::CERTIFICATE_UNKNOWN);
    host.say(next.fingerprint(), &beat).unwrap();

    let records = host.fleet.state().index();
    let effects = host.ask(&RevokeSelf {}, &by(next.fingerprint())).unwrap();
    assert_eq!(host.fleet.state().index(), records + 1);
    assert!(effects.contains(&Effect::Cut { device: device("a") }));
    assert_eq!(host.state_of("r"), RequestState::Rejected(RejectReason::DeviceRevoked));
    assert_eq!(host.say(next.fingerprint(), &beat).unwrap_err(), code::DEVICE_REVOKED);
    host.check_recovery();
}

/// A policy with less room than what is held is refused, so that no snapshot is made that does not load (invariant
/// 13); one with more is in force at once, and the state comes back as it is.
#[test]
fn a_policy_holds_what_is_there() {
    let mut host = Host::new();
    registered(&mut host, "a", 0);
    registered(&mut host, "b", 4);
    let with_room = |devices: u32, pairings: u32| {
        let mut form = WorkerFleetPolicyForm::from(policy());
        form.limits.devices = devices;
        form.pairing.max_sessions = pairings;
        SetPolicy { policy: WorkerFleetPolicy::try_from(form).unwrap() }
    };
    let by = Principal::Operator(operator());
    let refused = host.ask(&with_room(1, 8), &by).unwrap_err();
    assert_eq!(refused.code(), code::POLICY_BELOW_HELD);
    host.ask(&with_room(2, 8), &by).unwrap();
    let third = DeviceCommand::Register {
        device: device("c"),
        kind: DeviceKind::DesktopNode,
        certificate: certificate(6),
    };
    assert_eq!(host.order(third.clone()).unwrap_err(), code::DEVICE_FULL);
    host.ask(&with_room(3, 8), &by).unwrap();
    host.order(third).unwrap();
    host.check_recovery();
}

/// A removal is no way out of quarantine.
#[test]
fn a_quarantined_device_cannot_be_removed() {
    let mut host = Host::new();
    registered(&mut host, "a", 0);
    host.dispatch(DispatchCommand::Quarantine { device: device("a") }).unwrap();
    let refused = host.order(DeviceCommand::Remove { device: device("a") }).unwrap_err();
    assert_eq!(refused, code::DISPATCH_DEVICE_QUARANTINED);
    assert!(host.fleet.state().devices().get(&device("a")).is_some(), "nothing changed");
}

/// Invariant 8, attack F25 for this journal: no answer before it lasts, and none after a write that failed.
#[test]
fn nothing_leaves_before_it_lasts() {
    let mut host = Host::new();
    registered(&mut host, "a", 0);
    let service = Principal::Service(client());
    let prepared = host.fleet.decide(&ask("r", Target::Any), &service, None, host.now).unwrap();
    let ticket = host.fleet.accept(prepared).unwrap();
    let beyond = LogId::new(host.fleet.state().epoch(), u64::MAX);
    assert_eq!(host.fleet.durable(beyond).unwrap_err().code(), code::FLEET_NOT_HANDED_OUT);
    let ticket = ticket.redeem(&host.fleet).unwrap_err();
    let batch = host.fleet.take_journal().unwrap();
    let ticket = ticket.redeem(&host.fleet).unwrap_err();
    host.fleet.journal_failed();
    assert_eq!(host.fleet.durable(batch.last), Err(DurableError::Halted));
    assert!(ticket.redeem(&host.fleet).is_err());
    assert_eq!(host.fleet.expire(host.now).unwrap_err(), CommandError::Halted);
    assert_eq!(host.fleet.snapshot(), None);
}

/// A journal or snapshot that was changed, cut or reordered is not believed.
#[test]
fn recovery_believes_nothing_that_can_be_checked() {
    let mut host = Host::new();
    registered(&mut host, "a", 0);
    let recover =
        |journal: &[u8], epoch| WorkerFleetManager::recover(None, journal, setup(), Epoch(epoch), START);
    assert!(recover(&host.journal, 2).is_ok());
    assert_eq!(
        recover(&host.journal, 1).unwrap_err(),
        RecoverError::Epoch { last: Epoch(1), given: Epoch(1) }
    );
    for at in 0..host.journal.len() {
        let mut changed = host.journal.clone();
        changed[at] ^= 1;
        assert!(recover(&changed, 2).is_err(), "byte {at}");
    }
    let whole = host.journal.clone();
    let first = 4 + usize::try_from(u32::from_be_bytes(whole[..4].try_into().unwrap())).unwrap();
    assert!(recover(&whole[first..], 2).is_err(), "without its beginning");
    let snapshot = host.fleet.snapshot().unwrap();
    for cut in 0..snapshot.len() {
        assert!(WorkerFleetManager::recover(Some(&snapshot[..cut]), &[], setup(), Epoch(2), START).is_err());
    }
}

/// A restore that has lost the latest events: what was open is lost, streams are closed, and no number comes again.
#[test]
fn a_stale_restore_loses_what_was_open() {
    let mut host = Host::new();
    let leaf = registered(&mut host, "a", 0);
    host.request(&ask("r", Target::Any)).unwrap();
    host.poll();
    let snapshot = host.fleet.snapshot().unwrap();
    host.request(&ask("later", Target::Any)).unwrap();
    host.poll();
    let number = |host: &Host, name: &str| {
        let dispatch = host.fleet.state().nodes().dispatch();
        dispatch.record(&RequestId::new(name).unwrap()).unwrap().number()
    };
    let highest = number(&host, "later");

    host.now = host.now.plus(Millis(10));
    host.fleet = WorkerFleetManager::restore_stale(&snapshot, setup(), Epoch(2), 0, host.now).unwrap();
    host.write();
    host.fleet.state().check_invariants().unwrap();
    assert_eq!(host.state_of("r"), RequestState::Failed(FailReason::Lost));
    let beat = DeviceMessage::Heartbeat { incarnation: Incarnation(7) };
    assert_eq!(host.say(leaf, &beat).unwrap_err(), code::DISPATCH_DEVICE_NOT_CONNECTED);
    let hello = DeviceMessage::Connect { incarnation: Incarnation(7), claims: cam(), window: 1 };
    host.say(leaf, &hello).unwrap();
    host.request(&ask("new", Target::Any)).unwrap();
    assert!(number(&host, "new") > highest, "the agent has not forgotten it");
}

/// Invariant 7: a line that goes back is refused, and a wall that leaps neither revives nor bricks a certificate.
#[test]
fn clocks_that_jump_change_nothing() {
    let mut host = Host::new();
    let (from, until) = (Wall(0), START.wall.plus(Millis(5_000)));
    let short = DeviceCertificate::new(Sha256Digest::of(b"s"), Sha256Digest::of(b"k"), from, until).unwrap();
    let kind = DeviceKind::DesktopNode;
    host.order(DeviceCommand::Register { device: device("a"), kind, certificate: short }).unwrap();
    host.dispatch(DispatchCommand::Grant { device: device("a"), capabilities: cam() }).unwrap();
    let hello = DeviceMessage::Connect { incarnation: Incarnation(1), claims: cam(), window: 1 };
    let leaf = short.fingerprint();
    // A year ahead: taken from the line, and the certificate still holds.
    host.now = Now { mono: START.mono, wall: START.wall.plus(Millis(31_536_000_000)) };
    host.say(leaf, &hello).unwrap();
    host.now = START.plus(Millis(5_001));
    assert_eq!(host.say(leaf, &hello).unwrap_err(), code::CERTIFICATE_EXPIRED);
    host.dispatch(DispatchCommand::Drain { device: device("a") }).unwrap();
    // Back again: still expired.
    host.now = Now { mono: host.now.mono, wall: START.wall };
    assert_eq!(host.say(leaf, &hello).unwrap_err(), code::CERTIFICATE_EXPIRED);
    host.now = Now { mono: Mono(0), wall: START.wall };
    assert_eq!(host.fleet.expire(host.now).unwrap_err().code(), code::TIME_BACKWARDS);
}

#[derive(Clone, Debug)]
enum Op {
    Device(DeviceCommand),
    Dispatch(DispatchCommand),
    Say(u8, u8),
    Ask(u8),
    Offer(u8),
    Pass(u16),
}

fn op() -> impl Strategy<Value = Op> {
    let id = || (0..3_u8).prop_map(|n| device(&format!("d{n}")));
    let leaf = || (0..8_u8).prop_map(certificate);
    let subject = prop_oneof![
        id().prop_map(RevocationSubject::Device),
        leaf().prop_map(|leaf| RevocationSubject::Certificate(leaf.fingerprint())),
        leaf().prop_map(|leaf| RevocationSubject::Key(leaf.key())),
    ];
    let kind = DeviceKind::DesktopNode;
    let reason = RevocationReason::Operator;
    let command = prop_oneof![
        4 => (id(), leaf()).prop_map(move |(device, certificate)| DeviceCommand::Register { device, kind, certificate }),
        1 => (id(), leaf()).prop_map(move |(device, certificate)| DeviceCommand::Replace { device, kind, certificate }),
        1 => subject.clone().prop_map(move |subject| DeviceCommand::Revoke { subject, reason }),
        2 => subject.prop_map(|subject| DeviceCommand::ClearRevocation { subject }),
        1 => id().prop_map(|device| DeviceCommand::Remove { device }),
        1 => leaf().prop_map(|leaf| DeviceCommand::RevokeSelf { fingerprint: leaf.fingerprint() }),
    ];
    let order = prop_oneof![
        4 => id().prop_map(|device| DispatchCommand::Grant { device, capabilities: cam() }),
        1 => id().prop_map(|device| DispatchCommand::Quarantine { device }),
        1 => id().prop_map(|device| DispatchCommand::Release { device }),
        1 => id().prop_map(|device| DispatchCommand::Drain { device }),
        1 => id().prop_map(|device| DispatchCommand::Undrain { device }),
        1 => id().prop_map(|device| DispatchCommand::Revoke { device }),
        1 => id().prop_map(|device| DispatchCommand::Reinstate { device }),
        1 => id().prop_map(|device| DispatchCommand::Remove { device }),
    ];
    prop_oneof![
        4 => command.prop_map(Op::Device),
        4 => order.prop_map(Op::Dispatch),
        6 => (0..8_u8, 0..6_u8).prop_map(|(leaf, what)| Op::Say(leaf, what)),
        4 => (0..8_u8).prop_map(Op::Ask),
        1 => (0..3_u8).prop_map(Op::Offer),
        2 => (0..1_500_u16).prop_map(Op::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..Default::default() })]

    /// Invariants 8, 12 and 14 over the whole: whatever happens, the journal and a snapshot give the same state back,
    /// nothing of a revoked device is open, nothing is sent to one, and what ended stays as it ended.
    #[test]
    fn the_parts_stay_in_step(ops in prop::collection::vec(op(), 1..120)) {
        let mut host = Host::new();
        let mut entropy = OsEntropy::open().unwrap();
        let mut finals: BTreeMap<u64, RequestState> = BTreeMap::new();
        for op in ops {
            let before = host.fleet.state().clone();
            let outcome = match op {
                Op::Device(command) => host.order(command),
                Op::Dispatch(order) => host.dispatch(order),
                Op::Say(n, what) => {
                    let leaf = certificate(n).fingerprint();
                    let incarnation = Incarnation(1 + u64::from(what == 4));
                    let message = match what {
                        0..=2 | 4 => DeviceMessage::Connect { incarnation, claims: cam(), window: 2 },
                        _ => DeviceMessage::Heartbeat { incarnation },
                    };
                    host.say(leaf, &message)
                }
                Op::Ask(n) => host.request(&ask(&format!("r{n}"), Target::Any)).map(|()| Vec::new()),
                Op::Offer(n) => {
                    let target = PairingTarget::New(device(&format!("d{n}")));
                    let mut tools = PairingTools::new(&mut entropy);
                    let offer =
                        host.fleet.offer_pairing(&operator(), PairingMethod::Qr, target, host.now, &mut tools);
                    offer.map(|ticket| host.redeem(ticket).effects.into_iter().collect()).map_err(|error| error.code())
                }
                Op::Pass(millis) => {
                    host.now = host.now.plus(Millis(u64::from(millis)));
                    Ok(host.poll().into_iter().map(|effect| Effect::Dispatch(effect.into())).collect())
                }
            };
            match outcome {
                Err(_) => prop_assert_eq!(host.fleet.state(), &before, "a refusal changes nothing"),
                Ok(effects) => for effect in effects {
                    if let Effect::Dispatch(effect) = effect
                        && let DispatchEffect::Deliver { device, .. } = *effect
                    {
                        let subject = RevocationSubject::Device(device);
                        prop_assert!(host.fleet.state().devices().revocation(&subject).is_none());
                    }
                },
            }
            for record in host.fleet.state().nodes().dispatch().records() {
                let subject = RevocationSubject::Device(record.device().clone());
                let revoked = host.fleet.state().devices().revocation(&subject).is_some();
                prop_assert!(!revoked || record.state().is_final(), "invariant 12");
                if record.state().is_final() {
                    let first = *finals.entry(record.number()).or_insert(record.state());
                    prop_assert_eq!(first, record.state(), "invariant 14");
                }
            }
        }
        host.check_recovery();
    }
}

/// A next certificate that is revoked ends the rotation, also in the journal: after the deadline the device still has the
/// one that it had.
#[test]
fn a_revoked_next_certificate_does_not_lock_the_device_out() {
    let mut host = Host::new();
    let leaf = registered(&mut host, "a", 2);
    let (next, overlap, at_deadline) = (certificate(4), Millis(1_000), OverlapEnd::RetireOld);
    host.order(DeviceCommand::BeginRotation { device: device("a"), next, overlap, at_deadline }).unwrap();
    let (subject, reason) =
        (RevocationSubject::Certificate(next.fingerprint()), RevocationReason::KeyCompromise);
    host.order(DeviceCommand::Revoke { subject, reason }).unwrap();
    host.check_recovery();
    host.now = host.now.plus(Millis(2_000));
    host.poll();
    let hello = DeviceMessage::Connect { incarnation: Incarnation(8), claims: cam(), window: 1 };
    host.say(leaf, &hello).unwrap();
    host.check_recovery();
}
/// A rotation whose deadline has passed is settled by the deadline, in the journal, with nobody asking: the retired
/// certificate is cut, and no later command finds a rotation that is over.
#[test]
fn a_rotation_is_settled_by_its_deadline() {
    for (at_deadline, stays, goes) in [(OverlapEnd::RetireOld, 4, 2), (OverlapEnd::AbandonNew, 2, 4)] {
        let mut host = Host::new();
        registered(&mut host, "a", 2);
        let (next, overlap) = (certificate(4), Millis(1_000));
        host.order(DeviceCommand::BeginRotation { device: device("a"), next, overlap, at_deadline }).unwrap();
        let until = host.now.mono.plus(overlap);
        host.poll();
        assert!(host.fleet.next_deadline().unwrap() <= until);
        host.now = host.now.plus(overlap);
        let prepared = host.fleet.expire(host.now).unwrap();
        let ticket = host.fleet.accept(prepared).unwrap();
        let effects: Vec<Effect> = host.redeem(ticket).effects.into_iter().collect();
        let cut = Effect::CutCertificate {
            device: device("a"),
            certificate: certificate(goes).fingerprint().into(),
        };
        assert!(effects.contains(&cut), "{effects:?}");
        let devices = host.fleet.state().devices();
        assert_eq!(devices.get(&device("a")).unwrap().rotation(), None);
        assert_eq!(devices.get(&device("a")).unwrap().certificate(), &certificate(stays));
        assert!(host.fleet.next_deadline().is_none_or(|at| at > until), "nothing is due twice");
        host.check_recovery();
    }
}
