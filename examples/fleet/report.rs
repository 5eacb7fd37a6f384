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

use crate::{
    Failure,
    escape::{self, shown},
    process_log::{LogEntry, Outcome},
    timeline::{self, Timeline, log::Written},
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
    /// The page that is written at the end, where one is wanted.
    page: Option<(File, Timeline)>,
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

impl Report {
    /// A report on `jobs` jobs, with the event log at `events` and the page at `page`.
    pub fn new(jobs: usize, events: Option<&Path>, page: Option<&Path>) -> Result<Self, Failure> {
        let create = |path: &Path| {
            File::create(path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
        };
        let log = events.map(create).transpose()?.map(BufWriter::new);
        let page = page.map(create).transpose()?.map(|file| (file, Timeline::default()));
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
            page,
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
    pub fn record(&mut self, from: &str, entry: &LogEntry) -> Result<(), Failure> {
        self.logged = self.logged.saturating_add(1);
        let at_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(log) = self.log.as_mut().filter(|_| self.logged <= MAX_LOGGED) {
            log.write_all(&escape::line(&Written { at_ms, from, entry })?)?;
        }
        if let Some((_, timeline)) = &mut self.page {
            timeline.record(at_ms, from, entry);
        }
        match entry {
            LogEntry::Joined { .. } => self.joined += 1,
            LogEntry::Policy { .. } => self.policies += 1,
            LogEntry::Kept { .. } => self.kept += 1,
            LogEntry::Leased { run, worker, attempt, fence, .. } => {
                self.leases += 1;
                self.again += u64::from(*attempt > 1);
                self.fences = Some(self.fences.map_or((*fence, *fence), |(first, _)| (first, *fence)));
                self.bar.set_message(format!("{run} on {worker}"));
                if *attempt > 1 {
                    self.say(&format!("{run} is leased again: attempt {attempt} on {worker}, fence {fence}"));
                }
            }
            LogEntry::Renewed { .. } => self.renewed += 1,
            LogEntry::LeaseEnded { run, fence, how, .. } if how != "completed" => {
                self.say(&format!("{run} lost its lease {fence}: {how}"));
            }
            LogEntry::Ended { run, outcome, reason, attempts, started_ms, ended_ms } => {
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
            LogEntry::Refused { peer, act, code, message } => {
                *self.refusals.entry(code.clone()).or_default() += 1;
                self.say(&format!("refused {peer}: {act}: {code}: {message}"));
            }
            // A device that connects anew replaces its own connection; every other code is a peer's fault.
            LogEntry::Closed { peer, code } if code != "connection.replaced" => {
                *self.refusals.entry(code.clone()).or_default() += 1;
                self.say(&format!("closed the connection of {peer}: {code}"));
            }
            LogEntry::Egress { allowed: true, .. } => self.egress_allowed += 1,
            LogEntry::Egress { code, .. } => *self.egress_refused.entry(code.clone()).or_default() += 1,
            LogEntry::Moved { sent, received, .. } => {
                self.moved = (self.moved.0 + sent, self.moved.1 + received);
            }
            LogEntry::Cleaned { removed, remaining, .. } => {
                self.removed += u64::from(*removed);
                self.remaining += u64::from(*remaining);
            }
            LogEntry::Killed { process, why } => {
                self.killed += 1;
                self.say(&format!("{process} killed: {why}"));
            }
            LogEntry::Hostile { peer, attempt, refused, code } => {
                let verdict = if *refused { "refused" } else { "NOT REFUSED" };
                let line = format!("{peer}: {attempt}: {verdict}, {code}");
                self.say(&line);
                self.hostile.push(shown(&line));
            }
            LogEntry::Waiting { why } => self.say(&format!("waiting because {why}")),
            LogEntry::Fault { message } => self.say(&format!("FAULT in {from}: {message}")),
            LogEntry::Said { text } => self.say(&format!("{from}: {text}")),
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
        if let Some((file, timeline)) = &mut self.page {
            file.write_all(timeline::page(timeline, "A run of the fleet", Some(broken)).as_bytes())?;
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
