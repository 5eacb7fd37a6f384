//! Artifacts: the inputs of a run, the outputs that it may return, and how returned outputs are checked.
//!
//! A manifest that a worker claims proves nothing by itself. It is compared with [`ReceivedArtifacts`], which
//! can only be made by hashing the bytes that arrived.

use alloc::{collections::BTreeMap, vec::Vec};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::workspace::RelativePath;
use crate::{
    code::{self, Code, Coded},
    digest::{FieldHasher, Sha256Digest},
};

/// How many entries a manifest has at most.
pub const MAX_ARTIFACTS: usize = 256;

/// Why artifacts are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// The manifest has more than [`MAX_ARTIFACTS`] entries.
    #[error("a manifest has at most {MAX_ARTIFACTS} entries")]
    TooMany,
    /// The manifest contains the same path twice.
    #[error("`{0}` is in the manifest twice")]
    Duplicate(RelativePath),
    /// The digest is all zeros, or that of empty content although the size is not zero.
    #[error("`{0}` has the digest of empty content but a size above zero")]
    EmptyDigest(RelativePath),
    /// The worker's claim differs from what arrived.
    #[error("`{0}` is not what arrived under that name")]
    Differs(RelativePath),
    /// An output arrived that the manifest does not name.
    #[error("`{0}` arrived and is not in the manifest")]
    Unclaimed(RelativePath),
    /// The lease does not allow an output at this path.
    #[error("the lease allows no output at `{0}`")]
    NotAllowed(RelativePath),
    /// The lease demands an output at this path.
    #[error("the lease demands an output at `{0}`")]
    Missing(RelativePath),
    /// The outputs exceed `max_output_bytes`, or the receiver's limit is used up.
    #[error("the outputs have {bytes} bytes, the lease allows {limit}")]
    TooLarge {
        /// The bytes of all outputs, or of the chunk that did not fit.
        bytes: u64,
        /// The limit of the lease, or what is left of the receiver's limit.
        limit: u64,
    },
    /// The log that arrived is not the one that the worker claims.
    #[error("the log is not what arrived")]
    Log,
    /// The log exceeds `max_log_bytes`.
    #[error("the log has {bytes} bytes, the lease allows {limit}")]
    LogTooLarge {
        /// The bytes of the log.
        bytes: u64,
        /// The limit of the lease.
        limit: u64,
    },
}

impl ArtifactError {
    /// Whether the worker's claim is untrue: it differs from what arrived. The job may be the cause of every
    /// other error.
    pub const fn is_lie(&self) -> bool {
        matches!(self, Self::Differs(_) | Self::Unclaimed(_) | Self::Log)
    }
}

impl Coded for ArtifactError {
    fn code(&self) -> Code {
        match self {
            Self::TooMany => code::ARTIFACT_TOO_MANY,
            Self::Duplicate(_) => code::ARTIFACT_DUPLICATE,
            Self::EmptyDigest(_) => code::ARTIFACT_EMPTY_DIGEST,
            Self::Differs(_) | Self::Unclaimed(_) => code::ARTIFACT_MISMATCH,
            Self::NotAllowed(_) => code::ARTIFACT_NOT_ALLOWED,
            Self::Missing(_) => code::ARTIFACT_MISSING,
            Self::TooLarge { .. } => code::ARTIFACT_TOO_LARGE,
            Self::Log | Self::LogTooLarge { .. } => code::ARTIFACT_LOG,
        }
    }
}

/// One file of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Artifact {
    /// The path, below the root of the workspace.
    pub path: RelativePath,
    /// SHA-256 of the content.
    pub sha256: Sha256Digest,
    /// The size in bytes.
    pub bytes: u64,
}

impl Artifact {
    /// The entry for `content` at `path`.
    pub fn of(path: RelativePath, content: &[u8]) -> Self {
        Self { path, sha256: Sha256Digest::of(content), bytes: content.len() as u64 }
    }
}

