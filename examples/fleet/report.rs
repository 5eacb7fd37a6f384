//! What people see: progress while it runs, and the closing table.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    time::Instant,
};

use indicatif::{ProgressBar, ProgressStyle};
use leasehold::lease::Fence;
use serde::Serialize;

use crate::{
    Failure,
    escape::{self, shown},
    note::{Note, Outcome},
};

/// The most lines shown while it runs.
const MAX_SAID: u32 = 1000;
/// The most lines of the event log.
const MAX_LOGGED: u64 = 10_000_000;

/// Counts what happened and shows it.
pub struct Report {
    began: Instant,
    bar: ProgressBar,
    log: Option<BufWriter<File>>,
    said: u32,
    logged: u64,
    outcomes: BTreeMap<Outcome, u64>,
    leases: u64,
    again: u64,
    renewed: u64,
    killed: u64,
    joined: u64,
    policies: u64,
    kept: u64,
    fences: Option<(Fence, Fence)>,
    refusals: BTreeMap<String, u64>,
    egress_allowed: u64,
    egress_refused: BTreeMap<String, u64>,
    moved: (u64, u64),
    removed: u64,
    remaining: u64,
    to_start: Vec<u64>,
    to_end: Vec<u64>,
    ends: Vec<String>,
    hostile: Vec<String>,
}

/// A line of the event log.
#[derive(Serialize)]
struct Line<'a> {
    at_ms: u128,
    from: &'a str,
    #[serde(flatten)]
    note: &'a Note,
}

