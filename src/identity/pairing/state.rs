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
    id::SessionId,
    identity::RestoreError,
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
}

/// All pairing sessions: bounded, replayable, without a code or a key in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingState {
    policy: PairingPolicy,
    sessions: BTreeMap<SessionId, PairingSession>,
    /// Where the present window of the global start rate began, and how many exchanges started in it.
    window: Mono,
    started: u32,
    /// When the first session has to be looked at. Follows from the sessions; kept, because it is asked for often.
    due: Option<Mono>,
}

/// The stored form of the sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PairingSnapshot {
    version: u16,
    window: Mono,
    started: u32,
    sessions: Vec<(SessionId, PairingSession)>,
}

const VERSION: u16 = 1;

impl PairingState {
    /// No sessions.
    pub fn new(policy: PairingPolicy) -> Self {
        Self { policy, sessions: BTreeMap::new(), window: Mono::START, started: 0, due: None }
    }

    /// The policy.
    pub const fn policy(&self) -> &PairingPolicy {
        &self.policy
    }

    /// A session, open, ended or remembered.
    pub fn get(&self, session: &SessionId) -> Option<&PairingSession> {
        self.sessions.get(session)
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
        let fits = u32::try_from(self.sessions.len()).is_ok_and(|len| len <= policy.get().max_sessions);
        if fits { Ok(()) } else { Err("pairing.max_sessions") }
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
        self.sessions.values().map(deadline).min()
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
                let mut events = self.forgettable(now, 16);
                let left = self.sessions.len().saturating_sub(events.len());
                if u32::try_from(left).unwrap_or(u32::MAX) >= policy.max_sessions {
                    return Err(PairingError::Sessions);
                }
                if self.sessions.contains_key(session) {
                    return Err(PairingError::Conflict);
                }
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
            PairingCommand::Sweep { limit } => {
                let mut events = self.forgettable(now, *limit);
                let room = limit.saturating_sub(events.len());
                let due = |session: &PairingSession| session.end().is_none() && now.mono >= session.expires;
                let expired = self.sessions.iter().filter(|(_, session)| due(session)).take(room);
                events.extend(expired.map(|(id, _)| ended(id, PairingEnd::Expired)));
                events
            }
        })
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
        }
    }

    /// Whether recovery may fold `event` here.
    pub(crate) fn admits(&self, event: &PairingEvent) -> bool {
        let phase = |session| self.sessions.get(session).map(|held: &PairingSession| &held.phase);
        match event {
            PairingEvent::SessionOpened { session, .. } => {
                let room =
                    u32::try_from(self.sessions.len()).is_ok_and(|len| len < self.policy.get().max_sessions);
                room && phase(session).is_none()
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
        }
    }

    /// The sessions as one value.
    pub(crate) fn snapshot(&self) -> PairingSnapshot {
        PairingSnapshot {
            version: VERSION,
            window: self.window,
            started: self.started,
            sessions: self.sessions.iter().map(|(id, held)| (id.clone(), held.clone())).collect(),
        }
    }

    /// The sessions that `snapshot` was taken of.
    pub(crate) fn restore(snapshot: PairingSnapshot, policy: PairingPolicy) -> Result<Self, RestoreError> {
        let PairingSnapshot { version, window, started, sessions } = snapshot;
        if version != VERSION {
            return Err(RestoreError::Version(version));
        }
        let count = sessions.len();
        let sessions: BTreeMap<_, _> = sessions.into_iter().collect();
        let fits = u32::try_from(count).is_ok_and(|count| count <= policy.get().max_sessions);
        if !fits || sessions.len() != count {
            return Err(RestoreError::Pairing);
        }
        let mut state = Self { policy, sessions, window, started, due: None };
        state.due = state.first_deadline();
        Ok(state)
    }
}

fn ended(session: &SessionId, end: PairingEnd) -> PairingEvent {
    PairingEvent::SessionEnded { session: session.clone(), end }
}