/// Files by path, each with digest and size: at most [`MAX_ARTIFACTS`], each path once, in the order of
/// paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Artifact>", into = "Vec<Artifact>")]
pub struct ArtifactManifest {
    entries: Vec<Artifact>,
    /// The digest of the entries, computed once.
    digest: Sha256Digest,
}

impl ArtifactManifest {
    const EMPTY: Self = Self { entries: Vec::new(), digest: EMPTY };
}

impl Default for ArtifactManifest {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// The digest of a manifest without entries, which most leases and many runs have.
const EMPTY: Sha256Digest = Sha256Digest::from_bytes([
    0x70, 0xbf, 0x37, 0x71, 0xb2, 0x1d, 0x28, 0x76, 0x8a, 0x23, 0x19, 0xe5, 0x46, 0xf3, 0x85, 0x68, 0x07,
    0x57, 0x37, 0xc7, 0xef, 0xa0, 0x41, 0xad, 0x50, 0xd5, 0xb3, 0x16, 0xf1, 0x16, 0x1f, 0x66,
]);

fn digest_of(entries: &[Artifact]) -> Sha256Digest {
    entries
        .iter()
        .fold(FieldHasher::new("artifact-manifest.v1"), |hasher, entry| {
            hasher.field(entry.path.as_str().as_bytes()).field(entry.sha256.as_bytes()).number(entry.bytes)
        })
        .finish()
}

impl TryFrom<Vec<Artifact>> for ArtifactManifest {
    type Error = ArtifactError;
    fn try_from(entries: Vec<Artifact>) -> Result<Self, ArtifactError> {
        Self::new(entries)
    }
}

impl From<ArtifactManifest> for Vec<Artifact> {
    fn from(manifest: ArtifactManifest) -> Self {
        manifest.entries
    }
}

impl ArtifactManifest {
    /// The manifest of `entries`.
    ///
    /// # Errors
    /// [`ArtifactError::TooMany`], [`ArtifactError::Duplicate`], [`ArtifactError::EmptyDigest`].
    pub fn new(entries: impl IntoIterator<Item = Artifact>) -> Result<Self, ArtifactError> {
        let nothing = Sha256Digest::of(b"");
        let mut sorted = BTreeMap::new();
        for entry in entries {
            if entry.sha256 == nothing && entry.bytes > 0 || entry.sha256.as_bytes() == &[0; 32] {
                return Err(ArtifactError::EmptyDigest(entry.path));
            }
            if sorted.len() >= MAX_ARTIFACTS {
                return Err(ArtifactError::TooMany);
            }
            if let Some(twice) = sorted.insert(entry.path.clone(), entry) {
                return Err(ArtifactError::Duplicate(twice.path));
            }
        }
        let entries: Vec<_> = sorted.into_values().collect();
        let digest = digest_of(&entries);
        Ok(Self { entries, digest })
    }

    /// The entries in the order of paths.
    pub fn entries(&self) -> &[Artifact] {
        &self.entries
    }

    /// The digest of the manifest. It was computed when the manifest was built.
    pub fn digest(&self) -> Sha256Digest {
        self.digest
    }

    fn get(&self, path: &RelativePath) -> Option<&Artifact> {
        let entries = &self.entries;
        entries.binary_search_by(|entry| entry.path.cmp(path)).ok().and_then(|at| entries.get(at))
    }
}

/// The artifact rules of a lease: its inputs, the outputs that are allowed and required, and the limits of
/// log and scratch space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ArtifactTransport {
    /// The inputs, by content.
    #[serde(default)]
    pub inputs: ArtifactManifest,
    /// The paths at which, and below which, outputs are allowed.
    #[serde(default)]
    pub outputs_within: Vec<RelativePath>,
    /// The outputs that a run must return to count as succeeded.
    #[serde(default)]
    pub outputs_required: Vec<RelativePath>,
    /// How many bytes all outputs together may have.
    #[serde(default)]
    pub max_output_bytes: u64,
    /// How many bytes the log may have.
    #[serde(default)]
    pub max_log_bytes: u64,
    /// How many bytes of scratch space the run may use.
    #[serde(default)]
    pub max_scratch_bytes: u64,
}

