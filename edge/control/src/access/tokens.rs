//! Tokens: random, stored as hashes, scoped, expiring, revocable at once.

use std::net::IpAddr;

use devanture_config::api::{Scope, TOKEN_PREFIX, TokenInfo, TokenList, TokenMade, TokenPrediction, TokenRequest};
use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;
use devanture_config::{AppName, Digest};

use super::{Credentials, is_hex, is_secret, random_hex};
use crate::ledger::{
    Action, Actor, AuditEvent, Credential, Error, SameApp, SessionOf, check_there, is_exchanged, unless_conflict,
    update,
};
use devanture_base::clock;
use devanture_store::catalog::{Change, Check, Commit, Revision};
use devanture_store::records::identities;
use devanture_store::records::{self, TokenAccount, TokenRecord};

/// Random bytes of a token's public id.
pub(super) const ID_BYTES: usize = 6;
/// Random bytes of a token's secret: 256 bits cannot be guessed, so a plain hash suffices.
pub(super) const SECRET_BYTES: usize = 32;
/// Longest name of a token, in characters.
const NAME_CHARACTERS_MAX: usize = 100;
/// Default page size of tokens.
pub const TOKENS_PAGE: usize = 100;
/// Maximum page size of tokens.
const PAGE_MAX: usize = 1_000;

/// Expired tokens deleted by a creation, to make room.
const REMOVED_AT_ONCE: usize = 32;

/// Token about to be created.
struct NewToken {
    name: String,
    life: Life,
    /// Ids of expired tokens to delete.
    expired: Vec<String>,
}

/// Lifetime of a token.
struct Life {
    expires_ms: Option<u64>,
    /// Account to which the token is bound.
    account: Option<TokenAccount>,
}

impl Credentials {
    /// Creates a token, shown only in the response. A token has no more rights than its creator, and does not outlive
    /// an expiring creator. A session just confirmed by its account is an exception, out of reach of a stolen cookie
    /// alone.
    ///
    /// # Errors
    /// `bad_request` for an invalid name, `forbidden` beyond the actor's rights, `not_found` for an app outside the
    /// actor's, `deleted` for an actor of a deleted app, `confirmation_required` for a lifetime beyond an unconfirmed
    /// session, `too_many`; errors of the catalog.
    pub async fn create(&self, actor: &Actor, request: TokenRequest) -> Result<TokenMade, Error> {
        let own_app = match &actor.app {
            Some(app) => SameApp::find(&*self.catalog, app).await?,
            None => None,
        };
        // Blocks concurrent creations until the commit, so that the limits hold.
        let _making = self.making.lock().await;
        let (id, secret) = (random_hex(ID_BYTES), random_hex(SECRET_BYTES));
        let key = records::token_key(&id);
        update(&key, || async {
            // During the wait, the creator may have been revoked, and the app replaced by another owner's.
            let mut checks = self.hold_in_force(actor).await?;
            if let Some(own_app) = &own_app {
                checks.push(own_app.check(&*self.catalog).await?);
            }
            let now_ms = clock::now_ms();
            let NewToken { name, life, expired } = self.check_creation(actor, &request, now_ms).await?;
            let Life { expires_ms, account } = life;
            let event = of_request(&request).what(format!("{id} {name}, {}", request.scope));
            let record = TokenRecord {
                hash: Digest::of(secret.as_bytes()),
                name,
                app: request.app.clone(),
                environment: request.environment.clone(),
                scope: request.scope.into(),
                created_ms: now_ms,
                expires_ms,
                made_by: Some(actor.name.clone()),
                root: actor.root_of(&id),
                account,
            };
            checks.push(Check::Absent(key.clone()));
            let mut changes = vec![Change::Put(key.clone(), records::write(&record)?)];
            for old in &expired {
                changes.extend([Change::Delete(records::token_key(old)), Change::Delete(identities::used_key(old))]);
            }
            let made = unless_conflict(self.audit.commit(actor, event, Commit { checks, changes }).await)?;
            Ok(made.map(|_| {
                expired.iter().for_each(|old| self.used.forget(old));
                TokenMade { token: format!("{TOKEN_PREFIX}_{id}_{secret}"), id: id.clone(), expires_ms }
            }))
        })
        .await
    }

