//! Pairing through the public surface, with real requests and certificates: attacks P1 to P6 and P9.

use leasehold::{
    code::Coded as _,
    digest::Sha256Digest,
    id::{DeviceId, FleetId, SessionId},
    identity::{
        DeviceCommand, DeviceKind, DeviceLimits, DeviceRegistry, RevocationReason, RevocationSubject,
        pairing::{
            ApprovalRequest, CertificateIssuer, DeviceCode, DevicePairing, DeviceProfile, DeviceStep,
            IssueError, Offered, PairingDesk, PairingError, PairingMethod, PairingPolicy, PairingTarget,
            PairingTools, Received, VerifiedPairing,
        },
    },
    shell::OsEntropy,
    time::{Millis, Mono, Now},
};
use rcgen::{CertificateParams, Issuer, KeyPair};

const NOW: Now = Now::new(5_000, 1_764_000_000_000);

/// An authority that knows the key behind each request, because this test made it.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    key: KeyPair,
}

impl CertificateIssuer for Authority {
    fn issue(&mut self, pairing: &VerifiedPairing, _: Now) -> Result<Vec<u8>, IssueError> {
        let mut params =
            CertificateParams::new(vec![pairing.device().to_string()]).map_err(|_| IssueError::Request)?;
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        let signed = params.signed_by(&self.key, &self.issuer).map_err(|_| IssueError::Unavailable)?;
        Ok(signed.der().to_vec())
    }
}

struct Bench {
    desk: PairingDesk,
    registry: DeviceRegistry,
    entropy: OsEntropy,
    authority: Authority,
}

fn coordinator() -> Sha256Digest {
    Sha256Digest::of(b"the coordinator's certificate")
}

fn session(text: &str) -> SessionId {
    SessionId::new(text).unwrap()
}

impl Bench {
    fn new() -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let issuer = Issuer::new(CertificateParams::new(vec!["authority".into()]).unwrap(), authority_key);
        Self {
            desk: PairingDesk::new(
                PairingPolicy::default(),
                FleetId::new("print-shop").unwrap(),
                coordinator(),
            ),
            registry: DeviceRegistry::new(DeviceLimits::new(10, 10, Millis(60_000)).unwrap(), [1; 16]),
            entropy: OsEntropy::open().unwrap(),
            authority: Authority { issuer, key: KeyPair::generate().unwrap() },
        }
    }

    fn offer(
        &mut self,
        method: PairingMethod,
        target: PairingTarget,
        now: Now,
    ) -> Result<Offered, PairingError> {
        let mut tools = PairingTools::new(&mut self.entropy);
        Ok(self.desk.offer(method, target, &self.registry, now, &mut tools)?.durable())
    }

    fn receive(&mut self, bytes: &[u8], now: Now) -> Result<Received, PairingError> {
        let mut tools = PairingTools::new(&mut self.entropy);
        Ok(self.desk.receive(bytes, &self.registry, now, &mut tools)?.durable())
    }

    /// A device of this bench's key.
    fn device(&mut self, id: &str, code: DeviceCode) -> DevicePairing {
        let request = CertificateParams::new(vec![id.into()]).unwrap();
        let request = request.serialize_request(&self.authority.key).unwrap().der().to_vec();
        let profile = DeviceProfile::new(DeviceId::new(id).unwrap(), DeviceKind::Worker, request).unwrap();
        let mut tools = PairingTools::new(&mut self.entropy);
        DevicePairing::begin(code, profile, coordinator(), Mono(10_000_000), &mut tools).unwrap()
    }

    /// As far as the operator's question.
    fn asked(&mut self, device: &mut DevicePairing, now: Now) -> ApprovalRequest {
        let reply = self.receive(device.message(), now).unwrap().reply.unwrap();
        let Ok(DeviceStep::Confirm { message, digits, .. }) = device.receive(&coordinator(), &reply, now)
        else {
            panic!("no confirmation");
        };
        let received = self.receive(&message, now).unwrap();
        assert_eq!(device.receive(&coordinator(), &received.reply.unwrap(), now), Ok(DeviceStep::Waiting));
        let ask = received.ask.unwrap();
        assert_eq!(ask.digits, digits);
        ask
    }

    fn complete(&mut self, pairing: VerifiedPairing, now: Now) -> Result<(), PairingError> {
        let leaf = self.authority.issue(&pairing, now).unwrap();
        let done = self.desk.complete(pairing, &leaf, &self.registry, now)?.durable();
        self.registry.apply(&done.command, now)?;
        Ok(())
    }

    fn fetch(&mut self, device: &mut DevicePairing, now: Now) -> Result<DeviceStep, PairingError> {
        let reply = self.receive(&device.fetch(), now)?.reply.unwrap();
        device.receive(&coordinator(), &reply, now)
    }

    fn qr(&mut self, id: &str, target: PairingTarget) -> (SessionId, DevicePairing) {
        let offered = self.offer(PairingMethod::Qr, target, NOW).unwrap();
        let device = self.device(id, DeviceCode::from_qr(offered.code.expose()).unwrap());
        (offered.session, device)
    }

    fn pair(&mut self, id: &str) {
        let (session, mut device) = self.qr(id, PairingTarget::AnyNew);
        let ask = self.asked(&mut device, NOW);
        let pairing = self.desk.approve(&session, &ask.transcript, NOW).unwrap().durable();
        self.complete(pairing, NOW).unwrap();
        assert_eq!(self.fetch(&mut device, NOW), Ok(DeviceStep::Paired));
    }
}

