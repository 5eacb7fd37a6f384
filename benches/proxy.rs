//! The egress proxy against a bare TCP relay on the same machine, in the same run, turn by turn.
//!
//!     cargo bench --bench proxy
//!
//! Small requests one after the other (throughput, p50, p99), four at a time, and one large download: as a forwarded
//! request, and in a tunnel with TLS to the origin. Each row says what the relay does in the same turn.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a bench reads the clock")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench that cannot run says so at once")]

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use leasehold::{
    egress::{
        Bearer, BudgetLimits, EgressPolicy, EgressProxyPolicyService, LeaseCheck, LeaseRefusal,
        LeaseStanding, TokenKey,
    },
    id::WorkerId,
    lease::{EgressScope, Epoch, Fence, SecretScope},
    shell::SystemClock,
    time::Mono,
};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{PrivateKeyDer, ServerName},
};

#[path = "../examples/egress_proxy/proxy/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the proxy of its example, of which a bench uses less and tests nothing"
)]
mod proxy;

use proxy::{Identities, Proxy, Refused, Setup, Times};

const SMALL: usize = 400;
const ROUNDS: usize = 5;
const LARGE: usize = 256 << 20;

struct Live(WorkerId);

impl LeaseCheck for Live {
    fn standing(&self, _: Fence, _: Mono) -> Result<LeaseStanding, LeaseRefusal> {
        Ok(LeaseStanding {
            worker: self.0.clone(),
            expires: Mono::NEVER,
            egress: EgressScope::all(),
            secrets: SecretScope::none(),
        })
    }
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn serve(listener: TcpListener, each: impl Fn(TcpStream) + Send + Sync + 'static) {
    let each = Arc::new(each);
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            socket.set_nodelay(true).unwrap();
            let each = Arc::clone(&each);
            thread::spawn(move || each(socket));
        }
    });
}

/// Answers one request: `/large` at length, anything else shortly.
fn answer(stream: &mut (impl Read + Write)) {
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => head.extend_from_slice(&buffer[..count]),
            _ => return,
        }
    }
    let length = if head.windows(6).any(|six| six == b"/large") { LARGE } else { 64 };
    let said = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(said.as_bytes());
    let piece = vec![b'x'; 64 << 10];
    let mut left = length;
    while left > 0 {
        let count = left.min(piece.len());
        if stream.write_all(&piece[..count]).is_err() {
            return;
        }
        left -= count;
    }
}

fn pump(mut from: &TcpStream, mut to: &TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// A bare relay: two threads and two buffers a connection, and no idea of what passes.
fn relay(target: SocketAddr) -> SocketAddr {
    let (listener, address) = listen();
    serve(listener, move |client| {
        let upstream = TcpStream::connect(target).unwrap();
        upstream.set_nodelay(true).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| pump(&client, &upstream));
            pump(&upstream, &client);
        });
    });
    address
}

