//! What changes while it runs: policies, leases, and who shows what.

use std::{
    fs,
    process::Command,
    sync::{Arc, atomic::Ordering},
    thread,
};

use leasehold::{
    digest::Sha256Digest,
    egress::{Bearer, TokenKey},
    id::WorkerId,
    lease::{Epoch, Fence},
};
use serde_json::json;

use crate::support::{Feed, World, code, executable, has_curl, policy, status};

fn digest(line: &serde_json::Value) -> String {
    line["verdict"]["policy"].as_str().unwrap_or_default().to_owned()
}

/// Policies are swapped while running. What was allowed goes on under what it was allowed with, the
/// next request is judged by the new one, and a bad one changes nothing.
#[test]
fn a_policy_is_swapped_while_requests_are_under_way() {
    let world = World::start("swap", &[]);
    let get = |path: &str| world.says(&format!("GET {} HTTP/1.1\r\nhost: a", world.plain(path)), "");
    assert_eq!(status(&get("/hello")), 200);
    let old = digest(&world.wait_for("a verdict", |line| line["verdict"]["allowed"] == true));
    let slow = thread::scope(|scope| {
        let slow = scope.spawn(|| get("/gate"));
        while world.origin.served() < 2 {
            thread::yield_now();
        }
        // A bad policy first: the old one stays.
        world.scratch.file("policy.json", r#"{"rules":[{"id":"x","hosts":["*.test"]}]}"#);
        let refused =
            world.wait_for("the bad policy", |line| line["event"] == "policy" && line["in_force"] == false);
        assert_eq!(refused["digest"], old.as_str());
        assert!(
            refused["message"].as_str().is_some_and(|text| text.contains("egress.policy.host")),
            "{refused}"
        );
        assert_eq!(status(&get("/hello")), 200, "the old policy is in force");
        // Then one that allows nothing of this origin, except what this proxy itself listens on.
        let own = json!({"id": "own", "hosts": ["self.origin.test"], "schemes": ["http"],
            "ports": [world.proxy.port()], "private_addresses": ["127.0.0.1/32"]});
        world.scratch.file("policy.json", policy(1, 1, &[own]));
        world.wait_for("the new policy", |line| line["event"] == "policy" && line["before"] == old.as_str());
        let answer = get("/hello");
        assert_eq!((status(&answer), code(&answer).as_str()), (403, "egress.port.not_allowed"), "{answer}");
        world.origin.open_gate();
        slow.join().unwrap()
    });
    assert!(slow.contains("before\n") && slow.contains("after\n") && slow.ends_with("0\r\n\r\n"), "{slow}");
    world.wait_for("the last verdict", |line| line["verdict"]["code"] == "egress.port.not_allowed");
    let verdicts: Vec<_> = world.log().into_iter().filter(|line| line["event"] == "judged").collect();
    assert!(verdicts[..3].iter().all(|line| digest(line) == old), "{verdicts:#?}");
    assert!(verdicts[3..].iter().all(|line| digest(line) != old) && verdicts.len() == 4, "{verdicts:#?}");
    // Its own listener is no origin, whatever a policy says.
    let port = world.proxy.port();
    let own = world.says(&format!("GET http://self.origin.test:{port}/ HTTP/1.1\r\nhost: a"), "");
    assert_eq!((status(&own), code(&own).as_str()), (403, "proxy.own_address"), "{own}");
}

#[test]
#[cfg(unix)]
fn a_hangup_reads_the_policy_again() {
    let world = World::start("hangup", &[]);
    world.wait_for("the first policy", |line| line["event"] == "policy");
    let pid = world.process.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    world.wait_for("the same policy again", |line| {
        line["event"] == "policy" && line["before"] == line["digest"]
    });
    let answer = world.says(&format!("GET {} HTTP/1.1\r\nhost: a", world.plain("/hello")), "");
    assert_eq!(status(&answer), 200, "it lives");
}

/// Invariant 12: a lease that is over authorises nothing, and what moves under it is cut. A lease file fails closed.
#[test]
fn the_end_of_a_lease_cuts_and_refuses() {
    let world = World::start("lease", &[]);
    let get = |path: &str| world.says(&format!("GET {} HTTP/1.1\r\nhost: a", world.plain(path)), "");
    let leases = world.scratch.0.join("leases.json");
    let good = fs::read(&leases).unwrap();
    let cut = thread::scope(|scope| {
        let slow = scope.spawn(|| get("/gate"));
        while world.origin.served() == 0 {
            thread::yield_now();
        }
        // The file is broken: no lease is live until it is whole again.
        world.scratch.file("leases.json", "{");
        slow.join().unwrap()
    });
    assert!(!cut.ends_with("0\r\n\r\n") && !cut.contains("after"), "{cut}");
    world.wait_for("the cut", |line| line["event"] == "cut" && line["streams"] == 1);
    let answer = get("/hello");
    assert_eq!((status(&answer), code(&answer).as_str()), (403, "egress.lease.unknown"), "{answer}");
    world.scratch.file("leases.json", &good);
    world.wait_for("the leases", |line| line["event"] == "leases" && line["live"] == 1);
    assert_eq!(status(&get("/hello")), 200);
    fs::remove_file(&leases).unwrap();
    world.wait_for("no lease", |line| {
        line["event"] == "leases" && line["message"].as_str().is_some_and(|text| text.contains("o such file"))
    });
    assert_eq!(code(&get("/hello")), "egress.lease.unknown");
}

#[test]
#[cfg(unix)]
fn a_lease_file_that_others_can_read_is_not_believed() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::start("modes", &[]);
    let leases = world.scratch.0.join("leases.json");
    fs::set_permissions(&leases, fs::Permissions::from_mode(0o640)).unwrap();
    let started = Command::new(executable())
        .args(["--listen", "127.0.0.1:0", "--policy"])
        .arg(world.scratch.0.join("policy.json"))
        .arg("--leases")
        .arg(&leases)
        .output()
        .unwrap();
    assert_eq!(started.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&started.stderr).contains("others can read or write it"));
    let none = Command::new(executable()).args(["--policy", "x"]).output().unwrap();
    assert_eq!(none.status.code(), Some(2), "no lease source, no proxy");
}

