//! Properties of egress decisions over random policies and requests, against a matcher that scans every rule
//! (invariant 9).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use leasehold::{
    egress::{
        Bearer, DenyList, EgressPolicy, EgressProxyPolicyService, EgressRequest, EgressRule, EgressVerdict,
        Host, HostRule, LeaseCheck, LeaseRefusal, LeaseStanding, Mode, address::classify,
    },
    id::WorkerId,
    lease::{EgressScope, Epoch, Fence, SecretScope},
    time::Mono,
};
use proptest::{prelude::*, sample::select};

struct Live;

impl LeaseCheck for Live {
    fn standing(&self, _: Fence, _: Mono) -> Result<LeaseStanding, LeaseRefusal> {
        Ok(LeaseStanding {
            worker: WorkerId::new("w").unwrap(),
            expires: Mono::NEVER,
            egress: EgressScope::all(),
            secrets: SecretScope::all(),
        })
    }
}

fn decide(policy: &EgressPolicy, ask: &Ask) -> EgressVerdict {
    let service = EgressProxyPolicyService::compile(policy).unwrap();
    let bearer = Bearer { worker: WorkerId::new("w").unwrap(), fence: Fence::new(Epoch(1), 1) };
    let url = ask.url();
    let authority = format!("{}:{}", ask.host, ask.port);
    let request = if ask.method == "CONNECT" {
        EgressRequest::tunnel("CONNECT", &authority)
    } else {
        EgressRequest::url(ask.method, &url)
    };
    service.decide(&request, &bearer, &Live, Mono(0), |_| ask.answers.clone())
}

#[derive(Clone, Debug)]
struct Ask {
    method: &'static str,
    scheme: &'static str,
    host: String,
    port: u16,
    path: &'static str,
    answers: Vec<IpAddr>,
}

impl Ask {
    fn url(&self) -> String {
        format!("{}://{}:{}{}", self.scheme, self.host, self.port, self.path)
    }

    /// A tunnel counts as https and shows no path.
    fn scheme(&self) -> &'static str {
        if self.method == "CONNECT" { "https" } else { self.scheme }
    }
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[ab](\\.[ab]){0,3}",
        1 => select(vec!["93.184.216.34".to_string(), "10.0.0.1".to_string()]),
    ]
}

fn name() -> impl Strategy<Value = String> {
    "[ab](\\.[ab]){0,2}"
}

/// A star as one label inside.
fn pattern() -> impl Strategy<Value = String> {
    "[ab]\\.(\\*\\.[ab]|[ab]\\.\\*\\.[ab]|\\*\\.[ab]\\.[ab])\\.[ab]".prop_map(String::from)
}

fn some<T: Clone + std::fmt::Debug + 'static>(of: &[T]) -> impl Strategy<Value = Option<Vec<T>>> + use<T> {
    let len = of.len();
    prop::option::of(prop::sample::subsequence(of.to_vec(), 1..=len))
}

fn texts(of: &[&str]) -> Vec<String> {
    of.iter().map(ToString::to_string).collect()
}

prop_compose! {
    fn rule()(
        hosts in prop::collection::vec(host(), 0..3),
        suffixes in prop::collection::vec(name(), 0..2),
        patterns in prop::collection::vec(pattern(), 0..2),
        any_host in prop::bool::weighted(0.15),
        schemes in some(&texts(&["http", "https"])),
        ports in some(&[80_u16, 443, 8443]),
        methods in some(&texts(&["GET", "POST", "CONNECT"])),
        paths in some(&texts(&["/", "/a", "/a/", "/a/b"])),
    ) -> EgressRule {
        EgressRule { hosts, suffixes, patterns, any_host, schemes, ports, methods, paths, ..EgressRule::default() }
    }
}

fn deny() -> impl Strategy<Value = DenyList> {
    let addresses = select(vec!["93.184.216.0/24", "8.8.8.8", "2606:4700::/32"]);
    (
        prop::collection::vec(host(), 0..2),
        prop::collection::vec(name(), 0..2),
        prop::collection::vec(addresses.prop_map(String::from), 0..2),
    )
        .prop_map(|(hosts, suffixes, addresses)| DenyList { hosts, suffixes, addresses })
}

