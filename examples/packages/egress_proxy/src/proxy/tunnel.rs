//! CONNECT: bytes both ways, once the TLS hello has named the host that was judged.

use bytes::Bytes;
use leasehold::egress::{ConnectPlan, TlsHello, Tunnel, http1::Framing};

use super::{
    Proxy, Refused,
    admission::Underway,
    beat::{Beat, For},
    body::{BodyReader, BodyWriter, H1Body},
    forward::Client,
    origin,
    refused::{EARLY, NO_HELLO, TUNNEL_BROKEN, TUNNEL_BYTES},
    relay::{Counts, Stop, Way, both},
    stream::split,
    streams::Registered,
};

/// A fatal TLS alert, `access_denied` (RFC 8446 section 6.2): what a client in a tunnel can understand of a refusal.
const DENIED: &[u8] = &[0x15, 3, 3, 0, 2, 2, 49];

/// What an open tunnel works with.
pub struct Carried<'a> {
    /// The proxy.
    pub proxy: &'a Proxy,
    /// What was allowed.
    pub plan: &'a ConnectPlan,
    /// What counts.
    pub underway: &'a Underway<'a>,
    /// Where that is written down.
    pub counts: &'a Counts,
    /// The clocks.
    pub beat: &'a Beat,
}

/// Opens the tunnel of `plan` and carries it to its end.
pub async fn carry(
    carried: &Carried<'_>,
    stream: &Registered<'_>,
    client: &mut Client,
) -> Result<(), Refused> {
    let Carried { proxy, plan, beat, .. } = *carried;
    if client.has_early_bytes() {
        return Err(Refused::new(400, EARLY, "bytes came before the tunnel was open"));
    }
    // Nothing is said to the origin before the hello was judged, but a client learns here that it is not there.
    let (tunnel, _) = tokio::select! {
        opened = origin::open(proxy, plan, stream) => opened?,
        () = client.gone() => return Err(Refused::gone("the client left while the origin was dialled")),
    };
    let (reader, writer) = split(origin::plain(tunnel));
    let mut from = BodyReader::H1(H1Body::new(reader, Framing::UntilClose));
    let mut to = BodyWriter::H1 { writer, framing: Framing::UntilClose };
    client.open_tunnel(proxy).await.map_err(Refused::gone)?;
    // A rule may let anything be spoken, and then either side may begin.
    if plan.tunnel() == Tunnel::Any {
        return relay(carried, client, &mut from, &mut to).await;
    }
    beat.moved(For::Client);
    let first = match hello(proxy, client, plan).await {
        Ok(first) => first,
        Err((refused, first)) => {
            let said = in_the_tunnel(&first, &refused);
            let _ = client.say(said).await;
            return Err(refused);
        }
    };
    let bytes = first.len() as u64;
    ways(carried, For::Tunnel)[0].pass(bytes).map_err(|stop| stopped(stop, "the tunnel"))?;
    to.data(first).await.map_err(|error| Refused::upstream(TUNNEL_BROKEN, &error))?;
    relay(carried, client, &mut from, &mut to).await
}

/// Moves bytes both ways to the end of the tunnel.
async fn relay(
    carried: &Carried<'_>,
    client: &mut Client,
    from: &mut BodyReader,
    to: &mut BodyWriter,
) -> Result<(), Refused> {
    let ways = ways(carried, For::Tunnel);
    carried.beat.moved(For::Tunnel);
    let ended = both([&ways[0], &ways[1]], client.both(), (from, to)).await;
    ended.map_err(|stop| stopped(stop, "the tunnel"))
}

/// Both directions of a tunnel, with the limits of its rule. Without one there is none: the lease ends it.
pub fn ways<'a>(carried: &'a Carried<'_>, waits: For) -> [Way<'a>; 2] {
    let limits = carried.plan.limits();
    let most = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
    [
        Way {
            limit: most(limits.max_request_bytes),
            count: &carried.counts.sent,
            underway: carried.underway,
            up: true,
            beat: carried.beat,
            waits: [waits, waits],
        },
        Way {
            limit: most(limits.max_response_bytes),
            count: &carried.counts.received,
            underway: carried.underway,
            up: false,
            beat: carried.beat,
            waits: [waits, waits],
        },
    ]
}

/// Why a tunnel ended that did not end by itself.
pub fn stopped(stop: Stop, what: &str) -> Refused {
    match stop {
        Stop::Read(error) => Refused::new(502, TUNNEL_BROKEN, error),
        Stop::Write(error) => Refused::new(502, TUNNEL_BROKEN, error),
        Stop::TooLarge => Refused::new(403, TUNNEL_BYTES, format!("{what} is over its limit of bytes")),
        Stop::Budget(refused) => refused,
    }
}

/// The TLS hello that a tunnel begins with, judged.
async fn hello(proxy: &Proxy, client: &mut Client, plan: &ConnectPlan) -> Result<Bytes, (Refused, Bytes)> {
    let mut first: Vec<u8> = Vec::new();
    let read = async {
        let none = || Refused::new(403, NO_HELLO, "no TLS hello came in time");
        loop {
            let piece = client.body().next().await.ok().flatten().ok_or_else(none)?;
            first.extend_from_slice(&piece);
            match TlsHello::read(&first) {
                Ok(None) => {}
                Ok(Some(hello)) => {
                    return plan.check_hello(&hello).map_err(|error| Refused::coded(403, &error));
                }
                Err(error) => return Err(Refused::coded(403, &error)),
            }
        }
    };
    let judged = tokio::time::timeout(proxy.setup.times.head, read).await;
    let judged = judged.unwrap_or_else(|_| Err(Refused::new(403, NO_HELLO, "no TLS hello came in time")));
    let first = Bytes::from(first);
    match judged {
        Ok(()) => Ok(first),
        Err(refused) => Err((refused, first)),
    }
}

/// A refusal in the words of whatever the client began to speak in the tunnel.
fn in_the_tunnel(first: &[u8], refused: &Refused) -> Vec<u8> {
    match first.first() {
        Some(0x16) => DENIED.to_vec(),
        // The methods of HTTP are upper case letters.
        Some(b'A'..=b'Z') => {
            let message = "HTTP in plain text inside of a tunnel: send `http://` URLs to the proxy itself, or allow \
                           it with a rule that says `\"tunnel\":\"any\"`";
            Refused::new(refused.status, &refused.code, message).answer(false, false)
        }
        _ => Vec::new(),
    }
}
