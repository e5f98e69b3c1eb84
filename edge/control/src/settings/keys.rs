//! Sealing keys of secrets: a separate file outside the data folder, so a copy of either opens no secret without the
//! other.
//!
//! Each line is a key of 64 hex characters; the last key seals, and all keys open. A key is identified by an id derived
//! from the key, so a second key can be added without touching values sealed by the first. The file is read on every
//! use: no key stays in memory, and a new key takes effect at once.

use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use devanture_config::problem::{Code, Problem};
use rand::RngCore as _;

use crate::ledger::Error;
use devanture_base::durable;
use devanture_serve::live::Opener;
use devanture_store::records::settings::Sealed;

/// Length of a key, in bytes.
const KEY_BYTES: usize = 32;
/// Length of a nonce, in bytes.
const NONCE_BYTES: usize = 12;
/// Length of a key id, in hex characters.
const ID_CHARACTERS: usize = 16;
/// Context for deriving the id of a key.
const ID_CONTEXT: &str = "devanture 2026 id of a key that seals secrets";
/// Maximum size of the file, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Forbidden permission bits of the file for the group and others. Only reading by the group is allowed: orchestrators
/// pass files to a process of another user by group.
const FORBIDDEN_MODE: u32 = 0o037;
/// Header above the first key.
const HEAD: &str = "# Keys that the secrets of Devanture are sealed with. The last line seals, every line opens.\n\
    # Keep a copy of this file, and keep it apart from copies of the data folder.\n";

/// Location of the keys.
#[derive(Debug)]
pub struct KeyFile {
    path: Option<PathBuf>,
    making: parking_lot::Mutex<()>,
    /// Number of times a key was requested for sealing.
    pub(super) uses: AtomicU64,
}

/// Keys of the file with their ids; the last key seals.
pub(crate) struct Keys(Vec<(String, [u8; KEY_BYTES])>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(id, _)| id)).finish()
    }
}

/// Reason why a sealed value cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnsealError {
    /// The bytes are damaged, or were sealed for a different name.
    Damaged,
    /// No key of the file matches the id.
    UnknownKey,
}

impl KeyFile {
    /// Creates a handle to the key file at `path`; with `None`, there can be no key file.
    #[must_use]
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, making: parking_lot::Mutex::default(), uses: AtomicU64::new(0) }
    }

    pub(super) fn path(&self) -> Result<&Path, Error> {
        self.path.as_deref().ok_or_else(|| {
            let detail = "Where the keys of secrets are, is not said, and the data folder has no name of its own.";
            locked(detail).hint("write key_file = \"…\" below [secrets] in edge.toml").into()
        })
    }

    /// Reads the keys; empty if there is no file.
    ///
    /// # Errors
    /// `secrets_locked` if the file cannot be read, is not a key file, or is accessible to others.
    pub(crate) fn read(&self) -> Result<Keys, Error> {
        let path = self.path()?;
        let cannot = |why: String| locked(format!("The keys of secrets in {} cannot be used: {why}.", path.display()));
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Keys(Vec::new())),
            Err(error) => {
                return Err(cannot(error.to_string()).hint("the user of the edge must be able to read it").into());
            }
        };
        let metadata = file.metadata().map_err(|error| cannot(error.to_string()))?;
        if !metadata.is_file() {
            return Err(cannot("it is no file".to_owned()).into());
        }
        let mode = metadata.permissions().mode() & 0o777;
        if mode & FORBIDDEN_MODE != 0 {
            let hint =
                format!("`chmod 600 {}`; anyone who has read it can open the secrets: set them again", path.display());
            return Err(cannot(format!("others may read or change it (its mode is {mode:o})")).hint(hint).into());
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| cannot(error.to_string()))?;
        Keys::parse(&text).map_err(|line| {
            cannot(format!("line {line} is no key")).hint("each line is 64 hex characters, or begins with #").into()
        })
    }

    /// Reads the keys, and creates a key if there is none.
    ///
    /// # Errors
    /// As [`KeyFile::read`], and `secrets_locked` if the file cannot be written; `disk_full` and `disk_unwritable` for
    /// a disk without writable files.
    pub(crate) fn read_or_make(&self) -> Result<Keys, Error> {
        self.uses.fetch_add(1, Ordering::Relaxed);
        let _one_at_a_time = self.making.lock();
        let keys = self.read()?;
        if !keys.0.is_empty() {
            return Ok(keys);
        }
        let path = self.path()?;
        let is_there = path.exists();
        if is_there {
            let detail = format!("The file {} holds no key.", path.display());
            return Err(locked(detail).hint("restore it, or remove it and set every secret again").into());
        }
        let mut key = [0; KEY_BYTES];
        rand::rng().fill_bytes(&mut key);
        let text = format!("{HEAD}{}\n", hex::encode(key));
        durable::write_file(path, text.as_bytes(), durable::FILE_MODE).map_err(|error| not_written(path, error))?;
        tracing::info!(path = %path.display(), "a key for secrets was made: keep a copy of it apart from the data folder");
        self.read()
    }
}

