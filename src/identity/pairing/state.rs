//! The sessions as replayable state: what each step may change, decided from state and time alone.

use alloc::{collections::BTreeMap, vec, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{
    error::PairingError,
    method::{PairingMethod, PairingTarget},
    policy::PairingPolicy,
    session::{PairingEnd, PairingEvent, PairingPeer, PairingPhase, PairingSession},
};
use crate::{
    digest::Sha256Digest,
    id::{OrderId, SessionId},
    identity::{MAX_ORDERS, OrderError, RestoreError, StandingOrder, StandingTerms},
    time::{Mono, Now},
};

/// A step of a session. The desk makes them, after the checks that need a code, a key or a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PairingCommand {
    Open { session: SessionId, method: PairingMethod, target: PairingTarget },
    Start { session: SessionId },
    Fail { session: SessionId },
    Confirm { session: SessionId, peer: PairingPeer, transcript: Sha256Digest },
    Approve { session: SessionId, transcript: Sha256Digest },
    Issue { session: SessionId, fingerprint: Sha256Digest, certificate: Vec<u8>, tag: [u8; 32] },
    End { session: SessionId, end: PairingEnd },
    Sweep { limit: usize },
    OpenEnrolment { order: OrderId, terms: StandingTerms, check: Sha256Digest },
    RevokeEnrolment { order: OrderId },
    Enrol { order: OrderId, session: SessionId, peer: PairingPeer, transcript: Sha256Digest },
}

/// All pairing sessions: bounded, replayable, without a code or a key in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingState {
    policy: PairingPolicy,
    sessions: BTreeMap<SessionId, PairingSession>,
    /// Where the present window of the global start rate began, and how many exchanges started in it.
    window: Mono,
    started: u32,
    enrolments: BTreeMap<OrderId, EnrolmentKey>,
    /// When the first session has to be looked at. Follows from the sessions; kept, because it is asked for often.
    due: Option<Mono>,
}

/// An enrolment key as it is kept: what it allows, and what its secret is known by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnrolmentKey {
    pub(super) standing: StandingOrder,
    pub(super) check: Sha256Digest,
    pub(super) opened: Now,
}

/// The stored form of the sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PairingSnapshot {
    version: u16,
    window: Mono,
    started: u32,
    sessions: Vec<(SessionId, PairingSession)>,
    enrolments: Vec<(OrderId, EnrolmentKey)>,
}

impl PairingSnapshot {
    /// What the first form had: no enrolment keys.
    pub(crate) const fn first_form(
        version: u16,
        window: Mono,
        started: u32,
        sessions: Vec<(SessionId, PairingSession)>,
    ) -> Self {
        Self { version, window, started, sessions, enrolments: Vec::new() }
    }
}

const VERSION: u16 = 1;

impl PairingState {
    /// No sessions.
    pub fn new(policy: PairingPolicy) -> Self {
        let (sessions, enrolments) = (BTreeMap::new(), BTreeMap::new());
        Self { policy, sessions, window: Mono::START, started: 0, enrolments, due: None }
    }

    /// The policy.
    pub const fn policy(&self) -> &PairingPolicy {
        &self.policy
    }

    /// A session, open, ended or remembered.
    pub fn get(&self, session: &SessionId) -> Option<&PairingSession> {
        self.sessions.get(session)
    }

    /// The enrolment keys that stand, or stood and are not past their time, by name.
    pub fn enrolments(&self) -> impl ExactSizeIterator<Item = (&OrderId, &StandingOrder)> {
        self.enrolments.iter().map(|(order, key)| (order, &key.standing))
    }

    pub(super) fn enrolment(&self, order: &OrderId) -> Result<&EnrolmentKey, OrderError> {
        self.enrolments.get(order).ok_or(OrderError::Unknown)
    }

