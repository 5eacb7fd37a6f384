//! Versions that a worker states and a fleet judges: SDK protocol ranges, and WIT interfaces on compatibility tracks.

use alloc::{string::String, sync::Arc};
use core::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::code::{self, Code, Coded};

/// The longest text of a WIT interface with its version, in bytes.
pub const MAX_WIT_BYTES: usize = 128;

/// Why a text is not a version or an interface, or two numbers not a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a version of the form that is due")]
pub struct VersionError;

impl Coded for VersionError {
    fn code(&self) -> Code {
        code::VERSION_MALFORMED
    }
}

/// The protocol versions that one side speaks, both ends included.
///
/// ```
/// use leasehold::attestation::ProtocolRange;
/// let worker = ProtocolRange::new(1, 3)?;
/// let fleet = ProtocolRange::new(2, 5)?;
/// assert_eq!(worker.highest_common(&fleet, &[]), Some(3));
/// assert_eq!(worker.highest_common(&fleet, &[3]), Some(2));
/// # Ok::<(), leasehold::attestation::VersionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RangeForm", into = "RangeForm")]
pub struct ProtocolRange {
    min: u32,
    max: u32,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RangeForm {
    pub(super) min: u32,
    pub(super) max: u32,
}

impl ProtocolRange {
    /// The versions from `min` to `max`.
    ///
    /// # Errors
    /// [`VersionError`] where `min` is 0 or over `max`.
    pub const fn new(min: u32, max: u32) -> Result<Self, VersionError> {
        if min == 0 || min > max { Err(VersionError) } else { Ok(Self { min, max }) }
    }

    /// The lowest version.
    pub const fn min(&self) -> u32 {
        self.min
    }

    /// The highest version.
    pub const fn max(&self) -> u32 {
        self.max
    }

    /// The highest version that both speak and that is not in `denied`. Cost: the number of denied versions.
    pub fn highest_common(&self, other: &Self, denied: &[u32]) -> Option<u32> {
        let low = self.min.max(other.min);
        let mut candidate = self.max.min(other.max);
        // Each round takes one denied version away, so the loop is as long as the list.
        while candidate >= low {
            if !denied.contains(&candidate) {
                return Some(candidate);
            }
            candidate = candidate.checked_sub(1)?;
        }
        None
    }
}

impl TryFrom<RangeForm> for ProtocolRange {
    type Error = VersionError;

    fn try_from(form: RangeForm) -> Result<Self, VersionError> {
        Self::new(form.min, form.max)
    }
}

impl From<ProtocolRange> for RangeForm {
    fn from(range: ProtocolRange) -> Self {
        Self { min: range.min, max: range.max }
    }
}

impl fmt::Display for ProtocolRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.min, self.max)
    }
}

/// A semantic version (semver 2.0.0) without build metadata: `1.2.3` or `1.2.3-rc.1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    major: u64,
    minor: u64,
    patch: u64,
    pre: Option<Arc<str>>,
}

/// Versions on one track are compatible with each other, later ones with more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Track {
    ZeroZeroPatch(u64),
    ZeroMinor(u64),
    Major(u64),
}

impl Version {
    fn track(&self) -> Track {
        match (self.major, self.minor) {
            (0, 0) => Track::ZeroZeroPatch(self.patch),
            (0, minor) => Track::ZeroMinor(minor),
            (major, _) => Track::Major(major),
        }
    }

    /// How this version stands to a required minimum. Pre-releases match only themselves.
    pub fn compare(&self, minimum: &Self) -> Compatibility {
        if self.pre.is_some() || minimum.pre.is_some() {
            return if self == minimum { Compatibility::Compatible } else { Compatibility::OtherTrack };
        }
        match self.track().cmp(&minimum.track()) {
            core::cmp::Ordering::Less => Compatibility::TooOld,
            core::cmp::Ordering::Greater => Compatibility::TooNew,
            core::cmp::Ordering::Equal if self < minimum => Compatibility::TooOld,
            core::cmp::Ordering::Equal => Compatibility::Compatible,
        }
    }
}

/// How a version stands to a required minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Compatibility {
    /// The minimum or later, on its track.
    Compatible,
    /// Below the minimum, or on an earlier track: the worker must be upgraded.
    TooOld,
    /// On a later track: the fleet must be upgraded.
    TooNew,
    /// A pre-release that is not exactly the one required.
    OtherTrack,
}

