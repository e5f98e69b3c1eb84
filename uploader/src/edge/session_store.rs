//! Where a login, or what an identity token was exchanged for, is kept between two commands: one small file that only
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

/// Most bytes of such a file.
const BYTES_MAX: u64 = 64 * 1024;
/// Longest wait for another command's exchange, …
const LOCK_TIME_MAX: Duration = Duration::from_secs(20);
/// … and how often it is looked whether it is over.
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// The file of one login.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    name: String,
}

impl Store {
    /// The file for a login by these settings; `None` if there is no folder for it.
    pub(crate) fn of(access: &EdgeAccess, login: &LoginAccess) -> Option<Self> {
        let folder = login.state_folder.clone()?;
        let place = match login.is_trusted {
            true => PathBuf::from("environment"),
            false => std::env::current_dir().ok()?.join(dotenv::FILE_NAME),
        };
        Self::at(folder, access, &[login.name.as_bytes(), place.as_os_str().as_encoded_bytes()])
    }

    /// The file for an identity token, of which its name holds a hash alone; `None` if there is no folder for it.
    pub(crate) fn of_identity(access: &EdgeAccess, identity: &IdentityAccess, token: &str) -> Option<Self> {
        let folder = identity.state_folder.clone()?;
        // Whatever environment it was exchanged for: that is done once.
        let parts = ["identity", identity.app.as_str(), token];
        Self::at(folder, access, &parts.map(str::as_bytes))
    }

    /// The file for the logins of people at the provider of this edge.
    pub(crate) fn of_person(access: &EdgeAccess, person: &PersonAccess) -> Option<Self> {
        Self::at(person.state_folder.clone(), access, &[b"person"])
    }

    /// The file for what these parts say, at this edge.
    fn at(folder: PathBuf, access: &EdgeAccess, parts: &[&[u8]]) -> Option<Self> {
        // Another CA may be somebody who listens in.
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

    /// The stored session; `None` if it cannot be read, or could be read by others.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Option<T> {
        let file = File::open(self.path("json")).ok()?;
        if !is_private(&file) {
            return None;
        }
        let mut text = String::new();
        file.take(BYTES_MAX).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Keeps `session`, whole or not at all. Says whether it is kept; a folder that cannot be written is no failure.
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

    /// Keeps nothing any more.
    pub(crate) fn remove(&self) {
        std::fs::remove_file(self.path("json")).ok();
    }

    /// Waits until no other command exchanges the same login; `None` if that cannot be locked, or takes too long.
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