fn policy() -> impl Strategy<Value = EgressPolicy> {
    (prop::collection::vec(rule(), 1..8), deny()).prop_map(|(mut rules, deny)| {
        for (n, rule) in rules.iter_mut().enumerate() {
            rule.id = format!("r{n}");
        }
        EgressPolicy { rules, deny, ..EgressPolicy::default() }
    })
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        6 => select(vec!["93.184.216.34", "8.8.8.8", "2606:4700::1", "1.1.1.1"]).prop_map(|ip| ip.parse().unwrap()),
        1 => any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).into()),
        1 => any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits).into()),
        1 => any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).to_ipv6_mapped().into()),
    ]
}

prop_compose! {
    fn ask()(
        method in select(vec!["GET", "POST", "CONNECT", "HEAD"]),
        scheme in select(vec!["http", "https"]),
        host in host(),
        port in select(vec![80, 443, 8443]),
        path in select(vec!["/", "/a", "/a/", "/a/b/c", "/ab", "/a/..%2fb", "/b"]),
        answers in prop::collection::vec(address(), 0..3),
    ) -> Ask {
        Ask { method, scheme, host, port, path, answers }
    }
}

/// Every name, on many ports.
static ANY_HOST: LazyLock<EgressProxyPolicyService> = LazyLock::new(|| {
    let rule = EgressRule {
        id: "r".into(),
        any_host: true,
        schemes: Some(texts(&["http", "https"])),
        ports: Some((1..=1024).collect()),
        ..EgressRule::default()
    };
    EgressProxyPolicyService::compile(&EgressPolicy { rules: vec![rule], ..EgressPolicy::default() }).unwrap()
});

/// Whether the labels agree one by one, and a star with any.
fn fits(pattern: &str, host: &Host) -> bool {
    let Some(name) = host.name() else { return false };
    let (own, theirs): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), name.split('.').collect());
    own.len() == theirs.len() && own.iter().zip(theirs).all(|(own, label)| *own == "*" || *own == label)
}

/// How well a rule matches by host: exact, then patterns by how early their star stands, then suffixes by length, then any
/// host.
fn by_host(rule: &EgressRule, host: &Host) -> Option<usize> {
    let star = |text: &String| text.split('.').position(|label| label == "*").unwrap_or(0);
    let patterns =
        rule.patterns.iter().filter(|text| fits(text, host)).map(|text| usize::MAX - 1 - star(text));
    let exact = rule.hosts.iter().any(|text| HostRule::exact(text).unwrap().matches(host));
    let suffixes = rule.suffixes.iter().filter(|text| HostRule::suffix(text).unwrap().matches(host));
    let any = (rule.any_host && host.ip().is_none()).then_some(0);
    if exact { Some(usize::MAX) } else { patterns.max().or(suffixes.map(String::len).max()).or(any) }
}

/// The longest prefix of a path, where there is one; zero where the rule has none.
fn by_path(rule: &EgressRule, ask: &Ask) -> Option<usize> {
    let Some(prefixes) = &rule.paths else { return Some(0) };
    if ask.method == "CONNECT" {
        return None;
    }
    // The one path with an encoded slash reads as `/b` to some upstreams.
    let readings: &[&str] = if ask.path == "/a/..%2fb" { &["/a/..%2fb", "/b"] } else { &[ask.path] };
    let under = |path: &str, prefix: &str| {
        path == prefix
            || path.starts_with(prefix) && (prefix.ends_with('/') || path[prefix.len()..].starts_with('/'))
    };
    let holds = prefixes.iter().filter(|prefix| readings.iter().all(|path| under(path, prefix)));
    holds.map(String::len).max()
}

fn lists(list: &Option<Vec<String>>, default: &[&str], value: &str) -> bool {
    match list {
        Some(list) => list.iter().any(|own| own == value),
        None => default.contains(&value),
    }
}

