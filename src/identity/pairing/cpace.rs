//! A provider for PINs: CPace over ristretto255 with SHA-512 (draft-irtf-cfrg-cpace-21), from the pakery crates.
//!
//! No balanced PAKE in Rust is audited, this one neither. What it computes is checked here against the vectors of
//! the draft (appendix B.3), neutral and invalid points included. Confirmation is the machine's.

use alloc::{boxed::Box, vec::Vec};
use core::{convert::Infallible, fmt};

use pakery_cpace::{CpaceCiphersuite, CpaceInitiator, CpaceMode, CpaceResponder, InitiatorState};
use pakery_crypto::{Ristretto255Group, Sha512Hash};
use rand_core::{TryCryptoRng, TryRng};
use zeroize::Zeroize as _;

use super::pake::{Pake, PakeError, PakePending, SharedKey};
use crate::{digest::Sha256Digest, entropy::Entropy};

/// CPace. The transcript so far is its session id; the roles are its associated data.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Cpace;

impl Cpace {
    /// The provider.
    pub const fn new() -> Self {
        Self
    }
}

/// CPACE-RISTR255-SHA512, with the parameters that the draft recommends.
enum Suite {}

impl CpaceCiphersuite for Suite {
    type Group = Ristretto255Group;
    type Hash = Sha512Hash;
    const DSI: &'static [u8] = b"CPaceRistretto255";
    const HASH_BLOCK_SIZE: usize = 128;
    const FIELD_SIZE_BYTES: usize = 32;
}

const CHANNEL: &[u8] = b"leasehold pairing v1";
const DEVICE: &[u8] = b"device";
const COORDINATOR: &[u8] = b"coordinator";

impl Pake for Cpace {
    fn start(
        &self,
        pin: &[u8],
        context: &Sha256Digest,
        entropy: &mut dyn Entropy,
    ) -> Result<(Box<dyn PakePending>, Vec<u8>), PakeError> {
        let mut source = Source::new(entropy);
        let sid = context.as_bytes();
        let started = CpaceInitiator::<Suite>::start(pin, CHANNEL, sid, DEVICE, &mut source);
        source.check()?;
        let (share, state) = started.map_err(|_| PakeError)?;
        Ok((Box::new(Pending(state)), share))
    }

    fn respond(
        &self,
        message: &[u8],
        pin: &[u8],
        context: &Sha256Digest,
        entropy: &mut dyn Entropy,
    ) -> Result<(Vec<u8>, SharedKey), PakeError> {
        let mut source = Source::new(entropy);
        let answered = CpaceResponder::<Suite>::respond(
            message,
            pin,
            CHANNEL,
            context.as_bytes(),
            DEVICE,
            COORDINATOR,
            CpaceMode::InitiatorResponder,
            &mut source,
        );
        source.check()?;
        let (share, output) = answered.map_err(|_| PakeError)?;
        Ok((share, SharedKey::new(output.isk.as_bytes().to_vec())?))
    }
}

struct Pending(InitiatorState<Suite>);

impl PakePending for Pending {
    fn finish(self: Box<Self>, message: &[u8]) -> Result<SharedKey, PakeError> {
        let output = self.0.finish(message, COORDINATOR, CpaceMode::InitiatorResponder);
        SharedKey::new(output.map_err(|_| PakeError)?.isk.as_bytes().to_vec())
    }
}

/// Our entropy in the form that pakery asks for, which knows no failure: a failure is kept, and what was computed
/// from it is dropped.
struct Source<'a> {
    entropy: &'a mut dyn Entropy,
    failed: bool,
}

impl<'a> Source<'a> {
    fn new(entropy: &'a mut dyn Entropy) -> Self {
        Self { entropy, failed: false }
    }

    fn check(&self) -> Result<(), PakeError> {
        if self.failed { Err(PakeError) } else { Ok(()) }
    }
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl TryRng for Source<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        if self.entropy.fill(bytes).is_err() {
            self.failed = true;
            bytes.zeroize();
        }
        Ok(())
    }
}

