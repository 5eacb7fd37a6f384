//! The bounds of a registry, checked once.

use serde::{Deserialize, Serialize};

use super::certificate::{DEFAULT_CERTIFICATE_BYTES, MAX_CERTIFICATE_BYTES};
use crate::{
    code::{self, Code, Coded},
    time::Millis,
};

/// The most devices, and the most remembered revocations, that limits may name.
pub(super) const CEILING: u32 = 1 << 24;

/// A limit of size below this would refuse every certificate that is made.
const LEAST_CERTIFICATE_BYTES: u32 = 1024;

/// The longest grace of renewals.
const LONGEST_GRACE: Millis = Millis::from_secs(366 * 86_400);

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
    max_certificate_bytes: u32,
    renewal_grace: Millis,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    max_devices: u32,
    max_revocations: u32,
    max_overlap_ms: Millis,
    #[serde(default = "default_certificate_bytes")]
    max_certificate_bytes: u32,
    #[serde(default)]
    renewal_grace_ms: Millis,
}

const fn default_certificate_bytes() -> u32 {
    16 * 1024
}

/// The one default in both of its types.
const _: () = assert!(default_certificate_bytes() as usize == DEFAULT_CERTIFICATE_BYTES);

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
    /// `max_certificate_bytes` is below 1024 or over 65536.
    #[error(
        "max_certificate_bytes must be {LEAST_CERTIFICATE_BYTES} to {MAX_CERTIFICATE_BYTES}, this is {0}"
    )]
    CertificateBytes(u32),
    /// `renewal_grace` is over 366 days.
    #[error("renewal_grace must be at most {LONGEST_GRACE}, this is {0}")]
    Grace(Millis),
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
        let max_certificate_bytes = default_certificate_bytes();
        let renewal_grace = Millis::ZERO;
        Ok(Self { max_devices, max_revocations, max_overlap, max_certificate_bytes, renewal_grace })
    }

    /// The same limits with certificates of at most `bytes`: 1024 to [`MAX_CERTIFICATE_BYTES`].
    ///
    /// # Errors
    /// [`DeviceLimitsError::CertificateBytes`].
    pub const fn with_max_certificate_bytes(mut self, bytes: u32) -> Result<Self, DeviceLimitsError> {
        if bytes < LEAST_CERTIFICATE_BYTES || bytes as usize > MAX_CERTIFICATE_BYTES {
            return Err(DeviceLimitsError::CertificateBytes(bytes));
        }
        self.max_certificate_bytes = bytes;
        Ok(self)
    }

    /// The longest certificate, in bytes. Default [`DEFAULT_CERTIFICATE_BYTES`].
    pub const fn max_certificate_bytes(&self) -> u32 {
        self.max_certificate_bytes
    }

    /// The same limits with renewals of certificates that expired at most this long ago: up to 366 days. Zero, the
    /// default: an expired certificate is not renewed.
    ///
    /// # Errors
    /// [`DeviceLimitsError::Grace`].
    pub const fn with_renewal_grace(mut self, grace: Millis) -> Result<Self, DeviceLimitsError> {
        if grace.0 > LONGEST_GRACE.0 {
            return Err(DeviceLimitsError::Grace(grace));
        }
        self.renewal_grace = grace;
        Ok(self)
    }

    /// How long after its end a certificate can be renewed, where a standing order allows it. Default: not at all.
    pub const fn renewal_grace(&self) -> Millis {
        self.renewal_grace
    }

    /// Limits that were checked when they came into force, by whatever rules then held.
    pub(crate) const fn held_before(
        max_devices: u32,
        max_revocations: u32,
        max_overlap: Millis,
        max_certificate_bytes: u32,
        renewal_grace: Millis,
    ) -> Self {
        Self { max_devices, max_revocations, max_overlap, max_certificate_bytes, renewal_grace }
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
        Self::new(form.max_devices, form.max_revocations, form.max_overlap_ms)?
            .with_max_certificate_bytes(form.max_certificate_bytes)?
            .with_renewal_grace(form.renewal_grace_ms)
    }
}

impl From<DeviceLimits> for Form {
    fn from(limits: DeviceLimits) -> Self {
        let DeviceLimits { max_devices, max_revocations, max_overlap, max_certificate_bytes, renewal_grace } =
            limits;
        Self {
            max_devices,
            max_revocations,
            max_overlap_ms: max_overlap,
            max_certificate_bytes,
            renewal_grace_ms: renewal_grace,
        }
    }
}
