//! `leasehold-node` as its users start it: files that cannot work are refused before anything is opened, and a fleet of processes
//! keeps every promise while its leaders are killed, stopped and cut off.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_leasehold-node");

/// A directory of one test, which is gone when the test is.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn init(directory: &Path) {
    let made = run(&["init", directory.to_str().unwrap(), "--workers", "1"]);
    assert!(made.status.success(), "{}", said(&made.stderr));
}

fn check(role: &str, file: &Path) -> Output {
    run(&[role, "--config", file.to_str().unwrap(), "--check"])
}

/// Puts `with` in place of the first `what` in the file at `path`.
fn replace(path: &Path, what: &str, with: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(what), "{what} is not in {}", path.display());
    fs::write(path, text.replacen(what, with, 1)).unwrap();
}

fn without_last_node(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let (kept, _) = text.rsplit_once("[[nodes]]").unwrap();
    fs::write(path, kept).unwrap();
}

/// Each case damages the files of a cluster that is in order, and names the code with which node 1 refuses them.
#[test]
fn files_that_cannot_work_are_refused_with_a_code() {
    type Damage = fn(&Path);
    let cases: &[(&str, &str, Damage)] = &[
        ("no cluster file", "config.read", |at| fs::remove_file(at.join("cluster.toml")).unwrap()),
        ("no TOML", "config.toml", |at| fs::write(at.join("cluster.toml"), [0xff]).unwrap()),
        ("a member that nobody knows", "config.toml", |at| {
            replace(&at.join("node-1/node.toml"), "id = 1", "id = 1\ncolour = 7");
        }),
        ("two nodes with one address", "config.address", |at| {
            replace(&at.join("cluster.toml"), ":7602", ":7600");
        }),
        ("one port for peers and clients", "config.address", |at| {
            replace(&at.join("cluster.toml"), ":7601", ":7600");
        }),
        ("no port", "config.address", |at| replace(&at.join("cluster.toml"), "127.0.0.1:7600", "127.0.0.1")),
        ("an even number of voters", "config.even", |at| without_last_node(&at.join("cluster.toml"))),
        ("two nodes with one number", "config.id", |at| {
            replace(&at.join("cluster.toml"), "id = 2", "id = 1");
        }),
        ("a node that the cluster does not know", "config.id", |at| {
            replace(&at.join("node-1/node.toml"), "id = 1", "id = 4");
        }),
        ("the certificate of another node", "config.certificate", |at| {
            fs::copy(at.join("node-2/node.crt"), at.join("node-1/node.crt")).unwrap();
        }),
        ("a key that others may read", "config.mode", |at| {
            let open = fs::Permissions::from_mode(0o644);
            fs::set_permissions(at.join("node-1/node.key"), open).unwrap();
        }),
        ("the founding of another cluster", "config.founding", |at| {
            fs::write(at.join("founding.bin"), b"another").unwrap();
        }),
        ("an election as short as a heartbeat", "config.times", |at| {
            let file = at.join("node-1/node.toml");
            let text = fs::read_to_string(&file).unwrap() + "\n[times]\nelection_ticks = 2\n";
            fs::write(&file, text).unwrap();
        }),
        ("a tick of no time", "config.times", |at| {
            let file = at.join("node-1/node.toml");
            let text = fs::read_to_string(&file).unwrap() + "\n[times]\ntick_ms = 0\n";
            fs::write(&file, text).unwrap();
        }),
        ("no store", "store.missing", |at| fs::remove_file(at.join("node-1/store.redb")).unwrap()),
        ("the store of another node", "store.foreign", |at| {
            fs::copy(at.join("node-2/store.redb"), at.join("node-1/store.redb")).unwrap();
        }),
        ("a store that is no store", "store.damaged", |at| {
            fs::write(at.join("node-1/store.redb"), [7; 5000]).unwrap();
        }),
        ("a line that is no job", "config.jobs", |at| {
            replace(&at.join("node-1/node.toml"), "id = 1", "id = 1\njobs = \"jobs.jsonl\"");
            fs::write(at.join("node-1/jobs.jsonl"), "{}\n").unwrap();
        }),
    ];
    let scratch = Scratch::new("refused");
    for (number, (what, code, damage)) in cases.iter().enumerate() {
        let directory = scratch.0.join(number.to_string());
        init(&directory);
        let file = directory.join("node-1/node.toml");
        let sound = check("node", &file);
        assert!(sound.status.success(), "{what}: {}", said(&sound.stderr));
        damage(&directory);
        let refused = check("node", &file);
        let words = said(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{what}: {words}");
        assert!(words.starts_with(&format!("leasehold-node: {code}: ")), "{what}: {words}");
    }
}

/// Workers and operators judge the same files by the same rules.
#[test]
fn workers_and_operators_refuse_the_same() {
    let scratch = Scratch::new("others");
    init(&scratch.0);
    let worker = scratch.0.join("worker-1/worker.toml");
    assert!(check("worker", &worker).status.success());
    let seed = scratch.0.join("worker-1/evidence.seed");
    fs::write(&seed, "guessed").unwrap();
    let refused = check("worker", &worker);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused.stderr).starts_with("leasehold-node: config.seed: "), "{}", said(&refused.stderr));
    fs::copy(scratch.0.join("node-1/node.crt"), scratch.0.join("operator/operator.crt")).unwrap();
    let operator = scratch.0.join("operator/operator.toml");
    let refused = run(&["ctl", "--config", operator.to_str().unwrap(), "status"]);
    assert_eq!(refused.status.code(), Some(2));
    let words = said(&refused.stderr);
    assert!(words.starts_with("leasehold-node: config.certificate: "), "{words}");
}

/// What is made once is never made over, and a cluster that gains nothing by its size is not made.
#[test]
fn init_refuses_what_cannot_work() {
    let scratch = Scratch::new("init");
    init(&scratch.0);
    let path = scratch.0.to_str().unwrap();
    let fresh = scratch.0.join("fresh");
    let fresh = fresh.to_str().unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["init", path], "init.exists"),
        (&["init", fresh, "--nodes", "4"], "config.even"),
        (&["init", fresh, "--host", "a", "--host", "b"], "init.hosts"),
        (&["init", fresh, "--port", "65535"], "init.port"),
    ];
    for (arguments, code) in cases {
        let refused = run(arguments);
        let words = said(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {words}");
        assert!(words.starts_with(&format!("leasehold-node: {code}: ")), "{arguments:?}: {words}");
        assert!(!Path::new(fresh).exists(), "{arguments:?} left something behind");
    }
}

/// Invariants 1 to 8 over processes and sockets: every job ends once and the audit of all stores holds, while whoever leads is
/// killed, stopped for longer than an election, and cut off from the other nodes.
#[test]
fn a_fleet_survives_what_comes_to_its_leaders() {
    for trouble in ["--kill-leader", "--pause", "--partition"] {
        let shown = run(&[trouble, "1", "--troubles", "2", "--seed", "7"]);
        let words = said(&shown.stdout);
        assert!(shown.status.success(), "{trouble}: {words}\n{}", said(&shown.stderr));
        assert!(words.contains("invariants    all held"), "{trouble}: {words}");
        assert!(!words.contains("leaders       none"), "{trouble} came to nobody: {words}");
    }
}