impl ArtifactTransport {
    /// Rules that allow nothing: no inputs, outputs, log or scratch space. A request has them unless it says
    /// more.
    pub const fn nothing() -> Self {
        Self {
            inputs: ArtifactManifest::EMPTY,
            outputs_within: Vec::new(),
            outputs_required: Vec::new(),
            max_output_bytes: 0,
            max_log_bytes: 0,
            max_scratch_bytes: 0,
        }
    }

    /// Checks that the lists have at most [`MAX_ARTIFACTS`] entries and that every required output is
    /// allowed.
    pub(crate) fn check(&self) -> Result<(), ArtifactError> {
        if self.outputs_within.len() > MAX_ARTIFACTS || self.outputs_required.len() > MAX_ARTIFACTS {
            return Err(ArtifactError::TooMany);
        }
        match self.outputs_required.iter().find(|path| !self.allows(path)) {
            Some(path) => Err(ArtifactError::NotAllowed(path.clone())),
            None => Ok(()),
        }
    }

    fn allows(&self, path: &RelativePath) -> bool {
        self.outputs_within.iter().any(|within| path.is_within(within))
    }

    /// Judges a worker's claim against what arrived, and against what the lease allows and requires.
    ///
    /// # Errors
    /// [`ArtifactError`] with the first entry that does not agree.
    pub fn judge(&self, claimed: &OutputClaim, received: &ReceivedArtifacts) -> Result<(), ArtifactError> {
        self.judge_partial(claimed, received)?;
        match self.outputs_required.iter().find(|path| claimed.outputs.get(path).is_none()) {
            Some(path) => Err(ArtifactError::Missing(path.clone())),
            None => Ok(()),
        }
    }

    /// The same as [`Self::judge`] for a run that failed: no output is required, and everything else is
    /// checked.
    ///
    /// # Errors
    /// [`ArtifactError`] with the first entry that does not agree.
    pub fn judge_partial(
        &self,
        claimed: &OutputClaim,
        received: &ReceivedArtifacts,
    ) -> Result<(), ArtifactError> {
        // The claim is compared first, so that an excess does not hide an untrue claim.
        claimed.agrees(received)?;
        if let Some(entry) = claimed.outputs.entries().iter().find(|entry| !self.allows(&entry.path)) {
            return Err(ArtifactError::NotAllowed(entry.path.clone()));
        }
        let bytes =
            claimed.outputs.entries().iter().fold(0_u64, |sum, entry| sum.saturating_add(entry.bytes));
        if bytes > self.max_output_bytes {
            return Err(ArtifactError::TooLarge { bytes, limit: self.max_output_bytes });
        }
        if received.log_bytes > self.max_log_bytes {
            return Err(ArtifactError::LogTooLarge { bytes: received.log_bytes, limit: self.max_log_bytes });
        }
        Ok(())
    }
}

/// What a worker claims that its run made. It is compared with what arrived and never believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputClaim {
    /// The outputs.
    pub outputs: ArtifactManifest,
    /// SHA-256 of the whole log stream.
    pub log: Sha256Digest,
}

impl OutputClaim {
    /// Checks that exactly the claimed outputs and the claimed log arrived.
    fn agrees(&self, received: &ReceivedArtifacts) -> Result<(), ArtifactError> {
        let differs = |entry: &&Artifact| received.outputs.get(&entry.path) != Some(*entry);
        if let Some(entry) = self.outputs.entries().iter().find(differs) {
            return Err(ArtifactError::Differs(entry.path.clone()));
        }
        let unclaimed = |entry: &&Artifact| self.outputs.get(&entry.path).is_none();
        if let Some(extra) = received.outputs.entries().iter().find(unclaimed) {
            return Err(ArtifactError::Unclaimed(extra.path.clone()));
        }
        if self.log == received.log { Ok(()) } else { Err(ArtifactError::Log) }
    }
}

