//! Egress decisions: against the URL parser alone, over policy sizes, and against a matcher that scans every rule.
//!
//!     cargo bench --bench egress

use std::{hint::black_box, net::IpAddr};

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
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

fn addresses(c: &mut Criterion) {
    let mut group = c.benchmark_group("egress_address");
    let mut draw = Draw(7);
    let mut bits = || u32::try_from(draw.below(usize::MAX) & 0xffff_ffff).unwrap();
    let v4: Vec<IpAddr> = (0..1024).map(|_| std::net::Ipv4Addr::from_bits(bits()).into()).collect();
    let v6: Vec<IpAddr> = (0..1024)
        .map(|_| {
            let low = u128::from(bits()) << 64 | u128::from(bits());
            std::net::Ipv6Addr::from_bits(0x2000_u128 << 112 | u128::from(bits()) << 93 | low).into()
        })
        .collect();
    for (name, list) in [("random_v4", v4), ("random_v6", v6)] {
        group.throughput(criterion::Throughput::Elements(1024));
        group.bench_function(BenchmarkId::new("1024", name), |b| {
            b.iter(|| list.iter().filter(|ip| classify(black_box(**ip)).public).count());
        });
    }
    group.finish();
}

criterion_group!(benches, decisions, naive, compile, addresses);
criterion_main!(benches);
