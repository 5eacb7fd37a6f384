//! Placement never lowers the isolation that was demanded, and silence is a refusal: attacks S1 to S4.

use leasehold::{
    capability::CapabilitySet,
    code::{self, Coded as _},
    fleet::WorkerFleetCounts,
    id::{ExecutorId, ProfileId, ToolId},
    placement::{
        Approval, ApprovalState, Executor, ExecutorKind, ExecutorState, Inventory, Placement,
        PlacementPolicy, PlacementPolicyDocument, PlacementRefusal, PlacementRequest, Posture, PostureLookup,
        RecoveryRules, RecoveryStep, RolloutMode, StuckWork, ToolRequirements, decide, preflight,
        recovery_plan,
    },
    time::{Mono, Now, Wall},
};
use proptest::prelude::*;
use serde_json::json;

const NOW: Now = Now::new(0, 1_000);

fn executor(id: &str, kind: ExecutorKind, capabilities: &[&str]) -> Executor {
    Executor {
        id: ExecutorId::new(id).unwrap(),
        kind,
        mode: RolloutMode::Enabled,
        state: ExecutorState::Ready,
        capabilities: CapabilitySet::parse(capabilities.iter().copied()).unwrap(),
        workspaces: Default::default(),
        container: None,
    }
}

fn tool(capabilities: &[&str], needs_approval: bool) -> ToolRequirements {
    ToolRequirements {
        id: ToolId::new("t").unwrap(),
        capabilities: CapabilitySet::parse(capabilities.iter().copied()).unwrap(),
        workspace: None,
        needs_approval,
    }
}

fn everything_enabled() -> PlacementPolicy {
    let rollout = ExecutorKind::ALL.into_iter().map(|kind| (kind, RolloutMode::Enabled)).collect();
    PlacementPolicyDocument { rollout, approval_for: Default::default(), ..Default::default() }
        .try_into()
        .unwrap()
}

/// One question with an open policy; what is not under test is as permissive as it can be.
fn ask(
    tool: &ToolRequirements,
    posture: PostureLookup,
    executors: Vec<Executor>,
    approval: Option<&Approval>,
    available: u64,
) -> Result<Placement, PlacementRefusal> {
    let inventory = Inventory::new(executors).unwrap();
    let fleet = WorkerFleetCounts { total: available, available, ..Default::default() };
    let request = PlacementRequest { tool, posture, inventory: &inventory, fleet: Some(&fleet), approval };
    decide(&everything_enabled(), &request, NOW)
}

fn local_executors() -> Vec<Executor> {
    vec![
        executor("a", ExecutorKind::InProcess, &["c"]),
        executor("b", ExecutorKind::LocalProcess, &["c"]),
        executor("node", ExecutorKind::PairedNode, &["c"]),
        executor("ssh", ExecutorKind::SshTunnel, &["c"]),
    ]
}

/// Attack S1, invariant 15.
#[test]
fn s1_no_worker_means_no_run_and_never_the_local_host() {
    let wanted = PostureLookup::Found(Posture::NetworkedWorker);
    let refusal = ask(&tool(&["c"], false), wanted, local_executors(), None, 9).unwrap_err();
    assert_eq!(refusal.code, code::PLACEMENT_NO_EXECUTOR);
    assert!(refusal.rejected.iter().all(|entry| entry.code == code::PLACEMENT_POSTURE_TOO_WEAK));

    let mut with_worker = local_executors();
    with_worker.push(executor("w", ExecutorKind::NetworkedWorker, &["c"]));
    let refusal = ask(&tool(&["c"], false), wanted, with_worker.clone(), None, 0).unwrap_err();
    let worker = refusal.rejected.iter().find(|entry| entry.executor.as_str() == "w").unwrap();
    assert_eq!(worker.code, code::PLACEMENT_FLEET_EXHAUSTED);
    // The same question with one worker free is answered, so the refusals above are about the worker alone.
    assert_eq!(ask(&tool(&["c"], false), wanted, with_worker, None, 1).unwrap().executor.as_str(), "w");
}

