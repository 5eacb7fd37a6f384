//! Who is there: authentication at one thousand and one million devices, and pairing handshakes.
//!
//! Devices are visited at random, so that none is found in a cache: at a million, what is left is memory.
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
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
    time::{Millis, Mono, Now, Wall},
};
use rcgen::{CertificateParams, KeyPair};

const NOW: Now = Now::new(1_000, 1_764_000_000_000);

fn digest(kind: &str, n: u64) -> Sha256Digest {
    Sha256Digest::of(format!("{kind}-{n}").as_bytes())
}

fn registry(size: u64) -> DeviceRegistry {
    let most = u32::try_from(size + 1).unwrap();
    let mut registry = DeviceRegistry::new(DeviceLimits::new(most, most, Millis(60_000)).unwrap(), [7; 16]);
    for n in 0..size {
        let certificate =
            DeviceCertificate::new(digest("leaf", n), digest("key", n), Wall(0), Wall::NEVER).unwrap();
        let device = DeviceId::new(&format!("device-{n}")).unwrap();
        let kind = DeviceKind::Worker;
        registry.apply(&DeviceCommand::Register { device, kind, certificate }, NOW).unwrap();
    }
    registry
}

/// Places to look at, in an order that no prefetcher follows.
fn visits(size: u64) -> Vec<Sha256Digest> {
    let mut at = 1_u64;
    (0..(1 << 16))
        .map(|_| {
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            digest("leaf", (at >> 20) % size)
        })
        .collect()
}

fn authenticate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("identity");
    for size in [1_000, 1_000_000] {
        let mut registry = registry(size);
        let visits = visits(size);
        let mut next = visits.iter().cycle();
        group.bench_function(BenchmarkId::new("authenticate", size), |b| {
            b.iter(|| black_box(registry.authenticate_fingerprint(*next.next().unwrap(), NOW).unwrap()));
        });
        // Revocations besides, so that the sets are asked too.
        for n in 0..size.min(1_000) {
            let subject = RevocationSubject::Certificate(digest("gone", n));
            let reason = RevocationReason::Lost;
            registry.apply(&DeviceCommand::Revoke { subject, reason }, NOW).unwrap();
        }
        group.bench_function(BenchmarkId::new("authenticate_with_revocations", size), |b| {
            b.iter(|| black_box(registry.authenticate_fingerprint(*next.next().unwrap(), NOW).unwrap()));
        });
    }
    group.finish();
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

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = authenticate, pairing
}
criterion_main!(benches);