/// The naive decision by rules: scan them all, keep the best. Names the winner.
fn naive_winner(policy: &EgressPolicy, ask: &Ask) -> Option<String> {
    let host = Host::parse(&ask.host).unwrap();
    let denied = policy.deny.hosts.iter().any(|text| HostRule::exact(text).unwrap().matches(&host))
        || policy.deny.suffixes.iter().any(|text| HostRule::suffix(text).unwrap().matches(&host));
    let default_port = if ask.scheme() == "https" { 443 } else { 80 };
    let mut best: Option<((usize, usize), [usize; 3], &str)> = None;
    for rule in &policy.rules {
        let Some(by_host) = by_host(rule, &host) else { continue };
        let port = rule.ports.as_ref().map_or(ask.port == default_port, |ports| ports.contains(&ask.port));
        let method = lists(&rule.methods, &["GET", "HEAD"], ask.method);
        if !lists(&rule.schemes, &["https"], ask.scheme()) || !port || !method {
            continue;
        }
        let Some(by_path) = by_path(rule, ask) else { continue };
        let width = [
            rule.methods.as_ref().map_or(2, Vec::len),
            rule.ports.as_ref().map_or(0, Vec::len),
            rule.schemes.as_ref().map_or(1, Vec::len),
        ];
        let better = best.as_ref().is_none_or(|(score, held, id)| {
            (by_host, by_path) > *score
                || (by_host, by_path) == *score && (width, rule.id.as_str()) < (*held, id)
        });
        if better {
            best = Some(((by_host, by_path), width, &rule.id));
        }
    }
    best.filter(|_| !denied).map(|(_, _, id)| id.to_string())
}

