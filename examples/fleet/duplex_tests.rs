//! The connections of the fleet: who comes in, that both directions work at once, that nobody waits for a silent peer.

use std::{
    net::{TcpListener, TcpStream},
    sync::{Arc, mpsc::sync_channel},
    thread,
    time::{Duration, Instant},
};

use leasehold::{
    digest::Sha256Digest,
    identity::{AnchorCommand, AnchorRole, Announcement, TrustAnchors},
    time::Now,
};

use crate::{
    Failure,
    duplex::Duplex,
    link::{Heard, Link},
    tls::{self, Authority, Identity, Purpose, Root},
};

struct World {
    authority: Authority,
    server: Identity,
    listener: TcpListener,
}

fn world() -> World {
    let authority = Authority::new("test").unwrap_or_else(|error| panic!("{error}"));
    let server = authority.issue("server.test", Purpose::Server).unwrap_or_else(|error| panic!("{error}"));
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap_or_else(|error| panic!("{error}"));
    World { authority, server, listener }
}

impl World {
    fn call(&self, identity: Option<&Identity>, root: &Root, known: Sha256Digest) -> Result<Duplex, Failure> {
        let socket = TcpStream::connect(self.listener.local_addr()?)?;
        Ok(Duplex::connect(socket, tls::client(identity, root)?, "server.test", Some(known))?)
    }

    fn answer(&self) -> Result<Duplex, Failure> {
        let (socket, _) = self.listener.accept()?;
        Ok(Duplex::accept(socket, tls::mutual_server(&self.server, &self.authority.root())?)?)
    }

    /// Both ends of one connection, or what the server said to it.
    fn pair(&self, identity: Option<&Identity>) -> Result<(Duplex, Duplex), Failure> {
        thread::scope(|scope| {
            let client =
                scope.spawn(|| self.call(identity, &self.authority.root(), self.server.fingerprint()));
            let server = self.answer()?;
            Ok((client.join().unwrap_or_else(|_| Err(Failure::new("panicked")))?, server))
        })
    }
}

/// Only a certificate of the fleet's authority comes in, and what it is is known by its fingerprint.
#[test]
fn strangers_stay_out_and_devices_are_known_by_fingerprint() -> Result<(), Failure> {
    let world = world();
    let device = world.authority.issue("device", Purpose::Client)?;
    let (client, server) = world.pair(Some(&device))?;
    assert_eq!(server.peer(), Some(device.fingerprint()));
    assert_eq!(client.peer(), Some(world.server.fingerprint()));
    let stranger = Authority::new("test")?.issue("device", Purpose::Client)?;
    assert!(world.pair(Some(&stranger)).is_err(), "another authority of the same name");
    assert!(world.pair(None).is_err(), "no certificate at all");
    let other = world.authority.issue("server.test", Purpose::Server)?;
    thread::scope(|scope| {
        scope.spawn(|| world.answer());
        let called = world.call(Some(&device), &world.authority.root(), other.fingerprint());
        assert!(called.is_err(), "the right name and authority, another certificate");
    });
    Ok(())
}

