//! Argon2id password hashing on dedicated threads, with bounded concurrency and queue.

use std::sync::Arc;

use crate::ledger::{Error, lost};
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use devanture_base::fair::Shares;
use devanture_config::AppName;
use devanture_config::api::Secret;
use devanture_config::limits::Limits;
use devanture_config::problem::{Code, Problem};
use rand::RngCore as _;
use tokio::sync::Semaphore;
use unicode_normalization::UnicodeNormalization as _;

/// Salt length, as recommended by RFC 9106 §3.1.
const SALT_BYTES: usize = 16;
/// Hash length.
const HASH_BYTES: usize = 32;
/// Longest password, beyond any typed password; hashing costs the same for all shorter passwords.
const CHARACTERS_MAX: usize = 256;

/// Hashes passwords.
pub(super) struct Passwords {
    params: Params,
    characters_min: usize,
    /// Permits of running and waiting hashes.
    places: Arc<Semaphore>,
    /// Permits of running hashes.
    turns: Arc<Semaphore>,
    /// Permits of running and waiting hashes for visitors, shared by apps, so that strangers leave room for logins.
    visitor_places: Arc<Shares>,
    /// Permits of running hashes for visitors, the only hashes that may delay a login.
    visitor_turns: Arc<Semaphore>,
}

/// Purpose of a password.
#[derive(Debug, Clone, Copy)]
pub(super) enum PasswordOf<'a> {
    /// Account of the edge, for the API or console.
    Account,
    /// Visitor access to a protected part of the app: a shared password, or that of an account.
    Visitors(&'a AppName),
}

/// Result of a password check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verified {
    /// True for the correct password.
    pub(super) is_right: bool,
    /// True if stored with outdated parameters.
    pub(super) is_outdated: bool,
}

impl Passwords {
    pub(super) fn new(limits: &Limits) -> Self {
        let number = |limit: u64| u32::try_from(limit).unwrap_or(u32::MAX);
        let params = Params::new(
            number(limits.argon2_memory_kib),
            number(limits.argon2_passes),
            number(limits.argon2_lanes),
            Some(HASH_BYTES),
        );
        let count = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS / 2);
        let (at_once, waiting) = (count(limits.argon2_at_once_max), count(limits.argon2_waiting_max));
        let visitor_places = u64::try_from((at_once + waiting) / 2).unwrap_or(u64::MAX).max(1);
        Self {
            // The limits' ranges are valid for Argon2.
            params: params.unwrap_or_default(),
            characters_min: usize::try_from(limits.password_characters_min).unwrap_or(usize::MAX),
            places: Arc::new(Semaphore::new(at_once + waiting)),
            turns: Arc::new(Semaphore::new(at_once)),
            visitor_places: Shares::new(visitor_places),
            visitor_turns: Arc::new(Semaphore::new(at_once.saturating_sub(1).max(1))),
        }
    }

    /// Hashes a new password. Only its length is restricted (NIST SP 800-63B §3.1.1.2).
    ///
    /// # Errors
    /// `bad_request` for a short or overlong password, `busy`.
    pub(super) async fn keep(&self, of: PasswordOf<'_>, password: &Secret) -> Result<String, Error> {
        let least = self.characters_min;
        if !(least..=CHARACTERS_MAX).contains(&password.expose().chars().count()) {
            let detail = format!("A password has {least} characters at least, and {CHARACTERS_MAX} at most.");
            return Err(Problem::new(Code::BadRequest, detail).hint("several words make a good one").into());
        }
        self.hash(of, normal(password)).await
    }

    /// Hashes a verified password of an account again, by the present parameters.
    pub(super) async fn keep_again(&self, password: &Secret) -> Result<String, Error> {
        self.hash(PasswordOf::Account, normal(password)).await
    }

    async fn hash(&self, of: PasswordOf<'_>, password: String) -> Result<String, Error> {
        let argon2 = self.argon2();
        self.in_turn(of, move || {
            let mut salt = [0; SALT_BYTES];
            rand::rng().fill_bytes(&mut salt);
            let salt = SaltString::encode_b64(&salt)?;
            argon2.hash_password(password.as_bytes(), &salt).map(|hash| hash.to_string())
        })
        .await?
        .map_err(|reason| failed(&reason))
    }

    /// Compares `password` with the hash `kept`. Without a hash, the same work is done in vain, so that the response
    /// time does not reveal accounts.
    ///
    /// # Errors
    /// `busy`.
    pub(super) async fn verify(
        &self,
        of: PasswordOf<'_>,
        kept: Option<&str>,
        password: &Secret,
    ) -> Result<Verified, Error> {
        let nobody = kept.is_none();
        let kept = kept.map_or_else(|| self.nobodys(), str::to_owned);
        let is_too_long = password.expose().chars().nth(CHARACTERS_MAX).is_some();
        let (argon2, password) = (self.argon2(), normal(password));
        let today = self.params.clone();
        let verified = self.in_turn(of, move || {
            let hash = PasswordHash::new(&kept)?;
            let is_right = !is_too_long && argon2.verify_password(password.as_bytes(), &hash).is_ok();
            let params = Params::try_from(&hash)?;
            let numbers = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
            let is_outdated = hash.algorithm != Algorithm::Argon2id.ident() || numbers(&params) != numbers(&today);
            Ok(Verified { is_right: is_right && !nobody, is_outdated })
        });
        verified.await?.map_err(|reason: argon2::password_hash::Error| failed(&reason))
    }

    fn argon2(&self) -> Argon2<'static> {
        Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone())
    }

    /// Returns a hash for unknown accounts and accounts without a password: random bytes, matched by no password.
    pub(super) fn nobodys(&self) -> String {
        let (mut salt, mut hash) = ([0; SALT_BYTES], [0; HASH_BYTES]);
        rand::rng().fill_bytes(&mut salt);
        rand::rng().fill_bytes(&mut hash);
        let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
        let (memory, passes, lanes) = (self.params.m_cost(), self.params.t_cost(), self.params.p_cost());
        format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${hash}")
    }

    /// Runs `work` on a blocking thread in its turn. A dropped caller keeps its permit until the work is done.
    async fn in_turn<T: Send + 'static>(
        &self,
        of: PasswordOf<'_>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let busy = || {
            Problem::new(Code::Busy, "The edge looks at as many passwords already as it may.")
                .hint("try again in a moment; `argon2_waiting_max` in edge.toml is the limit")
        };
        let of_visitors = match of {
            PasswordOf::Account => None,
            PasswordOf::Visitors(app) => Some(self.visitor_places.take(app).ok_or_else(busy)?),
        };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_none_is_free| busy())?;
        // The semaphores are never closed.
        let visitor_turn = match of {
            PasswordOf::Account => None,
            PasswordOf::Visitors(_) => Arc::clone(&self.visitor_turns).acquire_owned().await.ok(),
        };
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok();
        let held = (of_visitors, place, visitor_turn, turn);
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(held);
            result
        });
        done.await.map_err(|reason| lost(&reason))
    }
}

