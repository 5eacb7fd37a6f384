//! How an agent proves what its worker is, and when it does so again.

use crate::{
    digest::Sha256Digest,
    id::WorkerId,
    time::{Millis, Mono, Now, Wall},
};

/// The first pause after a refusal; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Millis = Millis(2_000);
const LONGEST_PAUSE: Millis = Millis(60_000);

/// Where attestation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing is wanted.
    Idle,
    /// Evidence is wanted from this instant on.
    Wanted(Mono),
    /// A nonce has been asked for.
    Challenging,
    /// The worker makes evidence, which is of no use after this instant.
    Making(Mono),
    /// The evidence is being judged.
    Presenting,
}

/// The place of a worker in any span of time in which every worker of a fleet does the same: by its name, so that all of
/// them are spread over the span and one that comes again has the same place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share(u16);

impl Share {
    pub(super) fn of_worker(worker: &WorkerId) -> Self {
        let digest = Sha256Digest::of(worker.as_str().as_bytes());
        Self(digest.as_bytes().first_chunk().map_or(0, |first| u16::from_be_bytes(*first)))
    }

    /// This worker's time in `span`: less than it.
    pub(super) fn of(self, span: Millis) -> Millis {
        Millis(span.0.saturating_mul(u64::from(self.0)) >> u16::BITS)
    }
}

/// The attestation of one worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attesting {
    pub(super) step: Step,
    pause: Millis,
    /// Evidence is brought anew at this instant, well before it is over.
    renew_at: Option<Mono>,
}

impl Attesting {
    pub(super) const fn new() -> Self {
        Self { step: Step::Idle, pause: FIRST_PAUSE, renew_at: None }
    }

    /// Evidence is wanted, unless it is on its way or a pause has to pass first.
    pub(super) fn want(&mut self, now: Now) {
        self.want_after(Millis::ZERO, now);
    }

    /// The same, in a while.
    pub(super) fn want_after(&mut self, pause: Millis, now: Now) {
        if self.step == Step::Idle {
            self.step = Step::Wanted(now.mono.plus(pause));
        }
    }

    /// A refusal, or an answer that was lost: try again after a pause, which grows.
    pub(super) fn pause(&mut self, now: Now) {
        self.step = Step::Wanted(now.mono.plus(self.pause));
        self.pause = self.pause.plus(self.pause).min(LONGEST_PAUSE);
    }

    /// The connection is gone, and a nonce asked for on it with it.
    pub(super) fn disconnected(&mut self, now: Mono) {
        if self.step == Step::Challenging {
            self.step = Step::Wanted(now);
        }
    }

    /// The evidence is good until `valid_until`: it is brought anew after five to seven eighths of that.
    pub(super) fn accepted(&mut self, valid_until: Wall, share: Share, now: Now) {
        let eighth = Millis(valid_until.since(now.wall).0 / 8);
        let pause = Millis(eighth.0.saturating_mul(5)).plus(share.of(eighth.plus(eighth)));
        self.step = Step::Idle;
        self.pause = FIRST_PAUSE;
        self.renew_at = Some(now.mono.plus(pause.max(Millis(1_000))));
    }

    /// Lets time pass.
    pub(super) fn tick(&mut self, now: Now) {
        if self.renew_at.is_some_and(|at| now.mono >= at) {
            self.renew_at = None;
            self.want(now);
        }
        if matches!(self.step, Step::Making(until) if now.mono >= until) {
            self.step = Step::Wanted(now.mono);
        }
    }

    /// Whether a nonce has to be asked for.
    pub(super) fn is_due(&self, now: Now) -> bool {
        matches!(self.step, Step::Wanted(at) if now.mono >= at)
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        let step = match self.step {
            Step::Wanted(at) | Step::Making(at) => Some(at),
            _ => None,
        };
        [step, self.renew_at].into_iter().flatten().min()
    }
}
