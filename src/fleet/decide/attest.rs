//! Decides whether a worker may join the fleet, and whether it may go on.

use alloc::{boxed::Box, string::ToString, sync::Arc, vec::Vec};

use crate::{
    attestation::{
        Appraisal, Appraiser, EvidenceContext, NonceError, Submission,
        challenge::{self, NonceBinding, NonceRole, OpenedNonce},
    },
    code::{Code, Coded},
    digest::Sha256Digest,
    fleet::{
        condition::{Activity, LossReason, QuarantineReason},
        context::{Context, Draft, Steps, sealed::Decide},
        event::{EvidenceRecord, FleetEvent},
        operation::{Attest, Attested, Challenge, Challenged, Displaced, WorkerHandle},
        principal::Principal,
        rejection::{AttestError, ChallengeError, HeartbeatError, WorkerError},
        roster::WorkerRecord,
        state::{self, FleetState},
        table::Act,
    },
    id::DeviceId,
    identity::AuthenticatedDevice,
    time::{Mono, Wall},
};

/// What this coordinator binds a nonce for `device` to.
fn nonce_binding<'a>(
    context: &Context<'a>,
    device: &'a DeviceId,
    certificate: Sha256Digest,
) -> NonceBinding<'a> {
    NonceBinding {
        epoch: context.state.epoch,
        device,
        certificate,
        audience: &context.state.policy.fleet,
        coordinator: context.setup.coordinator_certificate,
        role: NonceRole::Worker,
    }
}

impl<'a> Context<'a> {
    /// An appraiser for the policy in force. It reuses what earlier accepted evidence taught about builders'
    /// statements.
    fn appraiser(&self) -> Appraiser<'a> {
        let mut appraiser = Appraiser::new(&self.state.policy.attestation, &*self.setup.verifier);
        appraiser.identities = self.setup.identities.as_deref().map(|verifier| verifier as _);
        appraiser.memory = Some(&self.liveness.statements);
        appraiser
    }
}

impl Decide for Challenge {
    const NAME: &'static str = "challenge";

    fn admits(principal: &Principal) -> bool {
        matches!(principal, Principal::Device { .. })
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<Challenged>, ChallengeError> {
        let (device, authenticated) = context.device()?;
        let binding = nonce_binding(context, device, authenticated.certificate().fingerprint());
        // Two nonces of one device in the same millisecond are equal and can be spent once. They need no
        // salt.
        let (key, version) = (&context.setup.nonce_key, context.state.version);
        let nonce = challenge::issue(key, &binding, version, context.now, [0; 8]);
        let answer =
            Challenged { nonce: nonce.as_bytes().to_vec(), ttl: context.state.policy.challenge_ttl_ms };
        Ok(Steps::default().with_answer(answer))
    }
}

impl Decide for Attest {
    const NAME: &'static str = "attest";

