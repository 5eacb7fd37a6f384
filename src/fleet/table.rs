//! The transition table: which act is possible in which condition, and where it may lead. The checks in
//! `decide`, the diagram in the documentation, and the test that visits every pair all use it.

use alloc::string::String;
use core::fmt::Write as _;

use super::condition::ActivityKind::{self, *};
use crate::code::{self, Code};

/// An act on one worker: an operation, or a deadline that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Act {
    /// Evidence is accepted.
    Attest,
    /// A heartbeat is noted.
    Heartbeat,
    /// A lease is granted.
    Acquire,
    /// The run starts.
    Start,
    /// The lease is renewed.
    Renew,
    /// The run is reported as ended.
    Complete,
    /// Cleanup is reported.
    ReportCleanup,
    /// The worker acknowledges a revocation.
    AcknowledgeRevocation,
    /// The lease is revoked.
    Revoke,
    /// The worker is quarantined.
    Quarantine,
    /// An operator gives the release that the quarantine owes.
    Release,
    /// The worker gets no new lease.
    Drain,
    /// The worker gets leases again.
    Undrain,
    /// Fresh evidence is demanded.
    Reverify,
    /// An operator vouches for the cleanup.
    ForceCleanup,
    /// The worker is retired.
    Retire,
    /// The lease expires, or is not started or acknowledged in time.
    LeaseDeadline,
    /// An idle worker is not heard in time.
    SilenceDeadline,
    /// The evidence is no longer in force: it has ended, or does not pass under another policy.
    EvidenceDeadline,
}

impl Act {
    /// Every act, in the order of the table.
    pub const ALL: [Self; 19] = [
        Self::Attest,
        Self::Heartbeat,
        Self::Acquire,
        Self::Start,
        Self::Renew,
        Self::Complete,
        Self::ReportCleanup,
        Self::AcknowledgeRevocation,
        Self::Revoke,
        Self::Quarantine,
        Self::Release,
        Self::Drain,
        Self::Undrain,
        Self::Reverify,
        Self::ForceCleanup,
        Self::Retire,
        Self::LeaseDeadline,
        Self::SilenceDeadline,
        Self::EvidenceDeadline,
    ];

    /// The act's name in tables and diagrams.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attest => "attest",
            Self::Heartbeat => "heartbeat",
            Self::Acquire => "acquire",
            Self::Start => "start",
            Self::Renew => "renew",
            Self::Complete => "complete",
            Self::ReportCleanup => "report_cleanup",
            Self::AcknowledgeRevocation => "acknowledge_revocation",
            Self::Revoke => "revoke",
            Self::Quarantine => "quarantine",
            Self::Release => "release",
            Self::Drain => "drain",
            Self::Undrain => "undrain",
            Self::Reverify => "reverify",
            Self::ForceCleanup => "force_cleanup",
            Self::Retire => "retire",
            Self::LeaseDeadline => "lease_deadline",
            Self::SilenceDeadline => "silence_deadline",
            Self::EvidenceDeadline => "evidence_deadline",
        }
    }
}

/// The condition of a row on one of the two other axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Any,
    Must,
    MustNot,
}

impl Gate {
    const fn admits(self, value: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Must => value,
            Self::MustNot => !value,
        }
    }
}

/// A row: in any activity of `from`, if both conditions hold, `act` is possible and leads to one of `to`.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) act: Act,
    pub(crate) from: &'static [ActivityKind],
    pub(crate) quarantined: Gate,
    pub(crate) draining: Gate,
    pub(crate) to: &'static [ActivityKind],
}

const fn row(act: Act, from: &'static [ActivityKind], to: &'static [ActivityKind]) -> Row {
    Row { act, from, quarantined: Gate::Any, draining: Gate::Any, to }
}

impl Row {
    const fn quarantined(mut self, gate: Gate) -> Self {
        self.quarantined = gate;
        self
    }

    const fn draining(mut self, gate: Gate) -> Self {
        self.draining = gate;
        self
    }
}

