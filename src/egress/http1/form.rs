//! What a request to a proxy asks for, by the form of its target (RFC 9112 section 3.2).

use super::{HttpError, RequestHead};
use crate::egress::{host::Host, target::Target};

/// What a request asks a proxy for. The target itself is not judged here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)]
pub enum RequestForm<'a> {
    /// CONNECT: a tunnel to `host:port`.
    Tunnel(&'a str),
    /// A request for this URL.
    Url(&'a str),
    /// A request by the base-URL route `/r/RULE/path`.
    Route(&'a str),
    /// A page of the proxy itself.
    Own(&'a str),
}

impl RequestHead {
    /// The form of the target. The Host field is not where the request goes: it is only checked to be there once, and
    /// with CONNECT to name the same host.
    ///
    /// # Errors
    /// [`HttpError::Host`], [`HttpError::Target`].
    pub fn form(&self) -> Result<RequestForm<'_>, HttpError> {
        let mut hosts = self.fields.iter().filter(|(name, _)| name == "host");
        let host = hosts.next().map(|(_, value)| value.as_slice());
        if hosts.next().is_some() || host.is_none() && self.minor > 0 {
            return Err(HttpError::Host);
        }
        let target = self.target.as_str();
        if self.method == "CONNECT" {
            return match host.is_none_or(|host| names_the_same(target, host)) {
                true => Ok(RequestForm::Tunnel(target)),
                false => Err(HttpError::Host),
            };
        }
        if target.starts_with("/r/") {
            Ok(RequestForm::Route(target))
        } else if target.starts_with('/') {
            Ok(RequestForm::Own(target))
        } else if target.contains("://") {
            Ok(RequestForm::Url(target))
        } else {
            Err(HttpError::Target)
        }
    }
}

/// Whether a Host field names the host of `authority`; it may leave the port out.
fn names_the_same(authority: &str, host: &[u8]) -> bool {
    let Ok(host) = core::str::from_utf8(host) else { return false };
    // An authority that is none is refused by whoever judges it, with a better word.
    let Ok(target) = Target::parse_authority(authority) else { return true };
    Target::parse_authority(host).is_ok_and(|own| own == target)
        || Host::parse(host).is_ok_and(|own| own.view() == target.host())
}

#[cfg(test)]
mod tests {
    use alloc::{borrow::ToOwned, vec::Vec};

    use super::*;

    fn head(method: &str, target: &str, minor: u8, hosts: &[&str]) -> RequestHead {
        let fields: Vec<_> = hosts.iter().map(|host| ("host".to_owned(), host.as_bytes().to_vec())).collect();
        RequestHead { method: method.into(), target: target.into(), minor, fields }
    }

    #[test]
    fn a_target_has_one_form() {
        let form = |method, target| {
            head(method, target, 1, &["a.test"]).form().map(|form| alloc::format!("{form:?}"))
        };
        assert_eq!(form("GET", "http://a.test/r/x").unwrap(), "Url(\"http://a.test/r/x\")");
        assert_eq!(form("GET", "/r/rule/x").unwrap(), "Route(\"/r/rule/x\")");
        assert_eq!(form("GET", "/healthz").unwrap(), "Own(\"/healthz\")");
        assert_eq!(form("CONNECT", "a.test:443").unwrap(), "Tunnel(\"a.test:443\")");
        for target in ["*", "a.test:443", "a.test", "", "?", "http:/a"] {
            assert_eq!(form("GET", target), Err(HttpError::Target), "{target}");
        }
    }

    /// Attack E15: a request that names two hosts goes to none.
    #[test]
    fn e15_the_host_field_agrees_or_the_request_is_refused() {
        let tunnel = |hosts: &[&str]| head("CONNECT", "a.test:443", 1, hosts).form().is_ok();
        for hosts in [&["a.test:443"][..], &["A.test:443"], &["a.test"], &["a.test."]] {
            assert!(tunnel(hosts), "{hosts:?}");
        }
        for hosts in [
            &[][..],
            &["a.test:443", "a.test:443"],
            &["b.test:443"],
            &["a.test:444"],
            &["a.test:+443"],
            &["a.test@b.test:443"],
            &[""],
        ] {
            assert!(!tunnel(hosts), "{hosts:?}");
        }
        assert!(head("CONNECT", "a.test:443", 0, &[]).form().is_ok(), "HTTP/1.0 has no Host");
        assert_eq!(head("GET", "http://a.test/", 1, &[]).form(), Err(HttpError::Host));
        assert_eq!(head("GET", "http://a.test/", 1, &["a", "a"]).form(), Err(HttpError::Host));
        assert!(head("GET", "http://a.test/", 1, &["elsewhere"]).form().is_ok(), "the target counts");
    }
}
