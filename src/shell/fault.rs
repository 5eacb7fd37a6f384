//! What the system said of a store that could not be read or written.

use alloc::string::String;
use core::fmt;

/// What the system said when a store could not be read or written: on which file, and what kind of error it was.
///
/// For people, and for whoever has to tell a full disk from missing rights. What to do is for the error to say that
/// carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreFault {
    said: String,
    #[cfg(feature = "std")]
    kind: std::io::ErrorKind,
}

impl StoreFault {
    /// A fault of a store that is no file, in its own words.
    #[cfg(not(feature = "std"))]
    pub const fn new(said: String) -> Self {
        Self { said }
    }

    /// A fault of a store that is no file, in its own words.
    #[cfg(feature = "std")]
    pub const fn new(said: String) -> Self {
        Self { said, kind: std::io::ErrorKind::Other }
    }

    /// The kind of the system's error; [`Other`](std::io::ErrorKind::Other) where it was not the system that said so.
    #[cfg(feature = "std")]
    pub const fn kind(&self) -> std::io::ErrorKind {
        self.kind
    }
}

#[cfg(feature = "std")]
impl From<&std::io::Error> for StoreFault {
    fn from(error: &std::io::Error) -> Self {
        Self { said: alloc::string::ToString::to_string(error), kind: error.kind() }
    }
}

impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

#[cfg(feature = "std")]
pub(super) use named::{at, make_directory};

#[cfg(feature = "std")]
mod named {
    use alloc::vec::Vec;
    use std::{
        fmt,
        fs::{self, File},
        io,
        path::{Path, PathBuf},
    };

    /// An error of the system with the path that it was about.
    #[derive(Debug)]
    struct At {
        path: PathBuf,
        error: io::Error,
    }

    impl fmt::Display for At {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}: {}", self.path.display(), self.error)
        }
    }

    impl std::error::Error for At {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.error)
        }
    }

    /// Puts the path into an error, which keeps its kind.
    pub(in crate::shell) fn at(path: &Path) -> impl Fn(io::Error) -> io::Error + use<'_> {
        |error| io::Error::new(error.kind(), At { path: path.to_path_buf(), error })
    }

    /// Where the entry of `path` stands.
    fn parent(path: &Path) -> &Path {
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) => Path::new("."),
            // The root has no entry anywhere.
            None => path,
        }
    }

    /// Makes the directory at `path` and every one above it that is missing, and returns when all of them last. Gives the
    /// directories that were synced for that. One that is there already was perhaps made a moment before a crash, so its
    /// own entry is synced as well.
    pub(in crate::shell) fn make_directory(path: &Path) -> io::Result<Vec<PathBuf>> {
        if path.is_dir() {
            let above = parent(path);
            return match File::open(above).and_then(|directory| directory.sync_all()) {
                Ok(()) => Ok(Vec::from([above.to_path_buf()])),
                // Whoever may not look at the directory above has not made this one in it.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Vec::new()),
                Err(error) => Err(at(above)(error)),
            };
        }
        let mut made = Vec::from([path]);
        while let Some(above) = made.last().map(|last| parent(last))
            && made.last() != Some(&above)
            && !above.is_dir()
        {
            made.push(above);
        }
        let mut synced = Vec::new();
        for path in made.into_iter().rev() {
            match fs::create_dir(path) {
                Err(error) if !path.is_dir() => return Err(at(path)(error)),
                _ => {}
            }
            let above = parent(path);
            File::open(above).and_then(|directory| directory.sync_all()).map_err(at(above))?;
            synced.push(above.to_path_buf());
        }
        Ok(synced)
    }

    #[cfg(test)]
    mod tests {
        use alloc::{format, string::ToString as _};

        use super::*;

        /// Every directory in which an entry was made is synced: otherwise a crash could take what lies below it.
        #[test]
        fn every_parent_of_what_is_made_is_synced() {
            let root = std::env::temp_dir().join(format!("leasehold-make-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            fs::create_dir(&root).unwrap();
            let deep = root.join("a/b/c");
            assert_eq!(make_directory(&deep).unwrap(), [root.clone(), root.join("a"), root.join("a/b")]);
            assert!(deep.is_dir());
            assert_eq!(make_directory(&deep).unwrap(), [root.join("a/b")], "it may be new");
            fs::write(root.join("file"), b"").unwrap();
            let error = make_directory(&root.join("file/below")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "something else has the name");
            assert!(error.to_string().contains("file"), "{error}");
            fs::remove_dir_all(&root).unwrap();
            assert_eq!(parent(Path::new("state")), Path::new("."));
        }
    }
}
