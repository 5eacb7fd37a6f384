//! What the pairing tests share: certificates by hand, a toy PAKE, entropy from a counter.

use alloc::{boxed::Box, vec::Vec};

use super::*;
use crate::{
    digest::{FieldHasher, Sha256Digest},
    entropy::{Entropy, EntropyError},
    id::{DeviceId, FleetId, SessionId},
    identity::{DeviceKind, DeviceLimits, DeviceRegistry},
    time::{Millis, Mono, Now},
};

/// Entropy that differs at every call and is the same in every run.
pub(super) struct Counter(pub(super) u64);

impl Entropy for Counter {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in bytes.chunks_mut(32) {
            self.0 += 1;
            let block = FieldHasher::new("test.entropy").number(self.0).finish();
            chunk.copy_from_slice(&block.as_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// CPace over a 61-bit prime field: right in form, and much too small for anything but a test.
pub(super) struct ToyPake;

const PRIME: u128 = (1 << 61) - 1;

fn power(base: u64, mut exponent: u64) -> u64 {
    let (mut result, mut base) = (1_u128, u128::from(base) % PRIME);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * base % PRIME;
        }
        base = base * base % PRIME;
        exponent >>= 1;
    }
    u64::try_from(result).unwrap()
}

fn word(digest: &Sha256Digest) -> u64 {
    u64::from_be_bytes(digest.as_bytes()[..8].try_into().unwrap()) >> 4
}

fn share(bytes: &[u8]) -> Result<u64, PakeError> {
    let value = u64::from_be_bytes(bytes.try_into().map_err(|_| PakeError)?);
    if value < 2 || u128::from(value) >= PRIME - 1 { Err(PakeError) } else { Ok(value) }
}

fn begin(pin: &[u8], context: &Sha256Digest, entropy: &mut dyn Entropy) -> Result<(u64, u64), PakeError> {
    let generator = word(&FieldHasher::new("toy").field(pin).field(context.as_bytes()).finish());
    let mut scalar = [0; 8];
    entropy.fill(&mut scalar).map_err(|_| PakeError)?;
    let scalar = u64::from_be_bytes(scalar) >> 4;
    Ok((scalar, power(generator, scalar)))
}

fn key(scalar: u64, other: u64, a: u64, b: u64) -> Result<SharedKey, PakeError> {
    let shared = FieldHasher::new("toy.key").number(power(other, scalar)).number(a).number(b).finish();
    SharedKey::new(shared.as_bytes().to_vec())
}

struct ToyPending(u64, u64);

impl Pake for ToyPake {
    fn start(
        &self,
        pin: &[u8],
        context: &Sha256Digest,
        entropy: &mut dyn Entropy,
    ) -> Result<(Box<dyn PakePending>, Vec<u8>), PakeError> {
        let (scalar, mine) = begin(pin, context, entropy)?;
        Ok((Box::new(ToyPending(scalar, mine)), mine.to_be_bytes().to_vec()))
    }

    fn respond(
        &self,
        message: &[u8],
        pin: &[u8],
        context: &Sha256Digest,
        entropy: &mut dyn Entropy,
    ) -> Result<(Vec<u8>, SharedKey), PakeError> {
        let theirs = share(message)?;
        let (scalar, mine) = begin(pin, context, entropy)?;
        Ok((mine.to_be_bytes().to_vec(), key(scalar, theirs, theirs, mine)?))
    }
}

impl PakePending for ToyPending {
    fn finish(self: Box<Self>, message: &[u8]) -> Result<SharedKey, PakeError> {
        let theirs = share(message)?;
        key(self.0, theirs, self.1, theirs)
    }
}

pub(super) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content: Vec<u8> = parts.concat();
    let mut out = alloc::vec![tag];
    if content.len() < 0x80 {
        out.push(u8::try_from(content.len()).unwrap());
    } else {
        out.push(0x82);
        out.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
    }
    out.extend(content);
    if out.len() < 0x84 && out[1] == 0x82 {
        // Short of what two length bytes are for; one is minimal.
        let content = out.split_off(4);
        out.truncate(1);
        out.extend([0x81, u8::try_from(content.len()).unwrap()]);
        out.extend(content);
    }
    out
}

fn spki(key: u8) -> Vec<u8> {
    tlv(0x30, &[&tlv(0x30, &[&[0x06, 1, 42]]), &tlv(0x03, &[&[0, key]])])
}

fn signed(body: &[u8]) -> Vec<u8> {
    tlv(0x30, &[body, &tlv(0x30, &[]), &tlv(0x03, &[&[0, 1]])])
}

/// A request for the key `key`, in form; nothing here checks its signature.
pub(super) fn request(key: u8) -> Vec<u8> {
    signed(&tlv(0x30, &[&[0x02, 1, 0], &tlv(0x30, &[]), &spki(key)]))
}

/// A certificate for the key `key`, valid until 2049.
pub(super) fn certificate(key: u8, serial: u8) -> Vec<u8> {
    let validity = tlv(0x30, &[&tlv(0x17, &[b"700101000000Z"]), &tlv(0x17, &[b"491231235959Z"])]);
    let empty = tlv(0x30, &[]);
    signed(&tlv(0x30, &[&[0x02, 1, serial], &empty, &empty, &validity, &empty, &spki(key)]))
}

pub(super) fn registry() -> DeviceRegistry {
    DeviceRegistry::new(DeviceLimits::new(8, 8, Millis(1000)).unwrap(), [1; 16])
}

pub(super) fn coordinator() -> Sha256Digest {
    Sha256Digest::of(b"coordinator certificate")
}

pub(super) fn desk() -> PairingDesk {
    PairingDesk::new(PairingPolicy::default(), FleetId::new("fleet").unwrap(), coordinator())
}

pub(super) fn device_id(n: u8) -> DeviceId {
    DeviceId::new(&alloc::format!("d{n}")).unwrap()
}

pub(super) const START: Now = Now::new(1_000, 1_764_000_000_000);

/// A device with key `n`, given `code`.
pub(super) fn device(n: u8, code: DeviceCode, entropy: &mut dyn Entropy) -> DevicePairing {
    device_on(n, code, coordinator(), entropy)
}

pub(super) fn device_on(
    n: u8,
    code: DeviceCode,
    channel: Sha256Digest,
    entropy: &mut dyn Entropy,
) -> DevicePairing {
    let profile = DeviceProfile::new(device_id(n), DeviceKind::Worker, request(n)).unwrap();
    let mut tools = PairingTools::new(entropy).with_pake(&ToyPake);
    DevicePairing::begin(code, profile, channel, Mono(10_000_000), &mut tools).unwrap()
}

/// The code as people carry it.
pub(super) fn carried(method: PairingMethod, offered: &Offered) -> DeviceCode {
    let session: SessionId = offered.session.clone();
    match method {
        PairingMethod::Qr => DeviceCode::from_qr(offered.code.expose()).unwrap(),
        PairingMethod::Pin => DeviceCode::from_pin(session, offered.code.expose()).unwrap(),
        PairingMethod::Compare | PairingMethod::Enrolment => DeviceCode::compare(session),
    }
}

pub(super) const METHODS: [PairingMethod; 3] =
    [PairingMethod::Qr, PairingMethod::Pin, PairingMethod::Compare];
