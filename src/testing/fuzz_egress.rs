//! Fuzz bodies of the egress part: each takes any bytes and panics only where a property is broken.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{net::IpAddr, str};
use std::sync::LazyLock;

use crate::{
    egress::{
        Bearer, EgressPolicy, EgressProxyPolicyService, EgressRequest, EgressRule, HeaderField, Host,
        HostRule, HostRuleError, LeaseCheck, LeaseRefusal, LeaseStanding, Secret, SecretError, SecretStore,
        address::{classify, parse_literal},
    },
    id::WorkerId,
    lease::{EgressScope, Epoch, Fence, SecretRef, SecretScope},
    time::Mono,
};

struct Live(Bearer);

impl LeaseCheck for Live {
    fn standing(&self, _: Fence, _: Mono) -> Result<LeaseStanding, LeaseRefusal> {
        Ok(LeaseStanding {
            worker: self.0.worker.clone(),
            expires: Mono::NEVER,
            egress: EgressScope::all(),
            secrets: SecretScope::all(),
        })
    }
}

const SECRET: &str = "s3cret";

struct Vault;

impl SecretStore for Vault {
    fn secret(&self, _: &SecretRef) -> Result<Option<Secret>, SecretError> {
        Secret::new(SECRET.as_bytes().to_vec()).map(Some)
    }
}

/// The policy under which bytes are judged as URLs and headers.
const POLICY: &str = r#"{
    "rules": [
        {"id": "wide", "any_host": true, "hosts": ["127.0.0.1", "::1"], "schemes": ["http", "https"],
         "ports": [80, 443, 8080], "methods": ["GET", "CONNECT"]},
        {"id": "bound", "hosts": ["api.example.com"], "methods": ["GET"], "paths": ["/v1/"],
         "credentials": [{"header": "authorization", "secret": "vault:a", "prefix": "Bearer "}]}
    ],
    "deny": {"suffixes": ["denied.example"]},
    "max_redirects": 3
}"#;

static WORLD: LazyLock<Option<(EgressProxyPolicyService, Live)>> = LazyLock::new(|| {
    let policy: EgressPolicy = serde_json::from_str(POLICY).ok()?;
    let service = EgressProxyPolicyService::compile(&policy).ok()?;
    let bearer = Bearer { worker: WorkerId::new("fuzz").ok()?, fence: Fence::new(Epoch(1), 1) };
    Some((service, Live(bearer)))
});

fn world() -> &'static (EgressProxyPolicyService, Live) {
    match &*WORLD {
        Some(world) => world,
        None => std::process::abort(),
    }
}

const PUBLIC: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(93, 184, 216, 34));

/// The path and query that `service` lets out for a GET of `url`.
pub(super) fn allows(service: &EgressProxyPolicyService, url: &str) -> Option<String> {
    let (_, live) = world();
    let verdict = service.decide(&EgressRequest::url("GET", url), &live.0, live, Mono::START, |_| [PUBLIC]);
    let plan = verdict.into_permit().ok()?.redeem(&live.0, live, Mono::START).ok()?;
    Some(plan.path_and_query().to_string())
}

/// A URL, and after a line feed a Location: whatever is allowed goes to the host that a second parser finds, its
/// canonical form is judged the same again, and a redirect from it is judged too.
pub fn url_and_policy(data: &[u8]) {
    let (service, live) = world();
    let Ok(text) = str::from_utf8(data) else { return };
    let (text, location) =
        text.split_once('\n').map_or((text, None), |(url, location)| (url, Some(location)));
    let decide =
        |request: &EgressRequest<'_>| service.decide(request, &live.0, live, Mono::START, |_| [PUBLIC]);
    let request = EgressRequest::url("GET", text);
    let verdict = decide(&request);
    if let Some((scheme, host, port)) = verdict.destination() {
        let host = host.to_string();
        // What `url` says about a punycode label depends on a lock file.
        if !host.split('.').any(|label| label.starts_with("xn--")) {
            let second = url::Url::parse(text).ok();
            let second = second
                .as_ref()
                .and_then(|url| Some((url.scheme(), url.host_str()?, url.port_or_known_default()?)));
            let agrees = second.is_some_and(|(their_scheme, theirs, their_port)| {
                their_scheme == scheme.as_str()
                    && their_port == port
                    && Host::parse(theirs) == Host::parse(&host)
            });
            assert!(agrees, "judged {scheme}://{host}:{port}, another parser reads {second:?}");
        }
    }
    let Ok(permit) = verdict.into_permit() else { return };
    assert!(permit.policy() == service.digest());
    let Ok(plan) = permit.redeem(&live.0, live, Mono::START) else { return };
    for pinned in plan.addresses() {
        assert!(classify(pinned.ip()).public, "{pinned} is not public and nothing declares it");
    }
    let again = decide(&EgressRequest::url("GET", plan.url())).into_permit();
    let again = again.ok().and_then(|permit| permit.redeem(&live.0, live, Mono::START).ok());
    assert!(again.is_some_and(|again| again.url() == plan.url()), "{} is not a fixed point", plan.url());
    if let Ok(next) = plan.redirect(302, location, &[]) {
        let _ = decide(&next.request(&[])).code();
    }
}

