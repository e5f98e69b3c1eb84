//! TLS session tickets with keys derived from a file, so that a session of one node can be resumed on another node.
//!
//! Each line of the file is a secret that never seals a ticket directly: each period of [`PERIOD_S`] has its own key,
//! derived from the secret, and the key of the previous period still opens tickets. So the ticket key rotates even if
//! the secret stays the same for a year, and all nodes agree on the keys without communication.
//!
//! A ticket is the key's name (16 bytes), a nonce (12 bytes), and the session sealed by AES-256-GCM, with the name as
//! additional data (RFC 5077 §4 leaves the format to the server).

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf;
use rustls::server::ProducesTickets;
use tracing::{info, warn};

use super::Error;
use super::file_watch::Changes;
use super::secret::{SECRET_BYTES as SECRET_KEY_BYTES, Secret};

/// Seconds for which one key seals tickets.
const PERIOD_S: u64 = 12 * 60 * 60;
/// Lifetime of a ticket in seconds: each ticket opens for the lifetime, and at most twice as long.
const LIFETIME_S: u32 = 12 * 60 * 60;
/// Length of a key's name.
const NAME_BYTES: usize = 16;
/// Length of a nonce.
const NONCE_BYTES: usize = 12;
/// Length of a tag.
const TAG_BYTES: usize = 16;
/// Length of a key.
const KEY_BYTES: usize = 32;
/// Minimum and maximum length of a secret.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 32..=256;
/// Maximum number of secrets in a file.
const SECRETS_MAX: usize = 16;
/// Maximum size of the file.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Forbidden mode bits of the file: all bits of group and others except read by the group.
const FORBIDDEN_MODE: u32 = 0o037;
/// The `info` of the key derivation (RFC 5869 §3.1).
const SALT: &[u8] = b"devanture 2026 keys of TLS tickets";

/// The file of the secrets, read again after a change.
#[derive(Debug)]
pub(crate) struct TicketFile {
    path: PathBuf,
    secrets: ArcSwap<Secrets>,
    changes: Changes,
}

/// The secrets of the file. The first secret seals; all secrets open.
#[derive(Clone, PartialEq, Eq)]
struct Secrets(Vec<Vec<u8>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} secrets", self.0.len())
    }
}

impl TicketFile {
    /// Reads the file.
    pub(crate) fn open(path: PathBuf) -> Result<Self, Error> {
        let changes = Changes::new(vec![path.clone()]);
        let secrets = ArcSwap::from_pointee(Secrets::read(&path)?);
        Ok(Self { path, secrets, changes })
    }

    /// Reads the file again; the earlier secrets stay if the file is invalid.
    pub(crate) fn reload(&self) -> Result<(), Error> {
        self.changes.reload(|| self.read())
    }

    /// Reads the file again if the file may have changed. To be called periodically.
    pub(crate) fn look(&self) {
        if let Err(error) = self.changes.look(|| self.read()) {
            warn!(%error, "changed keys of tickets cannot be used; the earlier ones stay until they can");
        }
    }

    fn read(&self) -> Result<(), Error> {
        let secrets = Secrets::read(&self.path)?;
        if secrets != **self.secrets.load() {
            self.secrets.store(Arc::new(secrets));
            info!("keys of tickets were read again");
        }
        Ok(())
    }
}

impl Secrets {
    fn read(path: &Path) -> Result<Self, Error> {
        let unread = |source| Error::Read { path: path.to_path_buf(), source };
        let bad = |reason: String| Error::TicketKeys { path: path.to_path_buf(), reason };
        let file = std::fs::File::open(path).map_err(unread)?;
        let metadata = file.metadata().map_err(unread)?;
        if !metadata.is_file() {
            return Err(bad("it is no file".to_owned()));
        }
        let mode = metadata.permissions().mode() & 0o777;
        if mode & FORBIDDEN_MODE != 0 {
            return Err(bad(format!(
                "others may read or change it (its mode is {mode:o}): make new keys, with mode 600"
            )));
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unread)?;
        Self::parse(&text).map_err(bad)
    }

    /// Parses the file: a secret in hex on each line, the sealing secret first; lines with `#` are comments.
    fn parse(text: &str) -> Result<Self, String> {
        let mut secrets = Vec::new();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let secret = hex::decode(line).ok().filter(|secret| SECRET_BYTES.contains(&secret.len()));
            let number = index + 1;
            secrets.push(secret.ok_or_else(|| {
                format!(
                    "line {number} is no key: at least {KEY_BYTES} bytes in hex, as `openssl rand -hex 32` makes them"
                )
            })?);
        }
        match secrets.len() {
            0 => Err("it holds no key".to_owned()),
            count if count > SECRETS_MAX => Err(format!("it holds {count} keys, more than {SECRETS_MAX}")),
            _ => Ok(Self(secrets)),
        }
    }
}

