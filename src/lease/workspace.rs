//! Workspace scopes: which part of a workspace a lease opens, as validated relative paths that cannot leave
//! it.

use alloc::{string::String, sync::Arc, vec::Vec};
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::code::{self, Code, Coded};

/// The longest relative path, in bytes.
pub const MAX_PATH_BYTES: usize = 512;
/// How many components a relative path has at most.
pub const MAX_PATH_DEPTH: usize = 32;
/// How many paths a scope has at most.
pub const MAX_SCOPE_PATHS: usize = 64;

/// Why a text is not a relative path, or why paths are not a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkspaceError {
    /// The path is empty, absolute, or has an empty component.
    #[error("a workspace path is relative and has no empty component")]
    NotRelative,
    /// A component is `.` or `..`.
    #[error("a workspace path has no `.` or `..` component")]
    Climbs,
    /// A byte is not printable ASCII, or is one of `\ : * ? " < > |`, which some file systems interpret.
    #[error("byte {0} is not allowed in a workspace path")]
    Byte(usize),
    /// The path exceeds [`MAX_PATH_BYTES`] or [`MAX_PATH_DEPTH`].
    #[error("a workspace path has at most {MAX_PATH_BYTES} bytes and {MAX_PATH_DEPTH} components")]
    TooLong,
    /// The scope has more than [`MAX_SCOPE_PATHS`] paths.
    #[error("a workspace scope has at most {MAX_SCOPE_PATHS} paths")]
    TooMany,
    /// The scope has no path. A scope that opens nothing is a mistake.
    #[error("a workspace scope names at least one path")]
    Empty,
}

impl Coded for WorkspaceError {
    fn code(&self) -> Code {
        match self {
            Self::TooMany => code::WORKSPACE_TOO_MANY,
            Self::Empty => code::WORKSPACE_EMPTY,
            Self::TooLong => code::WORKSPACE_TOO_LONG,
            Self::NotRelative | Self::Climbs | Self::Byte(_) => code::WORKSPACE_ESCAPE,
        }
    }
}

/// A path below a root: `/`-separated, printable ASCII, without `.` and `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePath(Arc<str>);

impl RelativePath {
    /// Parses a path.
    ///
    /// ```
    /// use leasehold::lease::RelativePath;
    /// assert!(RelativePath::new("out/report.txt").is_ok());
    /// for escape in ["/", "/etc", "../../etc", "a/../b", "a//b", "a\\b", ""] {
    ///     assert!(RelativePath::new(escape).is_err());
    /// }
    /// ```
    ///
    /// # Errors
    /// [`WorkspaceError`], with the code `workspace.escape` for anything that could name a place outside of
    /// the root.
    pub fn new(text: &str) -> Result<Self, WorkspaceError> {
        if text.len() > MAX_PATH_BYTES || text.split('/').count() > MAX_PATH_DEPTH {
            return Err(WorkspaceError::TooLong);
        }
        if let Some(at) = text.bytes().position(|b| !(b' '..=b'~').contains(&b) || b"\\:*?\"<>|".contains(&b))
        {
            return Err(WorkspaceError::Byte(at));
        }
        for component in text.split('/') {
            match component {
                "" => return Err(WorkspaceError::NotRelative),
                "." | ".." => return Err(WorkspaceError::Climbs),
                _ => {}
            }
        }
        Ok(Self(Arc::from(text)))
    }

    /// The path's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this path is `directory` or lies below it.
    pub fn is_within(&self, directory: &Self) -> bool {
        self.0.strip_prefix(directory.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Serialize for RelativePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RelativePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// The part of a workspace that a lease opens: a root, and the paths below it that the run may touch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WorkspaceForm", into = "WorkspaceForm")]
pub struct WorkspaceScope {
    root: RelativePath,
    allowed: Vec<RelativePath>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkspaceForm {
    root: RelativePath,
    allowed: Vec<RelativePath>,
}

impl TryFrom<WorkspaceForm> for WorkspaceScope {
    type Error = WorkspaceError;
    fn try_from(form: WorkspaceForm) -> Result<Self, WorkspaceError> {
        Self::new(form.root, form.allowed)
    }
}

impl From<WorkspaceScope> for WorkspaceForm {
    fn from(scope: WorkspaceScope) -> Self {
        Self { root: scope.root, allowed: scope.allowed }
    }
}

impl WorkspaceScope {
    /// The scope that opens `allowed` below `root`.
    ///
    /// # Errors
    /// [`WorkspaceError::Empty`] and [`WorkspaceError::TooMany`].
    pub fn new(
        root: RelativePath,
        allowed: impl IntoIterator<Item = RelativePath>,
    ) -> Result<Self, WorkspaceError> {
        let mut allowed: Vec<_> = allowed.into_iter().collect();
        allowed.sort_unstable();
        allowed.dedup();
        match allowed.len() {
            0 => Err(WorkspaceError::Empty),
            1..=MAX_SCOPE_PATHS => Ok(Self { root, allowed }),
            _ => Err(WorkspaceError::TooMany),
        }
    }

    /// The root, relative to the directory in which the worker keeps workspaces.
    pub fn root(&self) -> &RelativePath {
        &self.root
    }

    /// The paths below the root that the run may touch.
    pub fn allowed(&self) -> &[RelativePath] {
        &self.allowed
    }

    /// Whether the run may touch `path`, which is relative to the root.
    pub fn permits(&self, path: &RelativePath) -> bool {
        self.allowed.iter().any(|allowed| path.is_within(allowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack F18: no text that could leave the root is a path.
    #[test]
    fn f18_no_path_climbs_out() {
        let cases = [
            ("/", code::WORKSPACE_ESCAPE),
            ("/etc", code::WORKSPACE_ESCAPE),
            ("../../etc", code::WORKSPACE_ESCAPE),
            ("a/../../b", code::WORKSPACE_ESCAPE),
            ("a/./b", code::WORKSPACE_ESCAPE),
            ("a//b", code::WORKSPACE_ESCAPE),
            ("a/", code::WORKSPACE_ESCAPE),
            ("", code::WORKSPACE_ESCAPE),
            ("c:", code::WORKSPACE_ESCAPE),
            ("a\\..\\b", code::WORKSPACE_ESCAPE),
            ("a\0b", code::WORKSPACE_ESCAPE),
            ("\u{e9}", code::WORKSPACE_ESCAPE),
            (&"a/".repeat(40), code::WORKSPACE_TOO_LONG),
        ];
        for (text, want) in cases {
            assert_eq!(RelativePath::new(text).unwrap_err().code(), want, "{text}");
        }
    }

    #[test]
    fn a_scope_permits_what_lies_below_its_paths_at_a_component_boundary() {
        let path = |text| RelativePath::new(text).unwrap();
        let scope = WorkspaceScope::new(path("run"), [path("out")]).unwrap();
        assert!(scope.permits(&path("out")));
        assert!(scope.permits(&path("out/a.txt")));
        assert!(!scope.permits(&path("output")));
        assert!(!scope.permits(&path("in")));
        assert_eq!(WorkspaceScope::new(path("run"), []).unwrap_err(), WorkspaceError::Empty);
    }
}
