//! The documents in frames: one reading, closed shapes, nothing that a worker could use to act for somebody else.

use leasehold::{
    code::{self, Coded as _},
    digest::Sha256Digest,
    fleet::{LossReason, RunOutcome, WorkerHandle},
    id::WorkerId,
    identity::{AnchorRole, Announcement, DeviceCertificate},
    lease::{ArtifactManifest, Epoch, Fence, OutputClaim, Removal, WorkerCleanupReport},
    protocol::{frame::FrameKind, message::*},
    time::{Millis, Mono, Wall},
};
use serde_json::{Value, json};

fn round_trip<D: Document + PartialEq + core::fmt::Debug>(document: &D) {
    let mut out = Vec::new();
    document.write(&mut out).unwrap();
    assert_eq!(&D::read(&out[8..]).unwrap(), document);
}

fn handle() -> WorkerHandle {
    WorkerHandle { slot: 3, generation: 1 }
}

fn report(fence: Fence) -> WorkerCleanupReport {
    let gone = Removal { removed: 2, remaining: 0 };
    WorkerCleanupReport {
        fence,
        lease: Sha256Digest::of(b"lease"),
        workspace: gone,
        artifacts: gone,
        logs: gone,
        scratch: gone,
    }
}

fn worker_messages() -> Vec<WorkerMessage> {
    let (worker, fence) = (handle(), Fence::new(Epoch(u64::MAX), 7));
    let claim = OutputClaim { outputs: ArtifactManifest::default(), log: Sha256Digest::of(b"") };
    vec![
        WorkerMessage::Hello { worker: WorkerId::new("w-1").unwrap(), resume: Some(worker), epoch: Epoch(4) },
        WorkerMessage::Challenge {},
        WorkerMessage::Heartbeat { worker },
        WorkerMessage::Fetch { fence },
        WorkerMessage::Start { worker, fence },
        WorkerMessage::Renew { worker, fence },
        WorkerMessage::Complete {
            worker,
            fence,
            outcome: RunOutcome::Failed,
            claim,
            cleanup: Some(report(fence)),
        },
        WorkerMessage::ReportCleanup { worker, report: report(fence) },
        WorkerMessage::AcknowledgeRevocation { worker, fence, cleanup: None },
    ]
}

#[test]
fn messages_round_trip() {
    for message in worker_messages() {
        round_trip(&WorkerRequest { sequence: 9, message });
    }
    let fence = Fence::new(Epoch(1), 2);
    round_trip(&CoordinatorMessage::Revoke { fence, reason: LossReason::Operator });
    round_trip(&CoordinatorMessage::Refused { sequence: 1, refusal: code::LEASE_STALE_FENCE.into() });
    round_trip(&CoordinatorMessage::Answer {
        sequence: 1,
        answer: WorkerAnswer::Challenged { nonce: WireBytes(vec![0, 255]), ttl: Millis(5) },
    });
    let (fingerprint, key) = (Sha256Digest::of(b"leaf"), Sha256Digest::of(b"key"));
    let announcement = Announcement {
        role: AnchorRole::Coordinator,
        succeeds: Sha256Digest::of(b"present"),
        next: DeviceCertificate::new(fingerprint, key, Wall(1), Wall::NEVER).unwrap(),
    };
    let notice = AnchorNotice { announced: vec![announcement], withdrawn: vec![key] };
    round_trip(&CoordinatorMessage::Anchors(notice.clone()));
    round_trip(&NodeWord::Anchors(notice));
    round_trip(&GateMessage::Subscribe { ping: 1, epoch: Epoch(2) });
    round_trip(&FeedMessage {
        epoch: Epoch(1),
        sequence: 0,
        change: FeedChange::KeepAlive { ping: 3, at: Mono(4) },
    });
}

/// Attack F24: a worker's message that names somebody else's act, or carries a finding of the coordinator, does
/// not decode.
#[test]
fn f24_no_worker_message_names_an_operators_act_or_a_finding() {
    let request = |message: Value| {
        let body = serde_json::to_vec(&json!({ "sequence": 1, "message": message })).unwrap();
        WorkerRequest::read(&body).map_err(|error| error.code())
    };
    for act in [
        "acquire",
        "revoke_run",
        "quarantine_worker",
        "quarantine_all",
        "release",
        "drain",
        "undrain",
        "reverify",
        "force_cleanup",
        "retire",
        "set_policy",
    ] {
        assert_eq!(request(json!({ act: { "worker": "w-1" } })), Err(code::JSON_SHAPE), "{act}");
    }
    for message in worker_messages() {
        let Value::Object(whole) = serde_json::to_value(&message).unwrap() else {
            panic!("a message is an object")
        };
        let (name, body) = whole.into_iter().next().unwrap();
        assert_eq!(request(json!({ &name: body })), Ok(WorkerRequest { sequence: 1, message }));
        for finding in ["received", "inspection", "principal", "verdict"] {
            let mut with = body.clone();
            with[finding] = json!({ "remaining": 0 });
            assert_eq!(request(json!({ &name: with })), Err(code::JSON_SHAPE), "{name} with {finding}");
        }
    }
}

/// Attack A8, for our own messages: one document, one reading.
#[test]
fn a8_documents_with_two_readings_are_refused() {
    let cases: [(&[u8], _); 7] = [
        (br#"{"sequence":1,"sequence":2,"message":{"challenge":{}}}"#, code::JSON_DUPLICATE_KEY),
        (br#"{"sequence":1,"message":{"challenge":{}},"as":"operator"}"#, code::JSON_SHAPE),
        (br#"{"sequence":1,"message":{"challenge":{}}} "x""#, code::JSON_TRAILING),
        (br#"[1,{"challenge":{}}]"#, code::JSON_NOT_AN_OBJECT),
        (br#"{"sequence":-1,"message":{"challenge":{}}}"#, code::JSON_SHAPE),
        (br#"{"sequence":1,"message":{"heartbeat":{"worker":[3,1]}}}"#, code::JSON_SHAPE),
        (br#"{"sequence":1,"message":{"challenge":{},"heartbeat":{}}}"#, code::JSON_SHAPE),
    ];
    for (body, want) in cases {
        let error = WorkerRequest::read(body).unwrap_err();
        assert_eq!(error.code(), want, "{}", String::from_utf8_lossy(body));
    }
    assert_eq!(FrameKind::Worker.max_bytes(), 256 << 10);
}

/// What peers send is never written raw to a terminal or log: codes have a grammar, bytes have a length.
#[test]
fn texts_of_peers_are_safe_to_show() {
    for bad in ["", "A.b", "a\u{1b}[2J", "a b", &"a".repeat(65)] {
        let body = serde_json::to_vec(&json!({ "refused": { "sequence": 1,
            "refusal": { "code": bad, "message": "" } } }));
        assert!(CoordinatorMessage::read(&body.unwrap()).is_err(), "{bad:?}");
    }
    assert_eq!(format!("{:?}", WireBytes(b"\x1b[2J".to_vec())), "4 bytes");
}