impl KeyFile {
    /// Returns a function that opens values sealed by any of the keys, for modules without access to keys.
    #[must_use]
    pub fn opener(self: &Arc<Self>) -> Opener {
        let keys = Arc::clone(self);
        Box::new(move |context, sealed| match keys.read().map(|keys| keys.open(context, sealed)) {
            Ok(Ok(value)) => Some(value),
            Ok(Err(why)) => {
                tracing::error!(context, ?why, "what is sealed does not open");
                None
            }
            Err(error) => {
                tracing::error!(context, %error, "what is sealed does not open");
                None
            }
        })
    }
}

impl KeyFile {
    /// Creates a key if there is none.
    ///
    /// # Errors
    /// As [`KeyFile::read_or_make`].
    pub fn make_if_missing(&self) -> Result<(), Error> {
        self.read_or_make().map(drop)
    }

    /// Copies the keys of the file `from`. Existing keys must include the sealing key of `from`: secrets sealed by
    /// `from` must open here, too.
    ///
    /// # Errors
    /// `secrets_locked` if a file cannot be read or written, or has different keys.
    pub fn share(&self, from: &Path) -> Result<(), Error> {
        let shared = Self::new(Some(from.to_owned())).read()?;
        let Some((id, _)) = shared.0.last() else {
            let detail = format!("{} holds no key.", from.display());
            return Err(locked(detail).hint("`devanture-edge cluster init` makes it beside the CA").into());
        };
        let (own, path) = (self.read()?, self.path()?);
        if own.has(id) {
            return Ok(());
        }
        if !own.0.is_empty() {
            let detail = format!("{} has other keys than {}.", path.display(), from.display());
            let hint = "append the lines of each to the other, so that every node opens all secrets";
            return Err(locked(detail).hint(hint).into());
        }
        let lines: String = shared.0.iter().map(|(_, key)| format!("{}\n", hex::encode(key))).collect();
        let written = durable::write_file(path, format!("{HEAD}{lines}").as_bytes(), durable::FILE_MODE);
        written.map_err(|error| not_written(path, error))?;
        Ok(())
    }
}

impl KeyFile {
    /// Adds missing keys of the file `from` in front of the own keys, so the sealing key stays the same. Returns the
    /// number of added keys.
    ///
    /// # Errors
    /// `secrets_locked` if a file cannot be read or written.
    pub fn adopt(&self, from: &Path) -> Result<u64, Error> {
        let (theirs, own) = (Self::new(Some(from.to_owned())).read()?, self.read()?);
        let mut missing = theirs.0;
        missing.retain(|(id, _)| !own.has(id));
        let (added, path) = (u64::try_from(missing.len()).unwrap_or(u64::MAX), self.path()?);
        if added == 0 {
            return Ok(0);
        }
        let all = missing.iter().chain(&own.0);
        let lines: String = all.map(|(_, key)| format!("{}\n", hex::encode(key))).collect();
        let written = durable::write_file(path, format!("{HEAD}{lines}").as_bytes(), durable::FILE_MODE);
        written.map_err(|error| not_written(path, error))?;
        Ok(added)
    }
}

