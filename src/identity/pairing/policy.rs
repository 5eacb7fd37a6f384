//! What pairing may cost and how long it may take, checked once.

use serde::{Deserialize, Serialize};

use crate::{
    code::{self, Code, Coded},
    time::Millis,
};

const TTL_MS: core::ops::RangeInclusive<u64> = 60_000..=900_000;
const PIN_DIGITS: core::ops::RangeInclusive<u8> = 6..=10;
const ATTEMPTS: core::ops::RangeInclusive<u8> = 1..=10;
const MAX_SESSIONS: u32 = 4096;

/// The rules of a [`PairingDesk`](super::PairingDesk). Once built, they are consistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PairingPolicyForm", into = "PairingPolicyForm")]
pub struct PairingPolicy(PairingPolicyForm);

/// The fields of a [`PairingPolicy`], not checked yet. The default is a policy that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct PairingPolicyForm {
    /// How long a code may be used, 60 to 900 seconds.
    pub ttl_ms: Millis,
    /// How long an approval waits for the certificate, at most `ttl_ms`.
    pub approval_ttl_ms: Millis,
    /// How long an ended session is remembered after it would have expired, so that its id cannot come back.
    pub memory_ms: Millis,
    /// Digits of a PIN, 6 to 10.
    pub pin_digits: u8,
    /// Exchanges that one PIN may start, 1 to 10.
    pub pin_attempts: u8,
    /// Exchanges that one QR code may start, 1 to 10. A comparison always has one.
    pub qr_attempts: u8,
    /// The most sessions that are open at once, 1 to 4096.
    pub max_sessions: u32,
    /// The most ended sessions that are remembered besides, 64 to 65536. Over it, the one that ended its time first is
    /// forgotten early.
    pub max_remembered: u32,
    /// The most exchanges that start within `rate_window_ms`, over all sessions.
    pub rate_limit: u32,
    /// The window of `rate_limit`.
    pub rate_window_ms: Millis,
}

impl Default for PairingPolicyForm {
    fn default() -> Self {
        Self {
            ttl_ms: Millis::from_secs(300),
            approval_ttl_ms: Millis::from_secs(120),
            memory_ms: Millis::from_secs(900),
            pin_digits: 6,
            pin_attempts: 3,
            qr_attempts: 3,
            max_sessions: 256,
            max_remembered: 4096,
            rate_limit: 30,
            rate_window_ms: Millis::from_secs(60),
        }
    }
}

/// Why a pairing policy does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PairingPolicyError {
    /// A field is outside its range.
    #[error("{field} must be {range}")]
    Range {
        /// The field's name.
        field: &'static str,
        /// What it may be.
        range: &'static str,
    },
}

impl Coded for PairingPolicyError {
    fn code(&self) -> Code {
        code::PAIRING_POLICY
    }
}

impl PairingPolicy {
    /// Checks `form`.
    ///
    /// ```
    /// use leasehold::identity::pairing::{PairingPolicy, PairingPolicyForm};
    /// let mut form = PairingPolicyForm::default();
    /// form.pin_digits = 8;
    /// let policy = PairingPolicy::new(form)?;
    /// form.pin_digits = 4;
    /// assert!(PairingPolicy::new(form).is_err());
    /// # Ok::<(), leasehold::identity::pairing::PairingPolicyError>(())
    /// ```
    ///
    /// # Errors
    /// [`PairingPolicyError`], code `pairing.policy`, for the first field that is out of range.
    pub fn new(form: PairingPolicyForm) -> Result<Self, PairingPolicyError> {
        let rules = [
            (TTL_MS.contains(&form.ttl_ms.0), "ttl_ms", "60000 to 900000"),
            (
                form.approval_ttl_ms > Millis::ZERO && form.approval_ttl_ms <= form.ttl_ms,
                "approval_ttl_ms",
                "more than 0 and at most ttl_ms",
            ),
            (form.memory_ms.0 <= 86_400_000, "memory_ms", "at most 86400000"),
            (PIN_DIGITS.contains(&form.pin_digits), "pin_digits", "6 to 10"),
            (ATTEMPTS.contains(&form.pin_attempts), "pin_attempts", "1 to 10"),
            (ATTEMPTS.contains(&form.qr_attempts), "qr_attempts", "1 to 10"),
            ((1..=MAX_SESSIONS).contains(&form.max_sessions), "max_sessions", "1 to 4096"),
            ((64..=65_536).contains(&form.max_remembered), "max_remembered", "64 to 65536"),
            (form.rate_limit > 0, "rate_limit", "more than 0"),
            ((1_000..=3_600_000).contains(&form.rate_window_ms.0), "rate_window_ms", "1000 to 3600000"),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, field, range)) => Err(PairingPolicyError::Range { field, range }),
            None => Ok(Self(form)),
        }
    }

    /// A policy that was checked when it came into force, by whatever rules then held.
    pub(crate) const fn held_before(form: PairingPolicyForm) -> Self {
        Self(form)
    }

    /// The most sessions in all, open and remembered.
    pub(super) fn most_held(&self) -> usize {
        usize::try_from(self.0.max_sessions.saturating_add(self.0.max_remembered)).unwrap_or(usize::MAX)
    }

    /// The checked fields.
    pub const fn get(&self) -> &PairingPolicyForm {
        &self.0
    }
}

impl Default for PairingPolicy {
    /// Five minutes, six digits, three attempts.
    fn default() -> Self {
        Self(PairingPolicyForm::default())
    }
}

impl TryFrom<PairingPolicyForm> for PairingPolicy {
    type Error = PairingPolicyError;
    fn try_from(form: PairingPolicyForm) -> Result<Self, PairingPolicyError> {
        Self::new(form)
    }
}

impl From<PairingPolicy> for PairingPolicyForm {
    fn from(policy: PairingPolicy) -> Self {
        policy.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_policy_holds() {
        assert_eq!(PairingPolicy::new(PairingPolicyForm::default()), Ok(PairingPolicy::default()));
        assert_eq!(serde_json::from_str::<PairingPolicy>("{}").unwrap(), PairingPolicy::default());
        for bad in ["{\"ttl_ms\":1000}", "{\"pin_digits\":4}", "{\"max_sessions\":0}", "{\"more\":1}"] {
            assert!(serde_json::from_str::<PairingPolicy>(bad).is_err(), "{bad}");
        }
    }
}
