//! Versions that a worker states and a fleet judges: SDK protocol ranges, and WIT interfaces on compatibility tracks.

use alloc::{string::String, sync::Arc};
use core::{cmp::Ordering, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::code::{self, Code, Coded};

/// The longest text of a WIT interface with its version, in bytes.
pub const MAX_WIT_BYTES: usize = 128;

/// Why a text is not a version or an interface, or two numbers not a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a version that is due: `1.2.3` (semver 2.0.0), for an interface `namespace:package/interface@1.2.3`, for a range `min` of at least 1 and at most `max`"
)]
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

/// A semantic version (semver 2.0.0): `1.2.3`, `1.2.3-rc.1`, `1.2.3+build.7`.
///
/// The order is that of the specification, with build metadata as a last resort; two versions that differ in build
/// metadata alone are the same to every rule ([`Self::is_same`]).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    version: semver::Version,
    /// How many numbers are written. Fewer than three stand for the first version of their track.
    numbers: u8,
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
        match (self.version.major, self.version.minor) {
            (0, 0) => Track::ZeroZeroPatch(self.version.patch),
            (0, minor) => Track::ZeroMinor(minor),
            (major, _) => Track::Major(major),
        }
    }

    /// Whether both are the same version, whatever their build metadata.
    pub fn is_same(&self, other: &Self) -> bool {
        self.version.cmp_precedence(&other.version) == Ordering::Equal
    }

    /// How this version stands to a required minimum. Pre-releases match only themselves.
    pub fn compare(&self, minimum: &Self) -> Compatibility {
        if !self.version.pre.is_empty() || !minimum.version.pre.is_empty() {
            return if self.is_same(minimum) { Compatibility::Compatible } else { Compatibility::OtherTrack };
        }
        match self.track().cmp(&minimum.track()) {
            Ordering::Less => Compatibility::TooOld,
            Ordering::Greater => Compatibility::TooNew,
            Ordering::Equal => match self.version.cmp_precedence(&minimum.version) {
                Ordering::Less => Compatibility::TooOld,
                Ordering::Equal | Ordering::Greater => Compatibility::Compatible,
            },
        }
    }

    /// The canonical form of an interface's version in the component model: the numbers of its track alone, `1`, `0.2`.
    fn canonical(text: &str) -> Option<Self> {
        let (numbers, full) = match text.split_once('.') {
            None => (1, alloc::format!("{text}.0.0")),
            Some(("0", _)) => (2, alloc::format!("{text}.0")),
            Some(_) => return None,
        };
        let version = semver::Version::parse(&full).ok()?;
        let plain = version.pre.is_empty() && version.build.is_empty();
        let names_track = if numbers == 1 { version.major > 0 } else { version.minor > 0 };
        (plain && names_track).then_some(Self { version, numbers })
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

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        if text.len() > MAX_WIT_BYTES {
            return Err(VersionError);
        }
        let version = semver::Version::parse(text).map_err(|_| VersionError)?;
        Ok(Self { version, numbers: 3 })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = &self.version;
        match self.numbers {
            1 => write!(f, "{}", version.major),
            2 => write!(f, "{}.{}", version.major, version.minor),
            _ => write!(f, "{version}"),
        }
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
        let fits = text.len() <= MAX_WIT_BYTES && is_words(namespace) && is_words(package);
        if fits && is_label(interface) { Ok(Self(Arc::from(text))) } else { Err(VersionError) }
    }
}

/// Lowercase words with single hyphens between them, the first one beginning with a letter.
fn is_words(name: &str) -> bool {
    is_label(name) && !name.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// Words in lower case and acronyms in upper case (component model, `label`), with single hyphens between them, the first
/// one beginning with a letter.
fn is_label(name: &str) -> bool {
    let fragment = |part: &str| {
        let all = |fits: fn(&u8) -> bool| part.bytes().all(|byte| fits(&byte) || byte.is_ascii_digit());
        !part.is_empty() && (all(u8::is_ascii_lowercase) || all(u8::is_ascii_uppercase))
    };
    name.starts_with(|first: char| first.is_ascii_alphabetic()) && name.split('-').all(fragment)
}

impl fmt::Display for WitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A WIT interface at a version: `namespace:package/interface@1.2.3`, or at the canonical form of one, `@1` or `@0.2`, which
/// stands for the first version of that track.
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
        let version = Version::canonical(version).map_or_else(|| version.parse(), Ok)?;
        Ok(Self { name: name.parse()?, version })
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
        for good in ["0.0.0", "1.2.3", "0.2.0-rc.1", "10.20.30-a-b.0", "1.2.5+git.abc", "1.0.0-rc.1+7.x"] {
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
            "1.2.3+",
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
            "a:b/c@1.2",
            "a:b/c@0",
            "a:b/c@0.0",
            "a:b/c@01",
            "a:b/c@0.2-rc",
            "a:B/c@1.0.0",
            "a:b/cD@1.0.0",
            "a:b/c--d@1.0.0",
            "a:b/1c@1.0.0",
            "A:b/c@1.0.0",
            "a:b@1.0.0",
            "a:b/c-@1.0.0",
            "a:b/c@1.0.0@2.0.0",
            "a:b/c/d@1.0.0",
        ] {
            assert_eq!(bad.parse::<WitInterface>(), Err(VersionError), "{bad}");
        }
        for good in
            ["wasi:http2/x-y@0.2.1", "wasi:http/types@0.2", "a:b/HTTP-client@1", "a:b/c@1.2.5+git.abc"]
        {
            assert_eq!(good.parse::<WitInterface>().unwrap().to_string(), good);
        }
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
            ("1.2.3+a", "1.2.3+b", Compatible),
            ("1.3.0-rc.1+a", "1.3.0-rc.1", Compatible),
        ] {
            let compare = have.parse::<Version>().unwrap().compare(&minimum.parse().unwrap());
            assert_eq!(compare, want, "{have} against {minimum}");
        }
    }

    /// Semver 2.0.0, section 11, in its own order of examples.
    #[test]
    fn versions_are_in_the_order_of_semver() {
        let order = [
            "0.9.9",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "2.0.0",
            "2.1.0",
            "2.1.1",
        ];
        let versions: alloc::vec::Vec<Version> = order.iter().map(|text| text.parse().unwrap()).collect();
        assert!(versions.is_sorted_by(|one, next| one < next), "{versions:?}");
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("1.2.3+a").is_same(&version("1.2.3+b")) && version("1.2.3+a") != version("1.2.3+b"));
    }

    /// A track alone shows no more than that its first version is there.
    #[test]
    fn a_canonical_version_is_the_first_of_its_track() {
        let compare = |have: &str, minimum: &str| {
            let version = |text: &str| text.parse::<WitInterface>().unwrap().version().clone();
            version(&alloc::format!("a:b/c@{have}")).compare(&version(&alloc::format!("a:b/c@{minimum}")))
        };
        assert_eq!(compare("0.2", "0.2.0"), Compatibility::Compatible);
        assert_eq!(compare("0.2", "0.2.1"), Compatibility::TooOld);
        assert_eq!(compare("0.2.7", "0.2"), Compatibility::Compatible);
        assert_eq!(compare("2", "1"), Compatibility::TooNew);
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