    /// Predicts [`Credentials::create`] with its refusals; creates no token.
    ///
    /// # Errors
    /// As [`Credentials::create`].
    pub async fn predict_creation(&self, actor: &Actor, request: TokenRequest) -> Result<TokenPrediction, Error> {
        let NewToken { name, life, .. } = self.check_creation(actor, &request, clock::now_ms()).await?;
        Ok(TokenPrediction {
            dry_run: true,
            id: None,
            name,
            app: request.app,
            environment: request.environment,
            scope: request.scope,
            expires_ms: life.expires_ms,
        })
    }

    /// Checks the actor's right to the token, and the limits.
    async fn check_creation(&self, actor: &Actor, request: &TokenRequest, now_ms: u64) -> Result<NewToken, Error> {
        let name = request.name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARACTERS_MAX || name.chars().any(char::is_control) {
            let detail = format!("A token needs a name of 1 to {NAME_CHARACTERS_MAX} characters.");
            return Err(Problem::new(Code::BadRequest, detail).into());
        }
        // In the history, such a name would denote a CI job or another person.
        if is_exchanged(name) {
            let detail = "A name does not begin with `trust:` or `oidc:`, which exchanged tokens have.";
            return Err(Problem::new(Code::BadRequest, detail).into());
        }
        check_rank(actor, request)?;
        if let (Some(_), Some(app)) = (&actor.app, &request.app) {
            // Tokens of a deleted app are refused.
            check_there(&*self.catalog, app, request.environment.as_ref()).await?;
        }
        let expired = self.check_token_count(request.app.as_ref()).await?;
        let life = self.life(actor, request.expires_in_s, now_ms).await?;
        Ok(NewToken { name: name.to_owned(), life, expired })
    }

    /// Returns the lifetime of a token: as requested, up to the end of its creator. An account with a just confirmed
    /// session may create a token that outlives the session and ends with the account.
    async fn life(&self, actor: &Actor, expires_in_s: Option<u64>, now_ms: u64) -> Result<Life, Error> {
        let wanted = expires_in_s.map(|s| now_ms.saturating_add(s.saturating_mul(1000)));
        if let (Some(own), Some(wanted)) = (actor.expires_ms, wanted)
            && wanted > own
        {
            let Credential::Session(id, SessionOf::Account) = &actor.credential else {
                return Err(outlives(actor, own, now_ms));
            };
            let account = self.account_of_lasting(id, wanted.saturating_sub(now_ms)).await?;
            return Ok(Life { expires_ms: Some(wanted), account: Some(account) });
        }
        // Tokens created by a token are bound to the same account.
        let account = match &actor.credential {
            Credential::Token(id) | Credential::Session(_, SessionOf::Token(id)) => {
                self.token(id).await?.and_then(|(_, token)| token.account)
            }
            Credential::Local | Credential::Login(_) | Credential::Session(_, SessionOf::Account) => None,
        };
        Ok(Life { expires_ms: wanted.or(actor.expires_ms), account })
    }

    /// Checks the limits of tokens, in total and per app. Returns the ids of expired tokens to delete for room:
    /// otherwise an app could fill the common list with tokens of a second. Expired tokens count, and stay, while their
    /// expiry may be due to a fast clock.
    ///
    /// # Errors
    /// `too_many`.
    pub(super) async fn check_token_count(&self, app: Option<&AppName>) -> Result<Vec<String>, Error> {
        let settled_ms = clock::settled_ms();
        let size = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        let (count_max, of_app_max) = (size(self.limits.tokens_max), size(self.limits.tokens_per_app_max));
        let (mut count, mut of_app) = (0_usize, 0_usize);
        let (mut expired, mut expired_of_app) = (Vec::new(), Vec::new());
        for (key, record) in self.catalog.list(records::TOKENS_PREFIX, None, false, usize::MAX).await? {
            let token: TokenRecord = records::read(&key, &record)?;
            count += 1;
            // Tokens of trusts have a separate limit: jobs of pull requests must not block other tokens.
            let is_exchanged = token.made_by.as_deref().is_some_and(is_exchanged);
            let is_of_app = app.is_some() && token.app.as_ref() == app && !is_exchanged;
            of_app += usize::from(is_of_app);
            if token.expires_ms.is_none_or(|at_ms| at_ms > settled_ms) {
                continue;
            }
            let id = key.strip_prefix(records::TOKENS_PREFIX).unwrap_or_default().to_owned();
            if is_of_app {
                expired_of_app.push(id.clone());
            }
            expired.push(id);
        }
        if count.saturating_sub(expired.len()) >= count_max {
            return Err(Problem::new(Code::TooMany, format!("The edge has {} already.", counted(count_max, "token")))
                .hint("revoke those that are no longer used, or raise `tokens_max` in edge.toml")
                .into());
        }
        if let Some(app) = app.filter(|_| of_app.saturating_sub(expired_of_app.len()) >= of_app_max) {
            return Err(Problem::new(
                Code::TooMany,
                format!("The app {app} has {} already.", counted(of_app_max, "token")),
            )
            .hint("revoke those that are no longer used; `tokens_per_app_max` in edge.toml is the limit")
            .into());
        }
        let mut removed = match (count >= count_max, of_app >= of_app_max) {
            (true, _) => expired,
            (false, true) => expired_of_app,
            (false, false) => Vec::new(),
        };
        // An etcd commit is limited to 126 changes.
        removed.truncate(REMOVED_AT_ONCE);
        Ok(removed)
    }

