//! Tokens: random, kept as hashes, scoped, expiring, revoked at once.

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
/// Random bytes of a token's secret: 256 bits, beyond guessing, so that one hash keeps it.
pub(super) const SECRET_BYTES: usize = 32;
/// Longest name of a token, in characters.
const NAME_CHARACTERS_MAX: usize = 100;
/// Default number of tokens on a page.
pub const TOKENS_PAGE: usize = 100;
/// Most tokens on one page.
const PAGE_MAX: usize = 1_000;

/// Expired tokens that one more removes, which makes room for it.
const REMOVED_AT_ONCE: usize = 32;

/// A token that may be made.
struct NewToken {
    name: String,
    life: Life,
    /// Ids of expired tokens that go to make room.
    expired: Vec<String>,
}

/// How long a token lives.
struct Life {
    expires_ms: Option<u64>,
    /// The account that it ends with.
    account: Option<TokenAccount>,
}

impl Credentials {
    /// Makes a token; the answer is the only place where it is ever shown. It may do no more than its maker, and does
    /// not outlive a maker that ends; but for a session that its account has just confirmed, which a stolen cookie
    /// alone cannot.
    ///
    /// # Errors
    /// `bad_request` for a name that is none, `forbidden` for more than the actor has, `not_found` for another app,
    /// `deleted` where the actor is for an app that is deleted, `confirmation_required` where a session that is not
    /// confirmed asks for more than its own life, `too_many`; where the catalog fails.
    pub async fn create(&self, actor: &Actor, request: TokenRequest) -> Result<TokenMade, Error> {
        let own_app = match &actor.app {
            Some(app) => SameApp::find(&*self.catalog, app).await?,
            None => None,
        };
        // Until the commit nobody else makes one, so that the limits hold.
        let _making = self.making.lock().await;
        let (id, secret) = (random_hex(ID_BYTES), random_hex(SECRET_BYTES));
        let key = records::token_key(&id);
        update(&key, || async {
            // Its maker may have been revoked while this waited, and its app be another one's by now.
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

    /// Predicts [`Credentials::create`], with the refusals that it would get; makes no token.
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

    /// Checks that the actor may make this token, and that there is room for it.
    async fn check_creation(&self, actor: &Actor, request: &TokenRequest, now_ms: u64) -> Result<NewToken, Error> {
        let name = request.name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARACTERS_MAX || name.chars().any(char::is_control) {
            let detail = format!("A token needs a name of 1 to {NAME_CHARACTERS_MAX} characters.");
            return Err(Problem::new(Code::BadRequest, detail).into());
        }
        // Such a name in the history would be that of a job, or of another person.
        if is_exchanged(name) {
            let detail = "A name does not begin with `trust:` or `oidc:`, which exchanged tokens have.";
            return Err(Problem::new(Code::BadRequest, detail).into());
        }
        check_rank(actor, request)?;
        if let (Some(_), Some(app)) = (&actor.app, &request.app) {
            // What the tokens of a deleted app request of it is refused.
            check_there(&*self.catalog, app, request.environment.as_ref()).await?;
        }
        let expired = self.check_token_count(request.app.as_ref()).await?;
        let life = self.life(actor, request.expires_in_s, now_ms).await?;
        Ok(NewToken { name: name.to_owned(), life, expired })
    }

    /// How long a token lives: as it is asked for, but not longer than its maker. An account that has just confirmed
    /// its session makes one that outlives the session, and ends with the account.
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
        // What a token makes ends with the same account.
        let account = match &actor.credential {
            Credential::Token(id) | Credential::Session(_, SessionOf::Token(id)) => {
                self.token(id).await?.and_then(|(_, token)| token.account)
            }
            Credential::Local | Credential::Login(_) | Credential::Session(_, SessionOf::Account) => None,
        };
        Ok(Life { expires_ms: wanted.or(actor.expires_ms), account })
    }

    /// Checks that there is room for one more token, also among those of an app. Returns the ids of those that have
    /// expired and have to go to make room: an app could fill the list of all with tokens of a second otherwise. They
    /// count, and stay, for as long as the clock may be ahead by which they have expired.
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
            // Those of trusts have a limit of their own: jobs of a pull request keep nobody from making a token.
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
        // A catalog in etcd takes 126 changes at once.
        removed.truncate(REMOVED_AT_ONCE);
        Ok(removed)
    }

    /// A page of the tokens that the actor may see, in the order of their ids: of all for an admin of every app, else
    /// of the app that it is an admin of.
    ///
    /// # Errors
    /// `forbidden` without the scope admin, `not_found` for another app; `bad_request` for an `after` that no page
    /// gave.
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

    /// Revokes a token: the next request with it is refused. A token may revoke itself; else it takes an admin of what
    /// the token is for.
    ///
    /// # Errors
    /// `not_found` for what there is not, or what the actor may not see; `forbidden`.
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

    /// Predicts [`Credentials::revoke`], with the refusals that it would get; revokes nothing.
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

    /// Checks that there is such a token, and that the actor may revoke it.
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
            // A caller who sees one app only learns nothing of tokens beyond it.
            .map_err(|error| if actor.app.is_some() && token.app != actor.app { missing().into() } else { error })?;
        }
        Ok((revision, token))
    }

    /// The record of a token.
    pub(super) async fn token(&self, id: &str) -> Result<Option<(Revision, TokenRecord)>, Error> {
        if !is_hex(id, ID_BYTES) {
            return Ok(None);
        }
        let key = records::token_key(id);
        let Some(record) = self.catalog.get(&key).await? else { return Ok(None) };
        Ok(Some((record.revision, records::read(&key, &record)?)))
    }

    /// Whose token this is, if it is one.
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

    /// The record of a token that has not ended.
    pub(super) async fn token_in_force(&self, id: &str) -> Result<Option<(Revision, TokenRecord)>, Error> {
        let is_good = |token: &TokenRecord| token.expires_ms.is_none_or(|at_ms| at_ms > clock::now_ms());
        match self.token(id).await?.filter(|(_, token)| is_good(token)) {
            Some((revision, token)) if self.has_its_account(&token).await? => Ok(Some((revision, token))),
            _ => Ok(None),
        }
    }
}

/// The making of a token for what the request names.
fn of_request(request: &TokenRequest) -> AuditEvent {
    let event = AuditEvent::of(Action::CreateToken);
    match (&request.app, &request.environment) {
        (Some(app), Some(environment)) => event.place(app, environment),
        (Some(app), None) => event.app(app),
        (None, _) => event,
    }
}

/// Checks that the actor may give away what is asked for: it is an admin of all of it.
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

/// The refusal of a token that would end after its maker, which ends at `own`.
fn outlives(actor: &Actor, own: u64, now_ms: u64) -> Error {
    let left_s = own.saturating_sub(now_ms) / 1000;
    let detail =
        format!("{} ends in {}, and makes no token that outlives it.", actor.shown(), counted(left_s, "second"));
    Problem::new(Code::Forbidden, detail).hint("ask for a shorter life, or say none").into()
}