/// Sealer and opener of the tickets of one listener.
pub(crate) struct Tickets {
    file: Arc<TicketFile>,
    /// The listener: a session of one listener is invalid on another listener.
    purpose: &'static str,
    ring: ArcSwap<Ring>,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tickets").field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

impl Tickets {
    /// Creates the tickets of the listener `purpose` from the secrets of `file`.
    pub(crate) fn new(file: Arc<TicketFile>, purpose: &'static str) -> Result<Self, Error> {
        let ring = Ring::derive(&file.secrets.load_full(), purpose, period(SystemTime::now()));
        let ring =
            ring.map_err(|Unspecified| rustls::Error::General("a key of tickets cannot be derived".to_owned()))?;
        Ok(Self { file, purpose, ring: ArcSwap::from_pointee(ring) })
    }

    /// Returns a secret for other keys of the listener, derived from the current sealing secret.
    pub(crate) fn secret(&self) -> Option<Secret> {
        let mut bytes = [0; SECRET_KEY_BYTES];
        let secrets = self.file.secrets.load();
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secrets.0.first()?);
        // Distinct from the label of a period, which has eight bytes at the position.
        let info = [self.purpose.as_bytes(), &[0], b"others"];
        secret.expand(&info, hkdf::HKDF_SHA256).and_then(|material| material.fill(&mut bytes)).ok()?;
        Some(Secret::of(&bytes))
    }

    /// Returns the keys of the current period without a lock; the first use in a new period derives the keys.
    fn ring(&self) -> Option<Arc<Ring>> {
        let (now, secrets) = (period(SystemTime::now()), self.file.secrets.load());
        let ring = self.ring.load_full();
        if ring.period == now && Arc::ptr_eq(&ring.secrets, &secrets) {
            return Some(ring);
        }
        let ring = Arc::new(Ring::derive(&secrets, self.purpose, now).ok()?);
        self.ring.store(Arc::clone(&ring));
        Some(ring)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_S
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.ring()?.seal(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.ring()?.open(cipher)
    }
}

/// Returns the number of the period of a time.
fn period(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / PERIOD_S)
}

/// The keys of a period and of its neighbours.
struct Ring {
    period: u64,
    secrets: Arc<Secrets>,
    /// The first key seals.
    keys: Vec<Key>,
}

struct Key {
    name: [u8; NAME_BYTES],
    aead: RandomizedNonceKey,
}

impl Ring {
    fn derive(secrets: &Arc<Secrets>, purpose: &str, period: u64) -> Result<Self, Unspecified> {
        let mut keys = Vec::new();
        for secret in &secrets.0 {
            let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secret);
            // The previous period for its sealed tickets; the next period for a node whose clock is slightly ahead.
            for period in [Some(period), period.checked_sub(1), period.checked_add(1)].into_iter().flatten() {
                keys.push(Key::derive(&secret, purpose, period)?);
            }
        }
        Ok(Self { period, secrets: Arc::clone(secrets), keys })
    }

    /// Seals a session; `None` on an error of the library.
    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = self.keys.first()?;
        let mut sealed = plain.to_vec();
        let nonce = key.aead.seal_in_place_append_tag(Aad::from(&key.name), &mut sealed).ok()?;
        Some([key.name.as_slice(), nonce.as_ref(), &sealed].concat())
    }

    /// Opens a ticket; `None` for a ticket with an unknown key or with changed bytes.
    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        // Names are not secret: every client sees the name.
        let key = self.keys.iter().find(|key| key.name == *name)?;
        let mut bytes = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.aead.open_in_place(nonce, Aad::from(name), &mut bytes).ok()?.len();
        debug_assert_eq!(length + TAG_BYTES, sealed.len());
        bytes.truncate(length);
        Some(bytes)
    }
}

