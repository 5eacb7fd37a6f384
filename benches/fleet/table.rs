//! The table of `benches/README.md`: for each operation the least of several measurements, each of which is the batch
//! in its middle.

use std::{collections::BTreeMap, time::Instant};

use crate::{
    baseline::{Baseline, LARGEST},
    fixture::{Fixture, Meter},
    operations::{OPERATIONS, quarantine_all},
};

/// Measurements of each operation; the least counts, since other work on the machine only ever adds.
const ROUNDS: usize = 12;

fn show(value: f64) -> String {
    match value {
        value if value < 10_000.0 => format!("{value:.0} ns"),
        value if value < 10_000_000.0 => format!("{:.1} us", value / 1e3),
        value => format!("{:.1} ms", value / 1e6),
    }
}

fn size_name(size: usize) -> String {
    if size >= 1_000_000 { format!("{}M", size / 1_000_000) } else { format!("{}k", size / 1_000) }
}

/// What an empty measurement takes: subtracted where a single operation lies between two looks at the clock.
fn empty() -> f64 {
    let measure = |_| {
        let mut meter = Meter::default();
        (0..1_000).for_each(|_| meter.measure(1, || ()));
        meter.median()
    };
    (0..ROUNDS).map(measure).fold(f64::MAX, f64::min)
}

/// Measures every operation at every size, and the model as far as it goes, and prints the table.
pub fn print(sizes: &[usize]) {
    let empty = empty();
    let mut rows: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut ours: BTreeMap<(&str, usize), f64> = BTreeMap::new();
    let mut notes = Vec::new();
    for &size in sizes {
        let began = Instant::now();
        let mut fixture = Fixture::new(size);
        let name = size_name(size);
        notes.push(format!(
            "{name}: {} bytes for each idle worker; set up in {:.1} s",
            fixture.bytes_per_worker,
            began.elapsed().as_secs_f64()
        ));
        for operation in OPERATIONS {
            let mut best = f64::MAX;
            let mut allocations = f64::MAX;
            for _ in 0..ROUNDS {
                let meter = operation.run(&mut fixture, operation.least);
                let alone = if operation.name.ends_with("_accept") { empty } else { 0.0 };
                best = best.min(meter.median() - alone);
                allocations = allocations.min(meter.allocations as f64 / meter.operations as f64);
            }
            ours.insert((operation.name, size), best);
            let cell = format!("{} ({allocations:.2})", show(best));
            rows.entry(operation.name).or_default().push(cell);
        }
        let sweep = quarantine_all(&mut fixture);
        notes.push(format!(
            "{name}: quarantine all: the act {}, then {} calls, the longest {}, {} for each worker",
            show(sweep.act.median()),
            sweep.calls,
            show(sweep.longest.as_secs_f64() * 1e9),
            show(sweep.spent.as_secs_f64() * 1e9 / size as f64),
        ));
        drop(fixture);
        if size <= LARGEST {
            let mut baseline = Baseline::new(size);
            for operation in OPERATIONS {
                let count = if size < LARGEST { 64 } else { 16 };
                let measure = |_| baseline.run(operation.name, count).map(|meter| meter.median());
                let Some(best) = (0..ROUNDS).filter_map(measure).reduce(f64::min) else { continue };
                let ratio = best / ours[&(operation.name, size)];
                notes.push(format!("{name}: the model's {}: {}, {ratio:.0} x", operation.name, show(best)));
            }
        }
    }
    let heads: Vec<_> = sizes.iter().map(|size| size_name(*size)).collect();
    println!("\n| operation (allocations) | {} |", heads.join(" | "));
    println!("|---|{}", "---|".repeat(heads.len()));
    for operation in OPERATIONS {
        println!("| {} | {} |", operation.name, rows[operation.name].join(" | "));
    }
    println!();
    notes.sort();
    notes.iter().for_each(|note| println!("* {note}"));
}
