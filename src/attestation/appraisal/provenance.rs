//! Build provenance: envelopes beside the evidence in which builders vouch for what runs.
//!
//! First what a statement is and who signed it, which depends on the policy alone and can be remembered; then whether
//! the signers may say so now, and whether it is about what is claimed. Whatever does not count is passed over with its
//! reason; the reasons are failures where too few builders vouch.

use alloc::{string::String, sync::Arc, vec::Vec};

use super::{
    BuilderFacts, BuilderSigner, Dimension, Failure, Measurement,
    attachment::{AttachmentError, AttachmentFinding, AttachmentPlace, MAX_ENVELOPES, Vouched},
    keys,
    memory::{Learned, ProvenanceMemory, Remembered},
    signed::{Signed, Signers},
    verdict::Judge,
};
use crate::{
    attestation::{
        dsse::{Budget, Cost, DsseError, EnvelopeLimits},
        evidence::{Claim, PAYLOAD_TYPE, WorkerAttestation},
        excerpt::Excerpt,
        keyless::{BuilderIdentity, IdentityError, IdentityVerifier, KeylessBundle},
        policy::{AttestationPolicyForm, KeyRole, ProvenanceRule, ScopedIdentity, ScopedKey, pattern},
        provenance::{Carried, Content, Provenance, ProvenanceVersion, SubjectDigests, open},
        signature::{SignatureVerifier, TrustedKey},
    },
    digest::{Sha256Digest, Sha512Digest},
    time::Wall,
};

/// How many signature checks the verification of an identity counts as: its certificate's chain, a log, a time, and the
/// envelope.
const IDENTITY_CHECKS: usize = 8;

/// What attachments are judged with.
pub(super) struct Bench<'a> {
    pub(super) form: &'a AttestationPolicyForm,
    pub(super) now: Wall,
    pub(super) verifier: &'a dyn SignatureVerifier,
    pub(super) identities: Option<&'a dyn IdentityVerifier>,
    pub(super) memory: Option<&'a ProvenanceMemory>,
}

pub(super) fn check(
    attachments: &[&[u8]],
    claims: &WorkerAttestation,
    bench: &Bench<'_>,
    budget: &mut Budget,
    judge: &mut Judge,
) -> Established {
    let mut learned = Learned::of(judge.policy());
    let Some(rule) = &bench.form.provenance else {
        judge.not_asked(Dimension::Provenance);
        return Established { builders: Vec::new(), statements: Vec::new(), learned };
    };
    let due = Due::new(rule, claims, bench.form);
    let mut reader = Reader { bench, rule, candidates: None, left: MAX_ENVELOPES };
    let mut vouchers: Vec<Voucher<'_>> = Vec::new();
    let (mut findings, mut statements) = (Vec::new(), Vec::new());
    for (attachment, bytes) in attachments.iter().enumerate() {
        for (line, signed) in reader.read(bytes, budget, &mut learned) {
            let weighed = signed.and_then(|signed| {
                let weighed = bench.weigh(&signed, &due)?;
                if !statements.contains(&signed.payload) {
                    statements.push(signed.payload);
                }
                Ok(weighed)
            });
            let outcome = weighed.map(|weighed| {
                let of = weighed.first().map(|voucher| voucher.of.clone()).unwrap_or_default();
                let builder = weighed.first().map_or("", |voucher| voucher.builder.as_str());
                let vouched = Vouched { builder: Excerpt::of(builder), of };
                weighed.into_iter().for_each(|voucher| add(&mut vouchers, voucher));
                vouched
            });
            findings.push(AttachmentFinding { place: AttachmentPlace { attachment, line }, outcome });
        }
    }
    judge.check(Dimension::Provenance, |failures, until| {
        let need = usize::try_from(rule.threshold).unwrap_or(usize::MAX);
        let have = |what: Measurement| (what, owners(vouchers.iter().filter(|held| held.of.contains(&what))));
        let have: Vec<_> = due.list.iter().map(|due| have(due.what)).collect();
        if have.iter().any(|(_, have)| *have < need) {
            failures.push(Failure::Provenance { have, need });
            let reason = |finding: &AttachmentFinding| {
                let reason = finding.outcome.as_ref().err()?.clone();
                Some(Failure::Attachment { place: finding.place, reason })
            };
            failures.extend(findings.iter().filter_map(reason));
        }
        *until = vouchers.iter().map(|voucher| voucher.end).fold(*until, Wall::min);
    });
    judge.find(findings);
    let terms = rule.terms();
    let builders = vouchers.into_iter().map(|voucher| voucher.into_facts(terms)).collect();
    Established { builders, statements, learned }
}

