//! The keys that secrets are sealed with: a file of its own, apart from the data folder, so that a copy of the one
//! opens nothing without the other.
//!
//! Each line is a key of 64 hex characters; the last one seals, and all of them open. A key is known by its id, which
//! is derived from it, so that a second one can be added without touching what the first one sealed. The file is read
//! each time that it is needed: no key stays in memory, and a new one counts at once.

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

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
const NONCE_BYTES: usize = 12;
/// Hex characters of a key's id.
const ID_CHARACTERS: usize = 16;
/// What the id of a key is derived for.
const ID_CONTEXT: &str = "devanture 2026 id of a key that seals secrets";
/// Most bytes of the file.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// What the group and others may not do with the file: all but being read by the group, which is how an orchestrator
/// hands a file to a process of another user.
const FORBIDDEN_MODE: u32 = 0o037;
/// What stands above the first key.
const HEAD: &str = "# Keys that the secrets of Devanture are sealed with. The last line seals, every line opens.\n\
    # Keep a copy of this file, and keep it apart from copies of the data folder.\n";

/// Where the keys are.
#[derive(Debug)]
pub struct KeyFile {
    path: Option<PathBuf>,
    making: parking_lot::Mutex<()>,
    /// How often a key was wanted to seal something.
    pub(super) uses: AtomicU64,
}

/// The keys of the file, each with its id; the last one seals.
pub(crate) struct Keys(Vec<(String, [u8; KEY_BYTES])>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(id, _)| id)).finish()
    }
}

/// Why a sealed value does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unopened {
    /// Its bytes are not those that were sealed, or not for this name.
    Damaged,
    /// No key of the file has sealed it.
    UnknownKey,
}

impl KeyFile {
    /// Those in the file at `path`, where one can be.
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

    /// The keys; empty if there is no file.
    ///
    /// # Errors
    /// `secrets_locked` where the file cannot be read, is no file of keys, or is open to others.
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

    /// The keys, with at least one: it is made where there is none.
    ///
    /// # Errors
    /// As [`KeyFile::read`], and `secrets_locked` where the file cannot be written; `disk_full` and `disk_unwritable`
    /// of a disk where none can.
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
    /// Opens what one of the keys has sealed: for rooms that have no keys.
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
    /// Makes a key where there is none.
    ///
    /// # Errors
    /// As [`KeyFile::read_or_make`].
    pub fn make_if_missing(&self) -> Result<(), Error> {
        self.read_or_make().map(drop)
    }

    /// Takes the keys of the file `from`. Where there are keys already, they must hold the one that seals there:
    /// secrets that were sealed by it open here, too.
    ///
    /// # Errors
    /// `secrets_locked` where a file cannot be read or written, or has other keys.
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
    /// Adds the keys of the file `from` that are missing here, before the own ones, so that the key that seals stays.
    /// Returns how many were added.
    ///
    /// # Errors
    /// `secrets_locked` where a file cannot be read or written.
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
    /// Reads the text of the file; what is wrong is the number of a line.
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

    /// Whether one of them has this id.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.0.iter().any(|(own, _)| own == id)
    }

    /// Seals `value`; only together with `context` it opens again.
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

    /// Opens what was sealed together with `context`.
    ///
    /// # Errors
    /// [`Unopened`].
    pub(crate) fn open(&self, context: &str, sealed: &Sealed) -> Result<String, Unopened> {
        let (_, key) = self.0.iter().find(|(id, _)| *id == sealed.key).ok_or(Unopened::UnknownKey)?;
        let damaged = |_reason| Unopened::Damaged;
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(damaged)?;
        let mut bytes = sealed.bytes().ok_or(Unopened::Damaged)?;
        let mut rest = bytes.split_off(NONCE_BYTES);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).map_err(damaged)?;
        let value = key.open_in_place(nonce, Aad::from(context), &mut rest).map_err(damaged)?;
        String::from_utf8(value.to_vec()).map_err(|_reason| Unopened::Damaged)
    }
}

/// The id of a key: it tells which key it is, and nothing about it.
fn id_of(key: &[u8; KEY_BYTES]) -> String {
    let hash = hex::encode(blake3::derive_key(ID_CONTEXT, key));
    hash.get(..ID_CHARACTERS).unwrap_or(&hash).to_owned()
}

/// Why the keys are not in `path`. A disk that is full or failed refuses every change, whatever file is named.
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

    /// The id of the key that seals.
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
            // Not under another name, not with another key, not with any bit changed, not cut.
            prop_assert_eq!(keys.open("shop prod OTHER 1", &sealed), Err(Unopened::Damaged));
            let other = self::keys(1);
            prop_assert_eq!(other.open("shop prod KEY 1", &sealed), Err(Unopened::UnknownKey));
            let disguised = Sealed { key: newest(&other).unwrap().to_owned(), ..sealed.clone() };
            prop_assert_eq!(other.open("shop prod KEY 1", &disguised), Err(Unopened::Damaged));
            let mut bytes = sealed.bytes().unwrap();
            prop_assert_eq!(bytes.len(), value.len() + Sealed::MORE_BYTES);
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(keys.open("shop prod KEY 1", &Sealed::new(sealed.key.clone(), &bytes)), Err(Unopened::Damaged));
            bytes[at] ^= 1 << bit;
            let cut = Sealed::new(sealed.key.clone(), &bytes[..at]);
            prop_assert_eq!(keys.open("shop prod KEY 1", &cut), Err(Unopened::Damaged));
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
        assert_eq!(keys.open("", &sealed), Err(Unopened::Damaged));
    }

    #[test]
    fn a_second_key_seals_and_the_first_still_opens() {
        let one = keys(1);
        let sealed = one.seal("a", "value").unwrap();
        let both = Keys([one.0.clone(), keys(1).0].concat());
        assert_eq!(both.open("a", &sealed).unwrap(), "value");
        let again = both.seal("a", "value").unwrap();
        assert_ne!(again.key, sealed.key);
        assert_eq!(one.open("a", &again), Err(Unopened::UnknownKey));
        // The same value is never sealed to the same bytes.
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
        // What cannot be read is neither overwritten nor passed over.
        for text in ["", "# nothing\n", "abc\n"] {
            durable::write_file(&path, text.as_bytes(), 0o600).unwrap();
            assert_eq!(file.read_or_make().unwrap_err().0.code, Code::SecretsLocked, "{text:?}");
        }
        assert_eq!(KeyFile::new(None).read().unwrap_err().0.code, Code::SecretsLocked);
        let nowhere = KeyFile::new(Some(folder.path().join("missing/data.key")));
        assert_eq!(nowhere.read_or_make().unwrap_err().0.code, Code::SecretsLocked);
    }
}
