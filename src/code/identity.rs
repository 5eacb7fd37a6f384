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
    ENTROPY_UNAVAILABLE = "entropy.unavailable", "the entropy source gave no bytes";
    PAIRING_POLICY = "pairing.policy", "a field of a pairing policy is out of range";
    PAIRING_MALFORMED = "pairing.malformed", "the bytes are not a pairing message within its limits";
    PAIRING_VERSION = "pairing.version", "no version of the pairing handshake is common to both sides";
    PAIRING_UNKNOWN = "pairing.unknown", "no such pairing session is open or remembered";
    PAIRING_METHOD = "pairing.method", "the pairing session has another method";
    PAIRING_ORDER = "pairing.order", "a pairing message does not fit where the session stands";
    PAIRING_EXPIRED = "pairing.expired", "the pairing session is past its time";
    PAIRING_LOCKED = "pairing.locked", "every attempt of the pairing session was used";
    PAIRING_ENDED = "pairing.ended", "the pairing session has ended and does not come back";
    PAIRING_RATE = "pairing.rate", "too many pairing exchanges are being started";
    PAIRING_SESSIONS = "pairing.sessions", "there are as many pairing sessions as the policy allows";
    PAIRING_NO_PAKE = "pairing.no_pake", "a PIN needs a PAKE provider and there is none";
    PAIRING_PAKE = "pairing.pake", "the key exchange under a PIN failed";
    PAIRING_CONFIRMATION = "pairing.confirmation", "the other side did not prove the code over the same transcript";
    PAIRING_CHANNEL = "pairing.channel", "the channel has another certificate than the pairing";
    PAIRING_CONFLICT = "pairing.conflict", "the pairing session belongs to another key";
    PAIRING_WRONG_DEVICE = "pairing.wrong_device", "the pairing session is not for this device";
    PAIRING_APPROVAL = "pairing.approval", "what is approved is not what was confirmed";
    PAIRING_APPROVAL_EXPIRED = "pairing.approval_expired", "the approval of a pairing is past its time";
    PAIRING_NOT_COMPARED = "pairing.not_compared", "the comparison digits were not confirmed on the device";
    PAIRING_WRONG_KEY = "pairing.wrong_key", "the issued certificate is for another key than was requested";
    PAIRING_SECRET_LOST = "pairing.secret_lost", "a pairing code did not survive a restart, because codes are never stored";
    PAIRING_BAD_CODE = "pairing.bad_code", "the text is not a pairing code";
    PAIRING_SNAPSHOT = "pairing.snapshot", "the stored pairing sessions are inconsistent or over the limits";
    ISSUE_REQUEST = "issue.request", "the certificate authority does not sign such a request";
    ISSUE_UNAVAILABLE = "issue.unavailable", "the certificate authority could not be asked";
}