/// Normalizes equal-looking passwords (RFC 8265 §4.2.2), whatever the keyboard.
fn normal(password: &Secret) -> String {
    password.expose().nfc().collect()
}

fn failed(reason: &argon2::password_hash::Error) -> Error {
    // The reason concerns formats and parameters, never the password.
    tracing::error!(%reason, "a password could not be looked at");
    Problem::new(Code::Internal, "The edge failed; its log says more.").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords(passes: u64, at_once: u64, waiting: u64) -> Passwords {
        Passwords::new(&Limits {
            argon2_memory_kib: 7_168,
            argon2_passes: passes,
            argon2_at_once_max: at_once,
            argon2_waiting_max: waiting,
            ..Limits::default()
        })
    }

    #[tokio::test]
    async fn a_password_is_kept_by_argon2id_and_recognised() {
        let passwords = passwords(1, 1, 4);
        let right = Secret::new("correct horse");
        let kept = passwords.keep(PasswordOf::Account, &right).await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=7168,t=1,p=1$"), "{kept}");
        assert_ne!(kept, passwords.keep(PasswordOf::Account, &right).await.unwrap(), "each has a salt of its own");
        let verified = |is_right| Verified { is_right, is_outdated: false };
        assert_eq!(passwords.verify(PasswordOf::Account, Some(&kept), &right).await.unwrap(), verified(true));
        assert_eq!(
            passwords.verify(PasswordOf::Account, Some(&kept), &Secret::new("correct hors")).await.unwrap(),
            verified(false)
        );
        assert_eq!(passwords.verify(PasswordOf::Account, None, &right).await.unwrap(), verified(false));
        for bad in ["eleven char", &"x".repeat(257)] {
            assert_eq!(
                passwords.keep(PasswordOf::Account, &Secret::new(bad)).await.unwrap_err().0.code,
                Code::BadRequest
            );
        }
    }

    #[tokio::test]
    async fn two_spellings_of_one_password_are_one() {
        let passwords = passwords(1, 1, 4);
        let kept = passwords.keep(PasswordOf::Account, &Secret::new("caf\u{e9} au lait bitte")).await.unwrap();
        assert!(
            passwords
                .verify(PasswordOf::Account, Some(&kept), &Secret::new("cafe\u{301} au lait bitte"))
                .await
                .unwrap()
                .is_right
        );
    }

    #[tokio::test]
    async fn a_password_that_is_kept_by_other_parameters_is_still_recognised() {
        let password = Secret::new("correct horse");
        let kept = passwords(1, 1, 4).keep(PasswordOf::Account, &password).await.unwrap();
        let verified = passwords(2, 1, 4).verify(PasswordOf::Account, Some(&kept), &password).await.unwrap();
        assert_eq!(verified, Verified { is_right: true, is_outdated: true });
    }

    #[tokio::test]
    async fn no_more_passwords_wait_than_the_limit() {
        let passwords = passwords(1, 1, 2);
        let password = Secret::new("correct horse");
        let all = (0..8).map(|_| passwords.verify(PasswordOf::Account, None, &password));
        let results = futures_util::future::join_all(all).await;
        let busy = results.iter().filter(|result| matches!(result, Err(Error(p)) if p.code == Code::Busy)).count();
        assert_eq!(busy, 5, "one has its turn and two wait");
        passwords.verify(PasswordOf::Account, None, &password).await.unwrap();
    }
    #[tokio::test]
    async fn visitors_passwords_leave_places_for_logins_and_for_visitors_of_other_apps() {
        let passwords = passwords(1, 2, 6);
        let (shop, blog): (AppName, AppName) = ("shop".parse().unwrap(), "blog".parse().unwrap());
        let password = Secret::new("correct horse");
        let of = |of| passwords.verify(of, None, &password);
        let shops = (0..8).map(|_| of(PasswordOf::Visitors(&shop)));
        let blogs = (0..1).map(|_| of(PasswordOf::Visitors(&blog)));
        let logins = (0..4).map(|_| of(PasswordOf::Account));
        let results = futures_util::future::join_all(shops.chain(blogs).chain(logins)).await;
        let is_busy: Vec<bool> = results.iter().map(Result::is_err).collect();
        assert_eq!(is_busy, [[false, false].as_slice(), &[true; 6], &[false; 5]].concat());
    }
}
