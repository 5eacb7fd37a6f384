//! Codes of the placement part.

use super::codes;

codes! { PLACEMENT:
}