/// Attack S2.
#[test]
fn s2_a_failed_posture_lookup_refuses() {
    for (word, want) in [
        (None, code::PLACEMENT_POSTURE_UNAVAILABLE),
        (Some(""), code::PLACEMENT_POSTURE_UNKNOWN),
        (Some("none"), code::PLACEMENT_POSTURE_UNKNOWN),
        (Some("In_Process"), code::PLACEMENT_POSTURE_UNKNOWN),
    ] {
        let lookup = PostureLookup::read(word);
        assert_eq!(ask(&tool(&["c"], false), lookup, local_executors(), None, 1).unwrap_err().code, want);
    }
    for kind in ExecutorKind::ALL {
        assert_eq!(PostureLookup::read(Some(kind.as_str())), PostureLookup::Found(kind.posture()));
    }
}

/// Attack S3.
#[test]
fn s3_capabilities_of_several_executors_do_not_add_up() {
    let workers = vec![
        executor("w1", ExecutorKind::NetworkedWorker, &["c1"]),
        executor("w2", ExecutorKind::NetworkedWorker, &["c2"]),
    ];
    let wanted = PostureLookup::Found(Posture::NetworkedWorker);
    let refusal = ask(&tool(&["c1", "c2"], false), wanted, workers.clone(), None, 2).unwrap_err();
    assert!(refusal.rejected.iter().all(|entry| entry.code == code::PLACEMENT_CAPABILITY_MISSING));
    assert_eq!(ask(&tool(&["c2"], false), wanted, workers, None, 2).unwrap().executor.as_str(), "w2");
}

/// A container that the policy does not know starts nothing, whatever kind names it; a kind that runs containers names
/// one. The profile that the policy does know lets the same executor run.
#[test]
fn an_unknown_container_runs_nothing() {
    let image = format!("tools/hash@sha256:{}", "0".repeat(64));
    let mut document = PlacementPolicyDocument::from(everything_enabled());
    document.containers = serde_json::from_value(serde_json::json!([{
        "id": "plain", "image": image, "user": 1000, "group": 1000,
        "memory_bytes": 1 << 28, "processes": 64, "cpu_millis": 500
    }]))
    .unwrap();
    let policy = PlacementPolicy::try_from(document).unwrap();
    let unknown = Some(code::PLACEMENT_CONTAINER_UNKNOWN);
    for (kind, container, want) in [
        (ExecutorKind::OsIsolated, None, unknown),
        (ExecutorKind::OsIsolated, Some("other"), unknown),
        (ExecutorKind::OsIsolated, Some("plain"), None),
        (ExecutorKind::LocalProcess, Some("other"), unknown),
        (ExecutorKind::LocalProcess, None, None),
    ] {
        let mut one = executor("one", kind, &["c"]);
        one.container = container.map(|id| ProfileId::new(id).unwrap());
        let inventory = Inventory::new(vec![one]).unwrap();
        let tool = tool(&["c"], false);
        let request = PlacementRequest {
            tool: &tool,
            posture: PostureLookup::Found(Posture::LocalProcess),
            inventory: &inventory,
            fleet: None,
            approval: None,
        };
        let refused = decide(&policy, &request, NOW).err().map(|refusal| refusal.rejected[0].code);
        assert_eq!(refused, want, "{kind} {container:?}");
        assert_eq!(preflight(&policy, &request, NOW).would_run_on().is_none(), want.is_some());
    }
}

