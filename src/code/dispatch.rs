//! Codes of the dispatch part.

use super::codes;

codes! { DISPATCH:
}