    /// Every session by id.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = (&SessionId, &PairingSession)> {
        self.sessions.iter()
    }

    /// The earliest instant at which [`PairingDesk::sweep`](super::PairingDesk::sweep) has something to do.
    /// Cost: O(1).
    pub const fn next_deadline(&self) -> Option<Mono> {
        self.due
    }

    /// Puts other rules in force; [`Self::fits`] was asked.
    pub(crate) fn set_policy(&mut self, policy: PairingPolicy) {
        self.policy = policy;
        self.due = self.first_deadline();
    }

    /// Whether what is held fits into other bounds.
    pub(crate) fn fits(&self, policy: &PairingPolicy) -> Result<(), &'static str> {
        let most = usize::try_from(policy.get().max_sessions).unwrap_or(usize::MAX);
        if self.open_sessions().count() > most {
            return Err("pairing.max_sessions");
        }
        if self.sessions.len() > policy.most_held() { Err("pairing.max_remembered") } else { Ok(()) }
    }

    /// The sessions that are open, whose codes a restart loses.
    pub(crate) fn open_sessions(&self) -> impl Iterator<Item = &SessionId> {
        self.sessions.iter().filter(|(_, held)| held.end().is_none()).map(|(session, _)| session)
    }

    fn first_deadline(&self) -> Option<Mono> {
        let memory = self.policy.get().memory_ms;
        let deadline = |session: &PairingSession| match session.end() {
            Some(_) => session.expires.plus(memory),
            None => session.expires,
        };
        let keys = self.enrolments.values().map(|key| key.standing.until());
        self.sessions.values().map(deadline).chain(keys).min()
    }

    /// The session, where its present phase is neither final nor past its time.
    pub(super) fn open(&self, session: &SessionId, now: Now) -> Result<&PairingSession, PairingError> {
        let found = self.sessions.get(session).ok_or(PairingError::UnknownSession)?;
        match (found.end(), &found.phase) {
            (Some(end), _) => Err(PairingError::Ended(end)),
            (None, PairingPhase::Approved { .. }) if now.mono >= found.expires => {
                Err(PairingError::ApprovalExpired)
            }
            (None, _) if now.mono >= found.expires => Err(PairingError::Expired),
            (None, _) => Ok(found),
        }
    }

    fn attempts(&self, method: PairingMethod) -> u8 {
        match method {
            PairingMethod::Qr => self.policy.get().qr_attempts,
            PairingMethod::Pin => self.policy.get().pin_attempts,
            // A second comparison would double the chance of digits that agree by accident.
            PairingMethod::Compare => 1,
            // Nothing can be guessed: an exchange leaves no trace before the key is proved.
            PairingMethod::Enrolment => 0,
        }
    }

    /// What `command` would change. Pure; a refusal changes nothing.
    pub(crate) fn decide(
        &self,
        command: &PairingCommand,
        now: Now,
    ) -> Result<Vec<PairingEvent>, PairingError> {
        let policy = self.policy.get();
        Ok(match command {
            PairingCommand::Open { session, method, target } => {
                let mut events = self.room_for(session, now)?;
                events.push(PairingEvent::SessionOpened {
                    session: session.clone(),
                    method: *method,
                    target: target.clone(),
                    expires: now.mono.plus(policy.ttl_ms),
                    at: now,
                });
                events
            }
            PairingCommand::Start { session } => {
                let open = self.open(session, now)?;
                if open.phase != PairingPhase::Offered {
                    return Err(PairingError::Order);
                }
                if open.attempts >= self.attempts(open.method) {
                    return Err(PairingError::Attempts);
                }
                if now.mono < self.window.plus(policy.rate_window_ms) && self.started >= policy.rate_limit {
                    return Err(PairingError::Rate);
                }
                vec![PairingEvent::ExchangeStarted { session: session.clone(), at: now }]
            }
            PairingCommand::Fail { session } => {
                let open = self.open(session, now)?;
                let mut events = vec![PairingEvent::ExchangeFailed { session: session.clone(), at: now }];
                if open.attempts >= self.attempts(open.method) {
                    events.push(ended(session, PairingEnd::Locked));
                }
                events
            }
            PairingCommand::Confirm { session, peer, transcript } => {
                let open = self.open(session, now)?;
                // Confirmed once: who comes second, comes too late.
                if open.phase != PairingPhase::Offered || open.attempts == 0 {
                    return Err(PairingError::Order);
                }
                if !open.target.admits(&peer.device) {
                    return Err(PairingError::WrongDevice);
                }
                vec![PairingEvent::PairingConfirmed {
                    session: session.clone(),
                    peer: peer.clone(),
                    transcript: *transcript,
                    at: now,
                }]
            }
            PairingCommand::Approve { session, transcript } => match &self.open(session, now)?.phase {
                PairingPhase::Confirmed { transcript: shown, .. } if shown == transcript => {
                    let until = now.mono.plus(policy.approval_ttl_ms);
                    vec![PairingEvent::PairingApproved { session: session.clone(), until }]
                }
                _ => return Err(PairingError::Approval),
            },
            PairingCommand::Issue { session, fingerprint, certificate, tag } => {
                let PairingPhase::Approved { .. } = &self.open(session, now)?.phase else {
                    return Err(PairingError::Approval);
                };
                vec![PairingEvent::CertificateIssued {
                    session: session.clone(),
                    fingerprint: *fingerprint,
                    certificate: certificate.clone(),
                    tag: *tag,
                    until: now.mono.plus(policy.ttl_ms),
                }]
            }
            PairingCommand::End { session, end } => {
                self.open(session, now)?;
                vec![ended(session, *end)]
            }
            PairingCommand::OpenEnrolment { order, terms, check } => {
                if self.enrolments.contains_key(order) {
                    return Err(OrderError::Exists(order.clone()).into());
                }
                let mut events = self.forgettable_keys(now, MAX_ORDERS);
                if self.enrolments.len().saturating_sub(events.len()) >= MAX_ORDERS {
                    return Err(OrderError::Full.into());
                }
                let (order, standing, check) = (order.clone(), terms.order(now), *check);
                events.push(PairingEvent::EnrolmentOpened { order, standing, check, at: now });
                events
            }
            PairingCommand::RevokeEnrolment { order } => {
                if self.enrolment(order)?.standing.is_revoked() {
                    return Err(OrderError::Revoked.into());
                }
                // What was approved under it and has no certificate yet gets none.
                let under = |session: &PairingSession| {
                    session.end().is_none()
                        && matches!(&session.target, PairingTarget::Enrolled { order: named, .. } if named == order)
                };
                let open = self.sessions.iter().filter(|(_, held)| under(held));
                let mut events = vec![PairingEvent::EnrolmentRevoked { order: order.clone() }];
                events.extend(open.map(|(session, _)| ended(session, PairingEnd::Cancelled)));
                events
            }
            PairingCommand::Enrol { order, session, peer, transcript } => {
                self.enrolment(order)?.standing.allows(&peer.device, peer.kind, now.mono)?;
                let mut events = self.room_for(session, now)?;
                events.push(PairingEvent::DeviceEnrolled {
                    order: order.clone(),
                    session: session.clone(),
                    peer: peer.clone(),
                    transcript: *transcript,
                    until: now.mono.plus(policy.approval_ttl_ms),
                    at: now,
                });
                events
            }
            PairingCommand::Sweep { limit } => {
                let mut events = self.forgettable(now, *limit);
                events.extend(self.forgettable_keys(now, limit.saturating_sub(events.len())));
                let room = limit.saturating_sub(events.len());
                let due = |session: &PairingSession| session.end().is_none() && now.mono >= session.expires;
                let expired = self.sessions.iter().filter(|(_, session)| due(session)).take(room);
                events.extend(expired.map(|(id, _)| ended(id, PairingEnd::Expired)));
                events
            }
        })
    }

    /// Makes room for another session, which is not known yet.
    fn room_for(&self, session: &SessionId, now: Now) -> Result<Vec<PairingEvent>, PairingError> {
        let mut events = self.forgettable(now, 16);
        let most = usize::try_from(self.policy.get().max_sessions).unwrap_or(usize::MAX);
        if self.open_sessions().count() >= most {
            return Err(PairingError::Sessions);
        }
        let left = self.sessions.len().saturating_sub(events.len());
        if left >= self.policy.most_held() {
            events.push(self.oldest_ended(now).ok_or(PairingError::Sessions)?);
        }
        if self.sessions.contains_key(session) { Err(PairingError::Conflict) } else { Ok(events) }
    }

    fn forgettable_keys(&self, now: Now, limit: usize) -> Vec<PairingEvent> {
        let over = self.enrolments.iter().filter(|(_, key)| now.mono >= key.standing.until());
        let forget = |(order, _): (&OrderId, _)| PairingEvent::EnrolmentForgotten { order: order.clone() };
        over.take(limit).map(forget).collect()
    }

    fn forgettable(&self, now: Now, limit: usize) -> Vec<PairingEvent> {
        let memory = self.policy.get().memory_ms;
        self.sessions
            .iter()
            .filter(|(_, held)| held.end().is_some() && now.mono >= held.expires.plus(memory))
            .take(limit)
            .map(|(session, _)| PairingEvent::SessionForgotten { session: session.clone() })
            .collect()
    }

    /// Forgets the session that has been of no use for the longest time: ended, and nothing left to fetch.
    fn oldest_ended(&self, now: Now) -> Option<PairingEvent> {
        let useless = |held: &PairingSession| match held.phase {
            PairingPhase::Issued { .. } => now.mono >= held.expires,
            _ => held.end().is_some(),
        };
        let ended = self.sessions.iter().filter(|(_, held)| useless(held));
        let (session, _) = ended.min_by_key(|(_, held)| held.expires)?;
        Some(PairingEvent::SessionForgotten { session: session.clone() })
    }

    /// Folds one event. Total: an event that does not fit changes nothing.
    pub(crate) fn evolve(&mut self, event: &PairingEvent) {
        self.change(event);
        self.due = self.first_deadline();
    }

    fn change(&mut self, event: &PairingEvent) {
        match event {
            PairingEvent::SessionOpened { session, method, target, expires, at } => {
                self.sessions.insert(
                    session.clone(),
                    PairingSession {
                        method: *method,
                        target: target.clone(),
                        opened: *at,
                        expires: *expires,
                        attempts: 0,
                        phase: PairingPhase::Offered,
                    },
                );
            }
            PairingEvent::ExchangeStarted { session, at } => {
                if at.mono >= self.window.plus(self.policy.get().rate_window_ms) {
                    self.window = at.mono;
                    self.started = 0;
                }
                self.started = self.started.saturating_add(1);
                if let Some(held) = self.sessions.get_mut(session) {
                    held.attempts = held.attempts.saturating_add(1);
                }
            }
            PairingEvent::ExchangeFailed { .. } => {}
            PairingEvent::PairingConfirmed { session, peer, transcript, at: _ } => {
                if let Some(held) = self.sessions.get_mut(session) {
                    held.phase = PairingPhase::Confirmed { peer: peer.clone(), transcript: *transcript };
                }
            }
            PairingEvent::PairingApproved { session, until } => {
                if let Some(held) = self.sessions.get_mut(session)
                    && let PairingPhase::Confirmed { peer, transcript } = &held.phase
                {
                    held.phase = PairingPhase::Approved { peer: peer.clone(), transcript: *transcript };
                    held.expires = *until;
                }
            }
            PairingEvent::CertificateIssued { session, fingerprint, certificate, tag, until } => {
                if let Some(held) = self.sessions.get_mut(session)
                    && let PairingPhase::Approved { peer, transcript } = &held.phase
                {
                    held.phase = PairingPhase::Issued {
                        peer: peer.clone(),
                        transcript: *transcript,
                        fingerprint: *fingerprint,
                        certificate: certificate.clone(),
                        tag: *tag,
                    };
                    held.expires = *until;
                }
            }
            PairingEvent::SessionEnded { session, end } => {
                if let Some(held) = self.sessions.get_mut(session) {
                    held.phase = PairingPhase::Ended(*end);
                }
            }
            PairingEvent::SessionForgotten { session } => {
                self.sessions.remove(session);
            }
            PairingEvent::EnrolmentOpened { order, standing, check, at } => {
                let key = EnrolmentKey { standing: standing.clone(), check: *check, opened: *at };
                self.enrolments.insert(order.clone(), key);
            }
            PairingEvent::EnrolmentRevoked { order } => {
                if let Some(key) = self.enrolments.get_mut(order) {
                    key.standing.revoke();
                }
            }
            PairingEvent::EnrolmentForgotten { order } => {
                self.enrolments.remove(order);
            }
            PairingEvent::DeviceEnrolled { order, session, peer, transcript, until, at } => {
                if let Some(key) = self.enrolments.get_mut(order) {
                    key.standing.charge();
                }
                let (order, device) = (order.clone(), peer.device.clone());
                self.sessions.insert(
                    session.clone(),
                    PairingSession {
                        method: PairingMethod::Enrolment,
                        target: PairingTarget::Enrolled { order, device },
                        opened: *at,
                        expires: *until,
                        attempts: 1,
                        phase: PairingPhase::Approved { peer: peer.clone(), transcript: *transcript },
                    },
                );
            }
        }
    }

    /// Whether recovery may fold `event` here.
    pub(crate) fn admits(&self, event: &PairingEvent) -> bool {
        let phase = |session| self.sessions.get(session).map(|held: &PairingSession| &held.phase);
        match event {
            PairingEvent::SessionOpened { session, .. } => {
                self.sessions.len() < self.policy.most_held() && phase(session).is_none()
            }
            PairingEvent::ExchangeStarted { session, .. } => self.sessions.get(session).is_some_and(|held| {
                held.phase == PairingPhase::Offered && held.attempts < self.attempts(held.method)
            }),
            PairingEvent::ExchangeFailed { session, .. } => phase(session) == Some(&PairingPhase::Offered),
            PairingEvent::PairingConfirmed { session, peer, .. } => {
                self.sessions.get(session).is_some_and(|held| {
                    held.phase == PairingPhase::Offered
                        && held.attempts > 0
                        && held.target.admits(&peer.device)
                })
            }
            PairingEvent::PairingApproved { session, .. } => {
                matches!(phase(session), Some(PairingPhase::Confirmed { .. }))
            }
            PairingEvent::CertificateIssued { session, .. } => {
                matches!(phase(session), Some(PairingPhase::Approved { .. }))
            }
            PairingEvent::SessionEnded { session, .. } => {
                self.sessions.get(session).is_some_and(|held| held.end().is_none())
            }
            PairingEvent::SessionForgotten { session } => {
                self.sessions.get(session).is_some_and(|held| held.end().is_some())
            }
            PairingEvent::EnrolmentOpened { order, .. } => {
                self.enrolments.len() < MAX_ORDERS && !self.enrolments.contains_key(order)
            }
            PairingEvent::EnrolmentRevoked { order } => {
                self.enrolments.get(order).is_some_and(|key| !key.standing.is_revoked())
            }
            PairingEvent::EnrolmentForgotten { order } => self.enrolments.contains_key(order),
            PairingEvent::DeviceEnrolled { order, session, peer, at, .. } => {
                let allowed = self
                    .enrolments
                    .get(order)
                    .is_some_and(|key| key.standing.allows(&peer.device, peer.kind, at.mono).is_ok());
                allowed && self.sessions.len() < self.policy.most_held() && phase(session).is_none()
            }
        }
    }

    /// The sessions as one value.
    pub(crate) fn snapshot(&self) -> PairingSnapshot {
        PairingSnapshot {
            version: VERSION,
            window: self.window,
            started: self.started,
            sessions: self.sessions.iter().map(|(id, held)| (id.clone(), held.clone())).collect(),
            enrolments: self.enrolments.iter().map(|(id, key)| (id.clone(), key.clone())).collect(),
        }
    }

    /// The sessions that `snapshot` was taken of.
    pub(crate) fn restore(snapshot: PairingSnapshot, policy: PairingPolicy) -> Result<Self, RestoreError> {
        let PairingSnapshot { version, window, started, sessions, enrolments } = snapshot;
        if version != VERSION {
            return Err(RestoreError::Version(version));
        }
        let count = sessions.len();
        let sessions: BTreeMap<_, _> = sessions.into_iter().collect();
        if count > policy.most_held() || sessions.len() != count {
            return Err(RestoreError::Pairing);
        }
        let keys = enrolments.len();
        let enrolments: BTreeMap<_, _> = enrolments.into_iter().collect();
        if keys > MAX_ORDERS || enrolments.len() != keys {
            return Err(RestoreError::Pairing);
        }
        let mut state = Self { policy, sessions, window, started, enrolments, due: None };
        state.due = state.first_deadline();
        Ok(state)
    }
}

fn ended(session: &SessionId, end: PairingEnd) -> PairingEvent {
    PairingEvent::SessionEnded { session: session.clone(), end }
}
