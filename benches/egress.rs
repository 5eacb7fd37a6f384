//! Egress decisions: against the URL parser alone, over policy sizes, and against a matcher that scans every rule.
//!
//! ```text
//! cargo bench --bench egress             criterion, each by itself
//! cargo bench --bench egress -- --bars   what is compared, in turns, and whether the bars are met
//! ```

mod bars;

use std::{cell::Cell, hint::black_box, net::IpAddr};

use bars::{least, least_of, row};
use criterion::{BatchSize, BenchmarkId, Criterion};
use leasehold::{
    egress::{
        Bearer, EgressPolicy, EgressProxyPolicyService, EgressRequest, EgressRule, LeaseCheck, LeaseRefusal,
        LeaseStanding, Step, address::classify,
    },
    id::WorkerId,
    lease::{EgressScope, Epoch, Fence, SecretScope},
    time::Mono,
};

struct Live(LeaseStanding);

impl LeaseCheck for Live {
    fn standing(&self, _: Fence, _: Mono) -> Result<LeaseStanding, LeaseRefusal> {
        Ok(self.0.clone())
    }
}

fn bearer() -> (Bearer, Live) {
    let worker = WorkerId::new("w1").unwrap();
    let standing = LeaseStanding {
        worker: worker.clone(),
        expires: Mono::NEVER,
        egress: EgressScope::all(),
        secrets: SecretScope::all(),
    };
    (Bearer { worker, fence: Fence::new(Epoch(1), 1) }, Live(standing))
}

fn host(n: usize) -> String {
    format!("api-{n}.customer-{}.example.com", n % 977)
}

/// One rule per host; every fourth is a suffix.
fn policy(size: usize) -> EgressPolicy {
    let rules = (0..size).map(|n| {
        let name = vec![host(n)];
        let (hosts, suffixes) = if n % 4 == 3 { (vec![], name) } else { (name, vec![]) };
        EgressRule { id: format!("rule-{n}"), hosts, suffixes, ..EgressRule::default() }
    });
    EgressPolicy { rules: rules.collect(), ..EgressPolicy::default() }
}

/// One rule per address.
fn address_rules(size: usize) -> EgressPolicy {
    let rules = (0..size).map(|n| EgressRule {
        id: format!("rule-{n}"),
        hosts: vec![literal(n)],
        ..EgressRule::default()
    });
    EgressPolicy { rules: rules.collect(), ..EgressPolicy::default() }
}

/// A public address.
fn literal(n: usize) -> String {
    format!("34.{}.{}.{}", n >> 16 & 0xff, n >> 8 & 0xff, n & 0xff)
}

/// A fixed sequence that looks random: which host is asked for next.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

/// Every URL of a run is drawn before, so that only the decision is measured.
fn urls(size: usize, host: impl Fn(usize) -> String) -> Vec<String> {
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    (0..4096).map(|_| format!("https://{}/v1/chat/completions?stream=true", host(draw.below(size)))).collect()
}

/// What people write first: every rule, one after the other.
fn naive_allows(policy: &EgressPolicy, host: &str) -> bool {
    policy.rules.iter().any(|rule| {
        rule.hosts.iter().any(|own| own == host)
            || rule.suffixes.iter().any(|own| {
                host.strip_suffix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            })
    })
}

