//! Fuzz bodies of the identity part: certificates, pairing messages, and both pairing machines.
//!
//! Each takes any bytes, and panics only where a promise is broken.

use crate::{
    digest::{FieldHasher, Sha256Digest},
    id::{DeviceId, FleetId},
    identity::{
        DeviceCertificate, DeviceKind, DeviceLimits, DeviceRegistry,
        pairing::{
            DeviceCode, DevicePairing, DeviceProfile, Message, PairingDesk, PairingMethod, PairingPolicy,
            PairingTarget, PairingTools,
        },
        request_key,
    },
    shell::{Entropy, EntropyError},
    time::{Millis, Now},
};

/// Certificates and requests: refused or read, and what is read is exactly one outer SEQUENCE.
pub fn certificate(bytes: &[u8]) {
    if let Ok(read) = DeviceCertificate::from_der(bytes) {
        assert_eq!(read.fingerprint(), Sha256Digest::of(bytes));
        assert!(read.not_before() <= read.not_after());
        assert!(DeviceCertificate::from_der(&[bytes, &[0]].concat()).is_err(), "trailing bytes");
    }
    if request_key(bytes).is_ok() {
        assert!(request_key(&[bytes, &[0]].concat()).is_err(), "trailing bytes");
    }
}

/// Pairing messages: what decodes has exactly one encoding.
pub fn pairing_message(bytes: &[u8]) {
    if let Ok(message) = Message::decode(bytes) {
        assert_eq!(message.encode(), bytes, "two encodings");
    }
    if let Ok(text) = core::str::from_utf8(bytes) {
        let _ = DeviceCode::from_qr(text);
    }
}

/// All of pairing: certificates and requests, messages, and both machines.
pub fn pairing_messages(bytes: &[u8]) {
    certificate(bytes);
    pairing_message(bytes);
    pairing_machines(bytes);
}

struct Counter(u64);

impl Entropy for Counter {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in bytes.chunks_mut(32) {
            self.0 = self.0.saturating_add(1);
            let block = FieldHasher::new("fuzz.entropy").number(self.0).finish();
            for (to, from) in chunk.iter_mut().zip(block.as_bytes()) {
                *to = *from;
            }
        }
        Ok(())
    }
}

/// A PKCS #10 request in form, for a key of one byte.
const REQUEST: &[u8] = &[48, 23, 48, 16, 2, 1, 0, 48, 0, 48, 9, 48, 3, 6, 1, 42, 3, 2, 0, 1, 48, 0, 3, 1, 0];

/// A desk and a device whose messages are damaged, dropped, repeated and mixed with any bytes.
///
/// Two bytes an act: what to do, and with what. Without the operator's word no device is ever paired.
pub fn pairing_machines(bytes: &[u8]) {
    let Some((first, acts)) = bytes.split_first() else { return };
    let method = if first & 1 == 0 { PairingMethod::Qr } else { PairingMethod::Compare };
    let mut entropy = Counter(u64::from(*first));
    let coordinator = Sha256Digest::of(b"coordinator");
    let (Ok(fleet), Ok(limits), Ok(id)) =
        (FleetId::new("fleet"), DeviceLimits::new(4, 4, Millis(1)), DeviceId::new("device"))
    else {
        return;
    };
    let (registry, mut now) = (DeviceRegistry::new(limits, [0; 16]), Now::new(0, 0));
    let mut desk = PairingDesk::new(PairingPolicy::default(), fleet, coordinator);
    let mut tools = PairingTools::new(&mut entropy);
    let offer = desk.offer(method, PairingTarget::AnyNew, &registry, now, &mut tools);
    let Ok(offered) = offer.map(|turn| turn.durable()) else { return };
    let code = match method {
        PairingMethod::Compare => Ok(DeviceCode::compare(offered.session.clone())),
        _ => DeviceCode::from_qr(offered.code.expose()),
    };
    let profile = DeviceProfile::new(id, DeviceKind::Worker, REQUEST.to_vec());
    let (Ok(code), Ok(profile)) = (code, profile) else { return };
    let begun = DevicePairing::begin(code, profile, coordinator, now.mono.plus(Millis(600_000)), &mut tools);
    let Ok(mut device) = begun else { return };
    let mut kept = device.message().to_vec();
    for act in acts.chunks_exact(2) {
        let &[what, with] = act else { continue };
        let before = desk.state().clone();
        match what % 8 {
            0 => kept = device.message().to_vec(),
            1 => kept = device.fetch(),
            2 | 3 => match desk.receive(&kept, &registry, now, &mut tools) {
                Ok(turn) => kept = turn.durable().reply.unwrap_or_default(),
                Err(_) => assert_eq!(desk.state(), &before, "a refusal changed the state"),
            },
            4 => {
                let _ = device.receive(&coordinator, &kept, now);
            }
            5 => {
                if let Some(byte) = kept.get_mut(usize::from(with)) {
                    *byte = byte.wrapping_add(what / 8).wrapping_add(1);
                }
            }
            6 => kept = bytes.get(usize::from(with)..).unwrap_or_default().to_vec(),
            _ => {
                now = now.plus(Millis(u64::from(with).saturating_mul(1000)));
                let _ = desk.sweep(usize::from(with), now);
                let _ = device.digits_agree();
            }
        }
        assert!(device.paired().is_none(), "paired without an approval");
        assert!(desk.state().sessions().len() <= 1, "a stranger opened a session");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The set-up of [`pairing_machines`] is sound; else it would return early, and find nothing.
    #[test]
    fn the_request_of_the_fuzz_body_is_readable() {
        assert!(request_key(REQUEST).is_ok());
    }

    proptest! {
        /// The bodies hold on random bytes too, and on acts that begin with an honest exchange.
        #[test]
        fn the_fuzz_bodies_hold(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            certificate(&bytes);
            pairing_message(&bytes);
            pairing_machines(&bytes);
            let mut honest = alloc::vec![bytes.first().copied().unwrap_or(0), 2, 0, 4, 0, 0, 0, 2, 0];
            honest.extend(&bytes);
            pairing_machines(&honest);
        }
    }
}