/// What a container may write to is what the policy names, not what no list of ours forbids; and where roots are named,
/// nothing else of the host is read either. A root is at a boundary of components.
#[test]
fn mounts_lie_within_the_roots_of_the_policy() {
    let image = format!("tools/hash@sha256:{}", "0".repeat(64));
    let built = |roots: &[(&str, bool)], source: &str, read_only: bool| {
        let roots: Vec<_> =
            roots.iter().map(|(path, writable)| json!({"path": path, "writable": writable})).collect();
        let document: PlacementPolicyDocument = serde_json::from_value(json!({
            "mount_roots": roots,
            "containers": [{
                "id": "plain", "image": image, "user": 1000, "group": 1000,
                "memory_bytes": 1 << 28, "processes": 64, "cpu_millis": 500,
                "mounts": [{"source": source, "target": "/data", "read_only": read_only}]
            }]
        }))
        .unwrap();
        PlacementPolicy::try_from(document).map(|_| ()).map_err(|error| error.code())
    };
    let outside = Err(code::PLACEMENT_MOUNT_ROOT);
    for folder in ["/home", "/home/me/.ssh", "/opt", "/var/log", "/var/spool/cron", "/mnt", "/tmp", "/srv"] {
        assert_eq!(built(&[], folder, false), outside, "{folder}");
        assert_eq!(built(&[("/srv/runs", true)], folder, false), outside, "{folder}");
        assert_eq!(built(&[("/srv/runs", true)], folder, true), outside, "{folder}");
    }
    let roots = [("/srv/runs", true), ("/srv/tools", false)];
    for (source, read_only, want) in [
        ("/srv/runs", false, Ok(())),
        ("/srv/runs/7", false, Ok(())),
        ("/srv/runs/7", true, Ok(())),
        ("/srv/runs-of-others", false, outside),
        ("/srv/tools", true, Ok(())),
        ("/srv/tools", false, outside),
        ("/etc", true, Err(code::PLACEMENT_CONTAINER_HOST_ROOT)),
    ] {
        assert_eq!(built(&roots, source, read_only), want, "{source} {read_only}");
    }
    for root in ["/", "/var", "/etc/tools", "/run/tools"] {
        assert_eq!(built(&[(root, true)], "/srv/runs", false), outside, "{root}");
    }
    assert_eq!(built(&[], "/srv/models", true), Ok(()));
    let workspace = |source: &str| {
        let document: PlacementPolicyDocument = serde_json::from_value(json!({
            "mount_roots": [{"path": "/srv/trees"}],
            "workspaces": [{"id": "w", "strategy": "read_only", "source": source}]
        }))
        .unwrap();
        PlacementPolicy::try_from(document).map(|_| ()).map_err(|error| error.code())
    };
    assert_eq!((workspace("/srv/trees/a"), workspace("/srv/other")), (Ok(()), outside));
}

/// Attack S4.
#[test]
fn s4_only_an_approval_that_counts_lets_a_tool_run() {
    let approval = |state, tool: &str, expires_at| Approval {
        state,
        tool: ToolId::new(tool).unwrap(),
        expires_at: Wall(expires_at),
        kinds: None,
    };
    let cases = [
        (None, Some(code::PLACEMENT_APPROVAL_MISSING)),
        (Some(approval(ApprovalState::Pending, "t", 2_000)), Some(code::PLACEMENT_APPROVAL_PENDING)),
        (Some(approval(ApprovalState::Denied, "t", 2_000)), Some(code::PLACEMENT_APPROVAL_DENIED)),
        (Some(approval(ApprovalState::Denied, "t", 0)), Some(code::PLACEMENT_APPROVAL_DENIED)),
        (Some(approval(ApprovalState::Approved, "t", 1_000)), Some(code::PLACEMENT_APPROVAL_EXPIRED)),
        (Some(approval(ApprovalState::Pending, "t", 999)), Some(code::PLACEMENT_APPROVAL_EXPIRED)),
        (Some(approval(ApprovalState::Approved, "u", 2_000)), Some(code::PLACEMENT_APPROVAL_OTHER_TOOL)),
        (Some(approval(ApprovalState::Approved, "t", 1_001)), None),
    ];
    let found = PostureLookup::Found(Posture::InProcess);
    for (given, want) in cases {
        let answer = ask(&tool(&["c"], true), found, local_executors(), given.as_ref(), 0);
        assert_eq!(answer.err().map(|refusal| refusal.code), want, "{given:?}");
        // Nobody had to ask; but whoever asked waits for the answer.
        if given.is_some() {
            let answer = ask(&tool(&["c"], false), found, local_executors(), given.as_ref(), 0);
            assert_eq!(answer.err().map(|refusal| refusal.code), want, "{given:?}");
        }
    }
}

