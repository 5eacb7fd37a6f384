//! What a rule lends to a request that it matches, and to no other: secrets of every kind, private addresses, and what a
//! translator's prefix means. Random policies, enforced and observed, against a second reading of both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use leasehold::{
    egress::{
        Bearer, CredentialBinding, EgressPolicy, EgressProxyPolicyService, EgressRequest, EgressRule,
        HeaderField, HmacTemplate, LeaseCheck, LeaseRefusal, LeaseStanding, Mode, Secret, SecretError,
        SecretStore, SignBinding, SignedBody, address::classify,
    },
    id::WorkerId,
    lease::{EgressScope, Epoch, Fence, SecretRef, SecretScope},
    time::{Mono, Wall},
};
use proptest::{prelude::*, sample::select};

const SECRET: &str = "hunter2";

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

struct Vault;

impl SecretStore for Vault {
    fn secret(&self, _: &SecretRef) -> Result<Option<Secret>, SecretError> {
        Secret::new(SECRET.into()).map(Some)
    }
}

/// Where a secret goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Header,
    Basic,
    Query,
    Segment,
    Sign,
}

impl Kind {
    fn binding(self, required: bool) -> CredentialBinding {
        let mut own =
            CredentialBinding { secret: "vault:a".into(), required, ..CredentialBinding::default() };
        match self {
            Self::Header => own.header = Some("x-key".into()),
            Self::Basic => own.basic = Some("user".into()),
            Self::Query => own.query = Some("key".into()),
            Self::Segment => own.path_segment = Some("TOKEN".into()),
            Self::Sign => {
                let template = HmacTemplate {
                    header: "x-signature".into(),
                    template: "{method}{target}{body}".into(),
                    ..HmacTemplate::default()
                };
                own.sign = Some(SignBinding::Hmac(template));
            }
        }
        own
    }

    fn header(self) -> Option<&'static str> {
        match self {
            Self::Header => Some("x-key"),
            Self::Basic => Some("authorization"),
            Self::Sign => Some("x-signature"),
            Self::Query | Self::Segment => None,
        }
    }
}

#[derive(Clone, Debug)]
struct Case {
    credentials: Vec<(Kind, bool)>,
    declares_private: bool,
    declares_translator: bool,
    observes: bool,
    method: &'static str,
    scheme: &'static str,
    host: &'static str,
    path: &'static str,
    answers: Vec<IpAddr>,
}

/// Behind the translator's prefix of the policies here.
fn translated(inner: Ipv4Addr) -> IpAddr {
    let [a, b, c, d] = inner.octets().map(u16::from);
    Ipv6Addr::new(0x2a00, 0x64, 0, 0, 0, 0, a << 8 | b, c << 8 | d).into()
}

fn answer() -> impl Strategy<Value = IpAddr> {
    let inner = select(vec!["8.8.8.8", "127.0.0.1", "169.254.169.254", "192.168.1.1"]);
    prop_oneof![
        4 => select(vec!["93.184.216.34", "2606:4700::1"]).prop_map(|ip| ip.parse().unwrap()),
        2 => select(vec!["10.1.2.3", "192.168.1.1", "169.254.169.254", "127.0.0.1"]).prop_map(|ip| ip.parse().unwrap()),
        2 => inner.prop_map(|ip| translated(ip.parse().unwrap())),
    ]
}

prop_compose! {
    fn case()(
        kinds in prop::sample::subsequence(vec![Kind::Header, Kind::Basic, Kind::Query, Kind::Segment, Kind::Sign], 0..4),
        required in prop::collection::vec(prop::bool::weighted(0.4), 5),
        declares_private in any::<bool>(),
        declares_translator in any::<bool>(),
        observes in any::<bool>(),
        method in select(vec!["GET", "GET", "CONNECT", "POST"]),
        scheme in select(vec!["https", "https", "http"]),
        host in select(vec!["a.b", "a.b", "c.d"]),
        path in select(vec!["/TOKEN/x?key=mine", "/x?y=1"]),
        answers in prop::collection::vec(answer(), 1..3),
    ) -> Case {
        let credentials = kinds.into_iter().zip(required).collect();
        Case { credentials, declares_private, declares_translator, observes, method, scheme, host, path, answers }
    }
}

