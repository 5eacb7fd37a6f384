//! The serde form of the policy: everything that it can say, and the rules that hold it together.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use super::{
    KeyRole, Label, MAX_POLICY_KEYS, PolicyError, ProvenanceRule, ReferenceSet, Rule, ScopedIdentity,
    ScopedKey, Window,
};
use crate::{
    attestation::{
        appraisal::Measurement,
        evidence::{EvidenceForm, EvidenceLimits, MAX_WIT_INTERFACES},
        version::{ProtocolRange, Version, WitInterface},
    },
    capability::CapabilitySet,
    digest::Sha256Digest,
    id::{DeviceId, WorkerId},
    time::Millis,
};

/// The content of an [`AttestationPolicy`](super::AttestationPolicy), not yet checked.
///
/// Required are `accept` and `times`. What else is left out refuses, except `provenance`, which is not asked for,
/// `revoked`, which is empty, and `limits`, which are as high as they can be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationPolicyForm {
    /// Which wire forms are taken. `json` is unsigned: anyone who speaks for the device can write it.
    pub accept: Vec<EvidenceForm>,
    /// The four time settings.
    pub times: TimeRules,
    /// Trusted keys. Keys of paired nodes come with the appraisal and need no entry here.
    #[serde(default)]
    pub keys: Vec<ScopedKey>,
    /// How many distinct owners must have signed the evidence. Default 1.
    #[serde(default = "one")]
    pub threshold: u32,
    /// The image that runs.
    #[serde(default)]
    pub image: Rule<ReferenceSet>,
    /// The build that made it.
    #[serde(default)]
    pub build: Rule<ReferenceSet>,
    /// The artifact that is executed.
    #[serde(default)]
    pub artifact: Rule<ReferenceSet>,
    /// SDK protocol versions. Left out: refuses.
    #[serde(default)]
    pub protocol: Rule<Option<ProtocolRule>>,
    /// WIT interfaces, all of which the worker must have. Empty: refuses.
    #[serde(default)]
    pub wit: Rule<Vec<WitRequirement>>,
    /// Who may grant capabilities, and which of them this fleet trusts.
    #[serde(default)]
    pub capabilities: CapabilityRules,
    /// The egress binding.
    #[serde(default)]
    pub egress: Rule<EgressRule>,
    /// Build provenance by builder keys and identities. Left out: not asked for.
    #[serde(default)]
    pub provenance: Option<ProvenanceRule>,
    /// Workload identities that are trusted as builders, at most 64. Needs a verifier of identities where evidence is judged.
    #[serde(default)]
    pub identities: Vec<ScopedIdentity>,
    /// What authorises nothing any more.
    #[serde(default)]
    pub revoked: Revocations,
    /// How large evidence may be.
    #[serde(default)]
    pub limits: EvidenceLimits,
}

const fn one() -> u32 {
    1
}

/// The four time settings, in milliseconds. Each bounds another mistake, so none stands for two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeRules {
    /// How old evidence may be when it is judged.
    pub max_age_ms: Millis,
    /// How long evidence may claim to be good for, from issue to end.
    pub max_lifetime_ms: Millis,
    /// How far in the future evidence may have been issued: the worker's clock runs ahead.
    pub future_skew_ms: Millis,
    /// How long after its end evidence still counts: the worker's clock runs behind.
    pub expiry_skew_ms: Millis,
}

/// Which SDK protocol versions the fleet speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProtocolRule {
    /// The range. During a roll-out it holds the previous version and the current one.
    pub range: ProtocolRange,
    /// Versions inside the range that are broken.
    #[serde(default)]
    pub denied: Vec<u32>,
}

/// An interface that a worker must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitRequirement {
    /// The interface at its least version, `ns:pkg/iface@1.2.3`. Later versions of its track are taken too.
    pub minimum: WitInterface,
    /// Versions on the track that are broken.
    #[serde(default)]
    pub denied: Vec<Version>,
}

/// Whose word on capabilities counts, and how far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapabilityRules {
    /// The authorities.
    #[serde(default)]
    pub authorities: Vec<Authority>,
    /// What this fleet trusts a worker with at all.
    #[serde(default)]
    pub trusted: CapabilitySet,
}

/// An authority: the digest of the document that grants capabilities, and what that document grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// The digest that evidence names.
    pub digest: Sha256Digest,
    /// What it is called.
    pub label: Label,
    /// What it grants.
    pub grants: CapabilitySet,
    /// When it counts.
    #[serde(default)]
    pub window: Window,
}

/// What an egress binding must say. The proxies are the keys with the role `egress_proxy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressRule {
    /// The digests of the egress policies that a proxy may enforce.
    #[serde(default)]
    pub policies: Vec<Sha256Digest>,
}

/// What authorises nothing any more. Revocation beats every other rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocations {
    /// Workers.
    #[serde(default)]
    pub workers: Vec<WorkerId>,
    /// Devices.
    #[serde(default)]
    pub devices: Vec<DeviceId>,
    /// Device certificates, by the SHA-256 of their DER.
    #[serde(default)]
    pub certificates: Vec<Sha256Digest>,
    /// Signing keys of any role, by fingerprint.
    #[serde(default)]
    pub keys: Vec<Sha256Digest>,
}

/// The most entries of each list of a policy that has no bound of its own.
const MAX_LIST: usize = 4096;

