#!/usr/bin/env bash
# What: raft 0.7.0 (tikv), `batch_append: true` and a leader that goes back with a follower in the step in which it has queued an
# empty append for it, which tells of a commit index.
# Guess: a MsgAppend holds the entries behind the place that it names (`index`, `log_term`).
# Seen: the entries of an earlier place are put into the queued message, which keeps its `index`: it names entry 3 and begins with
# entry 2. Whether entries follow on each other is compared only where the message has some already. The receiver takes the
# length of what it got from `index`, so it would answer for an entry that was not in the message.
# Do: before a MsgAppend leaves, compare its first entry with `index + 1`; name the place anew from the log, or drop it (the
# engine notices); or leave batch_append off.
#
# Prints what was seen; exits 1 if the behaviour changed. Needs cargo and the Rust registry; about a minute on 2 cores.
set -euo pipefail
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT; cd "$T"; mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"
[dependencies]
raft = { version = "=0.7.0", default-features = false, features = ["protobuf-codec"] }
slog = { version = "=2.8.2", default-features = false }
[profile.dev]
debug = false
TOML
cat > src/main.rs <<'RUST'
use raft::{eraftpb::*, storage::MemStorage, Config, RawNode};

/// Stores, and gives what was to be sent.
fn pump(node: &mut RawNode<MemStorage>) -> Vec<Message> {
    let mut sent = vec![];
    while node.has_ready() {
        let mut ready = node.ready();
        sent.extend(ready.take_messages());
        node.mut_store().wl().append(ready.entries()).unwrap();
        if let Some(hard) = ready.hs() { node.mut_store().wl().set_hardstate(hard.clone()); }
        sent.extend(ready.take_persisted_messages());
        let mut light = node.advance(ready);
        sent.extend(light.take_messages());
        node.advance_apply();
    }
    sent
}

fn answer(node: &RawNode<MemStorage>, from: u64, kind: MessageType, index: u64) -> Message {
    let mut message = Message::default();
    message.set_msg_type(kind);
    (message.from, message.to, message.term, message.index) = (from, 1, node.raft.term, index);
    message
}

fn main() {
    let config = Config { id: 1, batch_append: true, max_size_per_msg: 1 << 20, ..Default::default() };
    let store = MemStorage::new_with_conf_state((vec![1, 2, 3], vec![]));
    let mut node = RawNode::new(&config, store, &slog::Logger::root(slog::Discard, slog::o!())).unwrap();
    node.campaign().unwrap();
    pump(&mut node);
    node.step(answer(&node, 2, MessageType::MsgRequestVoteResponse, 0)).unwrap();
    pump(&mut node); // the leader's own entry, 1
    for follower in [2, 3] { node.step(answer(&node, follower, MessageType::MsgAppendResponse, 1)).unwrap(); }
    for n in 0..2u8 { node.propose(vec![], vec![n]).unwrap(); }
    pump(&mut node); // 2 and 3 are on their way to both
    // 2 has all of it: that commits, and an empty append tells 3 so. In the same step 3 says that it has 1 only.
    node.step(answer(&node, 2, MessageType::MsgAppendResponse, 3)).unwrap();
    let mut reject = answer(&node, 3, MessageType::MsgAppendResponse, 3);
    (reject.reject, reject.reject_hint, reject.log_term) = (true, 1, node.raft.term);
    node.step(reject).unwrap();
    let odd: Vec<Message> = pump(&mut node).into_iter()
        .filter(|m| m.get_msg_type() == MessageType::MsgAppend && m.entries.first().is_some_and(|e| e.index != m.index + 1))
        .collect();
    for m in &odd {
        println!("seen:    to {}: index {}, entries {:?}", m.to, m.index, m.entries.iter().map(|e| e.index).collect::<Vec<_>>());
    }
    if odd.is_empty() { println!("CHANGED: every append holds the entries behind its place"); std::process::exit(1); }
}
RUST
export CARGO_TARGET_DIR="$T/target"
cargo run -q