impl TryCryptoRng for Source<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::EntropyError;

    fn bytes(text: &str) -> Vec<u8> {
        hex::decode(text).unwrap()
    }

    /// Gives a scalar of the vectors; the reduction of 64 bytes leaves it as it is.
    struct Scalar(Vec<u8>);
    impl Entropy for Scalar {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
            bytes.fill(0);
            bytes[..32].copy_from_slice(&self.0);
            Ok(())
        }
    }

    struct Dry;
    impl Entropy for Dry {
        fn fill(&mut self, _: &mut [u8]) -> Result<(), EntropyError> {
            Err(EntropyError)
        }
    }

    /// draft-irtf-cfrg-cpace-21, appendix B.3.
    #[test]
    fn cpace_computes_what_the_draft_says() {
        let (sid, ci) = (bytes("7e4b4791d6a8ef019b936c79fb7f2c57"), b"\nAinitiator\nBresponder");
        let mut a = Scalar(bytes("da3d23700a9e5699258aef94dc060dfda5ebb61f02a5ea77fad53f4ff0976d08"));
        let mut b = Scalar(bytes("d2316b454718c35362d83d69df6320f38578ed5984651435e2949762d900b80d"));
        let mode = CpaceMode::InitiatorResponder;
        let started = CpaceInitiator::<Suite>::start(b"Password", ci, &sid, b"ADa", &mut Source::new(&mut a));
        let (share_a, state) = started.ok().unwrap();
        assert_eq!(share_a, bytes("383a85dd236978f17f8c8545b50dabc52a39fcdab2cf8bc531ce040ff77ca82d"));
        let answered = CpaceResponder::<Suite>::respond(
            &share_a,
            b"Password",
            ci,
            &sid,
            b"ADa",
            b"ADb",
            mode,
            &mut Source::new(&mut b),
        );
        let (share_b, output) = answered.ok().unwrap();
        assert_eq!(share_b, bytes("a6206309c0e8e5f579295e35997ac4300ab3fecec3c17f7b604f3e698fa1383c"));
        let isk = "e91ccb2c0f5e0d0993a33956e3be59754f3f2b07db57631f5394452e\
                   a2e7b4354674eb1f5686c078462bf83bec72e8743df440108e638f3526d9b90e85be096f";
        assert_eq!(output.isk.as_bytes(), bytes(isk));
        assert_eq!(state.finish(&share_b, b"ADb", mode).ok().unwrap().isk.as_bytes(), bytes(isk));
    }

    /// The invalid points of the same appendix, on both sides; and no entropy is no exchange.
    #[test]
    fn cpace_refuses_invalid_points_and_dry_entropy() {
        let context = Sha256Digest::of(b"context");
        let scalar = || Scalar(bytes("da3d23700a9e5699258aef94dc060dfda5ebb61f02a5ea77fad53f4ff0976d08"));
        for point in [
            "2b3c6b8c4f3800e7aef6864025b4ed79bd599117e427c41bd47d93d654b4a51c",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "00",
            "",
        ] {
            let point = bytes(point);
            assert!(Cpace.respond(&point, b"135790", &context, &mut scalar()).is_err());
            let (pending, _) = Cpace.start(b"135790", &context, &mut scalar()).unwrap();
            assert!(pending.finish(&point).is_err());
        }
        assert!(Cpace.start(b"135790", &context, &mut Dry).is_err());
        let (_, share) = Cpace.start(b"135790", &context, &mut scalar()).unwrap();
        assert!(Cpace.respond(&share, b"135790", &context, &mut Dry).is_err());
    }

    #[test]
    fn only_the_same_pin_and_context_give_the_same_key() {
        let scalar = |digit: &str| Scalar(bytes(&digit.repeat(31)).into_iter().chain([1]).collect());
        let context = Sha256Digest::of(b"context");
        let run = |pin: &[u8], context: &Sha256Digest| {
            let (pending, share) =
                Cpace.start(b"135790", &Sha256Digest::of(b"context"), &mut scalar("11")).unwrap();
            let (answer, theirs) = Cpace.respond(&share, pin, context, &mut scalar("22")).unwrap();
            pending.finish(&answer).unwrap().into_bytes() == theirs.into_bytes()
        };
        assert!(run(b"135790", &context));
        assert!(!run(b"135791", &context));
        assert!(!run(b"135790", &Sha256Digest::of(b"other")));
    }
}
