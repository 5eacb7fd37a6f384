//! The searches, by name. `small` are those of every change, `wide` those that take longer.

use crate::budget::{Act, Budget};

/// What an operator can do to a worker and its lease.
const ALL_ACTS: &[Act] = &[
    Act::Quarantine,
    Act::Release,
    Act::Drain,
    Act::Undrain,
    Act::Reverify,
    Act::Retire,
    Act::ForceCleanup,
    Act::RevokeRun,
    Act::QuarantineAll,
    Act::SetPolicy,
];

const DEVICES: &[Act] = &[Act::Rotate, Act::RevokeDevice];

const fn one() -> Budget {
    Budget::new(1, 1)
}

const fn two() -> Budget {
    Budget::new(2, 1)
}

/// Every search: its name, its set, its budget.
pub const ALL: &[(&str, &str, Budget)] = &[
    // One worker loses a lease, in every way, and owes for it; the run loses its last attempt.
    ("one_worker", "small", Budget { attempts: 2, evidence: 1, calls: 1, ticks: 2, ..one() }),
    ("two_attempts", "small", Budget { attempts: 2, ticks: 1, doubled: 1, ..one() }),
    ("operator", "small", Budget { evidence: 1, calls: 1, acts: 2, which: ALL_ACTS, ..one() }),
    ("rotation", "small", Budget { evidence: 1, ticks: 1, acts: 1, which: DEVICES, ..one() }),
    ("short_evidence", "small", Budget { evidence: 1, calls: 1, ticks: 2, short: true, ..one() }),
    ("restart", "small", Budget { evidence: 1, calls: 1, ticks: 1, restarts: 1, lost: 1, ..one() }),
    ("crash", "small", Budget { attempts: 2, ticks: 2, crashes: 1, ..one() }),
    ("unwritten", "small", Budget { attempts: 2, ticks: 1, crashes: 1, unwritten: 1, ..one() }),
    ("restore", "small", Budget { attempts: 2, evidence: 1, ticks: 2, restores: 1, ..one() }),
    (
        "restore_later",
        "small",
        Budget { attempts: 2, acts: 1, which: &[Act::RevokeRun], backups: 1, restores: 1, ..one() },
    ),
    ("gate", "small", Budget { ticks: 1, pings: 2, ..one() }),
    // Another worker takes the run over.
    ("two_workers", "small", Budget { attempts: 2, ticks: 3, ..two() }),
    ("two_workers_evidence", "wide", Budget { attempts: 2, evidence: 1, calls: 1, ticks: 3, ..two() }),
    ("two_workers_crash", "wide", Budget { attempts: 2, ticks: 2, crashes: 1, doubled: 1, ..two() }),
    ("two_workers_operator", "wide", Budget { attempts: 2, ticks: 2, acts: 1, which: ALL_ACTS, ..two() }),
    (
        "two_runs",
        "wide",
        Budget { attempts: 2, ticks: 2, acts: 1, which: &[Act::RevokeRun], ..Budget::new(2, 2) },
    ),
    (
        "rotation_renewal",
        "wide",
        Budget { evidence: 1, calls: 1, ticks: 2, acts: 1, which: DEVICES, ..one() },
    ),
    ("gate_revoked", "wide", Budget { ticks: 2, pings: 2, acts: 1, which: &[Act::RevokeRun], ..one() }),
    ("gate_crash", "wide", Budget { ticks: 2, pings: 3, crashes: 1, ..one() }),
];