fn decisions(c: &mut Criterion) {
    let (bearer, leases) = bearer();
    let answer: IpAddr = "93.184.216.34".parse().unwrap();
    let mut group = c.benchmark_group("egress_decision");
    let mut turn = 0_usize;
    for size in [10, 1_000, 100_000, 1_000_000] {
        let service = EgressProxyPolicyService::compile(&policy(size)).unwrap();
        let hits = urls(size, host);
        let misses = urls(size, |n| format!("api-{n}.other.example.net"));
        let mut next = move |list: &[String]| -> String {
            turn = turn.wrapping_add(1);
            list[turn % list.len()].clone()
        };
        group.bench_function(BenchmarkId::new("url_parse_alone", size), |b| {
            b.iter_batched_ref(|| next(&hits), |url| url::Url::parse(url), BatchSize::SmallInput);
        });
        group.bench_function(BenchmarkId::new("allowed", size), |b| {
            b.iter_batched_ref(
                || next(&hits),
                |url| {
                    let request = EgressRequest::url("GET", url);
                    let verdict = service.decide(&request, &bearer, &leases, Mono(0), |_| [answer]);
                    assert!(verdict.allowed());
                    verdict
                },
                BatchSize::SmallInput,
            );
        });
        group.bench_function(BenchmarkId::new("refused", size), |b| {
            b.iter_batched_ref(
                || next(&misses),
                |url| {
                    let step = service.judge(&EgressRequest::url("GET", url), &bearer, &leases, Mono(0));
                    assert!(matches!(step, Step::Decided(_)));
                    step
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn naive(c: &mut Criterion) {
    let mut group = c.benchmark_group("egress_naive_linear");
    for size in [10, 1_000, 100_000] {
        let policy = policy(size);
        group.bench_function(BenchmarkId::new("refused", size), |b| {
            b.iter(|| black_box(naive_allows(&policy, black_box("api-7.other.example.net"))));
        });
    }
    group.finish();
}

fn compile(c: &mut Criterion) {
    let mut group = c.benchmark_group("egress_compile");
    group.sample_size(10);
    for size in [1_000, 100_000] {
        let policy = policy(size);
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter_with_large_drop(|| EgressProxyPolicyService::compile(&policy).unwrap());
        });
    }
    group.finish();
}

/// Addresses at random: of IPv4 any, of IPv6 those that look like the ones in use.
fn random_addresses() -> [(&'static str, Vec<IpAddr>); 2] {
    let mut draw = Draw(7);
    let mut bits = || u32::try_from(draw.below(usize::MAX) & 0xffff_ffff).unwrap();
    let v4 = (0..1024).map(|_| std::net::Ipv4Addr::from_bits(bits()).into()).collect();
    let v6 = (0..1024)
        .map(|_| {
            let low = u128::from(bits()) << 64 | u128::from(bits());
            std::net::Ipv6Addr::from_bits(0x2000_u128 << 112 | u128::from(bits()) << 93 | low).into()
        })
        .collect();
    [("random_v4", v4), ("random_v6", v6)]
}

fn public(list: &[IpAddr]) -> usize {
    list.iter().filter(|ip| classify(black_box(**ip)).public).count()
}

fn addresses(c: &mut Criterion) {
    let mut group = c.benchmark_group("egress_address");
    for (name, list) in random_addresses() {
        group.throughput(criterion::Throughput::Elements(1024));
        group.bench_function(BenchmarkId::new("1024", name), |b| b.iter(|| public(&list)));
    }
    group.finish();
}

/// A list that gives the next of its items at each call.
struct Wheel<T> {
    items: Vec<T>,
    turn: Cell<usize>,
}

impl<T> Wheel<T> {
    fn new(items: Vec<T>) -> Self {
        Self { items, turn: Cell::new(0) }
    }

    fn next(&self) -> &T {
        self.turn.set((self.turn.get() + 1) % self.items.len());
        &self.items[self.turn.get()]
    }
}

fn bars() {
    let (bearer, leases) = bearer();
    let answer: IpAddr = "93.184.216.34".parse().unwrap();
    let allow = |service: &EgressProxyPolicyService, url: &str| {
        let request = EgressRequest::url("GET", url);
        assert!(service.decide(&request, &bearer, &leases, Mono(0), |_| [answer]).allowed());
    };
    let refuse = |service: &EgressProxyPolicyService, url: &str| {
        let step = service.judge(&EgressRequest::url("GET", url), &bearer, &leases, Mono(0));
        assert!(matches!(step, Step::Decided(_)));
    };
    let small = EgressProxyPolicyService::compile(&policy(10)).unwrap();
    let small_hits = Wheel::new(urls(10, host));
    for size in [10, 1_000, 100_000, 1_000_000] {
        let service = EgressProxyPolicyService::compile(&policy(size)).unwrap();
        let hits = Wheel::new(urls(size, host));
        let misses = Wheel::new(urls(size, |n| format!("api-{n}.other.example.net")));
        let [parse, allowed, refused, of_ten] = least([
            &mut || drop(black_box(url::Url::parse(hits.next()).unwrap())),
            &mut || allow(&service, hits.next()),
            &mut || refuse(&service, misses.next()),
            &mut || allow(&small, small_hits.next()),
        ]);
        let how = format!("{:.2} x Url::parse", allowed / parse);
        row(&format!("allowed, {size} rules"), allowed, 2.5 * parse, &how);
        row(
            &format!("refused, {size} rules"),
            refused,
            2.5 * parse,
            &format!("{:.2} x Url::parse", refused / parse),
        );
        if size == 1_000_000 {
            let how = format!("{:.2} x that of 10 rules", allowed / of_ten);
            row("from 10 to 1000000 rules", allowed, 4.0 * of_ten, &how);
        }
        if size == 100_000 {
            let rules = policy(size);
            let [ours, linear] = least([&mut || refuse(&service, misses.next()), &mut || {
                assert!(!naive_allows(&rules, black_box("api-7.other.example.net")));
            }]);
            row("a miss at 100000 rules", ours, linear / 500.0, &format!("1/{:.0} of linear", linear / ours));
        }
    }
    let ten = EgressProxyPolicyService::compile(&address_rules(10)).unwrap();
    let ten_hits = Wheel::new(urls(10, literal));
    for (size, bar) in [(100_000, 2.0), (1_000_000, 4.0)] {
        let service = EgressProxyPolicyService::compile(&address_rules(size)).unwrap();
        let hits = Wheel::new(urls(size, literal));
        let [allowed, of_ten] =
            least([&mut || allow(&service, hits.next()), &mut || allow(&ten, ten_hits.next())]);
        let how = format!("{:.2} x that of 10 rules", allowed / of_ten);
        row(&format!("from 10 to {size} rules that are addresses"), allowed, bar * of_ten, &how);
    }
    let rules = policy(100_000);
    let [compiled] =
        least_of(10, [&mut || drop(black_box(EgressProxyPolicyService::compile(&rules).unwrap()))]);
    row("compiling 100000 rules", compiled, 1e8, "with the drop");
    for (name, list) in random_addresses() {
        let [all] = least([&mut || assert!(public(black_box(&list)) > 0)]);
        row(&format!("address, {name}"), all / 1024.0, 10.0, "");
    }
}

fn main() {
    if std::env::args().any(|word| word == "--bars") {
        return bars();
    }
    let mut criterion = Criterion::default().configure_from_args();
    decisions(&mut criterion);
    naive(&mut criterion);
    compile(&mut criterion);
    addresses(&mut criterion);
    criterion.final_summary();
}
