//! Standing orders: what an operator allows in advance, for devices by their names, so often and until then.
//!
//! An enrolment key and the permission to renew expired certificates are one. Both are bounded in number and time, can
//! be revoked, and say which names they are about.

use alloc::sync::Arc;
use core::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::record::DeviceKind;
use crate::{
    code::{self, Code, Coded},
    id::{DeviceId, IdError, MAX_ID_BYTES, OrderId},
    time::{Millis, Mono, Now},
};

/// The most standing orders of one sort: of enrolment keys, and of permissions to renew.
pub const MAX_ORDERS: usize = 64;

/// The most devices that one order may be for.
const MAX_COUNT: u32 = 65_536;

/// The longest time that an order may stand.
const LONGEST: Millis = Millis::from_secs(366 * 86_400);

/// Names of devices: an id, or one with a single `*`, which stands for one or more bytes.
///
/// ```
/// use leasehold::{id::DeviceId, identity::NamePattern};
/// let rack: NamePattern = "rack-7.*".parse()?;
/// assert!(rack.admits(&DeviceId::new("rack-7.blade-2")?));
/// assert!(!rack.admits(&DeviceId::new("rack-70.blade-2")?));
/// assert!(!rack.admits(&DeviceId::new("rack-7.")?));
/// assert!("rack-*.*".parse::<NamePattern>().is_err());
/// # Ok::<(), leasehold::id::IdError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamePattern(Arc<str>);

impl NamePattern {
    /// Whether a device with this name is meant. Cost: O(length).
    pub fn admits(&self, device: &DeviceId) -> bool {
        let name = device.as_str();
        match self.0.split_once('*') {
            None => *self.0 == *name,
            Some((before, after)) => {
                name.len() > before.len().saturating_add(after.len())
                    && name.starts_with(before)
                    && name.ends_with(after)
            }
        }
    }

    /// The pattern's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NamePattern {
    type Err = IdError;

    /// # Errors
    /// [`IdError`], code `id.malformed`, where the text is no id once its `*` is a letter.
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() > MAX_ID_BYTES {
            return Err(IdError::TooLong(text.len()));
        }
        // A second star stays, and is outside the grammar where it is.
        crate::id::check(&text.replacen('*', "a", 1))?;
        Ok(Self(Arc::from(text)))
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for NamePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NamePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        alloc::string::String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What an operator allows in advance, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StandingTerms {
    names: NamePattern,
    kind: DeviceKind,
    count: u32,
    lasts: Millis,
}

impl StandingTerms {
    /// Devices of this kind and these names, `count` times at most, for as long as `lasts`.
    ///
    /// # Errors
    /// [`OrderError::Terms`], code `order.terms`: `count` is 1 to 65 536, `lasts` 1 s to 366 days.
    pub fn new(names: NamePattern, kind: DeviceKind, count: u32, lasts: Millis) -> Result<Self, OrderError> {
        if count == 0 || count > MAX_COUNT {
            return Err(OrderError::Terms { field: "count", range: "1 to 65536" });
        }
        if lasts < Millis::from_secs(1) || lasts > LONGEST {
            return Err(OrderError::Terms { field: "lasts", range: "1 s to 366 days" });
        }
        Ok(Self { names, kind, count, lasts })
    }

    /// The order that these terms make at `now`.
    pub(super) fn order(&self, now: Now) -> StandingOrder {
        StandingOrder {
            names: self.names.clone(),
            kind: self.kind,
            left: self.count,
            // On the monotonic line: no wall clock makes an order last longer (invariant 7).
            until: now.mono.plus(self.lasts),
            revoked: false,
        }
    }
}

/// A standing order as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandingOrder {
    names: NamePattern,
    kind: DeviceKind,
    left: u32,
    until: Mono,
    revoked: bool,
}

impl StandingOrder {
    /// Which devices it is for.
    pub const fn names(&self) -> &NamePattern {
        &self.names
    }

    /// What they are.
    pub const fn kind(&self) -> DeviceKind {
        self.kind
    }

    /// How often it can still be used.
    pub const fn left(&self) -> u32 {
        self.left
    }

    /// Until when it stands.
    pub const fn until(&self) -> Mono {
        self.until
    }

    /// Whether an operator took it back.
    pub const fn is_revoked(&self) -> bool {
        self.revoked
    }

    /// Whether the device is one of those that it is for.
    pub(super) fn is_for(&self, device: &DeviceId, kind: DeviceKind) -> bool {
        self.kind == kind && self.names.admits(device)
    }

    /// Whether it allows this device at `now`.
    pub(super) fn allows(&self, device: &DeviceId, kind: DeviceKind, now: Mono) -> Result<(), OrderError> {
        if self.revoked {
            return Err(OrderError::Revoked);
        }
        if now >= self.until {
            return Err(OrderError::Expired);
        }
        if !self.is_for(device, kind) {
            return Err(OrderError::Scope);
        }
        if self.left == 0 { Err(OrderError::UsedUp) } else { Ok(()) }
    }

    pub(super) fn charge(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    pub(super) fn revoke(&mut self) {
        self.revoked = true;
    }
}

/// Why a standing order allows nothing, or is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// A member is out of range.
    #[error("{field} must be {range}")]
    Terms {
        /// Its name.
        field: &'static str,
        /// What it may be.
        range: &'static str,
    },
    /// There is no such order, or none any more.
    #[error("there is no such standing order")]
    Unknown,
    /// There is one with this name.
    #[error("standing order {0} is there already")]
    Exists(OrderId),
    /// As many as there may be.
    #[error("there are {MAX_ORDERS} standing orders, which is as many as there may be")]
    Full,
    /// An operator took it back.
    #[error("the standing order was revoked")]
    Revoked,
    /// It is past its time.
    #[error("the standing order is past its time")]
    Expired,
    /// It was used as often as it may be.
    #[error("the standing order was used as often as it may be")]
    UsedUp,
    /// It is for devices of other names, or of another kind.
    #[error("the standing order is for other devices")]
    Scope,
    /// The coordinator has no seed that the codes of enrolment keys follow from.
    #[error("enrolment keys need a seed that the host keeps, and there is none")]
    NoSeed,
}

impl Coded for OrderError {
    fn code(&self) -> Code {
        match self {
            Self::Terms { .. } => code::ORDER_TERMS,
            Self::Unknown => code::ORDER_UNKNOWN,
            Self::Exists(_) => code::ORDER_EXISTS,
            Self::Full => code::ORDER_FULL,
            Self::Revoked => code::ORDER_REVOKED,
            Self::Expired => code::ORDER_EXPIRED,
            Self::UsedUp => code::ORDER_USED_UP,
            Self::Scope => code::ORDER_SCOPE,
            Self::NoSeed => code::ORDER_NO_SEED,
        }
    }
}