/// What attachments establish.
pub(super) struct Established {
    pub(super) builders: Vec<BuilderFacts>,
    /// SHA-256 of the payloads of the statements that count.
    pub(super) statements: Vec<Sha256Digest>,
    pub(super) learned: Learned,
}

/// What a statement in an attachment says, and who may say it, apart from any evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InspectedStatement {
    /// Where it came.
    pub place: AttachmentPlace,
    /// What it says, or why it counts for nobody.
    pub outcome: Result<StatementFacts, AttachmentError>,
}

/// A statement that builders of the policy made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatementFacts {
    /// Who signed and may speak for the builder.
    pub signers: Vec<BuilderSigner>,
    /// The builder that it names.
    pub builder: String,
    /// Its version.
    pub predicate: ProvenanceVersion,
    /// SHA-256 of its payload.
    pub payload: Sha256Digest,
    /// What it is about.
    pub subjects: Vec<SubjectDigests>,
}

/// What an attachment says under the policy's rule, with no claim to hold it against.
pub(super) fn inspect(attachment: &[u8], bench: &Bench<'_>, budget: &mut Budget) -> Vec<InspectedStatement> {
    let nothing = ProvenanceRule::new(1);
    let rule = bench.form.provenance.as_ref().unwrap_or(&nothing);
    let mut reader = Reader { bench, rule, candidates: None, left: MAX_ENVELOPES };
    let mut learned = Learned::of(Sha256Digest::of(b""));
    let inspected = |(line, examined): (Option<usize>, Examined)| {
        let outcome = examined.and_then(|signed| {
            let speakers = bench.speakers(&signed)?;
            Ok(StatementFacts {
                signers: speakers.into_iter().map(|voucher| voucher.by).collect(),
                builder: signed.provenance.builder.clone(),
                predicate: signed.provenance.version,
                payload: signed.payload,
                subjects: signed.provenance.subjects.clone(),
            })
        });
        InspectedStatement { place: AttachmentPlace { attachment: 0, line }, outcome }
    };
    reader.read(attachment, budget, &mut learned).into_iter().map(inspected).collect()
}

/// What builders must vouch for, as it is claimed.
struct Due {
    list: Vec<DueOne>,
}

struct DueOne {
    what: Measurement,
    sha256: Option<Sha256Digest>,
    sha512: Option<Sha512Digest>,
}

impl Due {
    fn new(rule: &ProvenanceRule, claims: &WorkerAttestation, form: &AttestationPolicyForm) -> Self {
        let long = claims.sha512.as_deref();
        let one = |what| {
            let (claim, sha512) = match what {
                Measurement::Image => (&claims.image, long.and_then(|long| long.image)),
                Measurement::Build => (&claims.build, long.and_then(|long| long.build)),
                Measurement::Artifact => (&claims.artifact, long.and_then(|long| long.artifact)),
            };
            let sha256 = match claim {
                Claim::Stated(digest) => Some(*digest),
                _ => None,
            };
            DueOne { what, sha256, sha512 }
        };
        Self { list: form.vouched(rule).into_iter().map(one).collect() }
    }

    /// What of it `provenance` names.
    fn named(&self, provenance: &Provenance) -> Vec<Measurement> {
        let names = |due: &&DueOne| {
            let is = |sha256| provenance.subjects.iter().any(|subject| subject.is(sha256, due.sha512));
            due.sha256.is_some_and(is)
        };
        self.list.iter().filter(names).map(|due| due.what).collect()
    }
}

/// Finds out what statements are, and who signed them.
struct Reader<'a, 'b> {
    bench: &'b Bench<'a>,
    rule: &'b ProvenanceRule,
    /// The builder keys, once somebody asks.
    candidates: Option<Vec<&'a TrustedKey>>,
    /// How many envelopes may still be looked at.
    left: usize,
}

type Examined = Result<Arc<Signed>, AttachmentError>;