fn code<T>(result: Result<T, PairingError>) -> &'static str {
    result.map(|_| ()).map_err(|error| error.code().as_str()).err().unwrap_or("ok")
}

#[test]
fn a_device_pairs_and_its_certificate_authenticates() {
    let mut bench = Bench::new();
    let (session, mut device) = bench.qr("press-1", PairingTarget::AnyNew);
    let ask = bench.asked(&mut device, NOW);
    assert!(ask.to_string().starts_with("pair worker press-1 by qr, digits "));
    assert_eq!(bench.fetch(&mut device, NOW), Ok(DeviceStep::Waiting));
    let pairing = bench.desk.approve(&session, &ask.transcript, NOW).unwrap().durable();
    bench.complete(pairing, NOW).unwrap();
    assert_eq!(bench.fetch(&mut device, NOW), Ok(DeviceStep::Paired));
    let paired = device.paired().unwrap();
    assert_eq!(paired.transcript, ask.transcript);
    let found = bench.registry.authenticate(&paired.certificate, NOW).unwrap();
    assert_eq!(found.device(), &paired.device);
}

/// Attack P1: guesses in a loop. Attempts are charged when an exchange starts, so not answering does not help.
#[test]
fn p1_a_code_is_dead_after_its_attempts() {
    let mut bench = Bench::new();
    let offered = bench.offer(PairingMethod::Qr, PairingTarget::AnyNew, NOW).unwrap();
    let text = offered.code.expose().to_owned();
    let guess = format!("{}{:032x}", &text[..text.len() - 32], 1);
    for _ in 0..3 {
        let mut stranger = bench.device("press-9", DeviceCode::from_qr(&guess).unwrap());
        let reply = bench.receive(stranger.message(), NOW).unwrap().reply.unwrap();
        let step = stranger.receive(&coordinator(), &reply, NOW);
        assert_eq!(step, Err(PairingError::Confirmation));
        // One wrong answer is final on this side too.
        assert_eq!(stranger.receive(&coordinator(), &reply, NOW), Err(PairingError::Confirmation));
    }
    // The right code is dead now as well.
    let honest = bench.device("press-1", DeviceCode::from_qr(&text).unwrap());
    assert_eq!(code(bench.receive(honest.message(), NOW)), "pairing.locked");
}

/// Attack P1: a failed comparison is over at once; digits that agree by accident get one chance, not two.
#[test]
fn p1_a_comparison_has_one_attempt() {
    let mut bench = Bench::new();
    let offered = bench.offer(PairingMethod::Compare, PairingTarget::AnyNew, NOW).unwrap();
    let mut device = bench.device("press-1", DeviceCode::compare(offered.session.clone()));
    let mut other = bench.device("press-2", DeviceCode::compare(offered.session.clone()));
    let reply = bench.receive(device.message(), NOW).unwrap().reply.unwrap();
    assert_eq!(code(bench.receive(other.message(), NOW)), "pairing.locked");
    let Ok(DeviceStep::Confirm { mut message, .. }) = device.receive(&coordinator(), &reply, NOW) else {
        panic!()
    };
    *message.last_mut().unwrap() ^= 1;
    let received = bench.receive(&message, NOW).unwrap();
    assert_eq!(received.refused, Some(PairingError::Confirmation));
    assert_eq!(code(bench.receive(device.message(), NOW)), "pairing.locked");
    assert!(other.receive(&coordinator(), &reply, NOW).is_ok(), "the digits of another exchange are shown");
    assert_eq!(code(bench.fetch(&mut other, NOW)), "pairing.locked");
}