/// A rule, a line feed, a host: the compiled rule, the rule alone and a comparison of labels agree.
pub fn host_rules(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Some((rule_text, host_text)) = text.split_once('\n') else { return };
    let Ok(host) = Host::parse(host_text) else { return };
    let readings: [fn(&str) -> Result<HostRule, HostRuleError>; 3] =
        [HostRule::exact, HostRule::suffix, HostRule::pattern];
    for (kind, reading) in readings.into_iter().enumerate() {
        let Ok(rule) = reading(rule_text) else { continue };
        let mut document = EgressRule { id: "r".into(), ..EgressRule::default() };
        let lists = [&mut document.hosts, &mut document.suffixes, &mut document.patterns];
        lists.into_iter().skip(kind).take(1).for_each(|list| list.push(rule_text.into()));
        let policy = EgressPolicy { rules: [document].into(), ..EgressPolicy::default() };
        let service = EgressProxyPolicyService::compile(&policy);
        assert!(service.is_ok(), "a rule that parses alone must compile");
        let Ok(service) = service else { continue };
        let (_, live) = world();
        let url = format!("https://{host}/");
        let verdict =
            service.decide(&EgressRequest::url("GET", &url), &live.0, live, Mono::START, |_| [PUBLIC]);
        assert_eq!(verdict.rule().is_some(), rule.matches(&host), "{rule:?} {host}");
        if let (Some(name), true) = (host.name(), rule_text.is_ascii()) {
            let own = rule_text.strip_suffix('.').unwrap_or(rule_text).to_ascii_lowercase();
            let mut labels = name.rsplit('.');
            let under = own.rsplit('.').all(|label| labels.next() == Some(label));
            let (mut theirs, mut ours) = (name.split('.'), own.split('.'));
            let fits = |pair: (Option<&str>, Option<&str>)| match pair {
                (Some(label), Some(own)) => own == "*" || own == label,
                (one, two) => one == two,
            };
            let most = own.split('.').count().max(name.split('.').count());
            let naive = match kind {
                0 => own == name,
                1 => under,
                _ => (0..most).all(|_| fits((theirs.next(), ours.next()))),
            };
            assert_eq!(rule.matches(&host), naive, "{rule:?} {host}");
        }
    }
}

/// Header fields, one per line as `name:value`: what is accepted goes out clean, with the credential once.
pub fn header_rules(data: &[u8]) {
    let (service, live) = world();
    let fields: Vec<HeaderField<'_>> = data
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let at = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = (line.get(..at)?, line.get(at.checked_add(1)?..)?);
            Some(HeaderField { name: str::from_utf8(name).ok()?, value: value.trim_ascii() })
        })
        .collect();
    let request = EgressRequest::url("GET", "https://api.example.com/v1/x").headers(&fields);
    let verdict = service.decide(&request, &live.0, live, Mono::START, |_| [PUBLIC]);
    let Ok(permit) = verdict.into_permit() else { return };
    let Ok(plan) = permit.redeem(&live.0, live, Mono::START) else { return };
    let sent = plan.headers(&fields, &Vault);
    assert!(sent.is_ok(), "what was judged must go out: {:?}", sent.as_ref().err());
    let Ok(sent) = sent else { return };
    let mut credentials = 0_u32;
    for header in sent.iter() {
        let name = header.name().to_ascii_lowercase().replace('_', "-");
        let value = header.expose_value().concat();
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{header}");
        assert!(
            !name.starts_with("proxy-") && !matches!(name.as_str(), "host" | "connection" | "te" | "upgrade"),
            "{header} belongs to one connection"
        );
        if name == "authorization" {
            credentials = credentials.saturating_add(1);
            assert!(header.is_injected() && value == [b"Bearer ", SECRET.as_bytes()].concat());
        }
    }
    assert_eq!(credentials, 1);
    // A client may write the very word in a field of its own, which is its to show.
    let clients = data.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
    assert!(clients || !format!("{sent:?}").contains(SECRET));
}

