//! The artifact store: a directory of files named by the SHA-256 of their bytes.
//!
//! Inputs and outputs travel through it, so a frame carries digests and never contents. Whoever reads an artifact
//! checks it against its name, so the store itself need not be trusted.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use leasehold::digest::Sha256Digest;

use crate::{Failure, jobs::MAX_INPUT};

/// A store in a directory.
#[derive(Clone)]
pub struct Store(PathBuf);

impl Store {
    /// The store in `directory`, which must exist.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    fn path(&self, digest: &Sha256Digest) -> PathBuf {
        self.0.join(digest.to_string())
    }

    /// Keeps `bytes` and gives their name.
    pub fn put(&self, bytes: &[u8]) -> Result<Sha256Digest, Failure> {
        let digest = Sha256Digest::of(bytes);
        let path = self.path(&digest);
        if !path.exists() {
            // Renamed into place, so that no reader sees half a file. Processes and threads write at once, hence
            // the two numbers.
            let part = self.0.join(format!("part-{}-{:?}", std::process::id(), std::thread::current().id()));
            let mut file = fs::File::create(&part)?;
            file.write_all(bytes)?;
            drop(file);
            fs::rename(&part, &path)?;
        }
        Ok(digest)
    }

    /// Keeps the bytes of a file.
    pub fn put_file(&self, path: &Path) -> Result<(Sha256Digest, u64), Failure> {
        let bytes = fs::read(path)?;
        Ok((self.put(&bytes)?, bytes.len() as u64))
    }

    /// The bytes named `digest`, checked.
    pub fn get(&self, digest: &Sha256Digest) -> Result<Vec<u8>, Failure> {
        let path = self.path(digest);
        if path.metadata()?.len() > MAX_INPUT {
            return Err(Failure::new("an artifact is over 64 MiB"));
        }
        let bytes = fs::read(path)?;
        if Sha256Digest::of(&bytes) == *digest {
            Ok(bytes)
        } else {
            Err(Failure::new(format!("artifact {digest} holds other bytes than its name says")))
        }
    }
}