impl Keys {
    /// Parses the text of the file; the error is a line number.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut key = [0; KEY_BYTES];
            hex::decode_to_slice(line, &mut key).map_err(|_reason| index + 1)?;
            keys.push((id_of(&key), key));
        }
        Ok(Self(keys))
    }

    /// Returns true if a key has this id.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.0.iter().any(|(own, _)| own == id)
    }

    /// Seals `value`; only the same `context` opens the sealed value.
    ///
    /// # Errors
    /// `secrets_locked`.
    pub(crate) fn seal(&self, context: &str, value: &str) -> Result<Sealed, Error> {
        let failed = || locked("The value cannot be sealed.");
        let (id, key) = self.0.last().ok_or_else(failed)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_reason| failed())?;
        let mut sealed = value.as_bytes().to_vec();
        let nonce = key.seal_in_place_append_tag(Aad::from(context), &mut sealed).map_err(|_reason| failed())?;
        let mut bytes = nonce.as_ref().to_vec();
        bytes.extend_from_slice(&sealed);
        Ok(Sealed::new(id.clone(), &bytes))
    }

    /// Opens a value sealed with `context`.
    ///
    /// # Errors
    /// [`UnsealError`].
    pub(crate) fn open(&self, context: &str, sealed: &Sealed) -> Result<String, UnsealError> {
        let (_, key) = self.0.iter().find(|(id, _)| *id == sealed.key).ok_or(UnsealError::UnknownKey)?;
        let damaged = |_reason| UnsealError::Damaged;
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(damaged)?;
        let mut bytes = sealed.bytes().ok_or(UnsealError::Damaged)?;
        let mut rest = bytes.split_off(NONCE_BYTES);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).map_err(damaged)?;
        let value = key.open_in_place(nonce, Aad::from(context), &mut rest).map_err(damaged)?;
        String::from_utf8(value.to_vec()).map_err(|_reason| UnsealError::Damaged)
    }
}

/// Returns the id of a key. The id identifies the key and reveals no part of the key.
fn id_of(key: &[u8; KEY_BYTES]) -> String {
    let hash = hex::encode(blake3::derive_key(ID_CONTEXT, key));
    hash.get(..ID_CHARACTERS).unwrap_or(&hash).to_owned()
}

/// Returns the error of writing the keys to `path`. A full or failed disk is reported as such, because no other file
/// path would help.
fn not_written(path: &Path, error: durable::Error) -> Error {
    if matches!(error, durable::Error::Full { .. }) || error.is_failed_disk() {
        return error.into();
    }
    let detail = format!("The keys of secrets cannot be written to {}: {error}.", path.display());
    let hint = "let the user of the edge write there, or name another file: `key_file` below [secrets] in edge.toml";
    locked(detail).hint(hint).into()
}