    fn admits(principal: &Principal) -> bool {
        matches!(principal, Principal::Device { .. })
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<Attested>, AttestError> {
        context.trust_wall()?;
        let (device, authenticated) = context.device()?;
        let state = context.state;
        let known = state.roster.by_device(device);
        if let Some(handle) = self.resume {
            context.worker(handle, device)?;
        }
        let nonce = self.open_nonce(context, device, &authenticated)?;
        let certificate = authenticated.certificate().fingerprint();
        let attachments: Vec<&[u8]> = self.attachments.iter().map(Vec::as_slice).collect();
        let submission = Submission { form: self.form, bytes: &self.evidence, attachments: &attachments };
        let (appraisal, learned) = context.appraiser().appraise(
            &submission,
            &EvidenceContext {
                now: context.now.wall,
                nonce: &self.nonce,
                nonce_issued: nonce.issued().wall,
                audience: &state.policy.fleet,
                device,
                certificate,
            },
        );
        let accepted = match (appraisal.accepted(), known) {
            (Some(accepted), _) => accepted,
            (None, Some(slot)) => return refuse_known(context, slot, codes(&appraisal)),
            (None, None) => return Err(AttestError::Refused { failures: codes(&appraisal) }),
        };
        let slot = self.find_place(context, accepted.worker(), device, known)?;
        // Only the incarnation that the evidence is about can go on. A new worker begins with an incarnation
        // of its own, and a retired one never goes on, least of all in the worker that reuses its slot.
        if self.resume.is_some_and(|handle| handle.slot != slot || known.is_none()) {
            return Err(WorkerError::StaleHandle.into());
        }
        let valid_until = accepted.valid_until();
        let evidence = EvidenceRecord {
            sha256: accepted.evidence(),
            generation: state.policy_generation,
            issued: accepted.issued(),
            expires: accepted.facts().expires,
            egress_expires: accepted.facts().egress_expires,
            valid_until,
            valid_until_mono: FleetState::mono_at(context.now, valid_until),
            certificate,
            certificate_until_mono: FleetState::mono_at(context.now, authenticated.certificate().not_after())
                .min(authenticated.ends().unwrap_or(Mono::NEVER)),
        };
        let mut steps = Steps::default();
        steps.learned = (!learned.is_empty()).then(|| Box::new(learned));
        if known.is_none() {
            if state.roster.get(slot).is_some() {
                steps.events.push(FleetEvent::WorkerForgotten { slot });
            }
            let (worker, device) = (accepted.worker().clone(), device.clone());
            steps.events.push(FleetEvent::WorkerRegistered { slot, worker, device });
        }
        let mut generation = state.roster.generation(slot);
        let shortest = state.policy.lease.ttl_min_ms;
        let end = evidence.valid_until_mono.min(evidence.certificate_until_mono);
        let stands = self.resume.is_some() && state.roster.get(slot).is_some_and(is_available);
        if stands && end.since(context.now.mono) < shortest {
            // Too little time is left for the shortest lease, so this evidence does not make the worker
            // available.
            steps.events.push(FleetEvent::EvidenceWithdrawn { slot });
        }
        if self.resume.is_none() {
            // The worker joins as another incarnation and loses what the former one held.
            if let Some(held) = context.held(slot) {
                context.lose(&mut steps, slot, held, LossReason::Rejoined, context.hold_until(held));
            }
            generation = generation.saturating_add(1);
            steps.events.push(FleetEvent::IncarnationBegan { slot, incarnation: generation });
        }
        steps.events.push(FleetEvent::EvidenceAccepted {
            slot,
            evidence: Box::new(evidence),
            profile: Arc::clone(&accepted.facts().profile),
            capabilities: accepted.capabilities().clone(),
            nonce: nonce.id(),
            nonce_until: nonce.issued().mono.plus(state.policy.challenge_ttl_ms),
            nonce_version: nonce.version(),
        });
        if self.resume.is_some()
            && let Some(held) = context.held(slot)
        {
            // Invariant 3: the lease ends no later than the evidence that is in force now.
            context.keep_within(&mut steps, slot, held, end);
        }
        // The answer shows the worker after the events. The preview folds them on a copy of the few members
        // that they change.
        let after = preview(context, &steps.events, slot);
        let answer = Attested {
            handle: WorkerHandle { slot, generation },
            valid_until,
            state: after.0,
            owes: after.1,
            failures: Vec::new(),
        };
        Ok(steps.with_answer(answer))
    }
}

impl Attest {
    fn open_nonce(
        &self,
        context: &Context<'_>,
        device: &DeviceId,
        authenticated: &AuthenticatedDevice<'_>,
    ) -> Result<OpenedNonce, AttestError> {
        let state = context.state;
        let binding = nonce_binding(context, device, authenticated.certificate().fingerprint());
        let ttl = state.policy.challenge_ttl_ms;
        let nonce = challenge::open(&context.setup.nonce_key, &self.nonce, &binding, context.now, ttl)?;
        if state.nonces.contains(&nonce.id()) {
            return Err(AttestError::NonceSpent);
        }
        let limit = usize::try_from(state.policy.limits.nonces).unwrap_or(usize::MAX);
        if state.nonces.is_full(limit, context.now.mono.0) {
            return Err(AttestError::NoncesFull);
        }
        if nonce.issued().mono < state.bounds.nonces_since {
            return Err(NonceError::Expired.into());
        }
        if nonce.issued().wall < state.floor {
            return Err(AttestError::BeforeRestore);
        }
        Ok(nonce)
    }

