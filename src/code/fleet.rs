//! Codes of the fleet part.

use super::codes;

codes! { FLEET:
}
