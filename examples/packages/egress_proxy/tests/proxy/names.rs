//! Names: looked up once, for requests that are allowed so far, and judged address by address.

use std::{net::Ipv4Addr, sync::Arc};

use crate::support::{Origin, World, has_curl};

/// Attack E2: an answer that changes between two lookups. What was judged is what is dialled.
#[test]
fn e2_rebinding_reaches_only_what_was_judged() {
    if !has_curl("e2_rebinding_reaches_only_what_was_judged") {
        return;
    }
    let world = World::start("rebind", &[]);
    // Where the second answer leads: the same port of an address that no rule declares.
    let trap = Arc::new(Origin::default());
    trap.listen(Ipv4Addr::new(127, 0, 0, 2), world.http, None);
    let url = format!("http://rebind.test:{}/", world.http);
    for turn in 0..6 {
        let answer = world.through(&[&url]);
        let want = if turn % 2 == 0 { (200, "") } else { (403, "egress.address.loopback") };
        assert_eq!((answer.status, answer.code.as_str()), want, "turn {turn}: {answer:?}");
        assert_eq!(world.dns.asked("rebind.test"), turn + 1, "one lookup a request");
    }
    assert_eq!((world.origin.served(), trap.served()), (3, 0));
}

/// Attacks E2, E3: one bad address refuses them all, also hidden in IPv6; metadata is under the floor.
#[test]
fn e2_a_public_and_a_private_address_are_refused_together() {
    if !has_curl("e2_a_public_and_a_private_address_are_refused_together") {
        return;
    }
    let world = World::start("both", &[]);
    for (name, want) in [
        ("both.test", (403, "egress.address.private")),
        ("six.test", (403, "egress.address.private")),
        ("metadata.test", (403, "egress.address.metadata")),
        ("nowhere.test", (502, "egress.dns.nxdomain")),
    ] {
        let answer = world.through(&[&format!("http://{name}/")]);
        assert_eq!((answer.status, answer.code.as_str()), want, "{name} {answer:?}");
        assert!(!answer.text.contains("10.0.0.1"), "the worker is not told what a name resolves to");
    }
    let both = world.wait_for("the verdict", |line| line["verdict"]["host"] == "both.test");
    assert_eq!(both["verdict"]["addresses"].as_array().map(Vec::len), Some(2), "{both}");
}

/// Attack E10: no lookup for what is refused anyway.
#[test]
fn e10_refused_names_are_not_looked_up() {
    if !has_curl("e10_refused_names_are_not_looked_up") {
        return;
    }
    let world = World::start("quiet", &[]);
    for url in ["http://stolen-data.exfiltrate.test/", "http://denied.test/", "http://origin.test:1/"] {
        assert_eq!(world.through(&[url]).status, 403);
    }
    let tunnel = world.through(&["https://stolen-data.exfiltrate.test/"]);
    assert_eq!(tunnel.status, 403);
    let stranger = world.curl(&["-x", &format!("http://{}", world.proxy), &world.plain("/")]);
    assert_eq!(stranger.status, 407);
    for name in ["stolen-data.exfiltrate.test", "denied.test", "origin.test"] {
        assert_eq!(world.dns.asked(name), 0, "{name}");
    }
}