    /// The slot of the worker that the evidence names: its present one, or a free one.
    fn find_place(
        &self,
        context: &Context<'_>,
        worker: &crate::id::WorkerId,
        device: &DeviceId,
        known: Option<u32>,
    ) -> Result<u32, AttestError> {
        let roster = &context.state.roster;
        match (roster.by_id(worker), known) {
            (Some(slot), _) => {
                let record = roster.get(slot).ok_or(WorkerError::Unknown)?;
                if record.device != *device {
                    return Err(AttestError::OtherDevice);
                }
                context.admit(Act::Attest, record)?;
                Ok(slot)
            }
            (None, Some(_)) => Err(AttestError::DeviceBusy),
            (None, None) if roster.len() >= context.state.policy.limits.workers => {
                let reused = roster.first_retired().filter(|_| context.state.policy.workers.reuse_retired);
                reused.ok_or(AttestError::Full)
            }
            (None, None) => Ok(roster.next_slot()),
        }
    }
}

/// The codes of all checks that failed.
fn codes(appraisal: &Appraisal) -> Vec<Code> {
    appraisal.failures().iter().map(Coded::code).collect()
}

/// Closes the latch of a known worker whose evidence does not pass: what it runs is no longer known.
fn refuse_known(
    context: &Context<'_>,
    slot: u32,
    failures: Vec<Code>,
) -> Result<Draft<Attested>, AttestError> {
    let record = context.state.roster.get(slot).ok_or(WorkerError::Unknown)?;
    context.admit(Act::Quarantine, record)?;
    let texts: Vec<_> = failures.iter().map(|code| code.as_str().to_string()).collect();
    let mut steps = Steps::default();
    steps.events.push(FleetEvent::EvidenceRefused { slot, failures: texts.clone() });
    context.quarantine(&mut steps, slot, record, QuarantineReason::FailedEvidence);
    let after = preview(context, &steps.events, slot);
    Ok(steps.with_answer(Attested {
        handle: context.state.handle(slot),
        valid_until: Wall::START,
        state: after.0,
        owes: after.1,
        failures: texts,
    }))
}

/// The state and the debt of the worker in `slot` after `events`.
fn preview(
    context: &Context<'_>,
    events: &[FleetEvent],
    slot: u32,
) -> (crate::fleet::condition::WorkerLifecycleState, Option<crate::fleet::condition::Debt>) {
    use crate::fleet::condition::{ActivityKind, Debt, WorkerLifecycleState};
    let state = context.state;
    let new = events.iter().any(|event| matches!(event, FleetEvent::WorkerRegistered { .. }));
    let Some(record) = state.roster.get(slot).filter(|_| !new) else {
        return (WorkerLifecycleState::Registered, None);
    };
    let mut version = state.version;
    let mut kind = record.activity.kind();
    let mut debt = state::debt(record);
    let mut latch = record.quarantine().clone();
    for event in events {
        version = version.saturating_add(1);
        match event {
            FleetEvent::LeaseLost { fence, reason, .. } => {
                let lease = context.held(slot).map_or(Sha256Digest::of(b""), |held| held.lease.digest());
                kind = ActivityKind::Orphaned;
                debt = Some(Debt {
                    fence: *fence,
                    lease,
                    reason: *reason,
                    cleanup: true,
                    evidence_since: Some(version),
                });
            }
            FleetEvent::LeaseRevoked { .. } => kind = ActivityKind::Revoking,
            FleetEvent::Quarantined { reason, .. } => latch.close(*reason, version),
            FleetEvent::EvidenceWithdrawn { .. } if kind == ActivityKind::Available => {
                kind = ActivityKind::Registered;
            }
            FleetEvent::IncarnationBegan { .. }
                if matches!(kind, ActivityKind::Available | ActivityKind::Offline) =>
            {
                kind = ActivityKind::Registered;
            }
            FleetEvent::EvidenceAccepted { nonce_version, .. } => {
                if latch.evidence_since.is_some_and(|since| *nonce_version >= since) {
                    latch.evidence_since = None;
                    if latch.is_settled() {
                        latch.reasons.clear();
                    }
                }
                if let Some(owed) = &mut debt {
                    if owed.evidence_since.is_some_and(|since| *nonce_version >= since) {
                        owed.evidence_since = None;
                    }
                    if owed.is_settled() {
                        debt = None;
                        kind = ActivityKind::Registered;
                    }
                }
                if kind == ActivityKind::Offline {
                    kind = ActivityKind::Registered;
                }
            }
            _ => {}
        }
    }
    let fleet = record.quarantine_generation < state.roster.quarantine_generation;
    (WorkerLifecycleState::of(kind, latch.is_closed() || fleet, !record.is_wanted()), debt)
}

impl Decide for Displaced {
    const NAME: &'static str = "displaced";