impl Key {
    fn derive(secret: &hkdf::Prk, purpose: &str, period: u64) -> Result<Self, Unspecified> {
        let mut bytes = [0; KEY_BYTES + NAME_BYTES];
        let info = [purpose.as_bytes(), &[0], &period.to_be_bytes()];
        secret.expand(&info, Length(bytes.len()))?.fill(&mut bytes)?;
        let (key, name) = bytes.split_first_chunk::<KEY_BYTES>().ok_or(Unspecified)?;
        let name = *name.first_chunk().ok_or(Unspecified)?;
        Ok(Self { name, aead: RandomizedNonceKey::new(&AES_256_GCM, key)? })
    }
}

/// Number of derived bytes.
#[derive(Debug, Clone, Copy)]
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn secrets(seeds: &[u8]) -> Arc<Secrets> {
        Arc::new(Secrets(seeds.iter().map(|seed| vec![*seed; 32]).collect()))
    }

    fn ring(seeds: &[u8], period: u64) -> Ring {
        Ring::derive(&secrets(seeds), "visitors", period).unwrap()
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_and_is_never_twice_the_same(plain in vec(any::<u8>(), 0..600), period: u64) {
            let (here, there) = (ring(&[1], period), ring(&[1], period));
            let ticket = here.seal(&plain).unwrap();
            prop_assert_eq!(ticket.len(), plain.len() + NAME_BYTES + NONCE_BYTES + TAG_BYTES);
            prop_assert_ne!(&ticket, &here.seal(&plain).unwrap());
            prop_assert_eq!(there.open(&ticket).unwrap(), plain);
        }

        #[test]
        fn a_ticket_that_is_changed_anywhere_does_not_open(
            plain in vec(any::<u8>(), 0..200), at: prop::sample::Index, bit in 0..8_u8, cut: prop::sample::Index,
        ) {
            let ring = ring(&[1, 2], 7);
            let ticket = ring.seal(&plain).unwrap();
            let mut changed = ticket.clone();
            *changed.get_mut(at.index(ticket.len())).unwrap() ^= 1 << bit;
            prop_assert_eq!(ring.open(&changed), None);
            prop_assert_eq!(ring.open(ticket.get(..cut.index(ticket.len())).unwrap()), None);
            prop_assert_eq!(ring.open(&[ticket.as_slice(), &[0]].concat()), None);
        }

        #[test]
        fn garbage_does_not_open(ticket in vec(any::<u8>(), 0..400)) {
            prop_assert_eq!(ring(&[1], 7).open(&ticket), None);
        }

        #[test]
        fn a_ticket_opens_for_this_period_and_the_next(period in 1..1_u64 << 40, later in 0..5_u64) {
            let ticket = ring(&[1], period).seal(b"session").unwrap();
            let opens = ring(&[1], period + later).open(&ticket).is_some();
            prop_assert_eq!(opens, later <= 1);
            // A node whose clock is behind is still in the previous period.
            prop_assert!(ring(&[1], period - 1).open(&ticket).is_some());
        }
    }

    #[test]
    fn a_foreign_key_and_another_listener_open_nothing() {
        let ticket = ring(&[1], 7).seal(b"session").unwrap();
        assert_eq!(ring(&[2], 7).open(&ticket), None);
        let admin = Ring::derive(&secrets(&[1]), "admin", 7).unwrap();
        assert_eq!(admin.open(&ticket), None);
    }

    #[test]
    fn the_first_key_seals_and_all_open_so_that_keys_can_be_exchanged_node_by_node() {
        let (old, both, turned, new) = (ring(&[1], 7), ring(&[1, 2], 7), ring(&[2, 1], 7), ring(&[2], 7));
        let (by_old, by_new) = (both.seal(b"session").unwrap(), turned.seal(b"session").unwrap());
        for knows_both in [&both, &turned] {
            assert!(knows_both.open(&by_old).is_some() && knows_both.open(&by_new).is_some());
        }
        assert!(old.open(&by_old).is_some() && old.open(&by_new).is_none());
        assert!(new.open(&by_new).is_some() && new.open(&by_old).is_none());
    }

    #[test]
    fn a_file_of_keys_says_what_is_wrong_with_it() {
        let key = "ab".repeat(32);
        assert_eq!(Secrets::parse(&format!("# first\n{key}\n\n {key}00\n")).unwrap().0.len(), 2);
        let wrong = [
            (String::new(), "it holds no key"),
            ("# nothing\n".to_owned(), "it holds no key"),
            (format!("{key}\nab12\n"), "line 2 is no key"),
            (format!("{key}x\n"), "line 1 is no key"),
            (format!("{key}\n").repeat(SECRETS_MAX + 1), "it holds 17 keys"),
        ];
        for (text, message) in wrong {
            let error = Secrets::parse(&text).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
