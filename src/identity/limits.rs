//! The bounds of a registry, checked once.

use serde::{Deserialize, Serialize};

use crate::{
    code::{self, Code, Coded},
    time::Millis,
};

/// The most devices, and the most remembered revocations, that limits may name.
pub(super) const CEILING: u32 = 1 << 24;

/// How many things of one device can be revoked: itself, two certificates, two keys.
pub(super) const SUBJECTS_PER_DEVICE: u64 = 5;

/// The bounds of a [`DeviceRegistry`](super::DeviceRegistry). Once built, they are consistent.
///
/// ```
/// use leasehold::{identity::DeviceLimits, time::Millis};
/// let limits = DeviceLimits::new(1_000, 10_000, Millis::from_secs(86_400))?;
/// assert_eq!(limits.max_devices(), 1_000);
/// # Ok::<(), leasehold::identity::DeviceLimitsError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct DeviceLimits {
    max_devices: u32,
    max_revocations: u32,
    max_overlap: Millis,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    max_devices: u32,
    max_revocations: u32,
    max_overlap_ms: Millis,
}

/// Why limits are not consistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceLimitsError {
    /// `max_devices` is zero or over 16777216.
    #[error("max_devices must be 1 to {CEILING}, this is {0}")]
    Devices(u32),
    /// `max_revocations` is zero or over 16777216.
    #[error("max_revocations must be 1 to {CEILING}, this is {0}")]
    Revocations(u32),
    /// `max_overlap` is zero.
    #[error("max_overlap must be more than zero: a rotation without overlap loses devices")]
    Overlap,
}

impl Coded for DeviceLimitsError {
    fn code(&self) -> Code {
        code::DEVICE_LIMITS
    }
}

impl DeviceLimits {
    /// Limits of `max_devices` devices, `max_revocations` revocations of things that are not registered (any
    /// more), and rotations whose overlap is at most `max_overlap`.
    ///
    /// Everything that a registered device has can be revoked whatever `max_revocations` says: room for that is
    /// set aside when it registers. `max_revocations` bounds what is remembered besides.
    ///
    /// # Errors
    /// [`DeviceLimitsError`], code `device.limits`.
    pub const fn new(
        max_devices: u32,
        max_revocations: u32,
        max_overlap: Millis,
    ) -> Result<Self, DeviceLimitsError> {
        if max_devices == 0 || max_devices > CEILING {
            return Err(DeviceLimitsError::Devices(max_devices));
        }
        if max_revocations == 0 || max_revocations > CEILING {
            return Err(DeviceLimitsError::Revocations(max_revocations));
        }
        if max_overlap.0 == 0 {
            return Err(DeviceLimitsError::Overlap);
        }
        Ok(Self { max_devices, max_revocations, max_overlap })
    }

    /// The most devices.
    pub const fn max_devices(&self) -> u32 {
        self.max_devices
    }

    /// The most revocations of things that are not registered.
    pub const fn max_revocations(&self) -> u32 {
        self.max_revocations
    }

    /// The longest overlap of a rotation.
    pub const fn max_overlap(&self) -> Millis {
        self.max_overlap
    }

    /// Whether everything that `devices` devices have can be revoked beside what is.
    pub(super) fn leaves_room(&self, devices: u64, revoked: u64) -> bool {
        devices.saturating_mul(SUBJECTS_PER_DEVICE).saturating_add(revoked) <= self.revocation_bound()
    }

    /// The bound of all revocations together.
    pub(super) fn revocation_bound(&self) -> u64 {
        SUBJECTS_PER_DEVICE
            .saturating_mul(u64::from(self.max_devices))
            .saturating_add(u64::from(self.max_revocations))
    }
}

impl TryFrom<Form> for DeviceLimits {
    type Error = DeviceLimitsError;
    fn try_from(form: Form) -> Result<Self, DeviceLimitsError> {
        Self::new(form.max_devices, form.max_revocations, form.max_overlap_ms)
    }
}

impl From<DeviceLimits> for Form {
    fn from(limits: DeviceLimits) -> Self {
        let DeviceLimits { max_devices, max_revocations, max_overlap } = limits;
        Self { max_devices, max_revocations, max_overlap_ms: max_overlap }
    }
}