/// What each posture admits, written out again as the table of the module page.
fn admitted(posture: Posture) -> &'static [ExecutorKind] {
    use ExecutorKind::*;
    match posture {
        Posture::InProcess => &[InProcess, LocalProcess, OsIsolated, NetworkedWorker],
        Posture::LocalProcess => &[LocalProcess, OsIsolated, NetworkedWorker],
        Posture::OsIsolated => &[OsIsolated, NetworkedWorker],
        Posture::NetworkedWorker => &[NetworkedWorker],
        Posture::PairedNode => &[PairedNode],
        _ => &[SshTunnel],
    }
}

fn any_kind() -> impl Strategy<Value = ExecutorKind> {
    proptest::sample::select(ExecutorKind::ALL.to_vec())
}

fn any_mode() -> impl Strategy<Value = RolloutMode> {
    prop_oneof![
        Just(RolloutMode::Enabled),
        Just(RolloutMode::Enabled),
        Just(RolloutMode::Preview),
        Just(RolloutMode::Disabled)
    ]
}

fn any_executor() -> impl Strategy<Value = (ExecutorKind, RolloutMode, bool, Vec<&'static str>)> {
    (
        any_kind(),
        any_mode(),
        prop::bool::weighted(0.8),
        prop::sample::subsequence(vec!["c1", "c2", "c3"], 0..=3),
    )
}