/// What arrived, hashed by the receiver. There is no other way to make one.
///
/// ```
/// use leasehold::lease::{ArtifactReceiver, RelativePath};
/// let mut receiver = ArtifactReceiver::new(1024);
/// receiver.output(&RelativePath::new("out/a.txt")?, b"hello ")?;
/// receiver.output(&RelativePath::new("out/a.txt")?, b"world")?;
/// receiver.log(b"done\n")?;
/// assert_eq!(receiver.finish()?.outputs().entries()[0].bytes, 11);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReceivedArtifacts {
    outputs: ArtifactManifest,
    log: Sha256Digest,
    log_bytes: u64,
}

impl ReceivedArtifacts {
    /// The outputs that arrived.
    pub fn outputs(&self) -> &ArtifactManifest {
        &self.outputs
    }

    /// SHA-256 of the log stream that arrived.
    pub fn log(&self) -> Sha256Digest {
        self.log
    }
}

/// Hashes the outputs and the log of one lease as they arrive, in chunks, up to a limit of bytes.
#[derive(Clone, Debug)]
pub struct ArtifactReceiver {
    outputs: BTreeMap<RelativePath, (Sha256, u64)>,
    log: Sha256,
    log_bytes: u64,
    room: u64,
}

impl ArtifactReceiver {
    /// A receiver that accepts at most `limit` bytes, outputs and log together.
    pub fn new(limit: u64) -> Self {
        Self { outputs: BTreeMap::new(), log: Sha256::new(), log_bytes: 0, room: limit }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<u64, ArtifactError> {
        let length = bytes.len() as u64;
        match self.room.checked_sub(length) {
            Some(room) => self.room = room,
            None => return Err(ArtifactError::TooLarge { bytes: length, limit: self.room }),
        }
        Ok(length)
    }

    /// Adds the next chunk of the output at `path`. An empty chunk creates an empty file.
    ///
    /// # Errors
    /// [`ArtifactError::TooMany`] and [`ArtifactError::TooLarge`]; the chunk is not added then.
    pub fn output(&mut self, path: &RelativePath, chunk: &[u8]) -> Result<(), ArtifactError> {
        if self.outputs.len() >= MAX_ARTIFACTS && !self.outputs.contains_key(path) {
            return Err(ArtifactError::TooMany);
        }
        let length = self.take(chunk)?;
        let (hash, size) = self.outputs.entry(path.clone()).or_insert_with(|| (Sha256::new(), 0));
        hash.update(chunk);
        *size = size.saturating_add(length);
        Ok(())
    }

    /// Adds the next chunk of the log.
    ///
    /// # Errors
    /// [`ArtifactError::TooLarge`]; the chunk is not added then.
    pub fn log(&mut self, chunk: &[u8]) -> Result<(), ArtifactError> {
        let length = self.take(chunk)?;
        self.log.update(chunk);
        self.log_bytes = self.log_bytes.saturating_add(length);
        Ok(())
    }

    /// What arrived.
    ///
    /// # Errors
    /// None that the bounds of this receiver do not already prevent.
    pub fn finish(self) -> Result<ReceivedArtifacts, ArtifactError> {
        let entries = self.outputs.into_iter().map(|(path, (hash, bytes))| Artifact {
            path,
            sha256: Sha256Digest::from_bytes(hash.finalize().into()),
            bytes,
        });
        Ok(ReceivedArtifacts {
            outputs: ArtifactManifest::new(entries)?,
            log: Sha256Digest::from_bytes(self.log.finalize().into()),
            log_bytes: self.log_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_nothing_is_the_one_that_is_written_down() {
        assert_eq!(ArtifactManifest::default(), ArtifactManifest::new([]).unwrap());
    }

    fn path(text: &str) -> RelativePath {
        RelativePath::new(text).unwrap()
    }

    fn transport() -> ArtifactTransport {
        ArtifactTransport {
            outputs_within: [path("out")].into(),
            outputs_required: [path("out/a")].into(),
            max_output_bytes: 10,
            max_log_bytes: 4,
            ..ArtifactTransport::nothing()
        }
    }

    fn received(files: &[(&str, &[u8])], log: &[u8]) -> ReceivedArtifacts {
        let mut receiver = ArtifactReceiver::new(100);
        for (name, bytes) in files {
            receiver.output(&path(name), bytes).unwrap();
        }
        receiver.log(log).unwrap();
        receiver.finish().unwrap()
    }

    fn claim(files: &[(&str, &[u8])], log: &[u8]) -> OutputClaim {
        let entries = files.iter().map(|(name, bytes)| Artifact::of(path(name), bytes));
        OutputClaim { outputs: ArtifactManifest::new(entries).unwrap(), log: Sha256Digest::of(log) }
    }

    /// Attack F21: every way in which a claim and what arrived can differ is found.
    #[test]
    fn f21_a_claim_that_is_not_what_arrived_is_refused() {
        let cases: &[(OutputClaim, ReceivedArtifacts, Option<Code>)] = &[
            (claim(&[("out/a", b"x")], b"l"), received(&[("out/a", b"x")], b"l"), None),
            (
                claim(&[("out/a", b"x")], b"l"),
                received(&[("out/a", b"y")], b"l"),
                Some(code::ARTIFACT_MISMATCH),
            ),
            (claim(&[("out/a", b"x")], b"l"), received(&[], b"l"), Some(code::ARTIFACT_MISMATCH)),
            (
                claim(&[("out/a", b"x")], b"l"),
                received(&[("out/a", b"x"), ("out/b", b"")], b"l"),
                Some(code::ARTIFACT_MISMATCH),
            ),
            (claim(&[], b"l"), received(&[], b"l"), Some(code::ARTIFACT_MISSING)),
            (
                claim(&[("etc/a", b"x")], b""),
                received(&[("etc/a", b"x")], b""),
                Some(code::ARTIFACT_NOT_ALLOWED),
            ),
            (
                claim(&[("out/a", &[0; 11])], b""),
                received(&[("out/a", &[0; 11])], b""),
                Some(code::ARTIFACT_TOO_LARGE),
            ),
            (claim(&[("out/a", b"x")], b"l"), received(&[("out/a", b"x")], b"m"), Some(code::ARTIFACT_LOG)),
            (
                claim(&[("out/a", b"x")], b"longer"),
                received(&[("out/a", b"x")], b"longer"),
                Some(code::ARTIFACT_LOG),
            ),
        ];
        for (at, (claim, received, want)) in cases.iter().enumerate() {
            assert_eq!(transport().judge(claim, received).map_err(|e| e.code()).err(), *want, "case {at}");
        }
    }

    /// Attack F18: an input that names no content is refused when the manifest is built.
    #[test]
    fn f18_empty_artifact_digests_do_not_make_a_manifest() {
        let entry = |sha256, bytes| Artifact { path: path("in"), sha256, bytes };
        for bad in [entry(Sha256Digest::of(b""), 4), entry(Sha256Digest::from_bytes([0; 32]), 4)] {
            assert_eq!(ArtifactManifest::new([bad]).unwrap_err().code(), code::ARTIFACT_EMPTY_DIGEST);
        }
        let twice = [Artifact::of(path("in"), b"a"), Artifact::of(path("in"), b"b")];
        assert_eq!(ArtifactManifest::new(twice).unwrap_err().code(), code::ARTIFACT_DUPLICATE);
    }

    #[test]
    fn a_receiver_takes_no_more_than_its_bound() {
        let mut receiver = ArtifactReceiver::new(4);
        receiver.output(&path("out/a"), b"123").unwrap();
        assert_eq!(receiver.log(b"45").unwrap_err().code(), code::ARTIFACT_TOO_LARGE);
        receiver.log(b"4").unwrap();
    }
}
