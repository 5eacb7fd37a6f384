//! What a node takes from its store and from its peers. Whatever is damaged, foreign or out of place is refused with a code, and
//! changes nothing.

use leasehold::time::{Millis, Wall};
use replicated::*;

fn local() -> Local {
    Local { mono: Millis(0), wall: Wall(1_764_000_000_000) }
}

fn founding(voters: u64) -> Stored {
    let members = Members::founders((1..=voters).map(|id| (NodeId(id), Vec::new())));
    Stored::founding(members, 0_u64.to_be_bytes().to_vec(), 7)
}

fn start(id: u64, stored: Stored) -> Result<Node<Empty>, StartError> {
    let config = Config { patience: Some(10), ..Config::new(NodeId(id)) };
    Node::start(config, Empty::default(), stored, 1, local())
}

/// Carries out what a node wants, with a store that is always done at once. What it sends is given back.
fn settle(node: &mut Node<Empty>, stored: &mut Stored) -> Vec<Packet> {
    let mut sent = Vec::new();
    while let Some(output) = node.poll() {
        match output {
            Output::Send(packet) => sent.push(packet),
            Output::Write(id, write) => {
                stored.apply(&write);
                node.written(id, local());
            }
            Output::Event(_) => {}
        }
    }
    sent
}

/// A lone voter leads, proposes, compacts, and comes back with everything; its epochs go on from the founding's term.
#[test]
fn one_node_leads_and_comes_back() {
    let mut stored = founding(1);
    let mut node = start(1, stored.clone()).unwrap();
    for _ in 0..30 {
        node.tick(local());
        settle(&mut node, &mut stored);
    }
    assert_eq!(node.term(), 8);
    for n in 0..5 {
        node.leader().unwrap().ask(vec![n]);
        node.turn(local());
        settle(&mut node, &mut stored);
    }
    assert_eq!(node.leading().unwrap().applied(), 5);
    let before = node.applied();
    node.compact();
    node.turn(local());
    settle(&mut node, &mut stored);
    assert_eq!(stored.snapshot.as_ref().unwrap().index, before);
    drop(node);
    let mut node = start(1, stored.clone()).unwrap();
    assert_eq!((node.applied(), node.machine().unwrap().applied), (before, 5));
    for _ in 0..30 {
        node.tick(local());
        settle(&mut node, &mut stored);
    }
    assert_eq!((node.term(), node.leading().unwrap().applied()), (9, 5));
}

/// A word about a write of a former life releases nothing.
#[test]
fn a_stale_completion_releases_nothing() {
    let stored = founding(1);
    let write = |life| {
        let config = Config { patience: Some(10), ..Config::new(NodeId(1)) };
        let mut node = Node::start(config, Empty::default(), stored.clone(), life, local()).unwrap();
        for _ in 0..30 {
            node.tick(local());
            while let Some(output) = node.poll() {
                if let Output::Write(id, _) = output {
                    return (node, id);
                }
            }
        }
        panic!("nothing is written");
    };
    let ((_, former), (mut node, own)) = (write(1), write(2));
    node.written(former, local());
    assert!(node.poll().is_none());
    node.written(own, local());
    assert!(node.poll().is_some());
}

/// Every way in which a store can have lost or mixed up something that the engine would panic about, or believe.
#[test]
fn a_damaged_store_is_refused() {
    let entry = |index, term| Entry { index, term, kind: EntryKind::Command, data: vec![1] };
    type Damage = fn(&mut Stored, &dyn Fn(u64, u64) -> Entry);
    let cases: [(&str, Damage); 8] = [
        ("a gap behind the snapshot", |stored, entry| stored.entries = vec![entry(3, 7)]),
        ("a gap", |stored, entry| stored.entries = vec![entry(2, 7), entry(4, 7)]),
        ("terms go back", |stored, entry| stored.entries = vec![entry(2, 7), entry(3, 6)]),
        ("a hard state that is older than the log", |stored, entry| stored.entries = vec![entry(2, 8)]),
        ("a commit index that nothing is at", |stored, _| stored.hard.commit = 9),
        ("a commit index before the snapshot", |stored, _| stored.hard.commit = 0),
        ("no snapshot", |stored, _| stored.snapshot = None),
        ("a state that does not load", |stored, _| {
            if let Some(snapshot) = &mut stored.snapshot {
                snapshot.state = vec![1].into();
            }
        }),
    ];
    for (what, damage) in cases {
        let mut stored = founding(3);
        damage(&mut stored, &entry);
        assert_eq!(start(1, stored).err().map(|error| error.code().0), Some("store.damaged"), "{what}");
    }
}