/// Attack P1: in parallel and across sessions, exchanges are limited overall, and only for a while.
#[test]
fn p1_guesses_across_sessions_are_limited_together() {
    let mut bench = Bench::new();
    let (mut started, mut limited) = (0, false);
    for _ in 0..15 {
        let offered = bench.offer(PairingMethod::Qr, PairingTarget::AnyNew, NOW).unwrap();
        for _ in 0..3 {
            let code_text = offered.code.expose().to_owned();
            let device = bench.device("press-1", DeviceCode::from_qr(&code_text).unwrap());
            match bench.receive(device.message(), NOW) {
                Ok(_) => started += 1,
                Err(error) => limited |= error == PairingError::Rate,
            }
        }
    }
    assert_eq!((started, limited), (30, true));
    let later = NOW.plus(Millis(60_000));
    let offered = bench.offer(PairingMethod::Qr, PairingTarget::AnyNew, later).unwrap();
    let device = bench.device("press-1", DeviceCode::from_qr(offered.code.expose()).unwrap());
    assert!(bench.receive(device.message(), later).is_ok());
}

/// Without a PAKE provider there is no PIN, and never a plain one.
#[test]
fn a_pin_needs_a_provider() {
    let mut bench = Bench::new();
    let refused = bench.offer(PairingMethod::Pin, PairingTarget::AnyNew, NOW);
    assert_eq!(code(refused), "pairing.no_pake");
    let profile = DeviceProfile::new(DeviceId::new("press-1").unwrap(), DeviceKind::Worker, {
        let params = CertificateParams::new(vec![]).unwrap();
        params.serialize_request(&bench.authority.key).unwrap().der().to_vec()
    });
    let pin = DeviceCode::from_pin(session("abc234"), "482913").unwrap();
    let mut tools = PairingTools::new(&mut bench.entropy);
    let begun = DevicePairing::begin(pin, profile.unwrap(), coordinator(), Mono(9), &mut tools);
    assert_eq!(code(begun), "pairing.no_pake");
}

/// The provider that comes with this crate, from offer to certificate; and a PIN that is one digit off.
#[cfg(feature = "pake-cpace")]
#[test]
fn p1_a_pin_pairs_and_a_wrong_one_does_not() {
    use leasehold::identity::pairing::Cpace;
    let mut bench = Bench::new();
    let press = DeviceId::new("press-1").unwrap();
    let request = CertificateParams::new(vec![]).unwrap();
    let request = request.serialize_request(&bench.authority.key).unwrap().der().to_vec();
    let profile = DeviceProfile::new(press, DeviceKind::Worker, request).unwrap();
    let cpace = Cpace::new();
    let mut tools = PairingTools::new(&mut bench.entropy).with_pake(&cpace);
    let offer = bench.desk.offer(PairingMethod::Pin, PairingTarget::AnyNew, &bench.registry, NOW, &mut tools);
    let offered = offer.unwrap().durable();
    let pin = offered.code.expose();
    let last = pin.as_bytes()[5];
    let wrong = format!("{}{}", &pin[..5], char::from(if last == b'9' { b'7' } else { last + 1 }));
    for (typed, right) in [(wrong.as_str(), false), (pin, true)] {
        let Ok(typed) = DeviceCode::from_pin(offered.session.clone(), typed) else { continue };
        let begun = DevicePairing::begin(typed, profile.clone(), coordinator(), Mono(10_000_000), &mut tools);
        let mut device = begun.unwrap();
        let mut send =
            |bytes: &[u8]| bench.desk.receive(bytes, &bench.registry, NOW, &mut tools).unwrap().durable();
        let reply = send(device.message()).reply.unwrap();
        match device.receive(&coordinator(), &reply, NOW) {
            Ok(DeviceStep::Confirm { message, digits, .. }) => {
                assert!(right);
                assert_eq!(send(&message).ask.unwrap().digits, digits);
            }
            step => assert_eq!((step, right), (Err(PairingError::Confirmation), false)),
        }
    }
}