/// The table.
pub(crate) const TABLE: &[Row] = &[
    row(Act::Attest, &[Registered, Offline], &[Registered]),
    row(Act::Attest, &[Available], &[Available, Registered]),
    row(Act::Attest, &[Assigned], &[Assigned, Orphaned]),
    row(Act::Attest, &[Running], &[Running, Orphaned]),
    row(Act::Attest, &[CleaningUp], &[CleaningUp, Orphaned]),
    row(Act::Attest, &[Revoking], &[Revoking, Orphaned]),
    row(Act::Attest, &[Orphaned], &[Orphaned, Registered]),
    row(Act::Heartbeat, &[Registered], &[Registered, Available]),
    row(Act::Heartbeat, &[Available], &[Available]),
    row(Act::Heartbeat, &[Assigned], &[Assigned]),
    row(Act::Heartbeat, &[Running], &[Running]),
    row(Act::Heartbeat, &[CleaningUp], &[CleaningUp]),
    row(Act::Heartbeat, &[Revoking], &[Revoking]),
    row(Act::Heartbeat, &[Offline], &[Available, Registered]),
    row(Act::Heartbeat, &[Orphaned], &[Orphaned]),
    row(Act::Acquire, &[Available], &[Assigned]).quarantined(Gate::MustNot).draining(Gate::MustNot),
    row(Act::Start, &[Assigned], &[Running]).quarantined(Gate::MustNot),
    row(Act::Renew, &[Assigned], &[Assigned]).quarantined(Gate::MustNot),
    row(Act::Renew, &[Running], &[Running]).quarantined(Gate::MustNot),
    row(Act::Complete, &[Running], &[Available, Registered, CleaningUp, Orphaned]).quarantined(Gate::MustNot),
    row(Act::ReportCleanup, &[CleaningUp], &[Available, Registered, Orphaned]),
    row(Act::ReportCleanup, &[Orphaned], &[Orphaned, Registered]),
    row(Act::AcknowledgeRevocation, &[Revoking], &[Available, Registered, Orphaned]),
    row(Act::Revoke, &[Assigned, Running], &[Revoking]),
    row(Act::Quarantine, &[Assigned, Running], &[Revoking]),
    row(Act::Quarantine, &[Registered], &[Registered]),
    row(Act::Quarantine, &[Available], &[Available]),
    row(Act::Quarantine, &[CleaningUp], &[CleaningUp]),
    row(Act::Quarantine, &[Revoking], &[Revoking]),
    row(Act::Quarantine, &[Offline], &[Offline]),
    row(Act::Quarantine, &[Orphaned], &[Orphaned]),
    row(Act::Release, &[Registered], &[Registered]).quarantined(Gate::Must),
    row(Act::Release, &[Available], &[Available]).quarantined(Gate::Must),
    row(Act::Release, &[Assigned], &[Assigned]).quarantined(Gate::Must),
    row(Act::Release, &[Running], &[Running]).quarantined(Gate::Must),
    row(Act::Release, &[CleaningUp], &[CleaningUp]).quarantined(Gate::Must),
    row(Act::Release, &[Revoking], &[Revoking]).quarantined(Gate::Must),
    row(Act::Release, &[Offline], &[Offline]).quarantined(Gate::Must),
    row(Act::Release, &[Orphaned], &[Orphaned]).quarantined(Gate::Must),
    row(Act::Drain, &[Registered], &[Registered]).draining(Gate::MustNot),
    row(Act::Drain, &[Available], &[Available]).draining(Gate::MustNot),
    row(Act::Drain, &[Assigned], &[Assigned]).draining(Gate::MustNot),
    row(Act::Drain, &[Running], &[Running]).draining(Gate::MustNot),
    row(Act::Drain, &[CleaningUp], &[CleaningUp]).draining(Gate::MustNot),
    row(Act::Drain, &[Revoking], &[Revoking]).draining(Gate::MustNot),
    row(Act::Drain, &[Offline], &[Offline]).draining(Gate::MustNot),
    row(Act::Drain, &[Orphaned], &[Orphaned]).draining(Gate::MustNot),
    row(Act::Undrain, &[Registered], &[Registered]).draining(Gate::Must),
    row(Act::Undrain, &[Available], &[Available]).draining(Gate::Must),
    row(Act::Undrain, &[Assigned], &[Assigned]).draining(Gate::Must),
    row(Act::Undrain, &[Running], &[Running]).draining(Gate::Must),
    row(Act::Undrain, &[CleaningUp], &[CleaningUp]).draining(Gate::Must),
    row(Act::Undrain, &[Revoking], &[Revoking]).draining(Gate::Must),
    row(Act::Undrain, &[Offline], &[Offline]).draining(Gate::Must),
    row(Act::Undrain, &[Orphaned], &[Orphaned]).draining(Gate::Must),
    row(Act::Reverify, &[Registered, Available], &[Registered]),
    row(Act::Reverify, &[Assigned], &[Assigned]),
    row(Act::Reverify, &[Running], &[Running]),
    row(Act::Reverify, &[CleaningUp], &[CleaningUp]),
    row(Act::Reverify, &[Revoking], &[Revoking]),
    row(Act::Reverify, &[Offline], &[Offline]),
    row(Act::Reverify, &[Orphaned], &[Orphaned]),
    row(Act::ForceCleanup, &[Orphaned], &[Orphaned, Registered]),
    row(Act::Retire, &[Registered, Available, Offline, Orphaned], &[Retired]),
    row(Act::LeaseDeadline, &[Assigned, Running, CleaningUp, Revoking], &[Orphaned]),
    row(Act::SilenceDeadline, &[Available], &[Offline]),
    row(Act::EvidenceDeadline, &[Available], &[Registered]),
    row(Act::EvidenceDeadline, &[Assigned, Running], &[Revoking]),
];

/// The row of each act and activity. A pair has at most one row.
const ROWS: [[Option<&Row>; ActivityKind::ALL.len()]; Act::ALL.len()] = rows();