fn number(text: &str) -> Result<u64, VersionError> {
    let canonical =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if !canonical {
        return Err(VersionError);
    }
    text.parse().map_err(|_| VersionError)
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        if text.len() > MAX_WIT_BYTES {
            return Err(VersionError);
        }
        let (core, pre) = match text.split_once('-') {
            Some((core, pre)) => (core, Some(pre)),
            None => (text, None),
        };
        let mut parts = core.split('.');
        let (Some(major), Some(minor), Some(patch), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(VersionError);
        };
        let identifier = |part: &str| {
            let numeric = part.bytes().all(|byte| byte.is_ascii_digit());
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !(numeric && part.len() > 1 && part.starts_with('0'))
        };
        if pre.is_some_and(|pre| !pre.split('.').all(identifier)) {
            return Err(VersionError);
        }
        let pre = pre.map(Arc::from);
        Ok(Self { major: number(major)?, minor: number(minor)?, patch: number(patch)?, pre })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        self.pre.as_deref().map_or(Ok(()), |pre| write!(f, "-{pre}"))
    }
}

/// The name of a WIT interface without its version: `namespace:package/interface`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WitName(Arc<str>);

impl FromStr for WitName {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let (namespace, rest) = text.split_once(':').ok_or(VersionError)?;
        let (package, interface) = rest.split_once('/').ok_or(VersionError)?;
        let kebab = |name: &str| {
            name.starts_with(|first: char| first.is_ascii_lowercase())
                && !name.ends_with('-')
                && !name.contains("--")
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        if text.len() <= MAX_WIT_BYTES && [namespace, package, interface].into_iter().all(kebab) {
            Ok(Self(Arc::from(text)))
        } else {
            Err(VersionError)
        }
    }
}

impl fmt::Display for WitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A WIT interface at a version: `namespace:package/interface@1.2.3`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WitInterface {
    name: WitName,
    version: Version,
}

impl WitInterface {
    /// The interface.
    pub const fn name(&self) -> &WitName {
        &self.name
    }

    /// Its version.
    pub const fn version(&self) -> &Version {
        &self.version
    }
}

impl FromStr for WitInterface {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        if text.len() > MAX_WIT_BYTES {
            return Err(VersionError);
        }
        let (name, version) = text.split_once('@').ok_or(VersionError)?;
        Ok(Self { name: name.parse()?, version: version.parse()? })
    }
}

impl fmt::Display for WitInterface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

macro_rules! as_text {
    ($($name:ident)+) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )+};
}

as_text!(Version WitName WitInterface);

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn versions_have_one_spelling() {
        for good in ["0.0.0", "1.2.3", "0.2.0-rc.1", "10.20.30-a-b.0"] {
            assert_eq!(good.parse::<Version>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "01.2.3",
            "1.2.3-",
            "1.2.3-01",
            "1.2.3+x",
            "v1.2.3",
            " 1.2.3",
            "1.2.3-a..b",
            "-1.2.3",
            "99999999999999999999.0.0",
            "1..2",
        ] {
            assert_eq!(bad.parse::<Version>(), Err(VersionError), "{bad}");
        }
        for bad in [
            "a:b/c",
            "a:b/c@1",
            "A:b/c@1.0.0",
            "a:b@1.0.0",
            "a:b/c-@1.0.0",
            "a:b/c@1.0.0@2.0.0",
            "a:b/c/d@1.0.0",
        ] {
            assert_eq!(bad.parse::<WitInterface>(), Err(VersionError), "{bad}");
        }
        assert_eq!(
            "wasi:http2/x-y@0.2.1".parse::<WitInterface>().unwrap().to_string(),
            "wasi:http2/x-y@0.2.1"
        );
    }

    #[test]
    fn a_track_is_what_semver_calls_compatible() {
        use Compatibility::{Compatible, OtherTrack, TooNew, TooOld};
        for (have, minimum, want) in [
            ("1.2.3", "1.2.3", Compatible),
            ("1.9.0", "1.2.3", Compatible),
            ("1.2.2", "1.2.3", TooOld),
            ("0.9.0", "1.2.3", TooOld),
            ("2.0.0", "1.2.3", TooNew),
            ("0.2.9", "0.2.1", Compatible),
            ("0.3.0", "0.2.1", TooNew),
            ("0.0.2", "0.0.1", TooNew),
            ("0.0.1", "0.0.1", Compatible),
            ("1.3.0-rc.1", "1.2.3", OtherTrack),
            ("1.3.0-rc.1", "1.3.0-rc.1", Compatible),
            ("1.3.0", "1.3.0-rc.1", OtherTrack),
        ] {
            let compare = have.parse::<Version>().unwrap().compare(&minimum.parse().unwrap());
            assert_eq!(compare, want, "{have} against {minimum}");
        }
    }

    #[test]
    fn a_range_takes_the_highest_common_version_that_is_not_denied() {
        let range = |min, max| ProtocolRange::new(min, max).unwrap();
        assert_eq!(range(1, 3).highest_common(&range(4, 5), &[]), None);
        assert_eq!(range(1, 3).highest_common(&range(1, 2), &[2, 1]), None);
        assert_eq!(range(1, u32::MAX).highest_common(&range(1, u32::MAX), &[u32::MAX]), Some(u32::MAX - 1));
        assert!(ProtocolRange::new(0, 1).is_err() && ProtocolRange::new(2, 1).is_err());
    }
}
