//! What an enforcement point and its coordinator say to each other: subscriptions, pings, and changes of leases.

use serde::{Deserialize, Serialize};

use super::Document;
use crate::{
    id::{DeviceId, RunId, ToolId, WorkerId},
    lease::{EgressScope, Epoch, Fence, SecretScope, WorkerLease},
    protocol::frame::FrameKind,
    time::Mono,
};

/// What an enforcement point may ask. Its numbers grow over the life of its process and are never used again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum GateMessage {
    /// Opens the feed: everything from the beginning. The first message of a connection, or a new start in one.
    Subscribe {
        /// The number.
        ping: u64,
        /// The highest epoch that this enforcement point has seen.
        epoch: Epoch,
    },
    /// Asks for a keep-alive that names this number.
    Ping {
        /// The number.
        ping: u64,
    },
}

impl Document for GateMessage {
    const KIND: FrameKind = FrameKind::Gate;
}

/// One step of the feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedMessage {
    /// The coordinator's epoch.
    pub epoch: Epoch,
    /// Counts the steps of a subscription from 0, without a gap.
    pub sequence: u64,
    /// What the step says.
    pub change: FeedChange,
}

impl Document for FeedMessage {
    const KIND: FrameKind = FrameKind::Feed;
}

/// What a step of the feed says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum FeedChange {
    /// The snapshot begins: the first step of a subscription.
    Reset {
        /// The number of the subscription that this answers.
        ping: u64,
    },
    /// A lease is live, or its end has moved.
    Live {
        /// The lease.
        lease: FeedLease,
    },
    /// A lease authorises nothing any more.
    Over {
        /// The lease.
        fence: Fence,
    },
    /// The snapshot is whole: what it did not name is not live.
    Synced {
        /// The number of the subscription that this answers.
        ping: u64,
        /// The fleet's line, read after that number had arrived.
        at: Mono,
    },
    /// Everything that changed until `at` has been said.
    KeepAlive {
        /// The number that this answers.
        ping: u64,
        /// The fleet's line, read after that number had arrived.
        at: Mono,
    },
}

/// What an enforcement point knows of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedLease {
    /// The lease.
    pub fence: Fence,
    /// Its worker.
    pub worker: WorkerId,
    /// The device of that worker: whose connections the permits are for.
    pub device: DeviceId,
    /// Its run.
    pub run: RunId,
    /// Its tool.
    pub tool: ToolId,
    /// The egress rules that it may use.
    pub egress: EgressScope,
    /// The secrets that it may use.
    pub secrets: SecretScope,
    /// Its end, on the fleet's line.
    pub expires: Mono,
}

impl From<&WorkerLease> for FeedLease {
    fn from(lease: &WorkerLease) -> Self {
        let terms = &lease.terms;
        Self {
            fence: lease.fence,
            worker: lease.worker.clone(),
            device: lease.device.clone(),
            run: terms.run.clone(),
            tool: terms.tool.clone(),
            egress: terms.egress.clone(),
            secrets: terms.secrets.clone(),
            expires: lease.expires,
        }
    }
}
