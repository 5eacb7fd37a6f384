//! How often one decision about egress allocates.

use std::net::IpAddr;

use leasehold::{
    egress::{
        Bearer, EgressPolicy, EgressProxyPolicyService, EgressRequest, LeaseCheck, LeaseRefusal,
        LeaseStanding,
    },
    id::WorkerId,
    lease::{EgressScope, Epoch, Fence, SecretScope},
    time::Mono,
};

use crate::counting::counted;

struct Live(LeaseStanding);

impl LeaseCheck for Live {
    fn standing(&self, _: Fence, _: Mono) -> Result<LeaseStanding, LeaseRefusal> {
        Ok(self.0.clone())
    }
}

/// Allowed: the canonical URL, the judged addresses, the pins. Refused: the URL alone, or not even that.
#[test]
fn a_decision_allocates_three_times_at_most_and_a_refusal_once() {
    let policy: EgressPolicy = serde_json::from_str(
        r#"{"rules":[{"id":"api","hosts":["api.example.com"],"suffixes":["example.net"],"paths":["/v1/"]}],
            "deny":{"suffixes":["denied.example"]}}"#,
    )
    .unwrap();
    let service = EgressProxyPolicyService::compile(&policy).unwrap();
    let worker = WorkerId::new("w1").unwrap();
    let live = Live(LeaseStanding {
        worker: worker.clone(),
        expires: Mono::NEVER,
        egress: EgressScope::all(),
        secrets: SecretScope::all(),
    });
    let bearer = Bearer { worker, fence: Fence::new(Epoch(1), 1) };
    let answer: IpAddr = "93.184.216.34".parse().unwrap();
    for (url, allowed, most) in [
        ("https://api.example.com/v1/chat?stream=1", true, 3),
        ("https://a.b.c.example.net/v1/chat", true, 3),
        ("https://api.example.com/v2", false, 1),
        ("https://other.example/", false, 1),
        ("https://x.denied.example/", false, 1),
        ("ftp://api.example.com/", false, 0),
        ("https://u@api.example.com/", false, 0),
        ("http://0x7f.1/", false, 0),
    ] {
        let (verdict, count) = counted(|| {
            service.decide(&EgressRequest::url("GET", url), &bearer, &live, Mono(0), |_| [answer])
        });
        assert_eq!(verdict.allowed(), allowed, "{url}");
        assert!(count <= most, "{url}: {count} allocations");
    }
}