/// What one lease may use up.
#[test]
fn a_spent_budget_refuses_with_its_code() {
    let world = World::start("budget", &["--budget", r#"{"requests":3,"bytes_down":400}"#]);
    let get = |path: &str| world.says(&format!("GET {} HTTP/1.1\r\nhost: a", world.plain(path)), "");
    assert_eq!(status(&get("/hello")), 200);
    let cut = get("/endless");
    assert!(cut.starts_with("HTTP/1.1 200") && !cut.ends_with("0\r\n\r\n"), "{cut}");
    assert_eq!(status(&get("/hello")), 200);
    let spent = get("/hello");
    assert_eq!((status(&spent), code(&spent).as_str()), (429, "egress.budget.requests"), "{spent}");
    world.wait_for("the bytes", |line| line["code"] == "egress.budget.bytes_down");
}

/// By mutual TLS a worker is known by its certificate, and its lease by the fence.
#[test]
fn a_certificate_and_a_fence_are_an_identity() {
    if !has_curl("a_certificate_and_a_fence_are_an_identity") {
        return;
    }
    let world = World::with("mutual", &[], |scratch, authority, _| {
        let (chain, key, _) = authority.issue(&["127.0.0.1"]);
        let mut arguments = Vec::new();
        let mut file = |flag: &str, name: &str, text: String| {
            arguments.extend([flag.to_owned(), scratch.file(name, text).display().to_string()]);
        };
        file("--cert", "proxy.pem", chain);
        file("--key", "proxy.key", key);
        file("--client-ca", "clients.pem", authority.pem.clone());
        let mut workers = String::new();
        for worker in ["w1", "w2"] {
            let (chain, key, der) = authority.issue(&[worker]);
            scratch.file(&format!("{worker}.pem"), chain);
            scratch.file(&format!("{worker}.key"), key);
            workers.push_str(&format!("{} {worker}\n", Sha256Digest::of(&der)));
        }
        let (chain, key, _) = authority.issue(&["stranger"]);
        scratch.file("stranger.pem", chain);
        scratch.file("stranger.key", key);
        file("--workers", "workers", workers);
        arguments
    });
    let mut parts = world.token.split('.');
    let fence = format!("{}.{}", parts.nth(1).unwrap(), parts.next().unwrap());
    let lease = format!("Proxy-Authorization: Lease {fence}");
    let (proxy, roots) = (format!("https://{}", world.proxy), world.scratch.0.join("roots.pem"));
    let with = |who: &str, arguments: &[&str]| {
        let pem = world.scratch.0.join(format!("{who}.pem"));
        let key = world.scratch.0.join(format!("{who}.key"));
        let (pem, key) = (pem.display().to_string(), key.display().to_string());
        let roots = roots.display().to_string();
        let own = ["-x", &proxy, "--proxy-cacert", &roots, "--proxy-cert", &pem, "--proxy-key", &key];
        world.curl(&[&own[..], arguments].concat())
    };
    let (plain, secure) = (world.plain("/hello"), world.secure("/hello"));
    assert_eq!(with("w1", &["-H", &lease, &plain]).status, 200);
    let tunnel = with("w1", &["--proxy-header", &lease, &secure]);
    assert_eq!((tunnel.exit, tunnel.status), (0, 200), "{tunnel:?}");
    let token = format!("Proxy-Authorization: Bearer {}", world.token);
    for (who, field, want) in [
        ("w2", &lease, (403, "egress.lease.other_worker")),
        ("w2", &token, (403, "proxy.device.other")),
        ("stranger", &lease, (403, "proxy.device.unknown")),
        ("w1", &"X: y".to_owned(), (407, "proxy.identity.missing")),
    ] {
        let answer = with(who, &["-H", field, &plain]);
        assert_eq!((answer.status, answer.code.as_str()), want, "{who} {field} {answer:?}");
    }
    let nobody =
        world.curl(&["-x", &proxy, "--proxy-cacert", &roots.display().to_string(), "-H", &lease, &plain]);
    assert_ne!(nobody.exit, 0, "no certificate, no connection");
}

/// Attack E17 and invariant 12, over the proxy's own connection to a coordinator: the end of a lease counts when the
/// feed says it, and silence counts after `max_staleness`.
#[test]
fn e17_leases_follow_the_feed_and_end_with_its_silence() {
    for silence in [false, true] {
        let bearer = Bearer { worker: WorkerId::new("w1").unwrap(), fence: Fence::new(Epoch(3), 7) };
        let feed = Arc::new(Feed::default());
        let name = if silence { "silence" } else { "over" };
        let world = World::with(name, &["--max-staleness", "1500"], |scratch, authority, _| {
            let (config, certificate) = authority.server_of(&["coordinator.fleet.test"]);
            let (chain, key, _) = authority.issue(&["127.0.0.1"]);
            let mut arguments = vec!["--coordinator".to_owned(), feed.start(config, &bearer).to_string()];
            for (flag, file, text) in [
                ("--coordinator-cert", "coordinator.pem", certificate),
                ("--cert", "proxy.pem", chain),
                ("--key", "proxy.key", key),
                ("--token-key", "token.key", "07".repeat(32)),
            ] {
                arguments.extend([flag.to_owned(), scratch.file(file, text).display().to_string()]);
            }
            arguments
        });
        if !has_curl("e17_leases_follow_the_feed_and_end_with_its_silence") {
            return;
        }
        let (proxy, roots) = (format!("https://{}", world.proxy), world.scratch.0.join("roots.pem"));
        let lease = format!("Proxy-Authorization: Bearer {}", TokenKey::new([7; 32]).token(&bearer));
        let get = |path: &str| {
            let roots = roots.display().to_string();
            world.curl(&["-x", &proxy, "--proxy-cacert", &roots, "-H", &lease, &world.plain(path)])
        };
        // Before the feed has said everything nothing is live.
        while get("/hello").status != 200 {
            thread::yield_now();
        }
        let served = world.origin.served();
        let cut = thread::scope(|scope| {
            let slow = scope.spawn(|| get("/gate"));
            while world.origin.served() == served {
                thread::yield_now();
            }
            let end = if silence { &feed.silent } else { &feed.over };
            end.store(true, Ordering::Relaxed);
            slow.join().unwrap()
        });
        assert!(cut.exit != 0 && !cut.text.contains("after"), "{cut:?}");
        let answer = get("/hello");
        let want = if silence { "egress.lease.view_stale" } else { "egress.lease.unknown" };
        assert_eq!((answer.status, answer.code.as_str()), (403, want), "{answer:?}");
    }
}
