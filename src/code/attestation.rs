//! Codes of the attestation part.

use super::codes;

codes! { ATTESTATION:
}
