//! The same operations in a small world and in a large one, in turns: whether they cost the same.
//!
//! A world times its own steps, so that arguments are made before the clock starts. Of each step the least of its turns
//! counts, as in `bars.rs`.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench looks at the clock")]

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};

use crate::bars::time;

/// How many devices or requests there are in the two worlds.
const SIZES: [u64; 2] = [1_000, 1_000_000];

/// What a row of the large world may take, in those of the small one, as for rules in `egress`: the work is the same, which
/// `flat.sh` counts, and what it is about is in no cache.
const MOST: f64 = 4.0;

/// Callgrind counts what happens in here and nothing else.
#[inline(never)]
fn measured_region<T>(act: impl FnOnce() -> T) -> T {
    act()
}

/// What the steps of one turn took.
#[derive(Default)]
pub struct Meter {
    /// The only step whose instructions are counted; none where the clock decides.
    counted: Option<usize>,
    steps: Vec<(Duration, u64)>,
}

impl Meter {
    /// Runs `act`, which is so many operations of a step.
    pub fn measure<T>(&mut self, step: usize, operations: u64, act: impl FnOnce() -> T) -> T {
        if self.steps.len() <= step {
            self.steps.resize(step + 1, (Duration::ZERO, 0));
        }
        let began = Instant::now();
        let out = if self.counted == Some(step) { measured_region(act) } else { act() };
        self.steps[step].0 += began.elapsed();
        self.steps[step].1 += operations;
        out
    }

    /// What a step took, and how many operations that was.
    pub fn spent(&self, step: usize) -> (Duration, u64) {
        self.steps.get(step).copied().unwrap_or_default()
    }
}

/// Every step at every size, each by itself.
pub fn each<W>(
    criterion: &mut Criterion,
    name: &str,
    steps: &[&str],
    world: impl Fn(u64) -> W,
    turn: impl Fn(&mut W, &mut Meter),
) {
    let mut group = criterion.benchmark_group(name);
    for size in SIZES {
        let mut world = world(size);
        for (step, name) in steps.iter().enumerate() {
            group.bench_function(BenchmarkId::new(*name, size), |b| {
                b.iter_custom(|iterations| {
                    let mut meter = Meter::default();
                    while meter.spent(step).1 < iterations {
                        turn(&mut world, &mut meter);
                    }
                    let (spent, done) = meter.spent(step);
                    Duration::from_secs_f64(spent.as_secs_f64() * iterations as f64 / done as f64)
                });
            });
        }
    }
    group.finish();
}

/// Does what the arguments ask for, where that is `--bars` or `--instructions STEP SIZE COUNT`. Whether it was.
pub fn asked_for<W>(
    steps: &[&str],
    rounds: usize,
    world: impl Fn(u64) -> W,
    turn: impl Fn(&mut W, &mut Meter),
) -> bool {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--instructions") {
        let named = |step: &&str| *step == arguments[at + 1];
        let step = steps.iter().position(named).expect("the name of a step");
        let (size, count) = (arguments[at + 2].parse().unwrap(), arguments[at + 3].parse().unwrap());
        let mut world = world(size);
        // The first turn finds buffers that have never been used.
        turn(&mut world, &mut Meter::default());
        let mut meter = Meter { counted: Some(step), ..Meter::default() };
        while meter.spent(step).1 < count {
            turn(&mut world, &mut meter);
        }
        println!("{}", meter.spent(step).1);
        return true;
    }
    if !arguments.iter().any(|argument| argument == "--bars") {
        return false;
    }
    let began = Instant::now();
    let mut worlds = SIZES.map(&world);
    println!("worlds of {} and {} set up in {:.1} s", SIZES[0], SIZES[1], began.elapsed().as_secs_f64());
    let mut turns = [const { Vec::new() }; 2];
    for _ in 0..rounds {
        for (world, turns) in worlds.iter_mut().zip(&mut turns) {
            let mut meter = Meter::default();
            turn(world, &mut meter);
            turns.push(meter);
        }
    }
    for (step, name) in steps.iter().enumerate() {
        let [small, large] = turns.each_ref().map(|turns| {
            let each = |meter: &Meter| {
                let (spent, operations) = meter.spent(step);
                spent.as_secs_f64() * 1e9 / operations as f64
            };
            let mut each: Vec<f64> = turns.iter().map(each).collect();
            each.sort_by(f64::total_cmp);
            (each[0], each[each.len() / 2])
        });
        let ratio = large.0 / small.0;
        let verdict = if ratio <= MOST { "met" } else { "MISSED" };
        let (of, to) = (time(small.0), time(large.0));
        let middle = format!("in the middle {} to {}", time(small.1), time(large.1));
        println!("{name:<34} {of:>10} to {to:>10}  {ratio:>5.2} x of {MOST:.1}  {verdict:<6} {middle}");
    }
    true
}
