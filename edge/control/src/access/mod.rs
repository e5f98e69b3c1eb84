//! Credentials: tokens, accounts with a password and passkeys, the logins and sessions that come of them, and the
//! exchange of identity tokens.
//!
//! Each request of the API is recognised here as an [`Actor`]; what that one may do stands in `ledger/rights.rs`.

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

/// Tokens, accounts and logins: makes them, recognises them, ends them.
pub struct Credentials {
    catalog: Arc<dyn Catalog>,
    audit: Audit,
    limits: Limits,
    /// Tokens are made one at a time.
    making: tokio::sync::Mutex<()>,
    passwords: Passwords,
    attempts: Attempts,
    visitor_attempts: Attempts,
    used: LastUse,
    /// What challenges for passkeys are signed with, once one was needed.
    challenge_key: OnceCell<[u8; 32]>,
    trusts: Trusts,
    /// Keeps a client that sends bad tokens all day from filling the log.
    log_quota: RateLimit<()>,
}

impl Credentials {
    /// Keeps all of it in `catalog`.
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

    /// Has the names of issuers resolved by these DNS servers, those of the system where there is none.
    #[must_use]
    pub fn with_dns_servers(mut self, servers: &[SocketAddr]) -> Self {
        self.trusts.set_dns_servers(servers);
        self
    }

    /// Counts attempts at logging in that were made on another node of the cluster.
    pub(crate) fn count_attempts(&self, notes: &[AttemptNote]) {
        for note in notes {
            let attempts = if note.of_visitor { &self.visitor_attempts } else { &self.attempts };
            attempts.count(note);
        }
    }

    /// Reports attempts at logging in on this node to the others; never ends. Where nodes cannot be reached, the limits
    /// hold on each of them. Nothing of it is written: a stranger who tries and tries costs the nodes some messages a
    /// second.
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

    /// The actor of a token from the address `from`. Nothing is remembered from one request to the next: what was
    /// revoked is refused at once.
    ///
    /// # Errors
    /// `bad_token` where it is unknown, damaged, revoked or expired, which the answer does not tell apart.
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

    /// Whether a text has the form of a token that [`Credentials::recognise`] may know.
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

    /// Whether a text has the form of a session that [`Credentials::recognise_session`] may know.
    #[must_use]
    pub fn may_be_session(secret: &str) -> bool {
        parts_of(secret).is_some_and(|(prefix, id, secret)| {
            prefix == SESSION_PREFIX && is_hex(id, logins::ID_BYTES) && is_hex(secret, tokens::SECRET_BYTES)
        })
    }

    /// Checks the credential of `actor` once more: for a request whose body took its time.
    ///
    /// # Errors
    /// `bad_token` if it was revoked or has expired since; those of the catalog.
    pub async fn check(&self, actor: &Actor) -> Result<(), Error> {
        if self.is_good(actor).await?.is_none() {
            return Err(bad_token().into());
        }
        Ok(())
    }

    /// When the credential of `actor` expires, as far as is known now; `None` if it has.
    async fn is_good(&self, actor: &Actor) -> Result<Option<u64>, Error> {
        let now_ms = clock::now_ms();
        let ends_ms = match &actor.credential {
            Credential::Local => Some(u64::MAX),
            Credential::Token(id) => {
                self.token_in_force(id).await?.map(|(_, token)| token.expires_ms.unwrap_or(u64::MAX))
            }
            // The access token that was shown may have ended; the login goes on.
            Credential::Login(id) => self.login_in_force(id).await?.map(|found| found.login.expires_ms),
            Credential::Session(id, _) => self.session_in_force(id).await?.map(|found| found.ends_ms),
        };
        // A sleep has an end that a clock can tell.
        Ok(ends_ms.filter(|at| *at > now_ms).map(|at| at.min(now_ms.saturating_add(86_400_000))))
    }
}

fn bad_token() -> Problem {
    Problem::new(Code::BadToken, "The token is unknown, revoked or expired.")
        .hint("make a new one with `devanture-edge token create`, or log in again")
}

/// The prefix, the id and the secret of a credential.
fn parts_of(text: &str) -> Option<(&str, &str, &str)> {
    let mut parts = text.split('_');
    let found = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(found)
}

/// Random bytes.
fn random_bytes(bytes: usize) -> Vec<u8> {
    let mut random = vec![0; bytes];
    rand::rng().fill_bytes(&mut random);
    random
}

/// Random bytes in hex.
fn random_hex(bytes: usize) -> String {
    hex::encode(random_bytes(bytes))
}

/// Whether a secret is the one whose BLAKE3 is `hash`. Such hashes compare in constant time, so that an answer's timing
/// tells nothing of the stored one.
fn is_secret(secret: &str, hash: &devanture_config::Digest) -> bool {
    blake3::hash(secret.as_bytes()) == blake3::Hash::from_bytes(*hash.as_bytes())
}

/// Whether a text is `bytes` in hex, as ids are; nothing else becomes part of a key.
fn is_hex(text: &str, bytes: usize) -> bool {
    text.len() == bytes.saturating_mul(2) && text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
}
