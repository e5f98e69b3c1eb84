//! The store of a login, or of the result of an identity token's exchange, between two commands: a small file that only
//! its owner can read.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use devanture_project::dotenv;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::platform::{is_private, make_private_folder, private};
use crate::settings::{EdgeAccess, IdentityAccess, LoginAccess, PersonAccess};

/// Upper bound of bytes of the file.
const BYTES_MAX: u64 = 64 * 1024;
/// Longest wait for the exchange of a concurrent command, …
const LOCK_TIME_MAX: Duration = Duration::from_secs(20);
/// … and the interval of checks for its end.
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// The file of one login.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    name: String,
}

impl Store {
    /// Returns the file for a login with these settings; `None` without a state folder.
    pub(crate) fn of(access: &EdgeAccess, login: &LoginAccess) -> Option<Self> {
        let folder = login.state_folder.clone()?;
        let place = match login.is_trusted {
            true => PathBuf::from("environment"),
            false => std::env::current_dir().ok()?.join(dotenv::FILE_NAME),
        };
        Self::at(folder, access, &[login.name.as_bytes(), place.as_os_str().as_encoded_bytes()])
    }

    /// Returns the file for an identity token, named by a hash of the token; `None` without a state folder.
    pub(crate) fn of_identity(access: &EdgeAccess, identity: &IdentityAccess, token: &str) -> Option<Self> {
        let folder = identity.state_folder.clone()?;
        // Independent of the token's environment: the exchange is done once.
        let parts = ["identity", identity.app.as_str(), token];
        Self::at(folder, access, &parts.map(str::as_bytes))
    }

    /// Returns the file for the logins of people at the provider of this edge.
    pub(crate) fn of_person(access: &EdgeAccess, person: &PersonAccess) -> Option<Self> {
        Self::at(person.state_folder.clone(), access, &[b"person"])
    }

    /// Returns the file for these parts, at this edge.
    fn at(folder: PathBuf, access: &EdgeAccess, parts: &[&[u8]]) -> Option<Self> {
        // A different CA may belong to an eavesdropper.
        let ca = match &access.ca {
            Some(path) => std::fs::read(path).ok()?,
            None => Vec::new(),
        };
        let mut hasher = blake3::Hasher::new();
        for part in [access.url.as_str().as_bytes()].into_iter().chain(parts.iter().copied()).chain([&*ca]) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let name: String = hasher.finalize().to_hex().chars().take(32).collect();
        Some(Self { folder, name })
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.name))
    }

    /// Returns the stored session; `None` if the file cannot be read, or could be read by other users.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Option<T> {
        let file = File::open(self.path("json")).ok()?;
        if !is_private(&file) {
            return None;
        }
        let mut text = String::new();
        file.take(BYTES_MAX).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Stores `session`, whole or not at all. Returns true if stored; an unwritable folder is not a failure.
    pub(crate) fn write(&self, session: &impl Serialize) -> bool {
        self.try_write(session).is_ok()
    }

    #[expect(clippy::disallowed_methods, reason = "the law about writes is the edge's; this file can be lost")]
    fn try_write(&self, session: &impl Serialize) -> std::io::Result<()> {
        make_private_folder(&self.folder)?;
        let new = self.path(&format!("{}.new", std::process::id()));
        std::fs::remove_file(&new).ok();
        let written = private(OpenOptions::new().write(true).create_new(true)).open(&new).and_then(|mut file| {
            file.write_all(&serde_json::to_vec(session)?)?;
            std::fs::rename(&new, self.path("json"))
        });
        if written.is_err() {
            std::fs::remove_file(&new).ok();
        }
        written
    }

    /// Removes the stored session.
    pub(crate) fn remove(&self) {
        std::fs::remove_file(self.path("json")).ok();
    }

    /// Waits for the lock against concurrent exchanges of the same login; `None` if locking fails, or takes too long.
    pub(crate) async fn lock(&self) -> Option<File> {
        make_private_folder(&self.folder).ok()?;
        let path = self.path("lock");
        let file = private(OpenOptions::new().write(true).create(true).truncate(false)).open(path).ok()?;
        let until = tokio::time::Instant::now() + LOCK_TIME_MAX;
        loop {
            match file.try_lock() {
                Ok(()) => return Some(file),
                Err(TryLockError::WouldBlock) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(LOCK_PAUSE).await;
                }
                Err(_) => return None,
            }
        }
    }
}
