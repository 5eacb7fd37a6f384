//! Who a certificate stands for, at one thousand and one million devices, and pairing handshakes.
//!
//! ```text
//! cargo bench --bench identity             criterion, each size by itself, and pairing
//! cargo bench --bench identity -- --bars   both sizes in turns, and whether they cost the same
//! identity --instructions STEP SIZE COUNT  for callgrind
//! ```
//!
//! Devices are drawn at random and anew in each turn: what the registry knows of them is in no cache where it is larger
//! than one. Their certificates are made before the clock starts, since a connection has just read its own.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench looks at the clock")]

#[allow(dead_code, reason = "worlds time themselves here")]
mod bars;
mod flat;

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use flat::Meter;
use leasehold::{
    digest::Sha256Digest,
    id::{DeviceId, FleetId},
    identity::{
        DeviceCertificate, DeviceCommand, DeviceKind, DeviceLimits, DeviceRegistry, RevocationReason,
        RevocationSubject,
        pairing::{
            DeviceCode, DevicePairing, DeviceProfile, PairingDesk, PairingMethod, PairingPolicy,
            PairingPolicyForm, PairingTarget, PairingTools,
        },
    },
    shell::OsEntropy,
    time::{Millis, Mono, Now},
};
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _, SerialNumber};

const NOW: Now = Now::new(1_000, 1_764_000_000_000);

/// Certificates of one turn: as many as fit beside what is measured into the second cache.
const TURN: u64 = 256;

/// Turns of each world with `--bars`.
const TURNS: usize = 1_500;

const STEPS: [&str; 4] = [
    "authenticate",
    "authenticate_fingerprint",
    "authenticate_with_revocations",
    "authenticate_fingerprint_with_revocations",
];

/// One real certificate, from which those of all devices are made: another serial number, and another key. Nobody
/// checks their signatures here; the TLS stack has.
struct Template {
    leaf: Vec<u8>,
    serial: usize,
    key: usize,
}

impl Template {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["device.example".into()]).unwrap();
        params.serial_number = Some(SerialNumber::from_slice(&[0x11; 16]));
        params.not_after = rcgen::date_time_ymd(2100, 1, 1);
        let leaf = params.self_signed(&key).unwrap().der().to_vec();
        let find = |bytes: &[u8]| leaf.windows(bytes.len()).position(|window| window == bytes).unwrap();
        let (serial, key) = (find(&[0x11; 16]) + 8, find(key.der_bytes()) + 8);
        Self { leaf, serial, key }
    }

    fn of_device(&self, n: u64) -> Vec<u8> {
        let mut leaf = self.leaf.clone();
        for at in [self.serial, self.key] {
            leaf[at..at + 8].copy_from_slice(&n.to_be_bytes());
        }
        leaf
    }
}

/// A registry, and the same with revocations besides, so that the sets are asked too.
struct World {
    plain: DeviceRegistry,
    revoking: DeviceRegistry,
    template: Template,
    size: u64,
    dice: u64,
}

impl World {
    fn new(size: u64) -> Self {
        let most = u32::try_from(size + 3_000).unwrap();
        let limits = DeviceLimits::new(most, most, Millis(60_000)).unwrap();
        let (mut plain, template) = (DeviceRegistry::new(limits, [7; 16]), Template::new());
        for n in 0..size {
            let certificate = DeviceCertificate::from_der(&template.of_device(n)).unwrap();
            let device = DeviceId::new(&format!("device-{n}")).unwrap();
            let kind = DeviceKind::Worker;
            plain.apply(&DeviceCommand::Register { device, kind, certificate }, NOW).unwrap();
        }
        let mut revoking = plain.clone();
        for n in 0..1_000 {
            let digest = Sha256Digest::of(format!("gone-{n}").as_bytes());
            let device = DeviceId::new(&format!("gone-{n}")).unwrap();
            for subject in [
                RevocationSubject::Device(device),
                RevocationSubject::Certificate(digest),
                RevocationSubject::Key(digest),
            ] {
                let reason = RevocationReason::Lost;
                revoking.apply(&DeviceCommand::Revoke { subject, reason }, NOW).unwrap();
            }
        }
        Self { plain, revoking, template, size, dice: 1 }
    }

    /// Certificates of devices in an order that no prefetcher follows.
    fn visits(&mut self) -> Vec<Vec<u8>> {
        (0..TURN)
            .map(|_| {
                self.dice =
                    self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                self.template.of_device((self.dice >> 20) % self.size)
            })
            .collect()
    }