impl<'a> Reader<'a, '_> {
    /// The statements in an attachment, with the lines that they are in.
    fn read(
        &mut self,
        bytes: &[u8],
        budget: &mut Budget,
        learned: &mut Learned,
    ) -> Vec<(Option<usize>, Examined)> {
        if let Some(memory) = self.bench.memory
            && let Some(known) = memory.recall(learned.policy(), bytes)
            && known.held.len() <= self.left
            && Remembered::charge(&known.held, budget)
        {
            self.left = self.left.saturating_sub(known.held.len());
            learned.again(known);
            return known.held.iter().map(|held| (held.line, Ok(Arc::clone(&held.signed)))).collect();
        }
        let limits = self.limits();
        let mut fresh = Vec::new();
        let mut examined = Vec::new();
        for Carried { line, content } in open(bytes, &limits, self.left) {
            if self.left == 0 {
                examined.push((line, Err(AttachmentError::TooMany(MAX_ENVELOPES))));
                break;
            }
            self.left = self.left.saturating_sub(1);
            let before = *budget;
            let signed = content.map_err(AttachmentError::from);
            let signed = signed.and_then(|content| self.examine(&content, &limits, budget).map(Arc::new));
            if let Ok(signed) = &signed {
                fresh.push(Remembered { line, signed: Arc::clone(signed), cost: budget.since(&before) });
            }
            examined.push((line, signed));
        }
        if self.bench.memory.is_some() && fresh.len() == examined.len() {
            learned.add(bytes, fresh);
        }
        examined
    }

    fn limits(&self) -> EnvelopeLimits {
        let form = self.bench.form;
        let bytes = self.rule.max_bytes.unwrap_or(form.limits.bytes);
        form.limits.envelope().for_provenance(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Who signed an envelope, and what the statement in it says. Nothing of it is parsed before the signature holds.
    fn examine(
        &mut self,
        content: &Content<'_>,
        limits: &EnvelopeLimits,
        budget: &mut Budget,
    ) -> Result<Signed, AttachmentError> {
        let envelope = &content.envelope;
        let (bench, rule) = (self.bench, self.rule);
        let candidates = self.candidates();
        let signed = envelope.signed_by(candidates, bench.verifier, budget);
        let certified = content.certified.filter(|_| !bench.form.identities.is_empty());
        let signers = if !signed.keys.is_empty() {
            Signers::Keys(signed.keys.iter().map(|key| key.fingerprint()).collect())
        } else if let Some(bytes) = certified {
            if !budget.charge(Cost::of(IDENTITY_CHECKS)) {
                return Err(AttachmentError::Signature(DsseError::Verifications));
            }
            Signers::Identity(bench.identity(bytes, envelope.unverified_payload())?)
        } else if !signed.complete {
            return Err(AttachmentError::Signature(DsseError::Verifications));
        } else {
            return Err(AttachmentError::Signature(keys::nobody(candidates, bench.verifier)));
        };
        if envelope.unverified_type() != PAYLOAD_TYPE {
            return Err(AttachmentError::PayloadType(Excerpt::of(envelope.unverified_type())));
        }
        let provenance = Provenance::read(envelope.unverified_payload(), limits.json(), rule)?;
        Ok(Signed { signers, payload: Sha256Digest::of(envelope.unverified_payload()), provenance })
    }

    fn candidates(&mut self) -> &[&'a TrustedKey] {
        let form = self.bench.form;
        self.candidates
            .get_or_insert_with(|| keys::distinct(form, |scoped| scoped.has_role(KeyRole::Builder)))
    }
}

impl<'a> Bench<'a> {
    /// Whose identity signed a bundle.
    fn identity(&self, bytes: &[u8], payload: &[u8]) -> Result<BuilderIdentity, IdentityError> {
        let verifier = self.identities.ok_or(IdentityError::NoVerifier)?;
        let verified = verifier.verify(&KeylessBundle { bytes, now: self.now })?;
        if verified.payload != Sha256Digest::of(payload) {
            return Err(IdentityError::OtherPayload);
        }
        Ok(verified.identity)
    }

    /// What the signers of a statement vouch for, as far as they may.
    fn weigh(&self, signed: &Signed, due: &Due) -> Result<Vec<Voucher<'a>>, AttachmentError> {
        let provenance = &signed.provenance;
        let mut vouchers = self.speakers(signed)?;
        let of = due.named(provenance);
        if of.is_empty() {
            return Err(AttachmentError::Subject {
                have: provenance.subjects.len(),
                first: provenance.subjects.first().map(|subject| subject.shown()).unwrap_or_default(),
                due: due.list.iter().map(|due| (due.what, due.sha256)).collect(),
            });
        }
        vouchers.iter_mut().for_each(|voucher| voucher.of.clone_from(&of));
        Ok(vouchers)
    }

    /// The signers of a statement that may make it now, whatever it is about.
    fn speakers(&self, signed: &Signed) -> Result<Vec<Voucher<'a>>, AttachmentError> {
        let provenance = &signed.provenance;
        let mut vouchers = Vec::new();
        let mut reason = None;
        let mut weigh = |scope: Result<(BuilderSigner, &'a str, Wall), AttachmentError>| match scope {
            Ok((by, owner, end)) => vouchers.push(Voucher {
                by,
                owner,
                end,
                builder: provenance.builder.clone(),
                version: provenance.version,
                of: Vec::new(),
            }),
            Err(error) => reason = reason.take().or(Some(error)),
        };
        match &signed.signers {
            Signers::Keys(keys) => keys.iter().for_each(|key| weigh(self.scope(*key, provenance))),
            Signers::Identity(identity) => weigh(self.identity_scope(identity, provenance)),
        }
        if vouchers.is_empty() {
            let untrusted = || AttachmentError::Signature(DsseError::Untrusted);
            return Err(reason.unwrap_or_else(untrusted));
        }
        Ok(vouchers)
    }

    /// The entry by which a builder's key may sign this statement now, or why there is none.
    fn scope(
        &self,
        key: Sha256Digest,
        provenance: &Provenance,
    ) -> Result<(BuilderSigner, &'a str, Wall), AttachmentError> {
        let entries = || {
            let same =
                |scoped: &&ScopedKey| scoped.key.fingerprint() == key && scoped.has_role(KeyRole::Builder);
            self.form.keys.iter().filter(same)
        };
        let name = || entries().next().map_or_else(String::new, |scoped| scoped.key.keyid().into());
        if keys::is_revoked(self.form, key) {
            return Err(AttachmentError::KeyRevoked(name()));
        }
        let current = || entries().filter(|scoped| scoped.is_current(self.now));
        let Some(first) = current().next() else { return Err(AttachmentError::KeyTime(name())) };
        let found = provenance.version.predicate();
        let allowed = || current().filter(|scoped| scoped.allows_predicate(found));
        let Some(named) = allowed().next() else {
            let due = Excerpt::of(&first.predicates.join(" or "));
            return Err(AttachmentError::Predicate { signer: name(), found, due });
        };
        let speaks = allowed().filter(|scoped| scoped.speaks_for(&provenance.builder));
        match speaks.max_by_key(|scoped| scoped.window.end()) {
            Some(scoped) => Ok((BuilderSigner::Key(key), scoped.key.owner(), scoped.window.end())),
            None => Err(AttachmentError::Builder {
                signer: name(),
                found: Excerpt::of(&provenance.builder),
                due: Excerpt::of(&named.builders.join(" or ")),
            }),
        }
    }

    /// As [`Self::scope`], for an identity.
    fn identity_scope(
        &self,
        identity: &BuilderIdentity,
        provenance: &Provenance,
    ) -> Result<(BuilderSigner, &'a str, Wall), AttachmentError> {
        let same = || self.form.identities.iter().filter(|scoped| scoped.matches(identity));
        if same().next().is_none() {
            return Err(IdentityError::Unknown(Excerpt::of(identity.subject())).into());
        }
        let current = || same().filter(|scoped| scoped.is_current(self.now));
        let Some(first) = current().next() else {
            return Err(IdentityError::OutsideWindow(Excerpt::of(identity.subject())).into());
        };
        let found = provenance.version.predicate();
        let allowed = || current().filter(|scoped| scoped.predicates.iter().any(|held| held == found));
        let Some(named) = allowed().next() else {
            let due = Excerpt::of(&first.predicates.join(" or "));
            return Err(AttachmentError::Predicate { signer: first.owner.clone(), found, due });
        };
        let speaks = |scoped: &&ScopedIdentity| pattern::any(&scoped.builders, &provenance.builder);
        match allowed().filter(speaks).max_by_key(|scoped| scoped.window.end()) {
            Some(scoped) => {
                let by = BuilderSigner::Identity(identity.clone());
                Ok((by, scoped.owner.as_str(), scoped.window.end()))
            }
            None => Err(AttachmentError::Builder {
                signer: named.owner.clone(),
                found: Excerpt::of(&provenance.builder),
                due: Excerpt::of(&named.builders.join(" or ")),
            }),
        }
    }
}

