//! An approval: an input with an expiry, for one tool. Who asks for it and who gives it is outside the core.

use alloc::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::executor::ExecutorKind;
use crate::{
    code::{self, Code},
    id::ToolId,
    time::Wall,
};

/// What became of a question to an approver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ApprovalState {
    /// Asked, not answered.
    Pending,
    /// Yes.
    Approved,
    /// No.
    Denied,
}

/// An approval of one tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// What was answered.
    pub state: ApprovalState,
    /// The tool that it was asked for.
    pub tool: ToolId,
    /// The first instant at which it no longer counts, in milliseconds since the Unix epoch.
    pub expires_at: Wall,
    /// The kinds of executors that it covers. Left out: all that the tool's posture allows.
    #[serde(default)]
    pub kinds: Option<BTreeSet<ExecutorKind>>,
}

/// Why `approval` does not let `tool` run at `now`, whatever executor; none where it does.
///
/// A question that is open or was answered with no stops the tool even where nobody had to ask.
pub(super) fn obstacle(approval: &Approval, tool: &ToolId, now: Wall) -> Option<Code> {
    match approval.state {
        _ if approval.tool != *tool => Some(code::PLACEMENT_APPROVAL_OTHER_TOOL),
        ApprovalState::Denied => Some(code::PLACEMENT_APPROVAL_DENIED),
        _ if now >= approval.expires_at => Some(code::PLACEMENT_APPROVAL_EXPIRED),
        ApprovalState::Pending => Some(code::PLACEMENT_APPROVAL_PENDING),
        ApprovalState::Approved => None,
    }
}