/// Attack P3: an existing device keeps its certificate unless the operator named it.
#[test]
fn p3_an_existing_device_is_replaced_only_by_name() {
    let mut bench = Bench::new();
    bench.pair("press-1");
    let old = bench.registry.get(&DeviceId::new("press-1").unwrap()).unwrap().certificate().fingerprint();
    // A new key, as a thief of the name would have, and as the device has after its disk was lost.
    bench.authority.key = KeyPair::generate().unwrap();

    let (_, mut device) = bench.qr("press-1", PairingTarget::AnyNew);
    let reply = bench.receive(device.message(), NOW).unwrap().reply.unwrap();
    let Ok(DeviceStep::Confirm { message, .. }) = device.receive(&coordinator(), &reply, NOW) else {
        panic!()
    };
    let received = bench.receive(&message, NOW).unwrap();
    assert_eq!(received.refused.unwrap().code().as_str(), "device.exists");
    assert!(received.ask.is_none(), "the operator is not even asked");

    let press = DeviceId::new("press-1").unwrap();
    assert_eq!(code(bench.offer(PairingMethod::Qr, PairingTarget::New(press.clone()), NOW)), "device.exists");
    let other = DeviceId::new("press-2").unwrap();
    assert_eq!(code(bench.offer(PairingMethod::Qr, PairingTarget::Replace(other), NOW)), "device.unknown");

    let (session, mut device) = bench.qr("press-1", PairingTarget::Replace(press));
    let ask = bench.asked(&mut device, NOW);
    assert!(ask.replaces && ask.to_string().starts_with("replace worker press-1"));
    assert!(bench.registry.authenticate_fingerprint(old, NOW).is_ok());
    let pairing = bench.desk.approve(&session, &ask.transcript, NOW).unwrap().durable();
    bench.complete(pairing, NOW).unwrap();
    assert!(bench.registry.authenticate_fingerprint(old, NOW).is_err());
}

/// Attack P4: approve, reject, approve; approve what is over; finish twice.
#[test]
fn p4_final_states_are_final() {
    let mut bench = Bench::new();
    let (session, mut device) = bench.qr("press-1", PairingTarget::AnyNew);
    let nothing = Sha256Digest::of(b"something else");
    assert_eq!(code(bench.desk.approve(&session, &nothing, NOW)), "pairing.approval", "nothing was proved");
    let ask = bench.asked(&mut device, NOW);
    assert_eq!(code(bench.desk.approve(&session, &nothing, NOW)), "pairing.approval");
    let pairing = bench.desk.approve(&session, &ask.transcript, NOW).unwrap().durable();
    assert_eq!(code(bench.desk.approve(&session, &ask.transcript, NOW)), "pairing.approval", "once");
    let _ = bench.desk.reject(&session, NOW).unwrap();
    assert_eq!(code(bench.desk.approve(&session, &ask.transcript, NOW)), "pairing.ended");
    assert_eq!(code(bench.complete(pairing, NOW)), "pairing.ended");
    assert_eq!(code(bench.fetch(&mut device, NOW)), "pairing.ended");
    assert_eq!(code(bench.desk.cancel(&session, NOW)), "pairing.ended");
    assert_eq!(bench.registry.len(), 0);

    // Done is final too.
    let (session, mut device) = bench.qr("press-1", PairingTarget::AnyNew);
    let ask = bench.asked(&mut device, NOW);
    let pairing = bench.desk.approve(&session, &ask.transcript, NOW).unwrap().durable();
    bench.complete(pairing, NOW).unwrap();
    for refused in [code(bench.desk.reject(&session, NOW)), code(bench.desk.cancel(&session, NOW))] {
        assert_eq!(refused, "pairing.ended");
    }
    assert_eq!(code(bench.receive(device.message(), NOW)), "pairing.ended");
}