    fn admits(principal: &Principal) -> bool {
        matches!(principal, Principal::Device { .. })
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<()>, HeartbeatError> {
        let (device, _) = context.device()?;
        let (state, slot) = (context.state, self.worker.slot);
        let record = state.roster.get(slot).ok_or(WorkerError::StaleHandle)?;
        if record.device != *device {
            return Err(WorkerError::OtherDevice.into());
        }
        context.admit(Act::Quarantine, record)?;
        let mut steps = Steps::default();
        let most = state.policy.workers.latch_displaced_after;
        let known = record.quarantine().reasons().contains(&QuarantineReason::TwoPlaces);
        if most > 0 && !known && self.worker.generation < state.roster.generation(slot) {
            let times = record.marks().displaced.saturating_add(1);
            steps.events.push(FleetEvent::WorkerDisplaced { slot, times });
            if times >= most {
                context.quarantine(&mut steps, slot, record, QuarantineReason::TwoPlaces);
            }
        }
        Ok(steps.with_answer(()))
    }
}

fn is_available(record: &WorkerRecord) -> bool {
    matches!(record.activity, Activity::Available)
}

/// Decides a heartbeat of the worker in `slot`: the events that follow, if it changes anything.
pub(crate) fn heard(context: &Context<'_>, slot: u32, record: &WorkerRecord) -> Option<Steps> {
    let idle = matches!(record.activity, Activity::Registered | Activity::Offline);
    if !idle {
        return record.silent.map(|_| heard_again(slot, None));
    }
    match context.attested(slot, record) {
        Ok(leasable) => Some(heard_again(slot, leasable.kept.map(|kept| *kept))),
        Err(_) if record.silent.is_some() || matches!(record.activity, Activity::Offline) => {
            // Evidence on which no lease is possible does not make the worker available.
            let ended = record.evidence.as_ref().map(|_| FleetEvent::EvidenceWithdrawn { slot });
            Some(heard_again(slot, ended))
        }
        Err(_) => None,
    }
}

fn heard_again(slot: u32, before: Option<FleetEvent>) -> Steps {
    let mut steps = Steps::of(slot, 1);
    steps.events.extend(before);
    steps.events.push(FleetEvent::WorkerHeard { slot });
    steps
}

/// Whether a heartbeat of the worker changes nothing until the next event about it. A registered worker may
/// become available when time passes.
pub(crate) fn is_steady(record: &WorkerRecord) -> bool {
    record.silent.is_none() && !matches!(record.activity, Activity::Registered | Activity::Offline)
}
