//! ACME state in the data folder: a folder per authority directory, with account, history of orders, and one file per
//! name with both key and chain, so that the two always match.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use rustls::crypto::CryptoProvider;
use tracing::warn;

use super::{KeptAccount, Store, authority_name};
use crate::acme::held::{HeldByName, IssuedCertificate};
use crate::acme::schedule::Books;
use devanture_base::durable;
use devanture_serve::tls::Error;

const ACCOUNT_FILE: &str = "account.json";
const BOOKS_FILE: &str = "orders.json";
/// Folder of the certificates, within the directory's folder.
const CERTIFICATES: &str = "certificates";
const ENDING: &str = ".pem";
/// All files contain keys or account data, and are readable only by the edge.
const MODE: u32 = 0o600;
/// Longest name used as file name: with the suffix of a temporary file, at most 255 bytes.
const NAME_BYTES_MAX: usize = 200;

/// Folder of one directory.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
    provider: Arc<CryptoProvider>,
}

impl Folder {
    /// Opens the folder of `directory` below `parent`.
    pub(crate) fn open(parent: &Path, directory: &str, provider: Arc<CryptoProvider>) -> Result<Self, Error> {
        let folder = Self { path: parent.join(authority_name(directory)), provider };
        let certificates = folder.path.join(CERTIFICATES);
        durable::make_folder(&certificates)?;
        durable::remove_abandoned(&certificates, |name| name.starts_with('.') && name.ends_with(".tmp"))?;
        Ok(folder)
    }

    /// Reads all certificates. An unreadable certificate is reported and kept; a new one will be ordered.
    pub(crate) fn read_certificates(&self) -> Result<HeldByName, Error> {
        let certificates = self.path.join(CERTIFICATES);
        let unreadable = |source| Error::Read { path: certificates.clone(), source };
        let mut held = HeldByName::new();
        for entry in std::fs::read_dir(&certificates).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if !path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ENDING)) {
                continue;
            }
            match self.read_certificate(&path) {
                Ok((name, certificate)) if path == self.path_of(&name) => {
                    held.insert(name.into(), Arc::new(certificate));
                }
                Ok((name, _)) => warn!(path = %path.display(), name, "a certificate lies under another name's"),
                Err(error) => warn!(%error, "a certificate that was kept cannot be used"),
            }
        }
        Ok(held)
    }

    fn read_certificate(&self, path: &Path) -> Result<(String, IssuedCertificate), Error> {
        let pem = std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        IssuedCertificate::read(path, &pem, &self.provider)
    }

    /// As [`Store::account`].
    pub(crate) fn read_account(&self) -> Result<Option<KeptAccount>, Error> {
        let path = self.path.join(ACCOUNT_FILE);
        let Some(text) = read(&path)? else { return Ok(None) };
        let account = serde_json::from_str(&text);
        account.map(Some).map_err(|error| Error::Acme { path, reason: error.to_string() })
    }

    fn read_books(&self) -> Books {
        let path = self.path.join(BOOKS_FILE);
        let books = match read(&path) {
            Ok(None) => return Books::default(),
            Ok(Some(text)) => serde_json::from_str(&text).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        books.unwrap_or_else(|error| {
            warn!(path = %path.display(), error, "what is known of earlier orders cannot be read");
            Books::default()
        })
    }

    /// Writes a value as JSON to a file.
    async fn write<T: serde::Serialize>(&self, file: &'static str, value: &T) -> Result<(), Error> {
        let path = self.path.join(file);
        let text =
            serde_json::to_vec(value).map_err(|error| Error::Acme { path: path.clone(), reason: error.to_string() })?;
        self.blocking(move |_folder| Ok(durable::write_file(&path, &text, MODE)?)).await
    }

    /// Runs blocking disk work.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let folder = self.clone();
        let lost = |error| Error::Read { path: self.path.clone(), source: std::io::Error::other(error) };
        tokio::task::spawn_blocking(move || work(&folder)).await.map_err(lost)?
    }

    /// Returns the path of a name's file; long names are shortened.
    fn path_of(&self, name: &str) -> PathBuf {
        let file = match name.len() <= NAME_BYTES_MAX {
            true => format!("{name}{ENDING}"),
            false => format!("{}{ENDING}", blake3::hash(name.as_bytes()).to_hex()),
        };
        self.path.join(CERTIFICATES).join(file)
    }
}

