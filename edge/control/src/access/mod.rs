//! Credentials: tokens; accounts with password and passkeys; their logins and sessions; exchange of identity tokens.
//!
//! Each API request is authenticated here as an [`Actor`], whose rights are in `ledger/rights.rs`.

mod accounts;
mod attempts;
mod challenges;
mod confirmations;
mod in_force;
mod invitations;
mod last_use;
mod lasting_tokens;
mod logins;
mod passkeys;
mod passwords;
mod people;
mod session_list;
mod sessions;
#[cfg(test)]
mod tests;
mod tokens;
pub mod trust;
mod visitors;
pub mod webauthn;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use devanture_config::api::{ACCESS_TOKEN_PREFIX, SESSION_PREFIX, TOKEN_PREFIX};
use devanture_config::limits::Limits;
use devanture_config::problem::{Code, Problem};
use metrics::counter;
use rand::RngCore as _;
use tokio::sync::OnceCell;

use crate::cluster::{ATTEMPTS_MAX, AttemptNote, Nodes};
use crate::ledger::{Actor, Audit, Credential, Error, from_text};
use attempts::{Attempts, log_quota};
use devanture_base::clock;
use devanture_base::fair::RateLimit;
use devanture_store::catalog::Catalog;
use last_use::LastUse;
use passwords::Passwords;
use trust::Trusts;

pub use in_force::InForce;
pub use passkeys::PasskeySite;
pub use session_list::SESSIONS_PAGE;
pub use sessions::{Browser, SessionMade};
pub use tokens::TOKENS_PAGE;

/// Creates, recognizes and ends tokens, accounts and logins.
pub struct Credentials {
    catalog: Arc<dyn Catalog>,
    audit: Audit,
    limits: Limits,
    /// Serializes the creation of tokens.
    making: tokio::sync::Mutex<()>,
    passwords: Passwords,
    attempts: Attempts,
    visitor_attempts: Attempts,
    used: LastUse,
    /// Signing key of passkey challenges, set at first use.
    challenge_key: OnceCell<[u8; 32]>,
    trusts: Trusts,
    /// Limits log lines about bad tokens, so that no client fills the log.
    log_quota: RateLimit<()>,
}

impl Credentials {
    /// Stores credentials in `catalog`.
    #[must_use]
    pub fn new(catalog: Arc<dyn Catalog>, audit: Audit, limits: &Limits) -> Self {
        Self {
            catalog,
            audit,
            making: tokio::sync::Mutex::default(),
            passwords: Passwords::new(limits),
            attempts: Attempts::new(limits),
            visitor_attempts: Attempts::of_visitors(limits),
            used: LastUse::default(),
            challenge_key: OnceCell::new(),
            log_quota: log_quota(),
            trusts: Trusts::new(limits),
            limits: limits.clone(),
        }
    }

    /// Sets the DNS servers for issuers, by default the system's.
    #[must_use]
    pub fn with_dns_servers(mut self, servers: &[SocketAddr]) -> Self {
        self.trusts.set_dns_servers(servers);
        self
    }

    /// Counts login attempts made on another node of the cluster.
    pub(crate) fn count_attempts(&self, notes: &[AttemptNote]) {
        for note in notes {
            let attempts = if note.of_visitor { &self.visitor_attempts } else { &self.attempts };
            attempts.count(note);
        }
    }

    /// Reports local login attempts to other nodes; never completes. If nodes are unreachable, each applies the limits
    /// by itself. Nothing is stored: repeated attempts of a stranger cost the nodes a few messages per second.
    pub async fn keep_reporting_attempts(self: Arc<Self>, nodes: Nodes) {
        let (sender, mut noted) = tokio::sync::mpsc::channel(ATTEMPTS_MAX);
        self.attempts.report_to(sender.clone());
        self.visitor_attempts.report_to(sender);
        while let Some(first) = noted.recv().await {
            tokio::time::sleep(attempts::REPORT_PAUSE).await;
            let mut notes = vec![first];
            while notes.len() < ATTEMPTS_MAX
                && let Ok(note) = noted.try_recv()
            {
                notes.push(note);
            }
            nodes.report_attempts(&notes).await;
        }
    }