/// The certificate authority rotates with overlap: TLS takes the devices of both authorities until the former one is retired,
/// by the fleet's anchors.
#[test]
fn devices_of_both_authorities_come_in_until_the_former_one_is_retired() -> Result<(), Failure> {
    let (world, next) = (world(), Authority::new("next")?);
    let known = [world.authority.root(), next.root()];
    let old_device = world.authority.issue("device", Purpose::Client)?;
    let new_device = next.issue("device", Purpose::Client)?;
    let (by, role) = (world.server.fingerprint(), AnchorRole::Authority);
    let now = Now::new(0, known[1].facts()?.not_before().0);
    let mut anchors = TrustAnchors::of_coordinator(by);
    let certificate = known[0].facts()?.into();
    let announcement =
        Announcement { role, succeeds: known[0].facts()?.fingerprint(), next: known[1].facts()? };
    let come_in = |anchors: &TrustAnchors| -> Result<[bool; 2], Failure> {
        let server = tls::mutual_server_of(&world.server, &tls::accepted(&known, anchors, now))?;
        let comes = |device| {
            thread::scope(|scope| {
                let call = scope.spawn(|| world.call(Some(device), &world.authority.root(), by));
                let (socket, _) = world.listener.accept()?;
                let came = Duplex::accept(socket, Arc::clone(&server)).is_ok();
                let _ = call.join();
                Ok::<_, Failure>(came)
            })
        };
        Ok([comes(&old_device)?, comes(&new_device)?])
    };
    let script = [
        (AnchorCommand::Pin { role, certificate }, [true, false]),
        (AnchorCommand::Announce { by, announcement }, [true, true]),
        (AnchorCommand::ConfirmUse { fingerprint: announcement.next.fingerprint() }, [false, true]),
    ];
    for (command, expected) in script {
        anchors.apply(&command, now).map_err(Failure::coded)?;
        assert_eq!(come_in(&anchors)?, expected, "{command:?}");
    }
    Ok(())
}

/// A client that would resume finds nothing to resume, so every certificate is looked at.
#[test]
fn no_session_is_ever_resumed() -> Result<(), Failure> {
    let world = world();
    let device = world.authority.issue("device", Purpose::Client)?;
    let mut config = (*tls::client(Some(&device), &world.authority.root())?).clone();
    config.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let config = Arc::new(config);
    for _ in 0..3 {
        let call = || {
            let socket = TcpStream::connect(world.listener.local_addr()?)?;
            let known = Some(world.server.fingerprint());
            let client = Duplex::connect(socket, Arc::clone(&config), "server.test", known)?;
            // Tickets would come after the handshake.
            client.read(&mut [0; 16])?;
            Ok::<_, Failure>(client)
        };
        let (client, server) = thread::scope(|scope| {
            let client = scope.spawn(call);
            let server = world.answer()?;
            server.write_all(b"hello")?;
            Ok::<_, Failure>((client.join().unwrap_or_else(|_| Err(Failure::new("panicked")))?, server))
        })?;
        assert_eq!(client.handshake(), Some(rustls::HandshakeKind::Full));
        assert_eq!(server.peer(), Some(device.fingerprint()));
    }
    Ok(())
}

/// Bytes come through whole, in order, in both directions at once, whatever the sizes.
#[test]
fn both_directions_carry_everything_in_order() -> Result<(), Failure> {
    let world = world();
    let device = world.authority.issue("device", Purpose::Client)?;
    let (client, server) = world.pair(Some(&device))?;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    thread::scope(|scope| {
        for side in [&client, &server] {
            let sent = &sent;
            scope.spawn(move || side.write_all(sent).and_then(|()| side.finish()));
            scope.spawn(move || {
                let mut got = Vec::new();
                let mut buffer = vec![0; 7000];
                loop {
                    match side.read(&mut buffer) {
                        Ok(0) => break,
                        Ok(count) => got.extend_from_slice(&buffer[..count]),
                        Err(error) => panic!("{error}"),
                    }
                }
                assert!(got == *sent);
            });
        }
    });
    Ok(())
}

/// A peer that never reads fills its own queue and is cut; sending to it never waits.
#[test]
fn a_peer_that_never_reads_is_cut() -> Result<(), Failure> {
    let world = world();
    let device = world.authority.issue("device", Purpose::Client)?;
    let (silent, server) = world.pair(Some(&device))?;
    let (events, heard) = sync_channel(16);
    let link = Link::start(server, events, |heard| heard)?;
    let began = Instant::now();
    let cut = (0..10_000).any(|_| link.send(vec![0; 60_000]).is_err());
    assert!(cut && began.elapsed() < Duration::from_secs(2));
    // A little was taken before, by the buffers between.
    let mut heard = std::iter::from_fn(|| heard.recv_timeout(Duration::from_secs(5)).ok());
    assert!(heard.any(|heard| matches!(heard, Heard::Closed)));
    drop(silent);
    Ok(())
}