#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, where being out of bounds does not compile"
)]
const fn rows() -> [[Option<&'static Row>; ActivityKind::ALL.len()]; Act::ALL.len()] {
    let mut rows = [[None; ActivityKind::ALL.len()]; Act::ALL.len()];
    let mut at = 0;
    while at < TABLE.len() {
        let row = &TABLE[at];
        let mut kind = 0;
        while kind < row.from.len() {
            let place = &mut rows[row.act as usize][row.from[kind] as usize];
            assert!(place.is_none(), "an act and an activity have one row");
            *place = Some(row);
            kind += 1;
        }
        at += 1;
    }
    rows
}

/// Where `act` may lead in this condition.
///
/// ```
/// use leasehold::{code, fleet::{Act, ActivityKind, admitted}};
/// // Invariant 5: whatever else a quarantined worker does, it gets no lease.
/// let refused = admitted(Act::Acquire, ActivityKind::Available, true, false);
/// assert_eq!(refused, Err(code::WORKER_QUARANTINED));
/// ```
///
/// # Errors
/// The code of the refusal, if the table does not allow the act.
pub fn admitted(
    act: Act,
    activity: ActivityKind,
    quarantined: bool,
    draining: bool,
) -> Result<&'static [ActivityKind], Code> {
    let Some(row) = ROWS.get(act as usize).and_then(|rows| *rows.get(activity as usize)?) else {
        return Err(refusal(act, activity, quarantined));
    };
    if !row.quarantined.admits(quarantined) {
        return Err(if quarantined { code::WORKER_QUARANTINED } else { code::WORKER_NOT_QUARANTINED });
    }
    if !row.draining.admits(draining) {
        return Err(if draining { code::WORKER_DRAINING } else { code::WORKER_NOT_DRAINING });
    }
    Ok(row.to)
}

/// Whether `act` is possible in `activity` for some values of the other axes.
pub(crate) fn is_open(act: Act, activity: ActivityKind) -> bool {
    ROWS.get(act as usize).is_some_and(|rows| matches!(rows.get(activity as usize), Some(Some(_))))
}

/// The code for an act without a row in `activity`: the reason that tells the caller most.
const fn refusal(act: Act, activity: ActivityKind, quarantined: bool) -> Code {
    use Act::{AcknowledgeRevocation, Acquire, Complete, ForceCleanup, Renew, ReportCleanup, Revoke, Start};
    match (act, activity) {
        (_, Retired) => code::WORKER_RETIRED,
        (Acquire, _) if quarantined => code::WORKER_QUARANTINED,
        (Acquire, Registered) => code::WORKER_NOT_AVAILABLE,
        (Acquire, Offline) => code::WORKER_OFFLINE,
        (Acquire, Orphaned) => code::WORKER_ORPHANED,
        (Act::Retire | Acquire, _) => code::WORKER_BUSY,
        (ForceCleanup, _) => code::LEASE_NOT_CLEANING_UP,
        (Start, Running) => code::LEASE_ALREADY_STARTED,
        (Complete, Assigned) => code::LEASE_NOT_STARTED,
        (Start | Renew | Complete | Revoke, CleaningUp) => code::LEASE_CLEANING_UP,
        (Start | Renew | Complete | Revoke | ReportCleanup, Revoking) => code::LEASE_REVOKED,
        (ReportCleanup, Assigned | Running) => code::LEASE_NOT_CLEANING_UP,
        (AcknowledgeRevocation, Assigned | Running | CleaningUp) => code::LEASE_NOT_REVOKED,
        _ => code::LEASE_NONE,
    }
}

/// The whole table as text: a line for each condition and act, with where the act may lead or why it is
/// refused.
///
/// A test compares the committed copy with this text, so that a change of behaviour is visible in a diff.
pub fn render_table() -> String {
    let mut text = String::new();
    for activity in ActivityKind::ALL {
        for (quarantined, draining) in [(false, false), (true, false), (false, true), (true, true)] {
            let _ = write!(text, "{}", activity.name());
            let _ = write!(text, "{}", if quarantined { " +quarantined" } else { "" });
            let _ = writeln!(text, "{}", if draining { " +draining" } else { "" });
            for act in Act::ALL {
                let _ = write!(text, "  {:<24}", act.name());
                match admitted(act, activity, quarantined, draining) {
                    Ok(to) => {
                        let _ = write!(text, "->");
                        for kind in to {
                            let _ = write!(text, " {}", kind.name());
                        }
                        let _ = writeln!(text);
                    }
                    Err(code) => {
                        let _ = writeln!(text, "   {code}");
                    }
                }
            }
        }
    }
    text
}

/// What a worker does, as a Mermaid state diagram made from the table. Acts that do not change the activity
/// are left out.
pub fn render_diagram() -> String {
    let mut text = String::from("```mermaid\nstateDiagram-v2\n    [*] --> registered: attest\n");
    for from in ActivityKind::ALL {
        for to in ActivityKind::ALL {
            if from == to {
                continue;
            }
            let mut label = String::new();
            for row in TABLE.iter().filter(|row| row.from.contains(&from) && row.to.contains(&to)) {
                let _ = write!(label, "{}{}", if label.is_empty() { "" } else { ", " }, row.act.name());
            }
            if !label.is_empty() {
                let _ = writeln!(text, "    {} --> {}: {label}", from.name(), to.name());
            }
        }
    }
    text.push_str("    retired --> [*]\n```\n");
    text
}