/// Who vouches for what, and until when the policy lets it.
struct Voucher<'p> {
    by: BuilderSigner,
    owner: &'p str,
    builder: String,
    version: ProvenanceVersion,
    of: Vec<Measurement>,
    end: Wall,
}

impl Voucher<'_> {
    fn into_facts(self, terms: Sha256Digest) -> BuilderFacts {
        BuilderFacts { by: self.by, id: self.builder, predicate: self.version, of: self.of, terms }
    }
}

/// Adds what a statement says to what the same signer said for the same builder in others.
fn add<'p>(vouchers: &mut Vec<Voucher<'p>>, voucher: Voucher<'p>) {
    let same = |held: &&mut Voucher<'p>| {
        held.by == voucher.by && held.builder == voucher.builder && held.version == voucher.version
    };
    match vouchers.iter_mut().find(same) {
        Some(held) => {
            for what in voucher.of {
                if !held.of.contains(&what) {
                    held.of.push(what);
                }
            }
            held.end = held.end.min(voucher.end);
        }
        None => vouchers.push(voucher),
    }
}

/// How many different owners there are among few.
fn owners<'v>(vouchers: impl Iterator<Item = &'v Voucher<'v>>) -> usize {
    let owners: alloc::collections::BTreeSet<&str> = vouchers.map(|voucher| voucher.owner).collect();
    owners.len()
}
