//! Renewal: a certificate that has expired is good for one thing more, to ask for the next one; and one that another
//! took over from is good for nothing but to show that two places have it.
//!
//! An expired certificate is renewed within the policy's grace, under an operator's standing order, by who proves its
//! key. A certificate that was rotated away has no such use: its device went on with the next one. Who asks to renew
//! with it is a copy, whether of the thief or of the robbed, so the device is revoked (as RFC 9700 section 4.14.2 does
//! with a family of refresh tokens one of which comes twice).

use alloc::{vec, vec::Vec};

use super::{
    authenticate::AuthError,
    certificate::DeviceCertificate,
    command::Basis,
    error::DeviceError,
    event::DeviceEvent,
    record::{DeviceRecord, OverlapEnd},
    registry::DeviceRegistry,
    revocation::{RevocationReason, RevocationSubject},
    standing::{MAX_ORDERS, OrderError, StandingTerms},
};
use crate::{
    digest::Sha256Digest,
    id::{DeviceId, OrderId},
    time::{Millis, Now, Wall},
};

/// What a certificate that does not authenticate is still good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Renewable<'a> {
    /// It is in force but for its end: its holder may ask for the next one.
    #[non_exhaustive]
    Expired {
        /// The device.
        record: &'a DeviceRecord,
        /// The standing order that allows it.
        order: &'a OrderId,
        /// Through when.
        through: Wall,
    },
    /// Another took over from it. To ask for the next one with it revokes the device.
    Superseded(&'a DeviceRecord),
}

impl<'a> Renewable<'a> {
    /// The device's record.
    pub const fn record(&self) -> &'a DeviceRecord {
        match self {
            Self::Expired { record, .. } | Self::Superseded(record) => record,
        }
    }
}

impl DeviceRegistry {
    /// What the certificate with this fingerprint is good for, where it does not authenticate. Cost: O(1), and O(n) of
    /// the standing orders for one that has expired.
    ///
    /// # Errors
    /// [`DeviceError::Auth`] for one that is good for nothing, and for one that authenticates
    /// ([`DeviceError::CertificateInUse`]: rotate it); [`DeviceError::RenewalLate`] and
    /// [`DeviceError::RenewalUnordered`].
    pub fn renewable(&self, fingerprint: Sha256Digest, now: Now) -> Result<Renewable<'_>, DeviceError> {
        let not_after = match self.authenticate_fingerprint(fingerprint, now) {
            Ok(good) => return Err(DeviceError::CertificateInUse(good.device().clone())),
            Err(AuthError::Expired(not_after)) => not_after,
            Err(unknown @ AuthError::Unknown(_)) => {
                let record = self.by_former(&fingerprint).ok_or(unknown)?;
                self.still_good(record.device(), &fingerprint, &record.certificate().key())?;
                return Ok(Renewable::Superseded(record));
            }
            Err(other) => return Err(other.into()),
        };
        let expired = AuthError::Expired(not_after);
        let (record, certificate) = self.by_certificate(&fingerprint).ok_or(expired.clone())?;
        let grace = self.limits().renewal_grace();
        // The next certificate of a rotation was never in force.
        if grace == Millis::ZERO || record.certificate() != certificate {
            return Err(expired.into());
        }
        let through = not_after.plus(grace);
        if now.wall > through {
            return Err(DeviceError::RenewalLate(through));
        }
        let (device, kind) = (record.device(), record.kind());
        // Who asks again has paid for it: the answer was lost.
        let asks_again = self.is_renewing(record, now);
        let order = self.renewals().find(|(_, standing)| match standing.allows(device, kind, now.mono) {
            Err(OrderError::UsedUp) => asks_again,
            allowed => allowed.is_ok(),
        });
        let (order, _) = order.ok_or_else(|| DeviceError::RenewalUnordered(device.clone()))?;
        Ok(Renewable::Expired { record, order, through })
    }

    /// Whether a renewal of this record was granted whose certificate was not used yet.
    fn is_renewing(&self, record: &DeviceRecord, now: Now) -> bool {
        record.rotation().is_some_and(|rotation| !rotation.lapsed(now))
    }

    pub(super) fn renew(
        &self,
        fingerprint: Sha256Digest,
        next: &DeviceCertificate,
        overlap: Millis,
        now: Now,
    ) -> Result<Vec<DeviceEvent>, DeviceError> {
        let (record, order) = match self.renewable(fingerprint, now)? {
            Renewable::Superseded(record) => return self.noticed_clone(record.device(), now),
            Renewable::Expired { record, order, .. } => (record, order),
        };
        let device = record.device();
        let mut events =
            self.begin_rotation(device, next, overlap, OverlapEnd::AbandonNew, Basis::Renewal, now)?;
        if !self.is_renewing(record, now) {
            events.push(DeviceEvent::RenewalGranted { order: order.clone(), device: device.clone() });
        }
        Ok(events)
    }

    /// The device has its identity in two places.
    pub(super) fn noticed_clone(&self, device: &DeviceId, now: Now) -> Result<Vec<DeviceEvent>, DeviceError> {
        self.revoke(&RevocationSubject::Device(device.clone()), RevocationReason::Cloned, now)
    }

    pub(super) fn order_renewals(
        &self,
        order: &OrderId,
        terms: &StandingTerms,
        now: Now,
    ) -> Result<Vec<DeviceEvent>, DeviceError> {
        let orders = self.renewal_orders();
        let over = |(name, _): &(&OrderId, _)| *name != order;
        // What cannot be used any more makes room.
        let mut events: Vec<DeviceEvent> = orders
            .iter()
            .filter(|(_, held)| now.mono >= held.until() || held.left() == 0)
            .map(|(name, _)| DeviceEvent::RenewalsEnded { order: name.clone() })
            .collect();
        let ended = |name: &OrderId| {
            events.iter().any(|event| matches!(event, DeviceEvent::RenewalsEnded { order } if order == name))
        };
        if orders.contains_key(order) && !ended(order) {
            return Err(OrderError::Exists(order.clone()).into());
        }
        if orders.iter().filter(over).filter(|(name, _)| !ended(name)).count() >= MAX_ORDERS {
            return Err(OrderError::Full.into());
        }
        let standing = terms.order(now);
        events.push(DeviceEvent::RenewalsOrdered { order: order.clone(), standing, at: now });
        Ok(events)
    }

    pub(super) fn end_renewals(&self, order: &OrderId) -> Result<Vec<DeviceEvent>, DeviceError> {
        if !self.renewal_orders().contains_key(order) {
            return Err(OrderError::Unknown.into());
        }
        Ok(vec![DeviceEvent::RenewalsEnded { order: order.clone() }])
    }

    /// Whether recovery may fold an event of standing orders here.
    pub(super) fn admits_renewals(&self, event: &DeviceEvent) -> bool {
        let orders = self.renewal_orders();
        match event {
            DeviceEvent::RenewalsOrdered { order, .. } => {
                orders.len() < MAX_ORDERS && !orders.contains_key(order)
            }
            DeviceEvent::RenewalGranted { order, device } => orders.get(order).is_some_and(|held| {
                held.left() > 0 && self.get(device).is_some_and(|record| held.is_for(device, record.kind()))
            }),
            DeviceEvent::RenewalsEnded { order } => orders.contains_key(order),
            _ => false,
        }
    }
}