pub(super) fn locked(detail: impl Into<String>) -> Problem {
    Problem::new(Code::SecretsLocked, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_base::durable::fault::{Fault, arm};

    /// Returns the id of the sealing key.
    fn newest(keys: &Keys) -> Option<&str> {
        keys.0.last().map(|(id, _)| id.as_str())
    }
    use proptest::prelude::*;

    fn keys(count: usize) -> Keys {
        let mut text = String::from("# a word\n\n");
        for _ in 0..count {
            let mut key = [0; KEY_BYTES];
            rand::rng().fill_bytes(&mut key);
            text.push_str(&format!("{}\n", hex::encode(key)));
        }
        Keys::parse(&text).unwrap()
    }

    #[test]
    fn a_disk_that_takes_no_key_is_named_and_a_right_that_is_missing_is_a_matter_of_the_file() {
        // ENOSPC, EIO, ENODEV, EROFS, and then EPERM and EACCES.
        for (errno, expected) in [
            (28, Code::DiskFull),
            (5, Code::DiskUnwritable),
            (19, Code::DiskUnwritable),
            (30, Code::DiskUnwritable),
            (1, Code::SecretsLocked),
            (13, Code::SecretsLocked),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let keys = KeyFile::new(Some(folder.path().join("data.key")));
            let refusing = arm(folder.path(), Fault::Refused(errno), 0);
            assert_eq!(keys.read_or_make().unwrap_err().0.code, expected, "{errno}");
            drop(refusing);
            keys.make_if_missing().unwrap();
        }
    }

    proptest! {
        #[test]
        fn opening_undoes_sealing_and_nothing_else_opens(value in ".{0,40}", at in 0usize..1000, bit in 0u8..8) {
            let keys = keys(1);
            let sealed = keys.seal("shop prod KEY 1", &value).unwrap();
            prop_assert_eq!(keys.open("shop prod KEY 1", &sealed).unwrap(), value.clone());
            // Fails for a different name, a different key, a flipped bit, or truncated bytes.
            prop_assert_eq!(keys.open("shop prod OTHER 1", &sealed), Err(UnsealError::Damaged));
            let other = self::keys(1);
            prop_assert_eq!(other.open("shop prod KEY 1", &sealed), Err(UnsealError::UnknownKey));
            let disguised = Sealed { key: newest(&other).unwrap().to_owned(), ..sealed.clone() };
            prop_assert_eq!(other.open("shop prod KEY 1", &disguised), Err(UnsealError::Damaged));
            let mut bytes = sealed.bytes().unwrap();
            prop_assert_eq!(bytes.len(), value.len() + Sealed::MORE_BYTES);
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(keys.open("shop prod KEY 1", &Sealed::new(sealed.key.clone(), &bytes)), Err(UnsealError::Damaged));
            bytes[at] ^= 1 << bit;
            let cut = Sealed::new(sealed.key.clone(), &bytes[..at]);
            prop_assert_eq!(keys.open("shop prod KEY 1", &cut), Err(UnsealError::Damaged));
        }

        #[test]
        fn any_text_is_keys_or_a_line_that_is_none(text in "[0-9a-f# \n]{0,200}") {
            if let Err(line) = Keys::parse(&text) {
                prop_assert!((1..=text.lines().count()).contains(&line));
            }
        }
    }

    #[test]
    fn what_is_no_base64_does_not_open() {
        let keys = keys(1);
        let sealed = Sealed { key: newest(&keys).unwrap().to_owned(), sealed: "~".to_owned() };
        assert_eq!(keys.open("", &sealed), Err(UnsealError::Damaged));
    }

    #[test]
    fn a_second_key_seals_and_the_first_still_opens() {
        let one = keys(1);
        let sealed = one.seal("a", "value").unwrap();
        let both = Keys([one.0.clone(), keys(1).0].concat());
        assert_eq!(both.open("a", &sealed).unwrap(), "value");
        let again = both.seal("a", "value").unwrap();
        assert_ne!(again.key, sealed.key);
        assert_eq!(one.open("a", &again), Err(UnsealError::UnknownKey));
        // Sealing the same value twice gives different bytes.
        assert_ne!(both.seal("a", "value").unwrap(), again);
        assert!(!format!("{both:?}").contains(&hex::encode(one.0[0].1)));
    }

    #[test]
    fn the_file_is_made_once_for_its_owner_alone_and_refused_where_others_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.key");
        let file = KeyFile::new(Some(path.clone()));
        assert!(file.read().unwrap().0.is_empty());
        let made = file.read_or_make().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(newest(&file.read_or_make().unwrap()), newest(&made));
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        for (bits, is_fine) in [(0o400, true), (0o640, true), (0o604, false), (0o620, false), (0o644, false)] {
            mode(bits);
            let read = file.read();
            assert_eq!(read.is_ok(), is_fine, "{bits:o}");
            if let Err(error) = read {
                assert_eq!(error.0.code, Code::SecretsLocked);
                assert!(error.0.hint.unwrap().contains("chmod 600"));
            }
        }
        mode(0o600);
        // An unreadable file is neither overwritten nor ignored.
        for text in ["", "# nothing\n", "abc\n"] {
            durable::write_file(&path, text.as_bytes(), 0o600).unwrap();
            assert_eq!(file.read_or_make().unwrap_err().0.code, Code::SecretsLocked, "{text:?}");
        }
        assert_eq!(KeyFile::new(None).read().unwrap_err().0.code, Code::SecretsLocked);
        let nowhere = KeyFile::new(Some(folder.path().join("missing/data.key")));
        assert_eq!(nowhere.read_or_make().unwrap_err().0.code, Code::SecretsLocked);
    }
}
