//! What came of judging a request: every check that ran, and a permit or a refusal.

use alloc::vec::Vec;
use core::{fmt, net::IpAddr};

use serde::Serialize;

use super::{
    EgressPermit, EgressProxyPolicyService, EgressRefusal, Scheme, Stage, address::AddressVerdict,
    target::Target,
};
use crate::{
    code::{self, Code, Coded},
    id::RuleId,
    trace,
};

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The stages that were passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Passed(u16);

impl Passed {
    fn bit(stage: Stage) -> u16 {
        Stage::ALL
            .iter()
            .position(|one| *one == stage)
            .and_then(|at| 1_u16.checked_shl(u32::try_from(at).ok()?))
            .unwrap_or(0)
    }

    pub(super) fn add(&mut self, stage: Stage) {
        self.0 |= Self::bit(stage);
    }

    fn has(self, stage: Stage) -> bool {
        self.0 & Self::bit(stage) != 0
    }
}

/// How one check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckOutcome {
    /// It holds.
    Passed,
    /// It does not hold, and the policy only observes.
    Observed,
    /// It does not hold. The last check that ran.
    Refused,
}

/// One check that ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// Which.
    pub stage: Stage,
    /// How it came out.
    pub outcome: CheckOutcome,
    /// `egress.allowed` where it holds, else the code of the refusal.
    pub code: Code,
}

/// A refusal that the policy only observes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WouldRefuse {
    /// Its code.
    pub code: Code,
    /// Its stage.
    pub stage: Stage,
}

/// An address that was answered, and what is known about it. For logs: workers are not told private addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JudgedAddress {
    /// The address as it was answered.
    pub address: IpAddr,
    /// What is known about it.
    pub verdict: AddressVerdict,
    /// Whether the request may reach it.
    pub allowed: bool,
}

/// What came of judging one request.
#[derive(Debug)]
pub struct EgressVerdict {
    pub(super) passed: Passed,
    /// The slot of the rule, where the outcome is a refusal; a permit knows its own.
    pub(super) rule: Option<(EgressProxyPolicyService, u32)>,
    pub(super) would_refuse: Option<WouldRefuse>,
    pub(super) addresses: Vec<JudgedAddress>,
    pub(super) outcome: Result<EgressPermit, (EgressRefusal, Option<Target>)>,
}

impl EgressVerdict {
    pub(super) fn refused(passed: Passed, refusal: EgressRefusal, target: Option<Target>) -> Self {
        Self {
            passed,
            rule: None,
            would_refuse: None,
            addresses: Vec::new(),
            outcome: Err((refusal, target)),
        }
    }

    /// The same, recorded where the feature `tracing` asks for it.
    pub(super) fn traced(self) -> Self {
        let stage = self.refusal().map(|refusal| refusal.stage().as_str());
        trace::judged(self.code(), stage, self.rule().map(RuleId::as_str));
        self
    }

    /// Whether the request may be made.
    pub fn allowed(&self) -> bool {
        self.outcome.is_ok()
    }

    /// `egress.allowed`, or the code of the refusal.
    pub fn code(&self) -> Code {
        self.refusal().map_or(code::EGRESS_ALLOWED, Coded::code)
    }

    /// The refusal, where it is one.
    pub fn refusal(&self) -> Option<&EgressRefusal> {
        self.outcome.as_ref().err().map(|(refusal, _)| refusal)
    }

    /// The rule that won, or whose limits hold in observe mode.
    pub fn rule(&self) -> Option<&RuleId> {
        match &self.outcome {
            Ok(permit) => permit.rule(),
            Err(_) => self.rule.as_ref().and_then(|(service, slot)| service.rule(*slot)).map(|rule| &rule.id),
        }
    }

    /// What the rules would have refused, where the policy only observes.
    pub fn would_refuse(&self) -> Option<WouldRefuse> {
        self.would_refuse
    }

    /// The addresses that were judged, allowed or not.
    pub fn addresses(&self) -> &[JudgedAddress] {
        &self.addresses
    }

    fn target(&self) -> Option<&Target> {
        match &self.outcome {
            Ok(permit) => Some(permit.target()),
            Err((_, target)) => target.as_ref(),
        }
    }

    /// The scheme, host (IPv6 in brackets) and port that were judged, as far as the target could be read.
    pub fn destination(&self) -> Option<(Scheme, impl fmt::Display + '_, u16)> {
        self.target().map(|target| (target.scheme(), target.host(), target.port()))
    }

    /// Every check that ran, in order; the last one is the refusal where there is one.
    pub fn checks(&self) -> impl Iterator<Item = Check> + '_ {
        let passed =
            Stage::ALL.iter().filter(|stage| self.passed.has(**stage)).map(|stage| match self.would_refuse {
                Some(would) if would.stage == *stage => {
                    Check { stage: *stage, outcome: CheckOutcome::Observed, code: would.code }
                }
                _ => Check { stage: *stage, outcome: CheckOutcome::Passed, code: code::EGRESS_ALLOWED },
            });
        let last = self.refusal().map(|refusal| Check {
            stage: refusal.stage(),
            outcome: CheckOutcome::Refused,
            code: refusal.code(),
        });
        passed.chain(last)
    }

    /// The permit.
    ///
    /// # Errors
    /// The refusal, with its stage and code.
    pub fn into_permit(self) -> Result<EgressPermit, EgressRefusal> {
        self.outcome.map_err(|(refusal, _)| refusal)
    }
}
