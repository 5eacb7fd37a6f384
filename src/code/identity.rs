//! Codes of the identity part.

use super::codes;

codes! { IDENTITY:
    CERTIFICATE_MALFORMED = "certificate.malformed", "the bytes are not exactly one DER certificate or request";
    CERTIFICATE_TOO_LONG = "certificate.too_long", "a certificate or request is over the longest that is read";
    CERTIFICATE_VALIDITY = "certificate.validity", "the validity of a certificate ends before it begins";
    CERTIFICATE_UNKNOWN = "certificate.unknown", "no device has this certificate";
    CERTIFICATE_REVOKED = "certificate.revoked", "the certificate is revoked";
    CERTIFICATE_RETIRED = "certificate.retired", "the certificate was rotated away";
    CERTIFICATE_NOT_YET_VALID = "certificate.not_yet_valid", "the certificate is not valid yet";
    CERTIFICATE_EXPIRED = "certificate.expired", "the certificate is not valid any more";
    CERTIFICATE_KEY_MISMATCH = "certificate.key_mismatch", "the key of the certificate is not the registered one";
    KEY_REVOKED = "key.revoked", "the public key is revoked";
    DEVICE_LIMITS = "device.limits", "the limits of a device registry are not consistent";
    DEVICE_EXISTS = "device.exists", "the device is registered already and no replacement was named";
    DEVICE_UNKNOWN = "device.unknown", "no such device is registered";
    DEVICE_FULL = "device.full", "the registry holds as many devices as its limits allow";
    DEVICE_REVOKED = "device.revoked", "the device is revoked";
    DEVICE_CERTIFICATE_IN_USE = "device.certificate_in_use", "the certificate belongs to a device already";
    DEVICE_KEY_IN_USE = "device.key_in_use", "the key belongs to another device";
    ROTATION_OVERLAP = "rotation.overlap", "the overlap of a rotation is zero or over its limit";
    ROTATION_NONE = "rotation.none", "the device is not rotating its certificate";
    REVOCATION_EXISTS = "revocation.exists", "it is revoked already";
    REVOCATION_NONE = "revocation.none", "there is no such revocation to clear";
    REVOCATION_FULL = "revocation.full", "no room to remember another revocation, or to set aside for a new certificate";
    DEVICE_SNAPSHOT_VERSION = "device.snapshot.version", "the stored registry has a form that this version does not read";
    DEVICE_SNAPSHOT_REVOCATIONS = "device.snapshot.revocations", "the stored registry does not have the revocation set that it was taken with";
    DEVICE_SNAPSHOT_COLLISION = "device.snapshot.collision", "two stored devices share an id, a certificate or a key";
    DEVICE_SNAPSHOT_LIMITS = "device.snapshot.limits", "the stored registry is over the limits";
}
