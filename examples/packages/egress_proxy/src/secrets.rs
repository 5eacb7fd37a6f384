//! Secrets from a file: a JSON object from reference to value. A vault of one's own takes its place.

use std::{collections::BTreeMap, path::Path};

use leasehold::{
    attestation::strict::{self, Limits},
    egress::{Secret, SecretError, SecretStore},
    lease::SecretRef,
};

/// The secrets of a file. Each is checked and wiped by the library's own type.
pub struct FileSecrets(BTreeMap<SecretRef, Secret>);

impl FileSecrets {
    /// The secrets of the file at `path`, or none.
    pub fn open(path: Option<&Path>) -> Result<Self, String> {
        let Some(path) = path else { return Ok(Self(BTreeMap::new())) };
        let bytes = crate::files::read(path)?;
        // No error of a parser may quote the file.
        let document: BTreeMap<String, String> = strict::read(&bytes, &Limits::GENERAL)
            .map_err(|_| format!("{}: not a JSON object of secrets by reference", path.display()))?;
        let mut secrets = BTreeMap::new();
        for (reference, value) in document {
            let reference = SecretRef::new(&reference).map_err(|error| error.to_string())?;
            let secret = Secret::new(value.into_bytes()).map_err(|error| format!("{reference}: {error}"))?;
            secrets.insert(reference, secret);
        }
        Ok(Self(secrets))
    }
}

impl SecretStore for FileSecrets {
    fn secret(&self, reference: &SecretRef) -> Result<Option<Secret>, SecretError> {
        self.0.get(reference).map(|held| Secret::new(held.expose().to_vec())).transpose()
    }
}
