//! Files that decide who gets out, or hold secrets: read only where nobody else could have written or read them.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::Path,
    time::SystemTime,
};

/// The most bytes of such a file.
const MOST: u64 = 16 << 20;

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(Option<(SystemTime, u64, u64)>);

/// The stamp of the file at `path`; one of its own where there is none.
pub fn stamp(path: &Path) -> Stamp {
    Stamp(
        fs::metadata(path).ok().and_then(|facts| Some((facts.modified().ok()?, facts.len(), inode(&facts)))),
    )
}

#[cfg(unix)]
fn inode(facts: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(facts)
}

#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> u64 {
    0
}

/// Reads a file that only its owner can read and write, and whose owner is who runs this.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |why: &dyn ToString| format!("{}: {}", path.display(), why.to_string());
    let mut file = File::open(path).map_err(|error| failed(&error))?;
    // Of the file that is open, not of whatever stands at that path a moment later.
    let facts = file.metadata().map_err(|error| failed(&error))?;
    check(&facts).map_err(|why| failed(&why))?;
    let mut bytes = Vec::new();
    (&mut file).take(MOST + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() as u64 > MOST { Err(failed(&"over 16 MiB")) } else { Ok(bytes) }
}

#[cfg(unix)]
fn check(facts: &fs::Metadata) -> Result<(), &'static str> {
    use std::os::unix::fs::MetadataExt as _;
    if !facts.is_file() || facts.mode() & 0o077 != 0 {
        return Err("others can read or write it; `chmod 600` it");
    }
    // The owner of this process, as the system says it.
    match fs::metadata("/proc/self").map(|own| own.uid()) {
        Ok(own) if own == facts.uid() || facts.uid() == 0 => Ok(()),
        Ok(_) => Err("it is not yours"),
        Err(_) => Err("this system does not say who runs this process"),
    }
}

#[cfg(not(unix))]
fn check(_: &fs::Metadata) -> Result<(), &'static str> {
    Err("this system does not say who else can read it")
}

/// Puts `bytes` in the place of the file at `path`, whole or not at all, for its owner only.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let beside = path.with_extension(format!("new-{}", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    written.map_err(|error| {
        let _ = fs::remove_file(&beside);
        format!("{}: {error}", path.display())
    })
}