    /// Authenticates a token from the address `from`. Results are not cached: a revoked token is refused at once.
    ///
    /// # Errors
    /// `bad_token` for an unknown, malformed, revoked or expired token, without distinction.
    pub async fn recognise(&self, token: &str, from: Option<IpAddr>) -> Result<Actor, Error> {
        let found = match parts_of(token) {
            Some((TOKEN_PREFIX, id, secret)) => self.token_actor(id, secret, from).await?,
            Some((ACCESS_TOKEN_PREFIX, id, secret)) => self.login_actor(id, secret, from).await?,
            _ => None,
        };
        found.ok_or_else(|| {
            counter!("devanture_tokens_refused_total").increment(1);
            if self.log_quota.take(&()).is_ok() {
                tracing::warn!(target: "audit", from = from_text(from), "a token was refused");
            }
            bad_token().into()
        })
    }

    /// Returns true if a text has the form of a token of [`Credentials::recognise`].
    #[must_use]
    pub fn may_be_token(token: &str) -> bool {
        match parts_of(token) {
            Some((TOKEN_PREFIX, id, secret)) => is_hex(id, tokens::ID_BYTES) && is_hex(secret, tokens::SECRET_BYTES),
            Some((ACCESS_TOKEN_PREFIX, id, secret)) => {
                is_hex(id, logins::ID_BYTES) && is_hex(secret, tokens::SECRET_BYTES)
            }
            _ => false,
        }
    }

    /// Returns true if a text has the form of a session of [`Credentials::recognise_session`].
    #[must_use]
    pub fn may_be_session(secret: &str) -> bool {
        parts_of(secret).is_some_and(|(prefix, id, secret)| {
            prefix == SESSION_PREFIX && is_hex(id, logins::ID_BYTES) && is_hex(secret, tokens::SECRET_BYTES)
        })
    }

    /// Checks the credential of `actor` again, for a request with a slow body.
    ///
    /// # Errors
    /// `bad_token` after a revocation or expiry; errors of the catalog.
    pub async fn check(&self, actor: &Actor) -> Result<(), Error> {
        if self.is_good(actor).await?.is_none() {
            return Err(bad_token().into());
        }
        Ok(())
    }

    /// Returns the expiry of the actor's credential as presently known; `None` if expired.
    async fn is_good(&self, actor: &Actor) -> Result<Option<u64>, Error> {
        let now_ms = clock::now_ms();
        let ends_ms = match &actor.credential {
            Credential::Local => Some(u64::MAX),
            Credential::Token(id) => {
                self.token_in_force(id).await?.map(|(_, token)| token.expires_ms.unwrap_or(u64::MAX))
            }
            // The presented access token may have expired, while the login continues.
            Credential::Login(id) => self.login_in_force(id).await?.map(|found| found.login.expires_ms),
            Credential::Session(id, _) => self.session_in_force(id).await?.map(|found| found.ends_ms),
        };
        // Bounded, since a timer needs an end within its range.
        Ok(ends_ms.filter(|at| *at > now_ms).map(|at| at.min(now_ms.saturating_add(86_400_000))))
    }
}

fn bad_token() -> Problem {
    Problem::new(Code::BadToken, "The token is unknown, revoked or expired.")
        .hint("make a new one with `devanture-edge token create`, or log in again")
}

/// Splits a credential into prefix, id and secret.
fn parts_of(text: &str) -> Option<(&str, &str, &str)> {
    let mut parts = text.split('_');
    let found = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(found)
}

/// Returns random bytes.
fn random_bytes(bytes: usize) -> Vec<u8> {
    let mut random = vec![0; bytes];
    rand::rng().fill_bytes(&mut random);
    random
}

/// Returns random bytes in hex.
fn random_hex(bytes: usize) -> String {
    hex::encode(random_bytes(bytes))
}

/// Returns true if the secret has the BLAKE3 `hash`. The hashes compare in constant time, so that response times reveal
/// nothing of the stored hash.
fn is_secret(secret: &str, hash: &devanture_config::Digest) -> bool {
    blake3::hash(secret.as_bytes()) == blake3::Hash::from_bytes(*hash.as_bytes())
}

/// Returns true if a text is `bytes` in hex, the form of ids; other texts must not become part of a key.
fn is_hex(text: &str, bytes: usize) -> bool {
    text.len() == bytes.saturating_mul(2) && text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
}
