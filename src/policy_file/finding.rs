//! What is wrong or unwise in a policy file, for the person who has to change it.

use alloc::{boxed::Box, string::String};
use core::fmt;

use crate::code::{Code, Coded};

/// One thing that is wrong in a policy file, or legal and unwise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    pub(super) code: Code,
    /// The line in the file, from 1.
    pub line: u32,
    /// The column in the line, in characters, from 1.
    pub column: u32,
    /// The member, such as `rules[2].hosts[0]`; empty for the whole file.
    pub path: String,
    /// The id of the rule that the member is in, where it is in one and the rule has an id.
    pub rule: Option<Box<str>>,
    /// What stands there, at most 60 characters of it, where it is a single value.
    pub value: Option<Box<str>>,
    /// What is wrong, or what was due.
    pub message: String,
    /// A likely fix.
    pub help: Option<Box<str>>,
}

impl Finding {
    /// A warning is about a member as a whole.
    pub(super) fn without_value(mut self) -> Self {
        self.value = None;
        self
    }
}

impl Coded for Finding {
    fn code(&self) -> Code {
        self.code
    }
}

impl core::error::Error for Finding {}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}", self.path)?;
            if let Some(rule) = &self.rule {
                write!(f, " (rule `{rule}`)")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)?;
        if let Some(value) = &self.value {
            write!(f, "; it is {value}")?;
        }
        write!(f, " [{}]", self.code)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

/// Line and column of an offset, both from 1; columns count characters.
pub(super) fn position(text: &str, offset: usize) -> (u32, u32) {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    let line = before.iter().filter(|byte| **byte == b'\n').count();
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1));
    let own = before.get(start..).unwrap_or_default();
    let column = own.iter().filter(|byte| **byte & 0xC0 != 0x80).count();
    // A file has at most 8 MiB.
    let from_one = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1);
    (from_one(line), from_one(column))
}

/// A finding about the text itself.
pub(super) fn bare(code: Code, line: u32, column: u32, message: String) -> Finding {
    let (path, rule, value, help) = (String::new(), None, None, None);
    Finding { code, line, column, path, rule, value, message, help }
}
