//! CONNECT: bytes both ways, once the TLS hello has named the host that was judged.

use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use leasehold::egress::{BudgetError, ConnectPlan, TlsHello};

use super::{
    Moved, Proxy, Refused,
    channel::Channel,
    exchange::{Asked, Stopped, connect},
    locked,
    refused::{CLIENT_GONE, EARLY, NO_HELLO, REQUEST_BODY, RESPONSE_TOO_LARGE, UNREACHABLE},
};

/// A fatal TLS alert, `access_denied` (RFC 8446 section 6.2): what a client in a tunnel can understand of a refusal.
const DENIED: &[u8] = &[0x15, 3, 3, 0, 2, 2, 49];

/// Gives a tunnel's place in the budget back.
struct RunDirectory<'a>(&'a Proxy, &'a ConnectPlan);

impl Drop for RunDirectory<'_> {
    fn drop(&mut self) {
        let _ = self.0.spend(self.1.fence(), |budget| {
            budget.tunnel_ended();
            Ok(())
        });
    }
}

/// Carries out `plan`.
pub fn carry(proxy: &Proxy, client: &Channel, asked: &Asked, plan: &ConnectPlan) -> Result<Moved, Stopped> {
    let _place = RunDirectory(proxy, plan);
    if !asked.early.is_empty() {
        return Err(Refused::new(400, EARLY, "bytes came before the tunnel was open").into());
    }
    let plain = |socket| Channel::plain(socket).map_err(|error| Refused::upstream(UNREACHABLE, &error));
    // Nothing is said to the origin before the hello was judged, but a client learns here that it is not there.
    let (upstream, _registered) = connect(proxy, client, plan, plain)?;
    let open = format!("HTTP/1.1 200 Open\r\nvia: 1.1 {}\r\n\r\n", proxy.setup.name);
    let begun = |refused| Stopped { refused, moved: Moved::default(), begun: true };
    client.write_all(open.as_bytes()).map_err(|error| begun(Refused::new(400, CLIENT_GONE, error)))?;
    let (first, hello) = hello(proxy, client).map_err(|refused| denied(client, refused))?;
    plan.check_hello(&hello).map_err(|error| denied(client, Refused::coded(403, &error)))?;
    relay(proxy, client, &upstream, plan, &first)
}

fn denied(client: &Channel, refused: Refused) -> Stopped {
    let _ = client.write_all(DENIED);
    Stopped { refused, moved: Moved::default(), begun: true }
}

/// Reads the TLS hello that a tunnel begins with, and keeps its bytes.
fn hello(proxy: &Proxy, client: &Channel) -> Result<(Vec<u8>, TlsHello), Refused> {
    let deadline = Instant::now() + proxy.setup.times.head;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = match client.read(&mut buffer, Some(deadline)) {
            Ok(count @ 1..) => count,
            _ => return Err(Refused::new(403, NO_HELLO, "no TLS hello came in time")),
        };
        bytes.extend_from_slice(&buffer[..count]);
        match TlsHello::read(&bytes) {
            Ok(None) => {}
            Ok(Some(hello)) => return Ok((bytes, hello)),
            Err(error) => return Err(Refused::coded(403, &error)),
        }
    }
}

enum Stop {
    Io(io::Error),
    TooLarge,
    Budget(BudgetError),
}

/// One direction: where it is counted, how much may go, and what the lease's budget says.
struct Way<'a> {
    count: &'a AtomicU64,
    limit: u64,
    spend: &'a (dyn Fn(u64) -> Result<(), BudgetError> + Sync),
}

/// Moves bytes both ways until both sides end, one is silent for too long, a limit is reached, or it is cut. A limit
/// cuts the tunnel without TLS's farewell, so that what was cut cannot look whole.
fn relay(
    proxy: &Proxy,
    client: &Channel,
    upstream: &Channel,
    plan: &ConnectPlan,
    first: &[u8],
) -> Result<Moved, Stopped> {
    let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
    let most = proxy.setup.max_body;
    let up = Way {
        count: &sent,
        limit: plan.limits().max_request_bytes.unwrap_or(most),
        spend: &|bytes| proxy.spend(plan.fence(), |budget| budget.send(bytes)),
    };
    let down = Way {
        count: &received,
        limit: plan.limits().max_response_bytes.unwrap_or(most),
        spend: &|bytes| proxy.spend(plan.fence(), |budget| budget.receive(bytes)),
    };
    let why = Mutex::new(None);
    let stop = |code, stop| {
        let refused = match stop {
            Stop::Io(_) => None,
            Stop::TooLarge => Some(Refused::new(403, code, "the tunnel is over its limit of bytes")),
            Stop::Budget(error) => Some(Refused::coded(429, &error)),
        };
        let mut held = locked(&why);
        *held = held.take().or(refused);
        client.close();
        upstream.close();
    };
    thread::scope(|scope| {
        scope.spawn(|| match pump(&up, first, client, upstream) {
            Ok(()) => drop(upstream.finish()),
            Err(error) => stop(REQUEST_BODY, error),
        });
        match pump(&down, &[], upstream, client) {
            Ok(()) => drop(client.finish()),
            Err(error) => stop(RESPONSE_TOO_LARGE, error),
        }
    });
    let moved = Moved { sent: sent.into_inner(), received: received.into_inner() };
    match locked(&why).take() {
        Some(refused) => Err(Stopped { refused, moved, begun: true }),
        None => Ok(moved),
    }
}

fn pump(way: &Way<'_>, first: &[u8], from: &Channel, to: &Channel) -> Result<(), Stop> {
    let pass = |data: &[u8]| {
        let length = data.len() as u64;
        if way.count.load(Ordering::Relaxed).saturating_add(length) > way.limit {
            return Err(Stop::TooLarge);
        }
        (way.spend)(length).map_err(Stop::Budget)?;
        way.count.fetch_add(length, Ordering::Relaxed);
        to.write_all(data).map_err(Stop::Io)
    };
    pass(first)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer, None).map_err(Stop::Io)? {
            0 => return Ok(()),
            count => pass(&buffer[..count])?,
        }
    }
}
