//! Codes of the egress part.

use super::codes;

codes! { EGRESS:
}