/// Packets: one that is cut, goes on, is of an unknown kind or form, or is not from and for whom the channel says. Proposals
/// and what an engine says to itself have no form at all.
#[test]
fn packets_of_strangers_are_refused() {
    let mut stored = founding(3);
    let mut node = start(1, stored.clone()).unwrap();
    let mut sent = Vec::new();
    for _ in 0..12 {
        node.tick(local());
        sent.extend(settle(&mut node, &mut stored));
    }
    let packet = sent.into_iter().find(|packet| packet.to() == NodeId(2)).unwrap();
    let bytes = packet.encode().unwrap();
    assert!(Packet::decode(&bytes, 0).is_ok());
    for end in 0..bytes.len() {
        assert_eq!(Packet::decode(&bytes[..end], 0).err(), Some(PacketError::Malformed), "cut at {end}");
    }
    let changed = |at: usize, to: u8| {
        let mut changed = bytes.clone();
        changed[at] = to;
        changed
    };
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(Packet::decode(&longer, 0).err(), Some(PacketError::Malformed));
    assert_eq!(Packet::decode(&changed(0, 2), 0).err(), Some(PacketError::Form(2)));
    assert_eq!(Packet::decode(&changed(1, 77), 0).err(), Some(PacketError::Kind));
    let mut other = start(2, founding(3)).unwrap();
    let refused = |node: &mut Node<Empty>, peer, bytes: &[u8]| {
        let packet = Packet::decode(bytes, 0).unwrap();
        node.receive(NodeId(peer), packet, local()).err()
    };
    assert_eq!(refused(&mut other, 3, &bytes), Some(PacketError::Other), "another sender than the channel's");
    let mut third = start(3, founding(3)).unwrap();
    assert_eq!(refused(&mut third, 1, &bytes), Some(PacketError::Other), "another receiver");
    // The term is the fourth number: 0 is what the engine says to itself, and the largest one would end all elections.
    for term in [0, u64::MAX, 1 << 40] {
        let mut lie = bytes.clone();
        lie[18..26].copy_from_slice(&u64::to_be_bytes(term));
        assert_eq!(refused(&mut other, 1, &lie), Some(PacketError::Term), "term {term}");
    }
    assert_eq!(other.term(), 7);
    assert_eq!(refused(&mut other, 1, &bytes), None);
}

/// A member that raises the term again and again is not listened to for a while: the others keep their leader for most of the
/// time.
#[test]
fn a_member_that_lies_about_terms_does_not_stop_the_others() {
    let mut stores: Vec<Stored> = (0..3).map(|_| founding(3)).collect();
    let mut nodes: Vec<Node<Empty>> =
        (1..=2).map(|id| start(id, stores[id as usize - 1].clone()).unwrap()).collect();
    // A heartbeat's answer is what raises a leader's term without any vote.
    let lie = |to: u64, term: u64| {
        let mut bytes = vec![1, 8];
        for value in [3, to, term, 0, 0, 0, 0, 0, 0] {
            bytes.extend_from_slice(&u64::to_be_bytes(value));
        }
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        Packet::decode(&bytes, 0).unwrap()
    };
    let (mut led, mut refused) = (0, 0);
    for _ in 0..1_000 {
        let mut wires = Vec::new();
        for (node, stored) in nodes.iter_mut().zip(&mut stores) {
            node.tick(local());
            wires.extend(settle(node, stored));
        }
        while let Some(packet) = wires.pop() {
            let (from, to) = (packet.from(), packet.to());
            if let Some(at) = (to.0 as usize).checked_sub(1).filter(|at| *at < 2) {
                let _ = nodes[at].receive(from, packet, local());
                wires.extend(settle(&mut nodes[at], &mut stores[at]));
            }
        }
        led += usize::from(nodes.iter().any(|node| node.leading().is_some()));
        for (node, stored) in nodes.iter_mut().zip(&mut stores) {
            let lie = lie(node.id().0, node.term() + 1);
            refused += usize::from(node.receive(NodeId(3), lie, local()).is_err());
            settle(node, stored);
        }
    }
    assert!(led > 300, "led for {led} of 1000 ticks");
    assert!(refused > 1_500, "{refused} of 2000 lies were refused");
}

/// Changes that would leave the cluster without a quorum, or the leader without its lead, are refused.
#[test]
fn changes_that_stop_the_cluster_are_refused() {
    let mut stored = founding(1);
    let mut node = start(1, stored.clone()).unwrap();
    assert_eq!(node.change(&Change::Remove(NodeId(1))), Err(ChangeError::NotLeading));
    for _ in 0..30 {
        node.tick(local());
        settle(&mut node, &mut stored);
    }
    assert_eq!(node.change(&Change::Remove(NodeId(1))), Err(ChangeError::Quorum));
    assert_eq!(node.change(&Change::Promote(NodeId(2))), Err(ChangeError::Unknown));
    assert_eq!(node.change(&Change::Add(NodeId(1), Vec::new())), Err(ChangeError::Known));
    assert_eq!(node.change(&Change::Add(NodeId(2), vec![0; 5_000])), Err(ChangeError::TooMany));
    assert_eq!(node.transfer(NodeId(2)), Err(ChangeError::Unknown));
    node.change(&Change::Add(NodeId(2), b"two".to_vec())).unwrap();
    assert_eq!(node.change(&Change::Add(NodeId(3), Vec::new())), Err(ChangeError::Pending));
    node.turn(local());
    settle(&mut node, &mut stored);
    assert_eq!(node.members().get(NodeId(2)).map(|member| member.voter), Some(false));
    // It has nothing yet.
    for n in 0..40 {
        node.leader().unwrap().ask(vec![n]);
    }
    node.turn(local());
    settle(&mut node, &mut stored);
    assert_eq!(node.change(&Change::Promote(NodeId(2))), Err(ChangeError::Behind));
}
