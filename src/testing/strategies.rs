//! Strategies: sequences of everything that can happen to a fleet, honest and hostile, for property tests.
//!
//! A [`FleetStep`] says what somebody does in terms that need no knowledge of the fleet: "worker 2 starts the lease
//! that it was given last". Whoever drives a fleet keeps what each party was told, as a real worker or service would,
//! and turns steps into operations. Steps shrink towards the harmless ones.

use alloc::{vec, vec::Vec};

use proptest::{collection, prelude::*, sample};

/// How many devices take part, from 0. Worker `n` lives on device `n` unless a step says otherwise.
pub const DEVICES: u32 = 4;
/// How many worker ids are used: one more than devices, so that a device can come back under another name.
pub const WORKERS: u32 = 5;
/// How many runs are asked for.
pub const RUNS: u32 = 8;
/// How many policies [`FleetStep::SetPolicy`] chooses from.
pub const POLICIES: u8 = 3;

/// Who sends a message of a worker, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a driver reads every part of it")]
pub struct Sender {
    /// The worker.
    pub worker: u32,
    /// Under the handle that it had before its present one.
    pub former: bool,
    /// Over the channel of another device.
    pub stranger: bool,
}

/// Which nonce evidence is made over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle every step")]
pub enum NonceChoice {
    /// One that is asked for at once.
    Fresh,
    /// The one that this device was given last, if any; it may be spent, over, or of a former epoch.
    Last,
    /// The one that another device was given last.
    Foreign,
}

/// A cleanup report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle every step")]
pub enum CleanupChoice {
    /// Everything is gone.
    Clean,
    /// Something is left, by the worker's own count.
    Remaining,
    /// Somebody looked and found something.
    Found,
    /// Bound to another lease.
    OtherLease,
}

/// What comes back from a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle every step")]
pub enum OutputChoice {
    /// What the worker claims, and what its lease allows.
    Fine,
    /// Something else than the worker claims.
    Lie,
    /// What the worker claims, and more than its lease allows.
    Excess,
}

/// An act under a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle every step")]
pub enum LeaseStep {
    /// The run starts.
    Start,
    /// More time is asked for.
    Renew,
    /// The run is over.
    Complete {
        /// Whether it succeeded.
        succeeded: bool,
        /// What arrived.
        outputs: OutputChoice,
        /// What is reported with it.
        cleanup: Option<CleanupChoice>,
    },
    /// Cleanup is reported.
    ReportCleanup(CleanupChoice),
    /// The worker says that it stopped.
    Acknowledge(Option<CleanupChoice>),
}

/// An act of an operator on one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle every step")]
pub enum OperatorStep {
    /// Closes the latch.
    Quarantine,
    /// An operator's part of opening it.
    Release,
    /// No new work.
    Drain,
    /// New work again.
    Undrain,
    /// Fresh evidence is demanded.
    Reverify,
    /// Gone for good.
    Retire,
}