/// Any text as an address literal: what parses prints back to itself, and only the floor and the public are certain.
pub fn address_literals(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(ip) = parse_literal(text) else { return };
    assert_eq!(parse_literal(&ip.to_string()), Ok(ip));
    let verdict = classify(ip);
    assert!(!(verdict.public && verdict.floor), "{ip} is public and under the floor");
    assert_eq!(verdict.pinned, ip.to_canonical());
}

/// Any JSON as a policy: it compiles or says why, and the compiled form decides without a panic.
pub fn policies(data: &[u8]) {
    let Ok(policy) = serde_json::from_slice::<EgressPolicy>(data) else { return };
    let Ok(service) = EgressProxyPolicyService::compile(&policy) else { return };
    let (_, live) = world();
    let hosts = policy.rules.iter().flat_map(|rule| rule.hosts.iter().chain(&rule.suffixes)).take(8);
    for host in hosts {
        let url = format!("https://{host}/");
        let verdict =
            service.decide(&EgressRequest::url("GET", &url), &live.0, live, Mono::START, |_| [PUBLIC]);
        assert!(!verdict.allowed() || verdict.rule().is_some());
    }
    let _ = crate::egress::lint(&policy, &service, &()).len();
}

/// Inputs to begin with, by name: hostile spellings that parsers were seen to disagree about, and good ones.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let texts: [(&'static str, &str); 33] = [
        ("url-relative-redirect", "https://api.example.com/v1/x\n/next"),
        ("url-other-origin", "https://api.example.com/v1/x\n//other.example/"),
        ("url-absolute-redirect", "http://a.example:8080/a/b?c\nHTTPS://b.example/../d#e"),
        ("url-mapped", "http://[::ffff:127.0.0.1]:8080/%2e%2e/?q"),
        ("url-decimal", "http://2130706433/"),
        ("url-hex", "http://0x7f.1/"),
        ("url-octal", "http://0177.0.0.1/"),
        ("url-short", "http://127.1/"),
        ("url-circled", "http://\u{2460}\u{2461}\u{2466}.0.0.1/"),
        ("url-fullwidth-dot", "http://127\u{3002}0\u{3002}0\u{3002}1/"),
        ("url-zero-width", "http://169.254.169.254\u{200b}/"),
        ("url-long-s", "http://localho\u{17f}t/"),
        ("url-percent-host", "http://%31%32%37.0.0.1/"),
        ("url-backslash", "http://api.test\\@127.0.0.1/"),
        ("url-userinfo", "http://localhost:P@127.0.0.2/"),
        ("url-one-slash", "http:/api.test/"),
        ("url-three-slashes", "http:///api.test/"),
        ("url-zone", "http://[fe80::1%25eth0]/"),
        ("url-trailing-dot", "https://API.EXAMPLE.COM./v1/..%2fx"),
        ("url-punycode", "https://xn--a.example.com/"),
        ("url-port-sign", "https://a.example:+443/"),
        ("rule-suffix", "example.com\nwww.example.com"),
        ("rule-case-and-dot", "EXAMPLE.com.\nexample.com"),
        ("rule-label-boundary", "example.com\nbadexample.com"),
        ("rule-literal", "1.2.3.4\n1.2.3.4"),
        ("rule-pattern", "api.*.example.com\nAPI.eu.example.com"),
        ("rule-unicode", "b\u{fc}cher.example\nxn--bcher-kva.example"),
        ("literal-mapped", "::ffff:1.2.3.4"),
        ("literal-teredo", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
        ("literal-isatap", "2606:4700::200:5efe:8.8.8.8"),
        (
            "headers-twice",
            "Accept: */*\nAuthorization: mine\nauthorization: mine\nconnection: close, te\nTE: x",
        ),
        ("headers-framing", "Content-Length: 5\nTransfer-Encoding: chunked"),
        ("policy", POLICY),
    ];
    texts.into_iter().map(|(name, text)| (name, text.as_bytes().to_vec())).collect()
}
