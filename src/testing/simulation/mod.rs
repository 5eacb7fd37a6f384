//! A fleet in one thread and virtual time, in which everything goes wrong that can, from a seed.
//!
//! A [`Simulation`] has the real parts: a [`Coordinator`](crate::coordinator::Coordinator) over a
//! [`FileJournal`](crate::shell::FileJournal) on a disk in memory, an [`Agent`](crate::agent::Agent) for each worker, a
//! [`Gate`](crate::gate::Gate) for each enforcement point, and bytes between them. Beside them it has a service that wants
//! runs done, operators, and workers whose word is worth nothing. While it [runs](Simulation::run)
//!
//! * connections are slow, stand still, and are cut in the middle of a write, and their ends learn of that at different times;
//! * clocks run fast and slow within the policy's budget, and wall clocks jump;
//! * the coordinator's process dies and stands still; of a record that was being written any prefix is left, and others are
//!   tried on copies of the disk; writes fail; snapshots replace the journal;
//! * workers and enforcement points die; jobs fail, lie, and go on after they were told to stop, within the grace;
//! * a hostile worker sends garbage, what it sent before, and requests under any lease that there ever was;
//! * services repeat requests and use grants again, and operators act.
//!
//! After each step the invariants of `ARCHITECTURE.md` are held against what the parties really do, by true time, and against
//! the events, by a history that shares no code with the fleet. Then [`calm`](Simulation::calm) lets everything converge:
//! every run ends, once, every worker that is left works again, and nothing is live in any view.
//!
//! The same seed and policy give the same simulation in every process: [`Report::trace`] is the digest of all that happened.
//! A [`Broken`] promise names seed, step and invariant, so that it can be looked at again.
//!
//! Your own policy, with all that it is made to withstand:
//!
//! ```
//! use leasehold::testing::{World, simulation::Simulation};
//! let policy = World::policy(|policy| policy.runs.max_attempts = 5);
//! for seed in 0..3 {
//!     let mut simulation = Simulation::new(seed, policy.clone());
//!     simulation.run(500)?;
//!     let report = simulation.calm()?;
//!     assert!(report.counts.leases > 0);
//! }
//! # Ok::<(), leasehold::testing::simulation::Broken>(())
//! ```

mod chaos;
mod clocks;
mod disk;
mod enforcement;
mod hostile;
mod local;
mod network;
mod parts;
mod process;
mod random;
mod report;
mod requests;
mod run;
mod terms;
mod watch;
mod worker;

pub use self::{
    parts::Simulation,
    report::{Broken, Counts, Report},
    run::total,
    terms::drawn_policy,
};
