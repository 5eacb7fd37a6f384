//! Stable codes: those of the core, and those of this package beside them.

use std::fmt;

/// Why something was refused or stopped, in a form that stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub &'static str);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl From<leasehold::code::Code> for Code {
    fn from(code: leasehold::code::Code) -> Self {
        Self(code.as_str())
    }
}