/// Something that happens to a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle every step")]
pub enum FleetStep {
    /// Time passes, in milliseconds.
    Pass(u64),
    /// Time passes up to the fleet's next deadline, less one millisecond, exactly, or one more.
    ToDeadline(i8),
    /// What is due takes effect.
    Expire,
    /// A device asks for a nonce.
    Challenge(u32),
    /// A device brings evidence.
    Attest {
        /// The device.
        device: u32,
        /// The worker that the evidence names.
        worker: u32,
        /// Goes on as the incarnation that `worker` (true) or the device's own worker (false) was told last; a new
        /// incarnation where it is `None`.
        resume: Option<bool>,
        /// Over which nonce.
        nonce: NonceChoice,
        /// Whether the evidence shows the image that the policy trusts.
        good: bool,
        /// For how long it is good, in milliseconds.
        lifetime: u64,
        /// One letter for each capability.
        capabilities: &'static str,
    },
    /// A worker is heard.
    Heartbeat(Sender),
    /// A service asks for a lease.
    Acquire {
        /// The run.
        run: u32,
        /// One letter for each capability.
        capabilities: &'static str,
        /// On this worker and no other.
        on: Option<u32>,
        /// The last request once more, if there was one: the same grant, worker and number.
        again: bool,
        /// For how long a new grant is good, in milliseconds.
        grant_lifetime: u64,
        /// Under this number of the service's session.
        number: Option<u64>,
        /// While the wall clock shows another day.
        leap: bool,
    },
    /// A worker acts under the lease that it was given last, or under the one before.
    Lease {
        /// Who.
        from: Sender,
        /// Under the lease before the last one.
        former_fence: bool,
        /// What.
        act: LeaseStep,
    },
    /// The lease of a run is taken back.
    RevokeRun {
        /// The run.
        run: u32,
        /// Naming the lease before the last one.
        former_fence: bool,
        /// By an operator; else by the service.
        operator: bool,
    },
    /// An operator acts on a worker.
    Operate {
        /// What.
        act: OperatorStep,
        /// On whom.
        worker: u32,
        /// Under this number of the operator's session.
        number: Option<u64>,
    },
    /// An operator vouches for the cleanup after a worker's last lease, or the one before.
    ForceCleanup {
        /// The worker.
        worker: u32,
        /// Naming the lease before the last one.
        former_fence: bool,
    },
    /// Every worker is quarantined at once.
    QuarantineAll,
    /// One of [`POLICIES`] policies comes into force.
    SetPolicy(u8),
    /// A device is revoked.
    RevokeDevice(u32),
    /// The state is kept as a snapshot: a later recovery begins there.
    Checkpoint,
    /// The coordinator dies and recovers.
    Crash,
}

fn rarely(one_in: u32) -> impl Strategy<Value = bool> {
    (0..one_in).prop_map(move |n| n + 1 == one_in)
}

/// Workers, those that are there more often than those that are not.
fn worker() -> impl Strategy<Value = u32> {
    sample::select(Vec::from([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 4]))
}

fn capabilities() -> impl Strategy<Value = &'static str> {
    sample::select(Vec::from(["a", "a", "ab", "abc", "b", "c"]))
}

/// Messages of workers: most are what they seem.
pub fn sender() -> impl Strategy<Value = Sender> {
    (worker(), rarely(12), rarely(14)).prop_map(|(worker, former, stranger)| Sender {
        worker,
        former,
        stranger,
    })
}

/// Cleanup reports: most are clean.
pub fn cleanup() -> impl Strategy<Value = CleanupChoice> {
    use CleanupChoice::{Clean, Found, OtherLease, Remaining};
    sample::select(Vec::from([Clean, Clean, Clean, Clean, Clean, Remaining, Found, OtherLease]))
}

/// Acts under a lease.
pub fn lease_step() -> impl Strategy<Value = LeaseStep> {
    use OutputChoice::{Excess, Fine, Lie};
    let outputs = sample::select(Vec::from([Fine, Fine, Fine, Fine, Fine, Fine, Lie, Excess]));
    let complete = (rarely(3), outputs, proptest::option::weighted(0.7, cleanup()))
        .prop_map(|(failed, outputs, cleanup)| LeaseStep::Complete { succeeded: !failed, outputs, cleanup });
    prop_oneof![
        4 => Just(LeaseStep::Start),
        3 => Just(LeaseStep::Renew),
        4 => complete,
        3 => cleanup().prop_map(LeaseStep::ReportCleanup),
        2 => proptest::option::of(cleanup()).prop_map(LeaseStep::Acknowledge),
    ]
}

/// Spans that end before, at, and after the deadlines of a fleet whose rules are in seconds.
pub fn span() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..3_000_u64,
        3 => sample::select(Vec::from([4_999, 5_000, 9_999, 10_000, 10_001, 14_999, 15_000, 20_000, 30_000])),
        1 => sample::select(Vec::from([40_000_u64, 60_000, 100_000])),
    ]
}

