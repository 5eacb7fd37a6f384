//! A drill: the coordinator is killed at random moments, again and again, while everybody else works on.
//!
//! Meanwhile an operator quarantines a worker and revokes a device, once each; after every start the service tries to
//! spend a grant again, and the revoked device tries to come in.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use leasehold::{
    code,
    id::{DeviceId, GrantId, WorkerId},
};

use super::{
    Supervisor,
    witness::{Look, Witness},
};
use crate::{
    Failure,
    chaos::Dice,
    child::Order,
    hostile,
    jobs::{Job, JobFile},
    process_log::LogEntry,
};

/// What a drill still wants, and what it has seen.
pub(super) struct Drill {
    kills: u32,
    done: u32,
    next: Instant,
    dice: Dice,
    witness: Witness,
    /// How often the coordinator was started.
    starts: u32,
    listens: bool,
    /// A grant that was spent.
    spent: Option<GrantId>,
    quarantine: Option<WorkerId>,
    quarantined: bool,
    revoke: Option<DeviceId>,
    revoked: bool,
    in_append: u32,
    in_draft: u32,
    in_truncation: u32,
    before_listening: u32,
    spent_refused: u32,
    revoked_refused: u32,
    snapshots: u32,
}

/// Short jobs, enough for so many kills, and long ones that live through many of them.
pub(super) fn jobs(kills: u32) -> Result<JobFile, Failure> {
    let mut jobs = Vec::new();
    let long = (u64::from(kills) * 500).clamp(2_000, 55_000);
    for (id, ms) in [("long-1", long), ("long-2", long / 2), ("long-3", long / 3)] {
        jobs.push(serde_json::json!({ "id": id, "do": { "sleep": { "ms": ms } } }));
    }
    for at in 0..kills * 8 {
        let work = match at % 4 {
            0 => serde_json::json!({ "transform": { "with": "upper", "text": format!("job {at}") } }),
            1 => serde_json::json!({ "transform": { "with": "sort_lines", "text": "b\na\n" } }),
            _ => serde_json::json!({ "sleep": { "ms": 20 + at % 7 * 40 } }),
        };
        jobs.push(serde_json::json!({ "id": format!("short-{at}"), "do": work }));
    }
    let jobs = jobs.into_iter().map(serde_json::from_value::<Job>).collect::<Result<_, _>>()?;
    Ok(JobFile { jobs, bad: Vec::new() })
}

impl Drill {
    pub(super) fn new(
        kills: u32,
        seed: u64,
        directory: &std::path::Path,
        quarantine: Option<WorkerId>,
        revoke: Option<DeviceId>,
    ) -> Self {
        Self {
            kills,
            done: 0,
            next: Instant::now(),
            dice: Dice::new(seed),
            witness: Witness::new(directory),
            starts: 1,
            listens: false,
            spent: None,
            quarantine,
            quarantined: false,
            revoke,
            revoked: false,
            in_append: 0,
            in_draft: 0,
            in_truncation: 0,
            before_listening: 0,
            spent_refused: 0,
            revoked_refused: 0,
            snapshots: 0,
        }
    }

    /// Whether all kills were made.
    pub(super) const fn is_over(&self) -> bool {
        self.done >= self.kills
    }

    pub(super) const fn starts(&self) -> u32 {
        self.starts
    }

    /// Takes note of what somebody was told. True: the journal will say the same, and counts.
    pub(super) fn hear(&mut self, from: &str, entry: &LogEntry) -> bool {
        match entry {
            LogEntry::Leased { grant, .. } => self.spent = Some(grant.clone()),
            LogEntry::Snapshot { .. } => self.snapshots += 1,
            LogEntry::Obeyed { order: Order::SpendAgain(_), code: Some(code) } => {
                self.spent_refused += u32::from(code == code::GRANT_SPENT.as_str());
            }
            LogEntry::Obeyed { order: Order::Quarantine(_), code: None } => self.quarantined = true,
            LogEntry::Obeyed { order: Order::Revoke(_), code: None } => self.revoked = true,
            LogEntry::Refused { code, .. } | LogEntry::Closed { code, .. } => {
                self.revoked_refused += u32::from(code.contains("revoked"));
            }
            _ => {}
        }
        self.witness.hear(from, entry)
    }

    /// Rows for the closing table.
    pub(super) fn rows(&self) -> String {
        let mut rows = String::new();
        let row = |rows: &mut String, name: &str, text: String| {
            let _ = writeln!(rows, "{name:<17}{text}");
        };
        row(
            &mut rows,
            "coordinator",
            format!(
                "killed {}: {} in an append, {} in a snapshot or a new part, {} in a truncation, {} before it listened",
                self.done, self.in_append, self.in_draft, self.in_truncation, self.before_listening
            ),
        );
        row(
            &mut rows,
            "still refused",
            format!("spent grants {}, the revoked device {}", self.spent_refused, self.revoked_refused),
        );
        row(&mut rows, "snapshots", self.snapshots.to_string());
        rows
    }
}

impl Supervisor {
    /// The coordinator listens again: those who must be refused try their luck, and operators act when it is time.
    pub(super) fn listens_again(&mut self) -> Result<(), Failure> {
        let Some(drill) = &mut self.drill else { return Ok(()) };
        drill.listens = true;
        let early = drill.done * 5 >= drill.kills;
        let mut orders: Vec<Order> = drill.spent.iter().cloned().map(Order::SpendAgain).collect();
        if early && !drill.quarantined {
            orders.extend(drill.quarantine.iter().cloned().map(Order::Quarantine));
        }
        if early && !drill.revoked {
            orders.extend(drill.revoke.iter().cloned().map(Order::Revoke));
        }
        let probe = drill.revoked;
        if let Some(coordinator) = &mut self.coordinator {
            orders.iter().for_each(|order| coordinator.order(order));
        }
        if let Some(boot) = self.intruder.as_ref().map(|intruder| intruder.boot.clone()).filter(|_| probe) {
            self.hostile("revoked", move |tell| hostile::revoked(&boot, tell));
        }
        Ok(())
    }

    /// Kills the coordinator when it is time, looks at what it left, and starts it again.
    pub(super) fn drill(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let Some(drill) = self.drill.as_mut().filter(|drill| !drill.is_over() && now >= drill.next) else {
            return Ok(());
        };
        if drill.spent.is_none() {
            // The first one lives until there is something to lose.
            drill.next = now + Duration::from_millis(100);
            return Ok(());
        }
        drill.done += 1;
        drill.starts += 1;
        drill.before_listening += u32::from(!drill.listens);
        drill.listens = false;
        // Often soon, now and then late.
        let (most, pause) = (1 + drill.dice.below(900), drill.dice.roll());
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.kill();
        }
        self.look()?;
        self.begin()?;
        if let Some(drill) = &mut self.drill {
            drill.next = Instant::now() + Duration::from_millis(10 + pause % most);
        }
        Ok(())
    }

    /// Lets the witness look, and counts what the journal says.
    pub(super) fn look(&mut self) -> Result<(), Failure> {
        let Some(drill) = &mut self.drill else { return Ok(()) };
        let Look { entries, broken, middle } = drill.witness.look()?;
        drill.in_append += u32::from(middle.append);
        drill.in_draft += u32::from(middle.draft);
        drill.in_truncation += u32::from(middle.truncation);
        for entry in entries {
            self.audit.record(&entry);
            self.report.record("journal", &entry)?;
        }
        for message in broken {
            self.fault(message)?;
        }
        Ok(())
    }
}