impl Case {
    fn policy(&self) -> EgressPolicy {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let rule = EgressRule {
            id: "r".into(),
            hosts: texts(&["a.b"]),
            schemes: Some(texts(&["http", "https"])),
            ports: Some(vec![80, 443]),
            methods: Some(texts(&["GET", "CONNECT"])),
            private_addresses: if self.declares_private { texts(&["10.0.0.0/8"]) } else { Vec::new() },
            credentials: self.credentials.iter().map(|(kind, required)| kind.binding(*required)).collect(),
            ..EgressRule::default()
        };
        EgressPolicy {
            rules: vec![rule],
            mode: if self.observes { Mode::Observe } else { Mode::Enforce },
            nat64_prefixes: if self.declares_translator { texts(&["2a00:64::/96"]) } else { Vec::new() },
            ..EgressPolicy::default()
        }
    }

    fn matches(&self) -> bool {
        self.host == "a.b" && self.method != "POST"
    }

    fn is_tls(&self) -> bool {
        self.method != "CONNECT" && self.scheme == "https"
    }

    fn has_segment(&self) -> bool {
        self.method != "CONNECT" && self.path.contains("/TOKEN/")
    }

    fn may_reach(&self, ip: IpAddr) -> bool {
        if let (IpAddr::V6(v6), true) = (ip, self.declares_translator)
            && v6.segments()[..2] == [0x2a00, 0x64]
        {
            let [.., a, b, c, d] = v6.octets();
            return classify(Ipv4Addr::new(a, b, c, d).into()).public;
        }
        let is_declared = self.declares_private && ip.to_string().starts_with("10.");
        classify(ip).public || self.matches() && is_declared
    }

    /// What the policy says, read a second time.
    fn allowed(&self) -> bool {
        let required = |(kind, required): &(Kind, bool)| {
            *required && (!self.is_tls() || *kind == Kind::Segment && !self.has_segment())
        };
        let lends = !self.matches() || !self.credentials.iter().any(required);
        (self.matches() || self.observes) && lends && self.answers.iter().all(|ip| self.may_reach(*ip))
    }
}

proptest! {
    /// Invariants 9 and 10: the verdict is what the second reading says; a secret goes out where the rule matched and over
    /// TLS, in its place and in no other, and the worker's own is replaced there and only there.
    #[test]
    fn a_rule_lends_to_what_it_matches_alone(case in case()) {
        let service = EgressProxyPolicyService::compile(&case.policy()).unwrap();
        let bearer = Bearer { worker: WorkerId::new("w").unwrap(), fence: Fence::new(Epoch(1), 1) };
        let (url, authority) = (format!("{}://{}{}", case.scheme, case.host, case.path), format!("{}:443", case.host));
        let own = [HeaderField { name: "X_Key", value: b"mine" }];
        let request = match case.method {
            "CONNECT" => EgressRequest::tunnel("CONNECT", &authority),
            method => EgressRequest::url(method, &url).headers(&own),
        };
        let verdict = service.decide(&request, &bearer, &Live, Mono(0), |_| case.answers.clone());
        prop_assert_eq!(verdict.allowed(), case.allowed(), "{}", verdict.code());
        let Ok(permit) = verdict.into_permit() else { return Ok(()) };
        let plan = permit.redeem(&bearer, &Live, Mono(0)).unwrap();
        let lent: Vec<Kind> =
            case.credentials.iter().map(|(kind, _)| *kind).filter(|_| case.matches() && case.is_tls()).collect();
        let mut injected: Vec<&str> = plan.injected().collect();
        let mut headers: Vec<&str> = lent.iter().filter_map(|kind| kind.header()).collect();
        injected.sort_unstable();
        headers.sort_unstable();
        prop_assert_eq!(&injected, &headers);
        let sent = plan.request(&own, SignedBody::Whole(b""), Wall(0), &Vault).unwrap();
        let out: Vec<&str> = sent.headers.iter().filter(|field| field.is_injected()).map(|field| field.name()).collect();
        prop_assert_eq!(out.len(), headers.len());
        let bound = case.matches() && case.credentials.iter().any(|(kind, _)| *kind == Kind::Header);
        let mine = sent.headers.iter().any(|field| field.expose_value().concat() == b"mine");
        prop_assert_eq!(mine, !bound && case.method != "CONNECT");
        let in_target = sent.target.expose().matches(SECRET).count();
        let segment = lent.contains(&Kind::Segment) && case.has_segment();
        prop_assert_eq!(in_target, usize::from(lent.contains(&Kind::Query)) + usize::from(segment), "{}", sent.target);
        let shown = format!("{plan:?} {sent:?} {}", plan.url());
        prop_assert!(!shown.contains(SECRET));
    }
}