impl Report {
    /// A report on `jobs` jobs, with the event log at `events`.
    pub fn new(jobs: usize, events: Option<&Path>) -> Result<Self, Failure> {
        let log = match events {
            Some(path) => {
                let file = File::create(path)
                    .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
                Some(BufWriter::new(file))
            }
            None => None,
        };
        let bar = ProgressBar::new(jobs as u64);
        if let Ok(style) =
            ProgressStyle::with_template("{elapsed_precise} [{bar:32}] {pos}/{len} jobs  {msg}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        Ok(Self {
            began: Instant::now(),
            bar,
            log,
            said: 0,
            logged: 0,
            outcomes: BTreeMap::new(),
            leases: 0,
            again: 0,
            renewed: 0,
            killed: 0,
            joined: 0,
            policies: 0,
            kept: 0,
            fences: None,
            refusals: BTreeMap::new(),
            egress_allowed: 0,
            egress_refused: BTreeMap::new(),
            moved: (0, 0),
            removed: 0,
            remaining: 0,
            to_start: Vec::new(),
            to_end: Vec::new(),
            ends: Vec::new(),
            hostile: Vec::new(),
        })
    }

    /// A line for people, above the progress bar. A peer that is refused without end fills no screen.
    pub fn say(&mut self, text: &str) {
        self.said = self.said.saturating_add(1);
        let text = match self.said {
            1..MAX_SAID => shown(text),
            MAX_SAID => "more happened; from here on it is only counted".into(),
            _ => return,
        };
        if self.bar.is_hidden() {
            eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }

    /// Takes one note of the process `from` into account.
    pub fn note(&mut self, from: &str, note: &Note) -> Result<(), Failure> {
        self.logged = self.logged.saturating_add(1);
        if let Some(log) = self.log.as_mut().filter(|_| self.logged <= MAX_LOGGED) {
            let line = Line { at_ms: self.began.elapsed().as_millis(), from, note };
            log.write_all(&escape::line(&line)?)?;
        }
        match note {
            Note::Joined { .. } => self.joined += 1,
            Note::Policy { .. } => self.policies += 1,
            Note::Kept { .. } => self.kept += 1,
            Note::Leased { run, worker, attempt, fence, .. } => {
                self.leases += 1;
                self.again += u64::from(*attempt > 1);
                self.fences = Some(self.fences.map_or((*fence, *fence), |(first, _)| (first, *fence)));
                self.bar.set_message(format!("{run} on {worker}"));
                if *attempt > 1 {
                    self.say(&format!("{run} is leased again: attempt {attempt} on {worker}, fence {fence}"));
                }
            }
            Note::Renewed { .. } => self.renewed += 1,
            Note::LeaseEnded { run, fence, how, .. } if how != "completed" => {
                self.say(&format!("{run} lost its lease {fence}: {how}"));
            }
            Note::Ended { run, outcome, reason, attempts, started_ms, ended_ms } => {
                *self.outcomes.entry(*outcome).or_default() += 1;
                self.to_start.extend(started_ms);
                self.to_end.push(*ended_ms);
                self.bar.inc(1);
                if *outcome != Outcome::Done {
                    let line =
                        format!("{run}: {} after {attempts} attempts: {}", outcome.name(), shown(reason));
                    self.ends.push(line);
                }
            }
            Note::Refused { peer, act, code, message } => {
                *self.refusals.entry(code.clone()).or_default() += 1;
                self.say(&format!("refused {peer}: {act}: {code}: {message}"));
            }
            // A device that connects anew replaces its own connection; every other code is a peer's fault.
            Note::Closed { peer, code } if code != "connection.replaced" => {
                *self.refusals.entry(code.clone()).or_default() += 1;
                self.say(&format!("closed the connection of {peer}: {code}"));
            }
            Note::Egress { allowed: true, .. } => self.egress_allowed += 1,
            Note::Egress { code, .. } => *self.egress_refused.entry(code.clone()).or_default() += 1,
            Note::Moved { sent, received, .. } => {
                self.moved = (self.moved.0 + sent, self.moved.1 + received);
            }
            Note::Cleaned { removed, remaining, .. } => {
                self.removed += u64::from(*removed);
                self.remaining += u64::from(*remaining);
            }
            Note::Killed { process, why } => {
                self.killed += 1;
                self.say(&format!("{process} killed: {why}"));
            }
            Note::Hostile { peer, attempt, refused, code } => {
                let verdict = if *refused { "refused" } else { "NOT REFUSED" };
                let line = format!("{peer}: {attempt}: {verdict}, {code}");
                self.say(&line);
                self.hostile.push(shown(&line));
            }
            Note::Fault { message } => self.say(&format!("FAULT in {from}: {message}")),
            Note::Said { text } => self.say(&format!("{from}: {text}")),
            _ => {}
        }
        Ok(())
    }

    /// The closing table.
    pub fn close(mut self, jobs: usize, broken: &[String]) -> Result<String, Failure> {
        self.bar.finish_and_clear();
        if let Some(log) = &mut self.log {
            log.flush()?;
        }
        let mut table = Table::default();
        let ended: u64 = self.outcomes.values().sum();
        table.row("jobs", format!("{jobs}, {ended} terminal records"));
        for (outcome, count) in &self.outcomes {
            table.row("", format!("{} {count}", outcome.name()));
        }
        self.ends.iter().for_each(|line| table.row("", line.clone()));
        table.row("runs leased", format!("{}, of these again {}", self.leases, self.again));
        table.row("renewals", self.renewed.to_string());
        let fences = self.fences.map_or("none".into(), |(first, last)| format!("{first} to {last}"));
        table.row("fences", fences);
        table.row("workers", format!("joined {}, killed {}", self.joined, self.killed));
        table.row("policy changes", format!("{}, evidence kept {} times", self.policies, self.kept));
        table.row("scratch", format!("{} entries removed, {} left", self.removed, self.remaining));
        table.codes("refusals", &self.refusals);
        table.row("egress allowed", self.egress_allowed.to_string());
        table.codes("egress refused", &self.egress_refused);
        table.row("egress bytes", format!("{} out, {} in", self.moved.0, self.moved.1));
        table.row("submit to start", percentiles(&mut self.to_start));
        table.row("submit to done", percentiles(&mut self.to_end));
        if self.hostile.is_empty() {
            table.row("hostile peers", "none came".into());
        }
        self.hostile.iter().for_each(|line| table.row("hostile peer", line.clone()));
        if broken.is_empty() {
            table.row("invariants", "all held".into());
        }
        broken.iter().for_each(|line| table.row("BROKEN", shown(line)));
        table.row("time", format!("{:.1} s", self.began.elapsed().as_secs_f64()));
        Ok(table.0)
    }
}

/// Two columns.
#[derive(Default)]
struct Table(String);

impl Table {
    fn row(&mut self, name: &str, value: String) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{name:<17}{value}");
    }

    fn codes(&mut self, name: &str, counts: &BTreeMap<String, u64>) {
        self.row(name, counts.values().sum::<u64>().to_string());
        counts.iter().for_each(|(code, count)| self.row("", format!("{} {count}", shown(code))));
    }
}

/// The nearest-rank percentiles of `times`, which get sorted.
fn percentiles(times: &mut [u64]) -> String {
    times.sort_unstable();
    let at = |percent: usize| {
        let rank = (times.len() * percent).div_ceil(100);
        times.get(rank.saturating_sub(1)).map_or("-".to_owned(), |time| format!("{time} ms"))
    };
    format!("p50 {}, p99 {}", at(50), at(99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        assert_eq!(percentiles(&mut (1..=100).rev().collect::<Vec<_>>()), "p50 50 ms, p99 99 ms");
        assert_eq!(percentiles(&mut [7]), "p50 7 ms, p99 7 ms");
        assert_eq!(percentiles(&mut []), "p50 -, p99 -");
    }
}