impl AttestationPolicyForm {
    /// A form that takes signed evidence only, and otherwise refuses everything until it is filled in.
    pub fn new(times: TimeRules) -> Self {
        Self {
            accept: [EvidenceForm::Dsse].into(),
            times,
            keys: Vec::new(),
            threshold: 1,
            image: Rule::default(),
            build: Rule::default(),
            artifact: Rule::default(),
            protocol: Rule::default(),
            wit: Rule::default(),
            capabilities: CapabilityRules::default(),
            egress: Rule::default(),
            provenance: None,
            identities: Vec::new(),
            revoked: Revocations::default(),
            limits: EvidenceLimits::DEFAULT,
        }
    }

    pub(super) fn check(&self) -> Result<(), PolicyError> {
        let rule = |holds: bool, rule| if holds { Ok(()) } else { Err(PolicyError::new(rule)) };
        let forms = self.accept.len();
        rule((1..=2).contains(&forms), "accept names at least one form, each once")?;
        rule(
            forms < 2 || self.accept.first() != self.accept.last(),
            "accept names at least one form, each once",
        )?;
        let times = &self.times;
        rule(times.max_age_ms > Millis::ZERO, "max_age_ms is more than 0")?;
        rule(times.max_lifetime_ms > Millis::ZERO, "max_lifetime_ms is more than 0")?;
        rule(times.future_skew_ms < times.max_lifetime_ms, "future_skew_ms is less than max_lifetime_ms")?;
        rule(times.expiry_skew_ms < times.max_lifetime_ms, "expiry_skew_ms is less than max_lifetime_ms")?;
        rule(self.limits.is_possible(), "a limit is at least 1 and at most its default")?;
        self.check_keys()?;
        let protocol = self.protocol.required().and_then(Option::as_ref);
        rule(
            protocol.is_none_or(|rule| rule.denied.len() <= 256),
            "at most 256 protocol versions are denied",
        )?;
        let wit = self.wit.required().map(Vec::as_slice).unwrap_or_default();
        rule(wit.len() <= MAX_WIT_INTERFACES, "at most 64 WIT interfaces are required")?;
        rule(
            wit.iter().all(|wit| wit.denied.len() <= 256),
            "at most 256 versions of an interface are denied",
        )?;
        let authorities = &self.capabilities.authorities;
        rule(authorities.len() <= MAX_LIST, "at most 4096 authorities")?;
        rule(
            authorities.iter().all(|authority| authority.window.is_possible()),
            "a window begins before it ends",
        )?;
        rule(
            self.egress.required().is_none_or(|egress| egress.policies.len() <= MAX_LIST),
            "at most 4096 egress policies",
        )?;
        let revoked = &self.revoked;
        let lists =
            [revoked.workers.len(), revoked.devices.len(), revoked.certificates.len(), revoked.keys.len()];
        rule(
            lists.iter().all(|length| *length <= MAX_LIST),
            "at most 4096 entries in each list of revocations",
        )
    }

    fn check_keys(&self) -> Result<(), PolicyError> {
        if self.keys.len() > MAX_POLICY_KEYS {
            return Err(PolicyError::new("a policy has at most 128 keys"));
        }
        let mut owners = BTreeMap::new();
        for scoped in &self.keys {
            scoped.check()?;
            let owner = owners.entry(scoped.key.fingerprint()).or_insert(scoped.key.owner());
            if *owner != scoped.key.owner() {
                return Err(PolicyError::new("a key has one owner"));
            }
        }
        // A paired node's own key may come on top of those of the policy.
        let signers = self.owners(KeyRole::Evidence).saturating_add(1);
        let threshold = usize::try_from(self.threshold).unwrap_or(usize::MAX);
        if threshold == 0 || threshold > signers {
            return Err(PolicyError::new(
                "the threshold is at least 1 and can be reached by the owners of its keys",
            ));
        }
        if self.identities.len() > 64 {
            return Err(PolicyError::new("a policy has at most 64 identities"));
        }
        self.identities.iter().try_for_each(ScopedIdentity::check)?;
        self.provenance.as_ref().map_or(Ok(()), |rule| rule.check(self.builders()))
    }

    /// How many owners can vouch at all.
    fn builders(&self) -> usize {
        let keys = self.keys.iter().filter(|scoped| scoped.has_role(KeyRole::Builder));
        let keys = keys.map(|scoped| scoped.key.owner());
        let owners: BTreeSet<&str> =
            keys.chain(self.identities.iter().map(|identity| identity.owner.as_str())).collect();
        owners.len()
    }

    /// What builders must vouch for under `rule`.
    pub(crate) fn vouched(&self, rule: &ProvenanceRule) -> Vec<Measurement> {
        if !rule.of.is_empty() {
            return rule.of.clone();
        }
        let pair = [(Measurement::Image, &self.image), (Measurement::Build, &self.build)];
        let asked = |waived: bool| {
            let kept = pair.iter().filter(|(_, rule)| waived || matches!(rule, Rule::Require(_)));
            kept.map(|(what, _)| *what).collect::<Vec<_>>()
        };
        let required = asked(false);
        if required.is_empty() { asked(true) } else { required }
    }

    fn owners(&self, role: KeyRole) -> usize {
        let keys = self.keys.iter().filter(|scoped| scoped.has_role(role)).map(|scoped| &scoped.key);
        crate::attestation::dsse::owners(keys)
    }
}