/// The bytes of one exchange.
fn exchange(stream: &mut (impl Read + Write), request: &str, buffer: &mut [u8]) -> usize {
    stream.write_all(request.as_bytes()).unwrap();
    let mut total = 0;
    // An origin that closes without TLS's farewell has said everything that its length promised.
    while let Ok(count @ 1..) = stream.read(buffer) {
        total += count;
    }
    total
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Times of `count` small requests by `clients` at a time, sorted, and how long all of them took.
fn small(address: SocketAddr, request: &str, count: usize, clients: usize) -> (Vec<Duration>, Duration) {
    let begun = Instant::now();
    let mut times: Vec<Duration> = thread::scope(|scope| {
        let each = || {
            let mut buffer = vec![0; 16 << 10];
            let mut times = Vec::new();
            for _ in 0..count / clients {
                let begun = Instant::now();
                assert!(exchange(&mut connect(address), request, &mut buffer) > 64);
                times.push(begun.elapsed());
            }
            times
        };
        let running: Vec<_> = (0..clients).map(|_| scope.spawn(each)).collect();
        running.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let all = begun.elapsed();
    times.sort_unstable();
    (times, all)
}

/// Many turns of the same thing by two ways.
#[derive(Default)]
struct Ways {
    times: [Vec<Duration>; 2],
    all: [Duration; 2],
}

impl Ways {
    fn print(mut self, what: &str) {
        let shown: Vec<String> = (0..2)
            .map(|way| {
                let times = &mut self.times[way];
                times.sort_unstable();
                let at =
                    |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_micros();
                let rate = times.len() as f64 / self.all[way].as_secs_f64();
                format!("{rate:>7.0} requests/s, p50 {:>5} us, p99 {:>5} us", at(50), at(99))
            })
            .collect();
        println!("{what:<28} relay {}\n{:<28} proxy {}", shown[0], "", shown[1]);
    }
}

fn rates(what: &str, seconds: &[Vec<f64>; 2]) {
    let median = |list: &[f64]| {
        let mut sorted = list.to_vec();
        sorted.sort_by(f64::total_cmp);
        LARGE as f64 / (1 << 20) as f64 / sorted[sorted.len() / 2]
    };
    let (relay, proxy) = (median(&seconds[0]), median(&seconds[1]));
    println!("{what:<28} relay {relay:>6.0} MiB/s, proxy {proxy:>6.0} MiB/s, {:.2} of it", proxy / relay);
}

fn main() {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["origin.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let provider = Arc::new(ring::default_provider());
    let tls = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let tls = Arc::new(tls);
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let trust = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let trust = Arc::new(trust);

    let (listener, http) = listen();
    serve(listener, |mut socket| answer(&mut socket));
    let (listener, https) = listen();
    serve(listener, move |socket| {
        answer(&mut StreamOwned::new(ServerConnection::new(Arc::clone(&tls)).unwrap(), socket));
    });
    let (plain_relay, tls_relay) = (relay(http), relay(https));

    let policy = format!(
        r#"{{"rules":[
            {{"id":"plain","hosts":["origin.test"],"schemes":["http"],"ports":[{}],"private_addresses":["127.0.0.1/32"]}},
            {{"id":"tunnel","hosts":["origin.test"],"ports":[{}],"methods":["CONNECT"],"private_addresses":["127.0.0.1/32"]}}]}}"#,
        http.port(),
        https.port()
    );
    let policy: EgressPolicy = serde_json::from_str(&policy).unwrap();
    let bearer = Bearer { worker: WorkerId::new("w1").unwrap(), fence: Fence::new(Epoch(1), 1) };
    let token_key = TokenKey::new([7; 32]);
    let token = token_key.token(&bearer);
    let proxy = Proxy::new(Setup {
        policy: EgressProxyPolicyService::compile(&policy).unwrap(),
        names: Box::new(|_| vec![Ipv4Addr::LOCALHOST.into()]),
        identities: Identities { keys: vec![token_key], ..Identities::default() },
        leases: Arc::new(Live(bearer.worker)),
        secrets: Box::new(()),
        upstream: Arc::clone(&trust),
        clock: Arc::new(SystemClock::start()),
        pages: Box::new(|_| Err(Refused::new(404, "none", "none"))),
        sink: Box::new(drop),
        times: Times::default(),
        budget: BudgetLimits::default(),
        max_body: 1 << 30,
        connections: 64,
        name: "bench".into(),
    });
    let (listener, address) = listen();
    proxy.listen(listener, None).unwrap();

    let fields = format!("proxy-authorization: Bearer {token}\r\n");
    let requests = |path: &str| {
        let bare = format!("GET {path} HTTP/1.1\r\nhost: origin.test\r\n\r\n");
        let asked = format!(
            "GET http://origin.test:{}{path} HTTP/1.1\r\nhost: origin.test\r\n{fields}\r\n",
            http.port()
        );
        [(plain_relay, bare), (address, asked)]
    };
    for (clients, what) in [(1, "small, one at a time"), (4, "small, four at a time")] {
        let mut ways = Ways::default();
        for _ in 0..ROUNDS {
            for (way, (address, request)) in requests("/small").iter().enumerate() {
                let (times, all) = small(*address, request, SMALL, clients);
                ways.times[way].extend(times);
                ways.all[way] += all;
            }
        }
        ways.print(what);
    }

    let mut buffer = vec![0; 256 << 10];
    let mut seconds = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (way, (address, request)) in requests("/large").iter().enumerate() {
            let begun = Instant::now();
            assert!(exchange(&mut connect(*address), request, &mut buffer) > LARGE);
            seconds[way].push(begun.elapsed().as_secs_f64());
        }
    }
    rates("large, forwarded", &seconds);

    let mut seconds = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (way, address) in [tls_relay, address].into_iter().enumerate() {
            let begun = Instant::now();
            let mut socket = connect(address);
            if way == 1 {
                let open = format!(
                    "CONNECT origin.test:{0} HTTP/1.1\r\nhost: origin.test:{0}\r\n{fields}\r\n",
                    https.port()
                );
                socket.write_all(open.as_bytes()).unwrap();
                let mut opened = Vec::new();
                while !opened.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    socket.read_exact(&mut byte).unwrap();
                    opened.push(byte[0]);
                }
            }
            let name = ServerName::try_from("origin.test").unwrap();
            let mut stream =
                StreamOwned::new(ClientConnection::new(Arc::clone(&trust), name).unwrap(), socket);
            let request = "GET /large HTTP/1.1\r\nhost: origin.test\r\n\r\n";
            assert!(exchange(&mut stream, request, &mut buffer) > LARGE);
            seconds[way].push(begun.elapsed().as_secs_f64());
        }
    }
    rates("large, in a tunnel with TLS", &seconds);
}