proptest! {
    /// The index finds what a scan of every rule finds: the same winner, or none.
    #[test]
    fn the_index_agrees_with_a_scan(policy in policy(), mut ask in ask()) {
        ask.answers = vec!["1.1.1.1".parse().unwrap()];
        let verdict = decide(&policy, &ask);
        let winner = naive_winner(&policy, &ask);
        prop_assert_eq!(verdict.rule().map(ToString::to_string), winner.clone(), "{:?}", verdict.code());
        // An allowed verdict has a winner, and with a public name nothing but the address refuses a winner.
        let literal = ask.host.contains("93.") || ask.host.contains("10.0.0.1");
        prop_assert!(!verdict.allowed() || winner.is_some());
        prop_assert!(literal || verdict.allowed() == winner.is_some(), "{:?}", verdict.code());
    }

    /// Adding a deny never allows more.
    #[test]
    fn a_deny_never_allows_more(policy in policy(), ask in ask(), more in deny()) {
        let mut stricter = policy.clone();
        stricter.deny.hosts.extend(more.hosts);
        stricter.deny.suffixes.extend(more.suffixes);
        stricter.deny.addresses.extend(more.addresses);
        prop_assert!(decide(&policy, &ask).allowed() || !decide(&stricter, &ask).allowed());
    }

    /// Removing an allow never allows more. (These rules have neither credentials nor limits: a winner that refuses
    /// by those is final, so taking it away may make room for a wider rule.)
    #[test]
    fn removing_an_allow_never_allows_more(policy in policy(), ask in ask(), at in any::<prop::sample::Index>()) {
        let mut fewer = policy.clone();
        let at = at.index(fewer.rules.len());
        fewer.rules.remove(at);
        prop_assert!(decide(&policy, &ask).allowed() || !decide(&fewer, &ask).allowed());
        let mut narrower = policy.clone();
        narrower.rules[at].hosts.pop();
        narrower.rules[at].any_host = false;
        prop_assert!(decide(&policy, &ask).allowed() || !decide(&narrower, &ask).allowed());
    }

    /// The order of rules does not matter.
    #[test]
    fn a_verdict_does_not_depend_on_the_order_of_rules(policy in policy(), ask in ask()) {
        let mut turned = policy.clone();
        turned.rules.reverse();
        let (one, two) = (decide(&policy, &ask), decide(&turned, &ask));
        prop_assert_eq!((one.code(), one.rule()), (two.code(), two.rule()));
    }

    /// An allowed address is globally reachable or declared by the rule; each was answered; none is under the floor.
    #[test]
    fn an_allowed_address_is_public_or_declared(ask in ask(), declared in prop::bool::ANY, wild in address()) {
        let mut ask = ask;
        ask.host = "a.b".into();
        ask.method = "GET";
        ask.answers.push(wild);
        let rule = EgressRule {
            id: "r".into(),
            hosts: vec!["a.b".into()],
            schemes: Some(texts(&["http", "https"])),
            ports: Some(vec![80, 443, 8443]),
            private_addresses: if declared { texts(&["0.0.0.0/0", "::/0"]) } else { vec![] },
            ..EgressRule::default()
        };
        let policy = EgressPolicy { rules: vec![rule], ..EgressPolicy::default() };
        let answers = ask.answers.clone();
        let verdict = decide(&policy, &ask);
        let fine = answers.iter().all(|ip| {
            let verdict = classify(*ip);
            !verdict.floor && (verdict.public || declared)
        });
        prop_assert_eq!(verdict.allowed(), fine);
        for judged in verdict.addresses() {
            prop_assert!(answers.contains(&judged.address));
        }
    }

    /// Observing lets through what rules refuse, and nothing that a deny list or an address refuses.
    #[test]
    fn observing_changes_refusals_by_rules_only(policy in policy(), ask in ask()) {
        let observing = EgressPolicy { mode: Mode::Observe, ..policy.clone() };
        let (enforced, observed) = (decide(&policy, &ask), decide(&observing, &ask));
        match observed.would_refuse() {
            Some(would) => {
                prop_assert_eq!(enforced.code(), would.code);
                let by_rules = ["host.not_allowed", "port.not_allowed", "method.not_allowed", "path.not_allowed"];
                prop_assert!(by_rules.iter().any(|tail| would.code.as_str().ends_with(tail)));
                if observed.allowed() {
                    prop_assert!(observed.addresses().iter().all(|judged| judged.verdict.public));
                }
            }
            None => prop_assert_eq!((enforced.code(), enforced.rule()), (observed.code(), observed.rule())),
        }
    }

    /// The same host in any accepted spelling gives the same verdict.
    #[test]
    fn spellings_of_one_host_give_one_verdict(policy in policy(), ask in ask(), dot in any::<bool>()) {
        let mut spelled = ask.clone();
        spelled.host = spelled.host.to_ascii_uppercase();
        if dot {
            spelled.host.push('.');
        }
        let (one, two) = (decide(&policy, &ask), decide(&policy, &spelled));
        prop_assert_eq!((one.code(), one.rule()), (two.code(), two.rule()));
    }

    /// Any text at all is a refusal or a target whose canonical form is a fixed point and which `url` reads alike.
    #[test]
    fn the_judged_host_is_what_a_second_parser_dials(
        text in prop_oneof![
            "https?://[a-z0-9.%@:\\[\\]\\\\-]{0,24}(:[0-9]{0,6})?(/[!-~]{0,12})?",
            "\\PC{0,24}",
            "(http|HTTPS)://([0-9a-fx]{1,4}\\.){0,3}[0-9a-fx]{1,4}/",
            "https://\\[[0-9a-f:.%]{0,20}\\]/",
        ],
    ) {
        // What `url` thinks of a punycode label depends on a lock file; it is not asked about them.
        prop_assume!(!text.to_ascii_lowercase().contains("xn--"));
        let service = &*ANY_HOST;
        let bearer = Bearer { worker: WorkerId::new("w").unwrap(), fence: Fence::new(Epoch(1), 1) };
        let request = EgressRequest::url("GET", &text);
        let verdict = service.decide(&request, &bearer, &Live, Mono(0), |_| ["1.1.1.1".parse::<IpAddr>().unwrap()]);
        if let Some((scheme, host, port)) = verdict.destination() {
            let (host, second) = (host.to_string(), url::Url::parse(&text).unwrap());
            let theirs = second.host_str().unwrap().trim_end_matches('.');
            let same = theirs == host || Host::parse(theirs) == Host::parse(&host);
            prop_assert!(same, "{host} and {theirs}");
            prop_assert_eq!((scheme.as_str(), Some(port)), (second.scheme(), second.port_or_known_default()));
        }
        if verdict.allowed() {
            let plan = verdict.into_permit().unwrap().redeem(&bearer, &Live, Mono(0)).unwrap();
            let again = EgressRequest::url("GET", plan.url());
            let again = service.decide(&again, &bearer, &Live, Mono(0), |_| ["1.1.1.1".parse::<IpAddr>().unwrap()]);
            let second = again.into_permit().unwrap().redeem(&bearer, &Live, Mono(0)).unwrap();
            prop_assert_eq!(second.url(), plan.url());
        }
    }
}