    /// Returns a page of the tokens visible to the actor, by id: all for an admin of every app, else those of the app
    /// under its administration.
    ///
    /// # Errors
    /// `forbidden` without the scope admin, `not_found` for an app outside the actor's; `bad_request` for an invalid
    /// `after`.
    pub async fn tokens(
        &self,
        actor: &Actor,
        app: Option<&AppName>,
        limit: usize,
        after: Option<&str>,
    ) -> Result<TokenList, Error> {
        let app = app.or(actor.app.as_ref());
        match app {
            Some(app) => actor.may(Scope::Admin, app, actor.environment.as_ref())?,
            None => actor.must_be_admin()?,
        }
        if after.is_some_and(|after| !is_hex(after, ID_BYTES)) {
            return Err(Problem::new(Code::BadRequest, "`after` is not what a page gave as `next`.").into());
        }
        let limit = limit.clamp(1, PAGE_MAX);
        let mut after = after.map(records::token_key);
        let mut list = TokenList::default();
        loop {
            let page = self.catalog.list(records::TOKENS_PREFIX, after.as_deref(), false, PAGE_MAX).await?;
            let is_last = page.len() < PAGE_MAX;
            for (key, record) in page {
                let token: TokenRecord = records::read(&key, &record)?;
                let id = key.strip_prefix(records::TOKENS_PREFIX).unwrap_or_default().to_owned();
                after = Some(key);
                let is_of = app.is_none_or(|app| token.app.as_ref() == Some(app));
                let is_in = actor.environment.as_ref().is_none_or(|own| token.environment.as_ref() == Some(own));
                if !is_of || !is_in {
                    continue;
                }
                if list.tokens.len() == limit {
                    list.next = list.tokens.last().map(|token| token.id.clone());
                    return Ok(list);
                }
                list.tokens.push(self.token_info(id, token).await?);
            }
            if is_last {
                return Ok(list);
            }
        }
    }

    async fn token_info(&self, id: String, token: TokenRecord) -> Result<TokenInfo, Error> {
        let used = self.last_used(&id).await?;
        Ok(TokenInfo {
            name: token.name,
            app: token.app,
            environment: token.environment,
            scope: token.scope.into(),
            created_ms: token.created_ms,
            made_by: token.made_by,
            expires_ms: token.expires_ms,
            last_used_ms: used.as_ref().map(|used| used.at_ms),
            last_used_from: used.map(|used| used.from),
            id,
        })
    }

    /// Revokes a token, effective from the next request. A token may revoke itself; otherwise an admin of the token's
    /// extent is required.
    ///
    /// # Errors
    /// `not_found` for an unknown or hidden token; `forbidden`.
    pub async fn revoke(&self, actor: &Actor, id: &str) -> Result<(), Error> {
        let (revision, token) = self.check_revocation(actor, id).await?;
        let mut event = AuditEvent::of(Action::RevokeToken).what(format!("{id} {}", token.name));
        if let Some(app) = &token.app {
            event = event.app(app);
        }
        let key = records::token_key(id);
        let commit = Commit {
            checks: vec![Check::At(key.clone(), revision)],
            changes: vec![Change::Delete(key), Change::Delete(identities::used_key(id))],
        };
        self.audit.commit(actor, event, commit).await?;
        self.used.forget(id);
        Ok(())
    }