#[async_trait]
impl Store for Folder {
    async fn account(&self) -> Result<Option<KeptAccount>, Error> {
        self.blocking(Self::read_account).await
    }

    async fn keep_account(&self, account: &KeptAccount) -> Result<(), Error> {
        self.write(ACCOUNT_FILE, account).await
    }

    async fn remove_account(&self) -> Result<(), Error> {
        self.blocking(|folder| {
            durable::remove_file(&folder.path.join(ACCOUNT_FILE))?;
            Ok(durable::sync_folder(&folder.path)?)
        })
        .await
    }

    async fn books(&self) -> Books {
        self.blocking(|folder| Ok(folder.read_books())).await.unwrap_or_default()
    }

    async fn keep_books(&self, books: &Books) -> Result<(), Error> {
        self.write(BOOKS_FILE, books).await
    }

    async fn keep_certificate(&self, name: &str, pem: &str) -> Result<(), Error> {
        let (path, pem) = (self.path_of(name), pem.to_owned());
        self.blocking(move |_folder| Ok(durable::write_file(&path, pem.as_bytes(), MODE)?)).await
    }

    /// The predecessor edge continues to order until drained.
    async fn kept(&self, name: &str) -> Option<IssuedCertificate> {
        let path = self.path_of(name);
        let (found, held) = self.blocking(move |folder| folder.read_certificate(&path)).await.ok()?;
        (found == name).then_some(held)
    }

    async fn remove_certificate(&self, name: &str) -> Result<(), Error> {
        let path = self.path_of(name);
        self.blocking(move |_folder| Ok(durable::remove_file(&path).map(drop)?)).await
    }
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::acme::held::pem_of;
    use devanture_serve::tls::provider;

    const DIRECTORY: &str = "https://acme.example.org:14000/dir";

    #[expect(clippy::disallowed_methods, reason = "what somebody else put there")]
    fn write(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
    }

    #[tokio::test]
    async fn what_is_kept_is_there_after_a_restart_and_is_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder::open(folder.path(), DIRECTORY, provider()).unwrap();
        let long = format!("{}.{}.{}.{}.example", "a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(60));
        for name in ["a.example", long.as_str()] {
            store.keep_certificate(name, &pem_of(&[name])).await.unwrap();
            let mode = std::fs::metadata(store.path_of(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        write(&store.path.join(CERTIFICATES).join("broken.pem"), "nothing");
        write(&store.path.join(CERTIFICATES).join("b.example.pem"), &pem_of(&["c.example"]));
        let store = Folder::open(folder.path(), DIRECTORY, provider()).unwrap();
        let held = store.read_certificates().unwrap();
        let mut names: Vec<&str> = held.keys().map(AsRef::as_ref).collect();
        names.sort_unstable();
        assert_eq!(names, ["a.example", &long]);
        assert!(store.kept("a.example").await.is_some() && store.kept(&long).await.is_some());
        for name in ["b.example", "broken", "d.example"] {
            assert!(store.kept(name).await.is_none(), "{name}");
        }
        let other = Folder::open(folder.path(), "https://acme.example.org/other", provider()).unwrap();
        assert!(other.read_certificates().unwrap().is_empty(), "one authority's certificates are not another's");
    }

    #[tokio::test]
    async fn books_that_cannot_be_read_are_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder::open(folder.path(), DIRECTORY, provider()).unwrap();
        write(&store.path.join(BOOKS_FILE), "{");
        assert_eq!(store.books().await.failures("a"), 0);
        write(&store.path.join(ACCOUNT_FILE), "{");
        assert!(store.account().await.is_err(), "an account is not given up so easily");
    }
}