/// Attack P4: every step looks at the time itself, swept or not.
#[test]
fn p4_nothing_happens_after_expiry() {
    let mut bench = Bench::new();
    let (_, device) = bench.qr("press-1", PairingTarget::AnyNew);
    let late = NOW.plus(Millis(300_000));
    assert_eq!(code(bench.receive(device.message(), late)), "pairing.expired");

    let (session, mut device) = bench.qr("press-2", PairingTarget::AnyNew);
    let ask = bench.asked(&mut device, NOW);
    assert_eq!(code(bench.desk.approve(&session, &ask.transcript, late)), "pairing.expired");
    let almost = NOW.plus(Millis(299_999));
    let pairing = bench.desk.approve(&session, &ask.transcript, almost).unwrap().durable();
    let stale = almost.plus(Millis(120_000));
    assert_eq!(code(bench.complete(pairing, stale)), "pairing.approval_expired");
    // A wall clock that steps back brings nothing back (invariant 7).
    let back = Now { mono: stale.mono, wall: leasehold::time::Wall(0) };
    assert_eq!(code(bench.desk.approve(&session, &ask.transcript, back)), "pairing.approval_expired");
    let swept = bench.desk.sweep(10, stale);
    assert_eq!(swept.events().len(), 2);
    assert_eq!(code(bench.desk.approve(&session, &ask.transcript, NOW)), "pairing.expired");
    // Remembered for a while, then forgotten; the id is unknown from then on.
    let forgotten = stale.plus(Millis(900_000));
    assert_eq!(bench.desk.sweep(10, forgotten).events().len(), 2);
    assert_eq!(code(bench.receive(device.message(), forgotten)), "pairing.unknown");
}

/// Attack P5: revoked between approval and issue, between issue and delivery, and before the pairing.
#[test]
fn p5_what_is_revoked_gets_no_certificate() {
    let press = || DeviceId::new("press-1").unwrap();
    for by_key in [false, true] {
        let mut bench = Bench::new();
        let (session, mut device) = bench.qr("press-1", PairingTarget::AnyNew);
        let ask = bench.asked(&mut device, NOW);
        let pairing = bench.desk.approve(&session, &ask.transcript, NOW).unwrap().durable();
        let subject =
            if by_key { RevocationSubject::Key(ask.key) } else { RevocationSubject::Device(press()) };
        let revoke = DeviceCommand::Revoke { subject, reason: RevocationReason::Lost };
        bench.registry.apply(&revoke, NOW).unwrap();
        let refused = if by_key { "key.revoked" } else { "device.revoked" };
        assert_eq!(code(bench.complete(pairing, NOW)), refused);
        assert_eq!(bench.fetch(&mut device, NOW), Ok(DeviceStep::Waiting));
        assert_eq!(bench.registry.len(), 0);
    }
    let mut bench = Bench::new();
    let (session, mut device) = bench.qr("press-1", PairingTarget::AnyNew);
    let ask = bench.asked(&mut device, NOW);
    let pairing = bench.desk.approve(&session, &ask.transcript, NOW).unwrap().durable();
    bench.complete(pairing, NOW).unwrap();
    let revoke =
        DeviceCommand::Revoke { subject: RevocationSubject::Device(press()), reason: RevocationReason::Lost };
    bench.registry.apply(&revoke, NOW).unwrap();
    assert_eq!(code(bench.fetch(&mut device, NOW)), "device.revoked");
    assert!(device.paired().is_none());
    let offer = bench.offer(PairingMethod::Qr, PairingTarget::Replace(press()), NOW);
    assert_eq!(code(offer), "device.revoked");
}

/// Attack P6: the value is used up, and fits only the exchange that it was made for.
#[test]
fn p6_an_approval_serves_one_key_once() {
    let mut bench = Bench::new();
    let (session, mut device) = bench.qr("press-1", PairingTarget::AnyNew);
    let ask = bench.asked(&mut device, NOW);
    let pairing = bench.desk.approve(&session, &ask.transcript, NOW).unwrap().durable();
    // A certificate for another key: the authority was lied to, or lies.
    bench.authority.key = KeyPair::generate().unwrap();
    assert_eq!(code(bench.complete(pairing, NOW)), "pairing.wrong_key");
    assert_eq!(bench.registry.len(), 0);
    // It was used up by that; the session waits for nothing any more.
    assert_eq!(code(bench.desk.approve(&session, &ask.transcript, NOW)), "pairing.approval");
}