    /// Each step on devices of its own.
    fn turn(&mut self, meter: &mut Meter) {
        for (step, revoking) in [(0, false), (2, true)] {
            let leaves = self.visits();
            let registry = if revoking { &self.revoking } else { &self.plain };
            meter.measure(step, TURN, || {
                for leaf in &leaves {
                    black_box(registry.authenticate(leaf, NOW).unwrap());
                }
            });
            let fingerprints: Vec<Sha256Digest> =
                self.visits().iter().map(|leaf| Sha256Digest::of(leaf)).collect();
            let registry = if revoking { &self.revoking } else { &self.plain };
            meter.measure(step + 1, TURN, || {
                for fingerprint in &fingerprints {
                    black_box(registry.authenticate_fingerprint(*fingerprint, NOW).unwrap());
                }
            });
        }
    }
}

/// One pairing: offer, both round trips, approval, certificate, and its delivery.
fn pair(method: PairingMethod, key: &KeyPair, leaf: &[u8], entropy: &mut OsEntropy) {
    let coordinator = Sha256Digest::of(b"coordinator");
    let policy = PairingPolicy::new(PairingPolicyForm::default()).unwrap();
    let limits = DeviceLimits::new(10, 10, Millis(60_000)).unwrap();
    let mut registry = DeviceRegistry::new(limits, [7; 16]);
    let mut desk = PairingDesk::new(policy, FleetId::new("fleet").unwrap(), coordinator);
    #[cfg(feature = "pake-cpace")]
    let cpace = leasehold::identity::pairing::Cpace::default();
    #[cfg(feature = "pake-cpace")]
    let mut tools = PairingTools::new(entropy).with_pake(&cpace);
    #[cfg(not(feature = "pake-cpace"))]
    let mut tools = PairingTools::new(entropy);
    let offered = desk.offer(method, PairingTarget::AnyNew, &registry, NOW, &mut tools).unwrap().durable();
    let code = match method {
        PairingMethod::Qr => DeviceCode::from_qr(offered.code.expose()).unwrap(),
        PairingMethod::Pin => DeviceCode::from_pin(offered.session, offered.code.expose()).unwrap(),
        _ => DeviceCode::compare(offered.session),
    };
    let request = CertificateParams::new(vec![]).unwrap().serialize_request(key).unwrap();
    let id = DeviceId::new("press").unwrap();
    let profile = DeviceProfile::new(id, DeviceKind::Worker, request.der().to_vec()).unwrap();
    let mut device = DevicePairing::begin(code, profile, coordinator, Mono::NEVER, &mut tools).unwrap();
    let answer = desk.receive(device.message(), &registry, NOW, &mut tools).unwrap().durable();
    device.receive(&coordinator, &answer.reply.unwrap(), NOW).unwrap();
    let answer = desk.receive(device.message(), &registry, NOW, &mut tools).unwrap().durable();
    let ask = answer.ask.unwrap();
    device.digits_agree().unwrap();
    let approved = desk.approve(&ask.session, &ask.transcript, NOW).unwrap().durable();
    let done = desk.complete(approved, leaf, &registry, NOW).unwrap().durable();
    registry.apply(&done.command, NOW).unwrap();
    let answer = desk.receive(&device.fetch(), &registry, NOW, &mut tools).unwrap().durable();
    device.receive(&coordinator, &answer.reply.unwrap(), NOW).unwrap();
    assert!(device.paired().is_some());
}

fn pairing(criterion: &mut Criterion) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    let leaf = params.self_signed(&key).unwrap().der().to_vec();
    let mut entropy = OsEntropy::open().unwrap();
    let mut group = criterion.benchmark_group("pairing");
    group.throughput(Throughput::Elements(1));
    let methods = [PairingMethod::Qr, PairingMethod::Compare, PairingMethod::Pin];
    for method in methods {
        if method == PairingMethod::Pin && !cfg!(feature = "pake-cpace") {
            continue;
        }
        group.bench_function(method.as_str(), |b| b.iter(|| pair(method, &key, &leaf, &mut entropy)));
    }
    group.finish();
}

fn main() {
    if flat::asked_for(&STEPS, TURNS, World::new, World::turn) {
        return;
    }
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    flat::each(&mut criterion, "identity", &STEPS, World::new, World::turn);
    pairing(&mut criterion);
    criterion.final_summary();
}