/// One thing that happens.
pub fn fleet_step() -> impl Strategy<Value = FleetStep> {
    use OperatorStep::{Drain, Quarantine, Release, Retire, Reverify, Undrain};
    let attest = (
        (0..DEVICES, proptest::option::weighted(0.12, 0..WORKERS)),
        proptest::option::weighted(0.6, rarely(3).prop_map(|own| !own)),
        sample::select(Vec::from([
            NonceChoice::Fresh,
            NonceChoice::Fresh,
            NonceChoice::Fresh,
            NonceChoice::Fresh,
            NonceChoice::Last,
            NonceChoice::Last,
            NonceChoice::Foreign,
        ])),
        rarely(8),
        sample::select(Vec::from([3_000_000_u64, 3_000_000, 45_000, 12_000, 1_500])),
        capabilities(),
    )
        .prop_map(|((device, worker), resume, nonce, bad, lifetime, capabilities)| FleetStep::Attest {
            device,
            worker: worker.unwrap_or(device),
            resume,
            nonce,
            good: !bad,
            lifetime,
            capabilities,
        });
    let acquire =
        (
            0..RUNS,
            capabilities(),
            proptest::option::weighted(0.3, 0..WORKERS),
            rarely(10),
            sample::select(Vec::from([7_200_000_u64, 7_200_000, 7_200_000, 25_000, 900])),
            proptest::option::weighted(0.5, 0..4_u64),
            rarely(25),
        )
            .prop_map(|(run, capabilities, on, again, grant_lifetime, number, leap)| {
                FleetStep::Acquire { run, capabilities, on, again, grant_lifetime, number, leap }
            });
    let operate = (
        sample::select(Vec::from([Quarantine, Quarantine, Release, Drain, Drain, Undrain, Reverify, Retire])),
        worker(),
        proptest::option::weighted(0.4, 0..4_u64),
    )
        .prop_map(|(act, worker, number)| FleetStep::Operate { act, worker, number });
    prop_oneof![
        10 => span().prop_map(FleetStep::Pass),
        8 => (-1..=1_i8).prop_map(FleetStep::ToDeadline),
        12 => Just(FleetStep::Expire),
        2 => (0..DEVICES).prop_map(FleetStep::Challenge),
        14 => attest,
        16 => sender().prop_map(FleetStep::Heartbeat),
        20 => acquire,
        36 => (sender(), rarely(7), lease_step())
            .prop_map(|(from, former_fence, act)| FleetStep::Lease { from, former_fence, act }),
        4 => (0..RUNS, rarely(8), any::<bool>())
            .prop_map(|(run, former_fence, operator)| FleetStep::RevokeRun { run, former_fence, operator }),
        9 => operate,
        3 => (0..WORKERS, rarely(8))
            .prop_map(|(worker, former_fence)| FleetStep::ForceCleanup { worker, former_fence }),
        1 => Just(FleetStep::QuarantineAll),
        2 => (0..POLICIES).prop_map(FleetStep::SetPolicy),
        1 => (0..DEVICES).prop_map(FleetStep::RevokeDevice),
        2 => Just(FleetStep::Checkpoint),
        3 => Just(FleetStep::Crash),
    ]
}

