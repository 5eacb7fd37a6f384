//! The feature `tracing`: every outcome is an event with its code, and nothing that is secret is in any (invariant 10).
#![cfg(feature = "tracing")]

use std::{
    fmt::{self, Write as _},
    sync::Mutex,
};

use leasehold::{
    egress::{Bearer, EgressPolicy, EgressProxyPolicyService, EgressRequest, HeaderField},
    fleet::Acquire,
    lease::{EgressScope, SecretScope},
    testing::World,
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// One line for each span and event: its target, level and fields.
struct Lines;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

fn keep(metadata: &Metadata<'_>, record: impl FnOnce(&mut Line)) {
    let mut line = Line(format!("{} {} {}", metadata.target(), metadata.level(), metadata.name()));
    record(&mut line);
    LINES.lock().unwrap().push(line.0);
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("leasehold::")
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        keep(span.metadata(), |line| span.record(line));
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        keep(event.metadata(), |line| event.record(line));
    }
}

/// What was recorded since the last call.
fn recorded() -> Vec<String> {
    std::mem::take(&mut LINES.lock().unwrap())
}

fn has(lines: &[String], parts: &[&str]) -> bool {
    lines.iter().any(|line| parts.iter().all(|part| line.contains(part)))
}

#[test]
fn outcomes_are_recorded_and_secrets_are_not() {
    tracing::subscriber::set_global_default(Lines).unwrap();
    let mut world = World::default();
    let _ = world.acquire(1, "a").unwrap_err();
    let lines = recorded();
    assert!(has(&lines, &["leasehold::fleet", "operation", r#"by="service""#]), "{lines:#?}");
    assert!(has(&lines, &["leasehold::fleet", "INFO", r#"code="fleet.no_worker""#]), "{lines:#?}");

    world.join(1, "a");
    let request = World::request(world.grant(1, "a")).with_egress(EgressScope::all(), SecretScope::none());
    let lease = world.ask(&Acquire::new(request), &World::service()).unwrap().answer.lease;
    let lines = recorded();
    for due in ["decided", "accepted", "durable"] {
        assert!(has(&lines, &["leasehold::fleet", due]), "{due}: {lines:#?}");
    }

    let policy: EgressPolicy =
        serde_json::from_str(r#"{"rules": [{"id": "api", "hosts": ["api.example.com"]}]}"#).unwrap();
    let service = EgressProxyPolicyService::compile(&policy).unwrap();
    let bearer = Bearer { worker: lease.worker.clone(), fence: lease.fence };
    let headers = [HeaderField { name: "authorization", value: b"Bearer hush-header" }];
    let ask = |url: &str, address: &str| {
        let request = EgressRequest::url("GET", url).headers(&headers);
        let answers = |_: &str| [address.parse().unwrap()];
        service.decide(&request, &bearer, world.fleet.state(), world.now.mono, answers).allowed()
    };
    assert!(ask("https://api.example.com/hush-path?key=hush-query", "93.184.215.14"));
    assert!(!ask("https://api.example.com/hush-path?key=hush-query", "10.0.0.1"));
    assert!(!ask("https://user:hush-password@api.example.com/", "93.184.215.14"));
    let lines = recorded();
    let allowed = ["leasehold::egress", "DEBUG", r#"rule="api""#, r#"code="egress.allowed""#];
    assert!(has(&lines, &allowed), "{lines:#?}");
    let refused = ["leasehold::egress", "INFO", r#"stage="address""#, r#"code="egress.address.private""#];
    assert!(has(&lines, &refused), "{lines:#?}");
    assert_eq!(lines.len(), 3, "one event for each verdict: {lines:#?}");
    assert!(!has(&lines, &["hush"]), "{lines:#?}");

    // A halt is an error that somebody has to see, and is said once.
    world.fleet.journal_failed();
    world.fleet.journal_failed();
    let lines = recorded();
    assert_eq!(lines.iter().filter(|line| line.contains("halted")).count(), 1, "{lines:#?}");
    assert!(has(&lines, &["leasehold::fleet", "ERROR", "halted"]), "{lines:#?}");
}