/// Attack P9: answers get lost at every step; the same question gets the same answer, and costs no attempt.
#[test]
fn p9_every_lost_answer_can_be_asked_for_again() {
    let mut bench = Bench::new();
    let (session, mut device) = bench.qr("press-1", PairingTarget::AnyNew);
    let first = bench.receive(device.message(), NOW).unwrap().reply.unwrap();
    let again = bench.receive(device.message(), NOW).unwrap().reply.unwrap();
    assert_eq!(first, again);
    assert_eq!(bench.desk.state().get(&session).unwrap().attempts(), 1);
    device.receive(&coordinator(), &again, NOW).unwrap();
    let ask = bench.receive(device.message(), NOW).unwrap().ask.unwrap();
    let repeated = bench.receive(device.message(), NOW).unwrap();
    assert!(repeated.ask.is_none() && repeated.reply.is_some());
    let pairing = bench.desk.approve(&session, &ask.transcript, NOW).unwrap().durable();
    bench.complete(pairing, NOW).unwrap();
    let lost = bench.receive(&device.fetch(), NOW).unwrap().reply.unwrap();
    // The coordinator restarts; what it issued is still there to be fetched by the same key, and by no other.
    let state = bench.desk.state().clone();
    bench.desk = PairingDesk::recover(state, FleetId::new("print-shop").unwrap(), coordinator());
    assert_eq!(bench.receive(&device.fetch(), NOW).unwrap().reply.unwrap(), lost);
    let mut other = device.fetch();
    *other.last_mut().unwrap() ^= 1;
    assert_eq!(code(bench.receive(&other, NOW)), "pairing.conflict");
    assert_eq!(bench.fetch(&mut device, NOW), Ok(DeviceStep::Paired));
    assert_eq!(code(bench.fetch(&mut device, NOW.plus(Millis(300_000)))), "pairing.expired");
}

/// Codes do not survive a restart: what needed one ends, with its own code.
#[test]
fn a_restart_ends_what_needed_a_code() {
    let mut bench = Bench::new();
    let (session, device) = bench.qr("press-1", PairingTarget::AnyNew);
    let state = bench.desk.state().clone();
    bench.desk = PairingDesk::recover(state, FleetId::new("print-shop").unwrap(), coordinator());
    assert_eq!(code(bench.receive(device.message(), NOW)), "pairing.secret_lost");
    assert_eq!(bench.desk.sweep(10, NOW).events().len(), 1);
    assert_eq!(code(bench.desk.cancel(&session, NOW)), "pairing.secret_lost");
}

/// A refusal tells the device no reason, and from a stranger it ends nothing.
#[test]
fn a_refusal_has_no_reason_and_ends_nothing() {
    let mut bench = Bench::new();
    let (session, mut device) = bench.qr("press-1", PairingTarget::AnyNew);
    let refusal = PairingDesk::refusal(&session);
    assert_eq!(device.receive(&coordinator(), &refusal, NOW), Ok(DeviceStep::Refused));
    let elsewhere = Sha256Digest::of(b"other channel");
    assert_eq!(device.receive(&elsewhere, &refusal, NOW), Err(PairingError::Channel));
    let ask = bench.asked(&mut device, NOW);
    assert_eq!(device.receive(&coordinator(), &refusal, NOW), Ok(DeviceStep::Refused));
    let pairing = bench.desk.approve(&session, &ask.transcript, NOW).unwrap().durable();
    bench.complete(pairing, NOW).unwrap();
    assert_eq!(bench.fetch(&mut device, NOW), Ok(DeviceStep::Paired));
}

/// With a comparison, a device takes no certificate before its user said that the digits agree.
#[test]
fn a_comparison_is_made_on_both_ends() {
    let mut bench = Bench::new();
    let offered = bench.offer(PairingMethod::Compare, PairingTarget::AnyNew, NOW).unwrap();
    let mut device = bench.device("press-1", DeviceCode::compare(offered.session.clone()));
    assert_eq!(code(device.digits_agree()), "pairing.order");
    let ask = bench.asked(&mut device, NOW);
    let pairing = bench.desk.approve(&offered.session, &ask.transcript, NOW).unwrap().durable();
    bench.complete(pairing, NOW).unwrap();
    assert_eq!(code(bench.fetch(&mut device, NOW)), "pairing.not_compared");
    device.digits_agree().unwrap();
    assert_eq!(bench.fetch(&mut device, NOW), Ok(DeviceStep::Paired));
}