    /// Predicts [`Credentials::revoke`] with its refusals; revokes nothing.
    ///
    /// # Errors
    /// As [`Credentials::revoke`].
    pub async fn predict_revocation(&self, actor: &Actor, id: &str) -> Result<TokenPrediction, Error> {
        let (_, token) = self.check_revocation(actor, id).await?;
        Ok(TokenPrediction {
            dry_run: true,
            id: Some(id.to_owned()),
            name: token.name,
            app: token.app,
            environment: token.environment,
            scope: token.scope.into(),
            expires_ms: token.expires_ms,
        })
    }

    /// Checks that the token exists, and that the actor may revoke the token.
    async fn check_revocation(&self, actor: &Actor, id: &str) -> Result<(Revision, TokenRecord), Error> {
        let missing =
            || Problem::new(Code::NotFound, "There is no such token.").hint("`devanture token list` lists the tokens");
        let Some((revision, token)) = self.token(id).await? else { return Err(missing().into()) };
        if actor.credential != Credential::Token(id.to_owned()) {
            match &token.app {
                Some(app) => actor.may(Scope::Admin, app, token.environment.as_ref()),
                None => actor.must_be_admin(),
            }
            .and_then(|()| match (&actor.environment, &token.environment) {
                (Some(own), Some(other)) if own == other => Ok(()),
                (None, _) => Ok(()),
                _ => Err(missing().into()),
            })
            // A caller restricted to one app must learn nothing of other tokens.
            .map_err(|error| if actor.app.is_some() && token.app != actor.app { missing().into() } else { error })?;
        }
        Ok((revision, token))
    }

    /// Returns the record of a token.
    pub(super) async fn token(&self, id: &str) -> Result<Option<(Revision, TokenRecord)>, Error> {
        if !is_hex(id, ID_BYTES) {
            return Ok(None);
        }
        let key = records::token_key(id);
        let Some(record) = self.catalog.get(&key).await? else { return Ok(None) };
        Ok(Some((record.revision, records::read(&key, &record)?)))
    }

    /// Returns the actor of a token.
    pub(super) async fn token_actor(
        &self,
        id: &str,
        secret: &str,
        from: Option<IpAddr>,
    ) -> Result<Option<Actor>, Error> {
        let found = self.token_in_force(id).await?.filter(|(_, token)| is_secret(secret, &token.hash));
        let Some((_, token)) = found else { return Ok(None) };
        self.used.note(id, from);
        Ok(Some(Actor {
            name: token.name,
            app: token.app,
            environment: token.environment,
            scope: token.scope.into(),
            from,
            credential: Credential::Token(id.to_owned()),
            root: token.root,
            expires_ms: token.expires_ms,
            unconfirmed: false,
        }))
    }

    /// Returns the record of a valid token.
    pub(super) async fn token_in_force(&self, id: &str) -> Result<Option<(Revision, TokenRecord)>, Error> {
        let is_good = |token: &TokenRecord| token.expires_ms.is_none_or(|at_ms| at_ms > clock::now_ms());
        match self.token(id).await?.filter(|(_, token)| is_good(token)) {
            Some((revision, token)) if self.has_its_account(&token).await? => Ok(Some((revision, token))),
            _ => Ok(None),
        }
    }
}

/// Event of a token's creation.
fn of_request(request: &TokenRequest) -> AuditEvent {
    let event = AuditEvent::of(Action::CreateToken);
    match (&request.app, &request.environment) {
        (Some(app), Some(environment)) => event.place(app, environment),
        (Some(app), None) => event.app(app),
        (None, _) => event,
    }
}

/// Checks that the actor is an admin of the requested extent.
fn check_rank(actor: &Actor, request: &TokenRequest) -> Result<(), Error> {
    match &request.app {
        Some(app) => actor.may(Scope::Admin, app, request.environment.as_ref())?,
        None => actor.must_be_admin()?,
    }
    match (&actor.environment, &request.environment) {
        (Some(own), None) => {
            let detail = format!("The token `{}` is for {own} alone, so it makes tokens for {own} alone.", actor.name);
            Err(Problem::new(Code::Forbidden, detail).hint(format!("say the environment: {own}")).into())
        }
        _ => Ok(()),
    }
}

/// Refusal of a token that would outlive its creator, which ends at `own`.
fn outlives(actor: &Actor, own: u64, now_ms: u64) -> Error {
    let left_s = own.saturating_sub(now_ms) / 1000;
    let detail =
        format!("{} ends in {}, and makes no token that outlives it.", actor.shown(), counted(left_s, "second"));
    Problem::new(Code::Forbidden, detail).hint("ask for a shorter life, or say none").into()
}
