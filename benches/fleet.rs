//! The fleet at one thousand to one million workers, and the model of maps and scans beside it.
//!
//! ```text
//! cargo bench --bench fleet                       criterion, one thousand to 100 thousand workers
//! cargo bench --bench fleet -- --table [SIZE...]  the table of benches/README.md, up to one million
//! fleet --instructions OPERATION COUNT            for callgrind: benches/instructions.sh
//! ```
//!
//! Nine of ten workers run something; there are 32 capability classes; workers are visited at random, so that no
//! operation finds its worker in a cache. Decisions and their events are timed, and the journal is not.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench looks at the clock")]

#[path = "fleet/allocator.rs"]
mod allocator;
#[path = "fleet/baseline.rs"]
mod baseline;
#[path = "fleet/fixture.rs"]
mod fixture;
mod naive;
#[path = "fleet/operations.rs"]
mod operations;
#[path = "fleet/table.rs"]
mod table;

use std::time::Duration;

use baseline::{Baseline, LARGEST};
use criterion::{BenchmarkId, Criterion};
use fixture::{Fixture, Meter};
use operations::{OPERATIONS, Operation, quarantine_all};

fn of_iterations(meter: Meter, iterations: u64) -> Duration {
    meter.spent.mul_f64(iterations as f64 / meter.operations as f64)
}

fn at_size(criterion: &mut Criterion, size: usize) {
    let mut fixture = Fixture::new(size);
    let mut group = criterion.benchmark_group("fleet");
    for operation in OPERATIONS {
        group.bench_function(BenchmarkId::new(operation.name, size), |b| {
            b.iter_custom(|iterations| {
                of_iterations(operation.run(&mut fixture, iterations as usize), iterations)
            });
        });
    }
    group.finish();
    println!("fleet/{size}: {} bytes for each idle worker", fixture.bytes_per_worker);
    for operation in OPERATIONS {
        let meter = operation.run(&mut fixture, operation.least);
        let each = meter.allocations as f64 / meter.operations as f64;
        println!("fleet/{}/{size}: {each:.2} allocations", operation.name);
    }
    let sweep = quarantine_all(&mut fixture);
    println!("fleet/quarantine_all/{size}: {} calls, the longest {:?}", sweep.calls, sweep.longest);
    drop(fixture);
    if size > LARGEST {
        return;
    }
    let mut baseline = Baseline::new(size);
    let mut group = criterion.benchmark_group("model");
    for operation in OPERATIONS {
        if baseline.run(operation.name, 1).is_none() {
            continue;
        }
        group.bench_function(BenchmarkId::new(operation.name, size), |b| {
            b.iter_custom(|iterations| {
                let meter = baseline.run(operation.name, iterations as usize);
                of_iterations(meter.unwrap_or_default(), iterations)
            });
        });
    }
    group.finish();
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let after = |flag: &str| {
        arguments.iter().position(|argument| argument == flag).map(|at| arguments[at + 1..].to_vec())
    };
    if let Some(rest) = after("--instructions") {
        let operation = rest.first().and_then(|name| Operation::named(name)).expect("an operation's name");
        let count = rest.get(1).and_then(|count| count.parse().ok()).expect("how many of it");
        let mut fixture = Fixture::new(1_000);
        let meter = operation.run(&mut fixture, count);
        return println!("{}", meter.operations);
    }
    if let Some(rest) = after("--table") {
        let named: Vec<usize> = rest.iter().filter_map(|size| size.parse().ok()).collect();
        let sizes = if named.is_empty() { vec![1_000, 10_000, 100_000, 1_000_000] } else { named };
        return table::print(&sizes);
    }
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .without_plots()
        .configure_from_args();
    // As a smoke test, the smallest will do.
    let sizes: &[usize] = if arguments.iter().any(|argument| argument == "--test") {
        &[1_000]
    } else {
        &[1_000, 10_000, 100_000]
    };
    for size in sizes {
        at_size(&mut criterion, *size);
    }
    criterion.final_summary();
}
