//! Where names lead: both families at once, cached for as long as the answers say, and failures told apart.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RData},
    },
};
use leasehold::egress::LookupFailure;
use tokio::time::{sleep, timeout};

/// How long the other family is waited for once one has answered (RFC 8305 section 3).
const OTHER_FAMILY: Duration = Duration::from_millis(50);
/// How long one question may take, and how often it is asked.
const PATIENCE: Duration = Duration::from_secs(2);
const TRIES: usize = 2;
/// The most answers that are kept.
const CACHE: u64 = 4096;
/// The longest that an answer is kept, whatever it says: a name that moved is found again.
const LONGEST: Duration = Duration::from_secs(300);

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The servers and the hosts file of the system's configuration.
    Configured,
    /// The system's own resolver, with whatever it is made to ask. It tells failures apart less well, and its answers
    /// are not kept.
    System,
    /// This server and no other.
    Server(SocketAddr),
}

/// `system`, or the address of a server.
impl std::str::FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "system" => Ok(Self::System),
            _ => text.parse().map(Self::Server).map_err(|_| "not `system` and not ADDRESS:PORT".to_owned()),
        }
    }
}

/// The resolver.
pub enum Names {
    /// Asks servers.
    Servers(Box<TokioResolver>),
    /// Asks the system.
    System,
}

impl Names {
    /// The resolver that asks `source`.
    pub fn open(source: Source) -> Result<Self, String> {
        let failed = |error: &dyn ToString| format!("names: {}", error.to_string());
        let mut builder = match source {
            Source::System => return Ok(Self::System),
            Source::Configured => TokioResolver::builder_tokio().map_err(|error| failed(&error))?,
            Source::Server(server) => {
                let on = |mut connection: ConnectionConfig| {
                    connection.port = server.port();
                    connection
                };
                let connections = vec![on(ConnectionConfig::udp()), on(ConnectionConfig::tcp())];
                let server = NameServerConfig::new(server.ip(), true, connections);
                let config = ResolverConfig::from_name_servers(vec![server]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let options = builder.options_mut();
        limit(options);
        if matches!(source, Source::Server(_)) {
            options.use_hosts_file = hickory_resolver::config::ResolveHosts::Never;
        }
        Ok(Self::Servers(Box::new(builder.build().map_err(|error| failed(&error))?)))
    }

    /// The addresses of `name`, those of IPv4 first; none where it has none.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, LookupFailure> {
        match self {
            Self::System => {
                let looked_up = timeout(PATIENCE * 4, tokio::net::lookup_host((name, 0))).await;
                let found =
                    looked_up.map_err(|_| LookupFailure::Timeout)?.map_err(|error| of_system(&error))?;
                let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
                addresses.dedup();
                Ok(addresses)
            }
            Self::Servers(resolver) => ask(resolver, name).await,
        }
    }
}

fn limit(options: &mut ResolverOpts) {
    options.timeout = PATIENCE;
    options.attempts = TRIES;
    options.cache_size = CACHE;
    options.positive_max_ttl = Some(LONGEST);
    options.negative_max_ttl = Some(Duration::from_secs(5));
    // The search list is for people at a shell; a request says the whole name.
    options.ndots = 0;
    options.os_port_selection = true;
}

async fn ask(resolver: &TokioResolver, name: &str) -> Half {
    // Whole, so that nothing is put behind it.
    let mut name: Name = name.parse().map_err(|_| LookupFailure::NxDomain)?;
    name.set_fqdn(true);
    let four = async { of(resolver.ipv4_lookup(name.clone()).await) };
    let six = async { of(resolver.ipv6_lookup(name.clone()).await) };
    let (four, six) = both(four, six).await;
    let mut addresses: Vec<IpAddr> = Vec::new();
    let mut why = Vec::new();
    for half in [four, six].into_iter().flatten() {
        match half {
            Ok(found) => addresses.extend(found),
            Err(failure) => why.push(failure),
        }
    }
    if !addresses.is_empty() {
        return Ok(addresses);
    }
    // The failure that says most: that there is no such name, else what went wrong, else that it has no address.
    let rank =
        [LookupFailure::NxDomain, LookupFailure::Refused, LookupFailure::ServFail, LookupFailure::Timeout];
    match rank.into_iter().find(|failure| why.contains(failure)) {
        Some(failure) => Err(failure),
        None => Ok(Vec::new()),
    }
}

fn of(found: Result<Lookup, NetError>) -> Half {
    match found {
        Ok(found) => Ok(found.answers().iter().filter_map(|record| address(&record.data)).collect()),
        Err(error) => of_server(&error),
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(four) => Some(IpAddr::V4(four.0)),
        RData::AAAA(six) => Some(IpAddr::V6(six.0)),
        _ => None,
    }
}

/// The addresses of a name, or of one family of them; none where it has none.
type Half = Result<Vec<IpAddr>, LookupFailure>;

/// Both halves; of one that takes longer than [`OTHER_FAMILY`] after the other has found something, nothing.
async fn both(
    four: impl Future<Output = Half>,
    six: impl Future<Output = Half>,
) -> (Option<Half>, Option<Half>) {
    let (mut four, mut six) = (std::pin::pin!(four), std::pin::pin!(six));
    let found = |half: &Half| half.as_ref().is_ok_and(|found| !found.is_empty());
    tokio::select! {
        first = &mut four => {
            let wait = async { if found(&first) { sleep(OTHER_FAMILY).await } else { std::future::pending().await } };
            tokio::select! {
                second = &mut six => (Some(first), Some(second)),
                () = wait => (Some(first), None),
            }
        }
        first = &mut six => {
            let wait = async { if found(&first) { sleep(OTHER_FAMILY).await } else { std::future::pending().await } };
            tokio::select! {
                second = &mut four => (Some(second), Some(first)),
                () = wait => (None, Some(first)),
            }
        }
    }
}

fn of_server(error: &NetError) -> Half {
    let of_code = |code: ResponseCode| match code {
        ResponseCode::NoError => Ok(Vec::new()),
        ResponseCode::NXDomain => Err(LookupFailure::NxDomain),
        ResponseCode::Refused | ResponseCode::NotImp => Err(LookupFailure::Refused),
        _ => Err(LookupFailure::ServFail),
    };
    match error {
        NetError::Timeout => Err(LookupFailure::Timeout),
        NetError::Io(error) if error.kind() == io::ErrorKind::TimedOut => Err(LookupFailure::Timeout),
        NetError::Dns(DnsError::ResponseCode(code)) => of_code(*code),
        NetError::Dns(DnsError::NoRecordsFound(none)) => of_code(none.response_code),
        _ => Err(LookupFailure::ServFail),
    }
}

/// The standard library says what failed in words only.
fn of_system(error: &io::Error) -> LookupFailure {
    let text = error.to_string();
    if text.contains("not known") || text.contains("No address") {
        LookupFailure::NxDomain
    } else {
        LookupFailure::ServFail
    }
}
