//! The base-URL route: `/r/RULE/path` stands for the https origin of a rule, so that a client with a configurable base
//! URL gets its credentials put in.

use alloc::{format, string::String};

use super::{EgressProxyPolicyService, EgressRequest, Scheme};
use crate::{
    code::{self, Code, Coded},
    id::RuleId,
};

/// Why a path is not a route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// Not `/r/RULE` and a path.
    #[error("a route is /r/RULE/path")]
    Malformed,
    /// No such rule.
    #[error("the policy has no rule {0}")]
    UnknownRule(RuleId),
    /// The rule stands for more than one origin, or for none with TLS.
    #[error("the rule {0} has not exactly one host name with one https port")]
    NoOrigin(RuleId),
}

impl Coded for RouteError {
    fn code(&self) -> Code {
        match self {
            Self::Malformed => code::EGRESS_ROUTE_MALFORMED,
            Self::UnknownRule(_) => code::EGRESS_ROUTE_UNKNOWN_RULE,
            Self::NoOrigin(_) => code::EGRESS_ROUTE_NO_ORIGIN,
        }
    }
}

/// A route, resolved: the URL that it stands for, and the rule that must win it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    rule: RuleId,
    url: String,
}

impl Routed {
    /// The rule.
    pub fn rule(&self) -> &RuleId {
        &self.rule
    }

    /// The https URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The request to judge. It is refused where another rule wins it.
    pub fn request<'a>(&'a self, method: &'a str) -> EgressRequest<'a> {
        EgressRequest::url(method, &self.url).through_rule(&self.rule)
    }
}

impl EgressProxyPolicyService {
    /// Resolves the request target `/r/RULE/path?query`. Only the rule and its origin are looked up here; the URL is
    /// judged like any other. Cost: two probes.
    ///
    /// # Errors
    /// [`RouteError`], codes `egress.route.*`.
    ///
    /// ```
    /// use leasehold::egress::{EgressPolicy, EgressProxyPolicyService};
    /// let policy: EgressPolicy =
    ///     serde_json::from_str(r#"{"rules":[{"id":"models","hosts":["api.example.com"]}]}"#)?;
    /// let service = EgressProxyPolicyService::compile(&policy)?;
    /// let routed = service.route("/r/models/v1/chat?stream=1")?;
    /// assert_eq!(routed.url(), "https://api.example.com/v1/chat?stream=1");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn route(&self, target: &str) -> Result<Routed, RouteError> {
        let rest = target.strip_prefix("/r/").ok_or(RouteError::Malformed)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (id, rest) = rest.split_at_checked(end).ok_or(RouteError::Malformed)?;
        let id = RuleId::new(id).map_err(|_| RouteError::Malformed)?;
        let rule = self.rule_named(&id).ok_or_else(|| RouteError::UnknownRule(id.clone()))?;
        let (host, port) = self.origin_of(rule).ok_or_else(|| RouteError::NoOrigin(id.clone()))?;
        let url = if port == Scheme::Https.default_port() {
            format!("https://{host}{rest}")
        } else {
            format!("https://{host}:{port}{rest}")
        };
        Ok(Routed { rule: id, url })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::{EgressPolicy, EgressRule};

    /// Id, hosts, ports, schemes.
    type Row<'a> = (&'a str, &'a [&'a str], Option<&'a [u16]>, &'a [&'a str]);

    fn service(rules: &[Row<'_>]) -> EgressProxyPolicyService {
        let rules = rules.iter().map(|(id, hosts, ports, schemes)| EgressRule {
            id: (*id).into(),
            hosts: hosts.iter().map(|host| (*host).into()).collect(),
            ports: ports.map(<[u16]>::to_vec),
            schemes: Some(schemes.iter().map(|scheme| (*scheme).into()).collect()),
            ..EgressRule::default()
        });
        let policy = EgressPolicy { rules: rules.collect(), ..EgressPolicy::default() };
        EgressProxyPolicyService::compile(&policy).unwrap()
    }

    #[test]
    fn a_route_stands_for_the_one_https_origin_of_its_rule() {
        let service = service(&[
            ("one", &["API.example.com"], None, &["https"]),
            ("port", &["b.example.com"], Some(&[8443]), &["https", "http"]),
            ("two", &["c.example.com", "d.example.com"], None, &["https"]),
            ("ports", &["e.example.com"], Some(&[443, 444]), &["https"]),
            ("plain", &["f.example.com"], None, &["http"]),
            ("literal", &["93.184.216.34"], None, &["https"]),
        ]);
        let url = |target: &str| service.route(target).map(|routed| routed.url);
        assert_eq!(url("/r/one/v1?x=:443").unwrap(), "https://api.example.com/v1?x=:443");
        assert_eq!(url("/r/one").unwrap(), "https://api.example.com");
        assert_eq!(url("/r/one?q").unwrap(), "https://api.example.com?q");
        assert_eq!(url("/r/port/").unwrap(), "https://b.example.com:8443/");
        for id in ["two", "ports", "plain", "literal"] {
            assert_eq!(
                url(&alloc::format!("/r/{id}/")),
                Err(RouteError::NoOrigin(RuleId::new(id).unwrap())),
                "{id}"
            );
        }
        assert_eq!(url("/r/none/"), Err(RouteError::UnknownRule(RuleId::new("none").unwrap())));
        for target in
            ["", "/", "/r/", "/r//x", "/x/one/", "r/one", "/r/One/", "/r/%6fne/", "//r/one", "/r/one@evil/"]
        {
            assert_eq!(url(target), Err(RouteError::Malformed), "{target}");
        }
    }
}