/// A worker's way from a request to the end of its lease, as far as it gets: single steps seldom get that far.
pub fn work() -> impl Strategy<Value = Vec<FleetStep>> {
    let from = (0..DEVICES).prop_map(|worker| Sender { worker, former: false, stranger: false });
    let cleanup = || proptest::option::weighted(0.5, cleanup());
    let ends = (0..8_u8, cleanup(), cleanup(), any::<bool>());
    (from, 0..RUNS, any::<bool>(), rarely(3), ends, 1..8_usize).prop_map(
        |(from, run, named, renews, (end, cleanup, later, is), length)| {
            let act = |act| FleetStep::Lease { from, former_fence: false, act };
            let on = named.then_some(from.worker);
            let mut steps = vec![
                FleetStep::Heartbeat(from),
                FleetStep::Acquire {
                    run,
                    capabilities: "a",
                    on,
                    again: false,
                    grant_lifetime: 7_200_000,
                    number: None,
                    leap: false,
                },
                act(LeaseStep::Start),
            ];
            if renews {
                steps.extend([FleetStep::Pass(9_000), act(LeaseStep::Renew)]);
            }
            let taken_back = match end {
                0 | 1 => FleetStep::RevokeRun { run, former_fence: false, operator: is },
                2 => FleetStep::Operate { act: OperatorStep::Quarantine, worker: from.worker, number: None },
                _ => {
                    let outputs = match end {
                        3 => OutputChoice::Lie,
                        4 => OutputChoice::Excess,
                        _ => OutputChoice::Fine,
                    };
                    act(LeaseStep::Complete { succeeded: is, outputs, cleanup })
                }
            };
            steps.extend([taken_back, act(LeaseStep::Acknowledge(cleanup))]);
            steps.extend(later.map(|cleanup| act(LeaseStep::ReportCleanup(cleanup))));
            steps.truncate(length);
            steps
        },
    )
}

/// What brings a worker back that can come back: fresh evidence, an operator's help, and a heartbeat.
pub fn return_to_work() -> impl Strategy<Value = Vec<FleetStep>> {
    (0..DEVICES, any::<bool>(), 1..6_usize).prop_map(|(worker, helped, length)| {
        let from = Sender { worker, former: false, stranger: false };
        let attest = FleetStep::Attest {
            device: worker,
            worker,
            resume: Some(true),
            nonce: NonceChoice::Fresh,
            good: true,
            lifetime: 3_000_000,
            capabilities: "ab",
        };
        let operate = |act| FleetStep::Operate { act, worker, number: None };
        let act = LeaseStep::ReportCleanup(CleanupChoice::Clean);
        let mut steps = vec![FleetStep::Lease { from, former_fence: false, act }];
        if helped {
            steps.extend([operate(OperatorStep::Release), operate(OperatorStep::Undrain)]);
        }
        steps.extend([attest, FleetStep::Heartbeat(from)]);
        steps.truncate(length);
        steps
    })
}

/// Evidence over a nonce from before the event that made it necessary: accepted, and it pays nothing.
pub fn old_evidence() -> impl Strategy<Value = Vec<FleetStep>> {
    (0..DEVICES, rarely(3), 2..6_usize).prop_map(|(worker, resumes, length)| {
        let operate = |act| FleetStep::Operate { act, worker, number: None };
        let mut steps = vec![
            FleetStep::Challenge(worker),
            operate(OperatorStep::Quarantine),
            operate(OperatorStep::Release),
            FleetStep::Attest {
                device: worker,
                worker,
                resume: (!resumes).then_some(true),
                nonce: NonceChoice::Last,
                good: true,
                lifetime: 3_000_000,
                capabilities: "a",
            },
            FleetStep::Heartbeat(Sender { worker, former: false, stranger: false }),
        ];
        steps.truncate(length);
        steps
    })
}

/// Nobody is heard for longer than a policy of seconds lets them be.
pub fn silence() -> impl Strategy<Value = Vec<FleetStep>> {
    (12_000..32_000_u64, rarely(3)).prop_map(|(span, crashes)| {
        let end = if crashes { FleetStep::Crash } else { FleetStep::Checkpoint };
        vec![FleetStep::Pass(span), FleetStep::Expire, end]
    })
}

/// Up to `most` things that happen, one after the other.
pub fn fleet_steps(most: usize) -> BoxedStrategy<Vec<FleetStep>> {
    let some = prop_oneof![
        20 => fleet_step().prop_map(|step| vec![step]),
        8 => work(),
        4 => return_to_work(),
        1 => old_evidence(),
        1 => silence(),
    ];
    let all = collection::vec(some, 1..=most.max(1));
    Strategy::boxed(all.prop_map(move |parts| parts.into_iter().flatten().take(most).collect()))
}
