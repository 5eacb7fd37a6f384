//! To the pinned addresses and nowhere else: one after the other begins a moment later, the first that answers is taken,
//! and one deadline holds for all of them.

use std::{collections::VecDeque, io, net::SocketAddr, time::Duration};

use leasehold::egress::ConnectPlan;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    Proxy, Refused,
    refused::{OWN_ADDRESS, TIMEOUT, UNREACHABLE},
};

/// How long an attempt is waited for before the next one begins beside it (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// The addresses in the order in which they are tried: families take turns, beginning with the one that was answered
/// first (RFC 8305 section 4).
fn in_turns(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let first_is_six = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let mut queues: [VecDeque<SocketAddr>; 2] = Default::default();
    for address in addresses {
        queues[usize::from(address.is_ipv6() != first_is_six)].push_back(*address);
    }
    let mut turns = VecDeque::new();
    while queues.iter().any(|queue| !queue.is_empty()) {
        turns.extend(queues.iter_mut().filter_map(VecDeque::pop_front));
    }
    turns
}

fn is_own(listener: SocketAddr, address: SocketAddr) -> bool {
    let same = |ip: std::net::IpAddr| ip.to_canonical() == address.ip().to_canonical();
    listener.port() == address.port()
        && (same(listener.ip()) || listener.ip().is_unspecified() && address.ip().is_loopback())
}

/// Connects to one of the plan's addresses. No name is looked up here, and the lease is looked at before each attempt.
pub async fn dial(proxy: &Proxy, plan: &ConnectPlan) -> Result<TcpStream, Refused> {
    let own = proxy.own();
    let itself = || Refused::new(403, OWN_ADDRESS, "the address is one of this proxy's own");
    if plan.addresses().iter().any(|address| own.iter().any(|listener| is_own(*listener, *address))) {
        return Err(itself());
    }
    let failed = |error: &io::Error| Refused::upstream(UNREACHABLE, error);
    let late = || Refused::new(504, TIMEOUT, "no address of the origin answered in time");
    let deadline = Instant::now() + proxy.setup.times.connect;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let mut waiting = in_turns(plan.addresses());
    let mut attempts = JoinSet::new();
    let socket = loop {
        if let Some(address) = waiting.pop_front() {
            proxy.lease_lives(plan)?;
            attempts.spawn(TcpStream::connect(address));
        }
        let next = if waiting.is_empty() { deadline } else { deadline.min(Instant::now() + STAGGER) };
        tokio::select! {
            attempt = attempts.join_next() => match attempt {
                Some(Ok(Ok(socket))) => break socket,
                Some(Ok(Err(error))) => last = error,
                Some(Err(error)) => last = io::Error::other(error),
                None if waiting.is_empty() => return Err(failed(&last)),
                None => {}
            },
            () = sleep_until(next) => if Instant::now() >= deadline { return Err(late()) },
        }
        if attempts.is_empty() && waiting.is_empty() {
            return Err(failed(&last));
        }
    };
    // The other attempts end here.
    drop(attempts);
    let reached = socket.peer_addr().map_err(|error| failed(&error))?;
    // What answers must be what was asked, or something between has its own idea of addresses.
    plan.confirm(reached).map_err(|error| Refused::coded(502, &error))?;
    // A listener on every address is found by the connection's own end: it is where it leads.
    let ours = socket.local_addr().map_err(|error| failed(&error))?;
    if ours.ip() == reached.ip() && own.iter().any(|listener| listener.port() == reached.port()) {
        return Err(itself());
    }
    socket.set_nodelay(true).map_err(|error| failed(&error))?;
    Ok(socket)
}

/// What is left of the time for connecting goes to TLS and to the parent's answer.
pub async fn within<T>(proxy: &Proxy, act: impl Future<Output = Result<T, Refused>>) -> Result<T, Refused> {
    let deadline = Instant::now() + proxy.setup.times.connect;
    let late = |_| Refused::new(504, TIMEOUT, "the origin did not answer in time");
    timeout_at(deadline, act).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let turns = |texts: &[&str]| {
            let addresses: Vec<SocketAddr> = texts.iter().filter_map(|text| text.parse().ok()).collect();
            in_turns(&addresses).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(turns(&["1.1.1.1:1", "1.1.1.2:1", "[2::1]:1"]), "1.1.1.1:1 [2::1]:1 1.1.1.2:1");
        assert_eq!(turns(&["[2::1]:1", "[2::2]:1", "1.1.1.1:1"]), "[2::1]:1 1.1.1.1:1 [2::2]:1");
    }
}