fn document() -> impl Strategy<Value = PlacementPolicyDocument> {
    let previewed = prop::bool::ANY;
    let rung = prop::sample::select(vec![
        Posture::InProcess,
        Posture::InProcess,
        Posture::LocalProcess,
        Posture::OsIsolated,
        Posture::NetworkedWorker,
    ]);
    let preference = Just(ExecutorKind::ALL.to_vec()).prop_shuffle();
    let kinds = prop::collection::btree_set(any_kind(), 0..3);
    (prop::collection::btree_map(any_kind(), any_mode(), 0..6), previewed, rung, preference, kinds).prop_map(
        |(rollout, previewed, floor, preference, approval_for)| PlacementPolicyDocument {
            rollout,
            preview_tools: previewed.then(|| ToolId::new("t").unwrap()).into_iter().collect(),
            floor,
            preference,
            approval_for,
            ..Default::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Invariant 15 and every other law of the page: what is chosen passes each check, restated here apart from
    /// the code; preflight and decision agree; and no rejected executor comes without a reason.
    #[test]
    fn the_chosen_executor_gives_all_that_was_demanded(
        document in document(),
        found in any_executor_list(),
        posture in any_kind().prop_map(ExecutorKind::posture),
        asked in prop::sample::subsequence(vec!["c1", "c2", "c3"], 0..=3),
        approved in prop::option::of(Just(())),
        available in 0_u64..2,
    ) {
        let policy = PlacementPolicy::try_from(document.clone()).unwrap();
        let inventory = Inventory::new(found).unwrap();
        let tool = tool(&asked, false);
        let fleet = WorkerFleetCounts { available, ..Default::default() };
        let approval = approved.map(|()| Approval {
            state: ApprovalState::Approved, tool: tool.id.clone(), expires_at: Wall(2_000), kinds: None,
        });
        let request = PlacementRequest {
            tool: &tool,
            posture: PostureLookup::Found(posture),
            inventory: &inventory,
            fleet: Some(&fleet),
            approval: approval.as_ref(),
        };
        let report = preflight(&policy, &request, NOW);
        match decide(&policy, &request, NOW) {
            Ok(placed) => {
                let chosen = inventory.executors().iter().find(|e| e.id == placed.executor).unwrap();
                prop_assert!(admitted(posture).contains(&chosen.kind));
                if posture.is_on_ladder() {
                    prop_assert!(admitted(document.floor).contains(&chosen.kind));
                }
                prop_assert!(tool.capabilities.is_subset_of(&chosen.capabilities) && !tool.capabilities.is_empty());
                prop_assert_eq!(chosen.state, ExecutorState::Ready);
                for mode in [chosen.mode, document.rollout.get(&chosen.kind).copied().unwrap_or_default()] {
                    prop_assert!(mode == RolloutMode::Enabled
                        || mode == RolloutMode::Preview && document.preview_tools.contains(&tool.id));
                }
                prop_assert!(chosen.kind != ExecutorKind::NetworkedWorker || available > 0);
                prop_assert!(approval.is_some() || !document.approval_for.contains(&chosen.kind));
                prop_assert!(chosen.kind != ExecutorKind::OsIsolated, "no profile exists in this policy");
                prop_assert_eq!(report.would_run_on(), Some(&placed.executor));
            }
            Err(refusal) => {
                prop_assert_eq!(report.would_run_on(), None);
                if refusal.code == code::PLACEMENT_NO_EXECUTOR {
                    prop_assert_eq!(refusal.rejected.len(), inventory.executors().len());
                } else {
                    prop_assert_eq!(report.refused, Some(refusal.code));
                }
            }
        }
    }

    /// The former attempt is over before the next is placed, and the next demands the same (invariants 1 and 15).
    #[test]
    fn recovery_stops_before_it_places_again(
        kind in any_kind(),
        posture in any_kind().prop_map(ExecutorKind::posture),
        attempts in 1_u32..6,
        progress in 0_u64..1_000_000,
        lease_ends in prop::option::of(0_u64..2_000_000),
        answers: bool,
        now in 0_u64..2_000_000,
    ) {
        let rules = RecoveryRules::default();
        let work = StuckWork {
            kind, posture, attempts, progress: Mono(progress), lease_ends: lease_ends.map(Mono), answers,
        };
        let plan = recovery_plan(&rules, &work, Mono(now));
        if now < progress + rules.quiet_ms.0 {
            prop_assert_eq!(plan, [RecoveryStep::LookAgain(Mono(progress + rules.quiet_ms.0))]);
            return Ok(());
        }
        let (last, before) = plan.split_last().unwrap();
        let want = if attempts < 3 { RecoveryStep::PlaceAgain(posture) } else { RecoveryStep::GiveUp };
        prop_assert_eq!(*last, want);
        prop_assert!(before.contains(&RecoveryStep::VerifyCleanup));
        let local = matches!(kind,
            ExecutorKind::InProcess | ExecutorKind::LocalProcess | ExecutorKind::OsIsolated);
        if !answers && !local {
            let wait = lease_ends.map_or(RecoveryStep::AwaitOperator,
                |end| RecoveryStep::AwaitEnd(Mono(end + rules.grace_ms.0)));
            prop_assert!(before.contains(&wait));
        }
        prop_assert!(!local || before.contains(&RecoveryStep::KillLocally));
    }
}

fn any_executor_list() -> impl Strategy<Value = Vec<Executor>> {
    prop::collection::vec(any_executor(), 0..6).prop_map(|drawn| {
        let each = drawn.into_iter().enumerate().map(|(at, (kind, mode, ready, capabilities))| {
            let state = if ready { ExecutorState::Ready } else { ExecutorState::Draining };
            Executor { mode, state, ..executor(&format!("e{at}"), kind, &capabilities) }
        });
        each.collect()
    })
}
