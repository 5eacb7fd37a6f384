//! The built executable, with its processes, sockets and stores: three nodes, four workers, the small job file of the main job.

use std::{path::Path, process::Command};

/// Invariants 1, 2, 6 and 8 over a kill of whoever leads: every job ends once, no fence goes back, no grant is spent twice, what
/// workers were told is in the log, every node has the same log, and each goes on from the same state.
#[test]
fn jobs_end_once_though_the_leader_is_killed() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").canonicalize().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_leasehold-node"))
        .arg("--jobs")
        .arg(package.join("examples/fleet/small.jsonl"))
        .args(["--kill-leader", "2", "--troubles", "1", "--seed", "7"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    let all = format!("{said}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{all}");
    for word in ["jobs          14: done 12, failed 2\n", "which leads, is killed", "invariants    all held"]
    {
        assert!(said.contains(word), "{word}: {all}");
    }
    assert!(!said.contains("BROKEN"), "{all}");
    let led = said.lines().filter(|line| line.contains(" leads in term ")).count();
    assert!(led >= 2, "{all}");
}
