//! Codes of the attestation part.

use super::codes;

codes! { ATTESTATION:
    JSON_STRICT = "json.strict", "the document is strict JSON within the limits";
    JSON_TOO_LARGE = "json.too_large", "a document is over its byte limit";
    JSON_BYTE_ORDER_MARK = "json.byte_order_mark", "a document starts with a byte order mark";
    JSON_UTF8 = "json.utf8", "a document is not UTF-8";
    JSON_GRAMMAR = "json.grammar", "a byte that the grammar of RFC 8259 does not allow there";
    JSON_TRUNCATED = "json.truncated", "a document is empty or ends inside its value";
    JSON_TRAILING = "json.trailing", "bytes follow the value";
    JSON_CONTROL = "json.control", "an unescaped control character in a string";
    JSON_ESCAPE = "json.escape", "an escape that JSON does not have";
    JSON_LONE_SURROGATE = "json.lone_surrogate", "half of a surrogate pair in a string";
    JSON_DUPLICATE_KEY = "json.duplicate_key", "the same key twice in one object, after unescaping";
    JSON_NUMBER_RANGE = "json.number_range", "a number that a double cannot hold finitely";
    JSON_NUMBER_INTEGER = "json.number_integer", "a number that is not an integer within 2^53 - 1, or is minus zero";
    JSON_TOO_DEEP = "json.too_deep", "containers are nested over the limit";
    JSON_TOO_MANY_MEMBERS = "json.too_many_members", "more members and elements than the limit";
    JSON_STRING_TOO_LONG = "json.string_too_long", "a string is over its limit";
    JSON_NOT_AN_OBJECT = "json.not_an_object", "the value at the top is not an object where one is due";
    JSON_SHAPE = "json.shape", "strict JSON that does not have the shape its reader asks for";
    SIGNATURE_KEY_MALFORMED = "signature.key.malformed", "a public key is not in the one encoding of its algorithm, or no point of its curve";
    SIGNATURE_KEY_WEAK = "signature.key.weak", "a public key has signatures that hold for any message";
    SIGNATURE_KEY_LABEL = "signature.key.label", "a key id or a key's owner is empty, too long, or has control characters";
    SIGNATURE_UNSUPPORTED_ALGORITHM = "signature.unsupported_algorithm", "this build has no back end for the key's algorithm";
    SIGNATURE_SIGNER_FAILED = "signature.signer_failed", "a signer gave no signature";
    DSSE_VERIFIED = "dsse.verified", "enough distinct trusted owners signed the envelope's payload";
    DSSE_BASE64 = "dsse.base64", "a payload or signature is not padded base64 in one alphabet";
    DSSE_NO_SIGNATURES = "dsse.no_signatures", "an envelope has no signature";
    DSSE_TOO_MANY_SIGNATURES = "dsse.too_many_signatures", "an envelope has more signatures than the limit";
    DSSE_PAYLOAD_TYPE = "dsse.payload_type", "a payload type is over its bound, or not the one that is due";
    DSSE_UNTRUSTED = "dsse.untrusted", "no signature is one of a trusted key over this payload and type";
    DSSE_THRESHOLD = "dsse.threshold", "fewer distinct keys of distinct owners signed than the threshold";
    DSSE_ROOT_EMPTY = "dsse.root.empty", "a trust root has no key";
    DSSE_ROOT_TOO_MANY_KEYS = "dsse.root.too_many_keys", "a trust root is over its bound";
    DSSE_ROOT_THRESHOLD = "dsse.root.threshold", "a threshold is 0 or more than the owners can reach";
    DSSE_ROOT_CONFLICT = "dsse.root.conflict", "one key is listed for two owners";
    VERSION_MALFORMED = "version.malformed", "a version, an interface or a range of versions is not of its one form";
    STATEMENT_TYPE = "statement.type", "a statement's _type is not that of in-toto Statement v1";
    STATEMENT_SUBJECT = "statement.subject", "a statement has no subject, or one without a digest";
    STATEMENT_PREDICATE_TYPE = "statement.predicate_type", "a statement's predicate is of an unknown type or major version";
    EVIDENCE_VERSION = "evidence.version", "a plain document states another version, or none";
    EVIDENCE_SUBJECTS = "evidence.subjects", "the subjects are not image, build and artifact, each at most once";
    EVIDENCE_REPEATED = "evidence.repeated", "a predicate repeats members that belong to the subjects or the statement";
    NONCE_MALFORMED = "nonce.malformed", "the bytes do not have the length of a nonce";
    NONCE_FORGED = "nonce.forged", "not a nonce that this coordinator made for this device, certificate, fleet and role";
    NONCE_EPOCH = "nonce.epoch", "a nonce of another epoch";
    NONCE_EXPIRED = "nonce.expired", "a nonce's time is over";
    NONCE_FUTURE = "nonce.future", "a nonce was issued after now";
}
