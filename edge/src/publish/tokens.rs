//! Tokens: random, kept as hashes, scoped, expiring. Also who may do what.

use std::sync::Arc;

use devanture_config::api::{Scope, TokenMade, TokenRequest};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, Digest, PlaceName};
use rand::RngCore as _;

use super::Error;
use crate::catalog::records::{self, TokenRecord};
use crate::catalog::{Catalog, Change, Check, Commit};
use crate::telemetry;

/// How every token begins, so that scanners for secrets find it.
const PREFIX: &str = "dvt";
/// Random bytes of a token's public id.
const ID_BYTES: usize = 6;
/// Random bytes of a token's secret: 256 bits, beyond guessing, so that one hash keeps it.
const SECRET_BYTES: usize = 32;
/// Longest name of a token, in characters.
const NAME_CHARACTERS_MAX: usize = 100;

/// Who asks.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The token's name.
    pub name: String,
    /// For one app alone.
    pub app: Option<AppName>,
    /// For one environment alone.
    pub environment: Option<PlaceName>,
    /// What it may do.
    pub scope: Scope,
}

impl Actor {
    /// Whoever can open the socket in the data folder, which is whoever can read the data anyway.
    #[must_use]
    pub fn local() -> Self {
        Self { name: "local".to_owned(), app: None, environment: None, scope: Scope::Admin }
    }

    /// Whether this actor may do, in an app and an environment (where one is meant), what `scope` allows.
    ///
    /// # Errors
    /// `not_found` for another app, which the answer does not betray; `forbidden` else.
    pub fn may(&self, scope: Scope, app: &AppName, environment: Option<&PlaceName>) -> Result<(), Error> {
        if self.app.as_ref().is_some_and(|own| own != app) {
            return Err(Problem::new(Code::NotFound, format!("There is no app {app} for this token.")).into());
        }
        let elsewhere = matches!((&self.environment, environment), (Some(own), Some(wanted)) if own != wanted);
        if elsewhere || self.scope < scope {
            let place = environment.map_or_else(String::new, |environment| format!(" in {environment}"));
            let detail = format!("The token `{}` may not {scope}{place} for the app {app}.", self.name);
            return Err(Problem::new(Code::Forbidden, detail)
                .hint(format!(
                    "a token with the scope {scope} is needed: `devanture-edge token create --scope {scope} …`"
                ))
                .into());
        }
        Ok(())
    }

    /// Whether this actor may do anything in every app.
    #[must_use]
    pub fn is_admin_of_all(&self) -> bool {
        self.scope == Scope::Admin && self.app.is_none() && self.environment.is_none()
    }

    /// Checks that this actor runs the edge.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn must_be_admin(&self) -> Result<(), Error> {
        if self.is_admin_of_all() {
            return Ok(());
        }
        let detail = format!("The token `{}` may not do this: the scope admin for every app is needed.", self.name);
        Err(Problem::new(Code::Forbidden, detail).into())
    }
}

/// Makes tokens and recognises them.
#[derive(Clone)]
pub struct TokenStore {
    catalog: Arc<dyn Catalog>,
}

impl TokenStore {
    /// Keeps tokens in `catalog`.
    #[must_use]
    pub fn new(catalog: Arc<dyn Catalog>) -> Self {
        Self { catalog }
    }

    /// Makes a token; the answer is the only place where it is ever shown.
    ///
    /// # Errors
    /// `bad_request` for a name that is none; where the catalog fails.
    pub async fn create(&self, request: TokenRequest) -> Result<TokenMade, Error> {
        let name = request.name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARACTERS_MAX || name.chars().any(char::is_control) {
            let detail = format!("A token needs a name of 1 to {NAME_CHARACTERS_MAX} characters.");
            return Err(Problem::new(Code::BadRequest, detail).into());
        }
        let mut random = [0; ID_BYTES + SECRET_BYTES];
        rand::rng().fill_bytes(&mut random);
        let (id, secret) = random.split_at(ID_BYTES);
        let (id, secret) = (hex::encode(id), hex::encode(secret));
        let now_ms = telemetry::now_ms();
        let record = TokenRecord {
            hash: Digest::of(secret.as_bytes()),
            name: name.to_owned(),
            app: request.app,
            environment: request.environment,
            scope: request.scope,
            created_ms: now_ms,
            expires_ms: request.expires_in_s.map(|s| now_ms.saturating_add(s.saturating_mul(1000))),
        };
        let key = records::token_key(&id);
        let commit = Commit {
            checks: vec![Check::Absent(key.clone())],
            changes: vec![Change::Put(key, records::write(&record)?)],
        };
        self.catalog.commit(commit).await?;
        Ok(TokenMade { token: format!("{PREFIX}_{id}_{secret}"), id })
    }

    /// Who a token belongs to.
    ///
    /// # Errors
    /// `bad_token` where it is unknown, damaged or expired, which the answer does not tell apart.
    pub async fn recognise(&self, token: &str) -> Result<Actor, Error> {
        let bad = || {
            Problem::new(Code::BadToken, "The token is unknown, revoked or expired.")
                .hint("make a new one with `devanture-edge token create`")
        };
        let mut parts = token.split('_');
        let (Some(PREFIX), Some(id), Some(secret), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad().into());
        };
        if id.len() != ID_BYTES * 2 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad().into());
        }
        let key = records::token_key(id);
        let record = self.catalog.get(&key).await?.ok_or_else(bad)?;
        let record: TokenRecord = records::read(&key, &record)?;
        // BLAKE3 hashes compare in constant time, so that an answer's timing tells nothing of the stored one.
        let same = blake3::hash(secret.as_bytes()) == blake3::Hash::from_bytes(*record.hash.as_bytes());
        let expired = record.expires_ms.is_some_and(|at| at <= telemetry::now_ms());
        if !same || expired {
            return Err(bad().into());
        }
        Ok(Actor { name: record.name, app: record.app, environment: record.environment, scope: record.scope })
    }
}
