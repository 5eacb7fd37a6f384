//! Codes of the identity part.

use super::codes;

codes! { IDENTITY:
}
