//! Logins: a password is exchanged for a short-lived access token and a refresh token for the next pair.
//!
//! Refresh tokens are single use. All refresh tokens of a login share a part that proves their origin, and each has a
//! part of its own. A token with the right shared part and an old own part indicates a theft, of the presented token or
//! of the owner's: the login ends with all its tokens. An exception covers lost responses: the immediately preceding
//! token may be presented again within `refresh_grace_ms_max` after its replacement, while neither token of the
//! replacing pair was used; the replacing pair then becomes invalid. Of two concurrent presentations of a token, one
//! pair therefore remains.

use std::net::IpAddr;
use std::time::Duration;

use devanture_config::Digest;
use devanture_config::api::{ACCESS_TOKEN_PREFIX, AccountName, LoggedIn, LoginRequest, REFRESH_TOKEN_PREFIX, Secret};
use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;
use metrics::counter;

use super::accounts::of_account;
use super::passwords::PasswordOf;
use super::{Credentials, accounts, bad_token, is_hex, is_secret, random_hex, tokens};
use crate::ledger::{
    Action, Actor, AuditEvent, Credential, Error, PART_CHANGES_MAX, SystemWrite, commit_system, from_text,
    unless_conflict, update,
};
use devanture_base::clock;
use devanture_store::catalog::{Change, Check, Commit, Revision};
use devanture_store::records;
use devanture_store::records::identities::{self, AccessToken, AccountRecord, LoginRecord, ReplacedToken};

/// Random bytes of a login id, including those of its account.
pub(super) const ID_BYTES: usize = accounts::ID_BYTES + tokens::ID_BYTES;
/// Random bytes of the part shared by all refresh tokens of a login.
const FAMILY_BYTES: usize = 16;
/// Valid access tokens per login.
const ACCESS_TOKENS_MAX: usize = 4;

/// Valid login with its account.
pub(super) struct InForce {
    pub(super) login: LoginRecord,
    revision: Revision,
    account: AccountRecord,
}

/// Secrets of a new pair.
struct Pair {
    access: String,
    refresh: String,
}

/// Account with a verified password.
pub(super) struct Proven {
    pub(super) name: AccountName,
    /// Stamp of the account at the verification.
    stamp: String,
    /// Hash of the password by the present parameters, if the stored hash used others.
    rehashed: Option<String>,
}

impl Pair {
    fn new() -> Self {
        Self { access: random_hex(tokens::SECRET_BYTES), refresh: random_hex(tokens::SECRET_BYTES) }
    }
}

impl Credentials {
    /// Verifies the password of an account. Attempts at the public visitor login have separate windows and permits,
    /// selected by `of`, so that strangers cannot block logins of the API.
    ///
    /// # Errors
    /// `bad_login` for a wrong password or an unknown account, without distinction; `too_many_attempts`, `busy`.
    pub(super) async fn prove(
        &self,
        of: PasswordOf<'_>,
        login: &str,
        password: &Secret,
        from: Option<IpAddr>,
    ) -> Result<Proven, Error> {
        let (attempts, window) = match of {
            PasswordOf::Account => (&self.attempts, login.to_owned()),
            PasswordOf::Visitors(_) => (&self.visitor_attempts, format!("account {login}")),
        };
        let attempt = attempts.begin(&window, from).map_err(|wait| self.limited(login, from, wait))?;
        let name: Option<AccountName> = login.parse().ok();
        let found = match &name {
            Some(name) => self.account(name).await.inspect_err(|_reason| attempts.take_back(&attempt))?,
            None => None,
        };
        let kept = found.as_ref().map(|(_, account)| account.password.as_str());
        let verified = match self.passwords.verify(of, kept, password).await {
            Ok(verified) => verified,
            Err(error) => {
                attempts.take_back(&attempt);
                count("busy");
                return Err(error);
            }
        };
        let (Some(name), Some((_, account)), true) = (name, found, verified.is_right) else {
            attempts.failed(&attempt);
            return Err(self.refused(login, from));
        };
        attempts.succeeded(&attempt);
        // Visitor logins write nothing.
        let rehashed = match verified.is_outdated && matches!(of, PasswordOf::Account) {
            true => Some(self.passwords.keep_again(password).await?),
            false => None,
        };
        Ok(Proven { name, stamp: account.stamp, rehashed })
    }

    /// Returns the present record of a verified account, with the hash by the present parameters.
    ///
    /// # Errors
    /// `bad_login` after a concurrent change of the password.
    pub(super) async fn proven_account(
        &self,
        proven: &Proven,
        from: Option<IpAddr>,
    ) -> Result<(Revision, AccountRecord, Option<Change>), Error> {
        let found = self.account(&proven.name).await?.filter(|(_, account)| account.stamp == proven.stamp);
        let (revision, mut account) = found.ok_or_else(|| self.refused(proven.name.as_str(), from))?;
        let Some(rehashed) = &proven.rehashed else { return Ok((revision, account, None)) };
        account.password.clone_from(rehashed);
        let change = Change::Put(identities::account_key(&proven.name), records::write(&account)?);
        Ok((revision, account, Some(change)))
    }

    /// Exchanges a password for the first token pair.
    ///
    /// # Errors
    /// As [`Credentials::prove`].
    pub async fn login(&self, request: &LoginRequest, from: Option<IpAddr>) -> Result<LoggedIn, Error> {
        let proven = self.prove(PasswordOf::Account, &request.login, &request.password, from).await?;
        let account_key = identities::account_key(&proven.name);
        update(&account_key, || async {
            let (revision, account, rehashed) = self.proven_account(&proven, from).await?;
            let (id, pair, family) = (new_id(&account.id), Pair::new(), random_hex(FAMILY_BYTES));
            let login = self.new_login(&proven.name, &account, &pair, &family, from);
            let mut commit = Commit {
                checks: vec![Check::At(account_key.clone(), revision), Check::Absent(identities::login_key(&id))],
                changes: self.surplus_logins(&account).await?,
            };
            commit.changes.push(Change::Put(identities::login_key(&id), records::write(&login)?));
            commit.changes.extend(rehashed);
            let actor = actor_of(&id, &login, &account, from);
            let event = of_account(Action::Login, &account);
            if unless_conflict(self.audit.commit(&actor, event, commit).await)?.is_some() {
                count("ok");
                return Ok(Some(answer(&id, &family, pair, &login, &account)));
            }
            Ok(None)
        })
        .await
    }

    fn new_login(
        &self,
        name: &AccountName,
        account: &AccountRecord,
        pair: &Pair,
        family: &str,
        from: Option<IpAddr>,
    ) -> LoginRecord {
        let now_ms = clock::now_ms();
        let mut login = LoginRecord {
            account: name.clone(),
            stamp: account.stamp.clone(),
            family: Digest::of(family.as_bytes()),
            refresh: Digest::of(pair.refresh.as_bytes()),
            generation: 1,
            previous: None,
            access: Vec::new(),
            created_ms: now_ms,
            expires_ms: now_ms.saturating_add(self.limits.refresh_token_ms_max),
            from: from_text(from),
        };
        self.add_access(&mut login, pair, now_ms);
        login
    }

    /// Adds the access token of the newest pair, and removes expired tokens.
    fn add_access(&self, login: &mut LoginRecord, pair: &Pair, now_ms: u64) {
        login.access.retain(|token| token.expires_ms > now_ms);
        let surplus = (login.access.len() + 1).saturating_sub(ACCESS_TOKENS_MAX);
        login.access.drain(..surplus);
        let ends_ms = now_ms.saturating_add(self.limits.access_token_ms_max);
        login.access.push(AccessToken {
            hash: Digest::of(pair.access.as_bytes()),
            generation: login.generation,
            // An access token does not outlive its login.
            expires_ms: ends_ms.min(login.expires_ms),
        });
    }

    /// Makes room for a login of an account: returns the deletion of expired logins and of the oldest beyond the limit.
    /// Deletions beyond the limit of one commit follow with later logins, or with expired records.
    async fn surplus_logins(&self, account: &AccountRecord) -> Result<Vec<Change>, Error> {
        let now_ms = clock::now_ms();
        let is_over = |login: &LoginRecord| login.expires_ms <= now_ms || login.stamp != account.stamp;
        let (over, mut in_force): (Vec<_>, Vec<_>) =
            self.logins_of(account).await?.into_iter().partition(|(_, login)| is_over(login));
        in_force.sort_by_key(|(_, login)| login.created_ms);
        let count_max = usize::try_from(self.limits.logins_per_account_max).unwrap_or(usize::MAX);
        let surplus = (in_force.len() + 1).saturating_sub(count_max);
        let gone = in_force.into_iter().take(surplus).chain(over).take(PART_CHANGES_MAX);
        Ok(gone.map(|(key, _)| Change::Delete(key)).collect())
    }

    /// Returns the next pair for a refresh token. The module documentation describes reused tokens.
    ///
    /// # Errors
    /// `bad_token`.
    pub async fn refresh(&self, token: &Secret, from: Option<IpAddr>) -> Result<LoggedIn, Error> {
        update(identities::LOGINS_PREFIX, || async {
            let Some((id, family, secret)) = self.family_of(token) else { return Err(self.bad_refresh(from)) };
            let Some(found) = self.login_in_force(id).await? else { return Err(self.bad_refresh(from)) };
            if !is_secret(family, &found.login.family) {
                return Err(self.bad_refresh(from));
            }
            let Some((login, pair)) = self.next_pair(id, &found.login, secret) else {
                if self.end_stolen(id, &found, from).await? {
                    return Err(bad_token().into());
                }
                return Ok(None);
            };
            let key = identities::login_key(id);
            let commit = Commit {
                checks: vec![Check::At(key.clone(), found.revision)],
                changes: vec![Change::Put(key, records::write(&login)?)],
            };
            // After a lost race with a concurrent refresh, the presented token is now the preceding token.
            if unless_conflict(commit_system(&*self.catalog, SystemWrite::Refresh, commit).await)?.is_some() {
                return Ok(Some(answer(id, family, pair, &login, &found.account)));
            }
            Ok(None)
        })
        .await
    }

    /// Returns the login with its next pair; `None` for an unacceptable refresh token.
    fn next_pair(&self, id: &str, login: &LoginRecord, secret: &str) -> Option<(LoginRecord, Pair)> {
        let now_ms = clock::now_ms();
        let (mut next, pair) = (login.clone(), Pair::new());
        if is_secret(secret, &login.refresh) {
            next.previous = Some(ReplacedToken { hash: login.refresh, replaced_ms: now_ms });
        } else {
            let replaced = login.previous.as_ref().filter(|previous| is_secret(secret, &previous.hash))?;
            let is_late = now_ms.saturating_sub(replaced.replaced_ms) > self.limits.refresh_grace_ms_max;
            if is_late || self.used.is_pair_used(id, login.generation) {
                return None;
            }
            next.access.retain(|token| token.generation != login.generation);
        }
        next.refresh = Digest::of(pair.refresh.as_bytes());
        next.generation = login.generation.saturating_add(1);
        self.add_access(&mut next, &pair, now_ms);
        Some((next, pair))
    }

    /// Ends a login after the presentation of an old refresh token. Returns false if another commit won the race.
    async fn end_stolen(&self, id: &str, found: &InForce, from: Option<IpAddr>) -> Result<bool, Error> {
        let actor = actor_of(id, &found.login, &found.account, from);
        let event = of_account(Action::ReuseRefreshToken, &found.account)
            .what("an old refresh token was presented; all tokens of its login are revoked");
        let ended = self.end_login(&actor, event, id, found.revision).await?;
        if ended {
            counter!("devanture_refresh_tokens_reused_total").increment(1);
        }
        Ok(ended)
    }

    /// Ends the login of a refresh token, even of an old token.
    ///
    /// # Errors
    /// `bad_token`.
    pub async fn logout(&self, token: &Secret, from: Option<IpAddr>) -> Result<(), Error> {
        update(identities::LOGINS_PREFIX, || async {
            let Some((id, family, _)) = self.family_of(token) else { return Err(self.bad_refresh(from)) };
            let found = self.login_in_force(id).await?.filter(|found| is_secret(family, &found.login.family));
            let Some(found) = found else { return Err(self.bad_refresh(from)) };
            let actor = actor_of(id, &found.login, &found.account, from);
            if self.end_login(&actor, of_account(Action::Logout, &found.account), id, found.revision).await? {
                return Ok(Some(()));
            }
            Ok(None)
        })
        .await
    }

    async fn end_login(&self, actor: &Actor, event: AuditEvent, id: &str, revision: Revision) -> Result<bool, Error> {
        let key = identities::login_key(id);
        let commit = Commit { checks: vec![Check::At(key.clone(), revision)], changes: vec![Change::Delete(key)] };
        let is_ended = unless_conflict(self.audit.commit(actor, event, commit).await)?.is_some();
        if is_ended {
            self.used.forget(id);
        }
        Ok(is_ended)
    }

    /// Splits a refresh token into id, shared part and own part.
    fn family_of<'t>(&self, token: &'t Secret) -> Option<(&'t str, &'t str, &'t str)> {
        let mut parts = token.expose().split('_');
        let (Some(REFRESH_TOKEN_PREFIX), Some(id), Some(secrets), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        if !is_hex(id, ID_BYTES) || !is_hex(secrets, FAMILY_BYTES + tokens::SECRET_BYTES) {
            return None;
        }
        let (family, secret) = secrets.split_at_checked(FAMILY_BYTES * 2)?;
        Some((id, family, secret))
    }

    /// Returns an unexpired login whose account exists and has an unchanged password.
    pub(super) async fn login_in_force(&self, id: &str) -> Result<Option<InForce>, Error> {
        self.login_in_force_at(id, clock::now_ms()).await
    }

    /// As `login_in_force`, at the time `at_ms`.
    pub(super) async fn login_in_force_at(&self, id: &str, at_ms: u64) -> Result<Option<InForce>, Error> {
        if !is_hex(id, ID_BYTES) {
            return Ok(None);
        }
        let key = identities::login_key(id);
        let Some(record) = self.catalog.get(&key).await? else { return Ok(None) };
        let login: LoginRecord = records::read(&key, &record)?;
        let Some((_, account)) = self.account(&login.account).await? else { return Ok(None) };
        let is_in_force = id.starts_with(&account.id) && login.stamp == account.stamp && login.expires_ms > at_ms;
        Ok(is_in_force.then_some(InForce { login, revision: record.revision, account }))
    }

    /// Returns the actor of an access token.
    pub(super) async fn login_actor(
        &self,
        id: &str,
        secret: &str,
        from: Option<IpAddr>,
    ) -> Result<Option<Actor>, Error> {
        let Some(found) = self.login_in_force(id).await? else { return Ok(None) };
        let now_ms = clock::now_ms();
        let good = found.login.access.iter().find(|token| token.expires_ms > now_ms && is_secret(secret, &token.hash));
        let Some(token) = good else { return Ok(None) };
        let grace_ms = self.limits.refresh_grace_ms_max;
        let is_young = |previous: &ReplacedToken| now_ms.saturating_sub(previous.replaced_ms) <= grace_ms;
        if found.login.previous.as_ref().is_some_and(is_young) {
            self.used.note_pair(id, token.generation);
        }
        Ok(Some(actor_of(id, &found.login, &found.account, from)))
    }

    pub(super) fn limited(&self, login: &str, from: Option<IpAddr>, wait: Duration) -> Error {
        count("limited");
        self.log_refusal(login, from, "too many attempts");
        limited(wait)
    }

    fn refused(&self, login: &str, from: Option<IpAddr>) -> Error {
        self.refuse_login(login, from);
        Problem::new(Code::BadLogin, "The login or the password is wrong.")
            .hint("the operator of the edge can set another: `devanture-edge account password --name NAME`")
            .into()
    }

    /// Counts and logs a refused login.
    pub(super) fn refuse_login(&self, login: &str, from: Option<IpAddr>) {
        count("refused");
        self.log_refusal(login, from, "wrong");
    }

    fn log_refusal(&self, login: &str, from: Option<IpAddr>, why: &str) {
        // The typed login may be a password: only valid account names are logged.
        let login = login.parse::<AccountName>().map_or_else(|_| "(no name)".to_owned(), String::from);
        if self.log_quota.take(&()).is_ok() {
            tracing::warn!(target: "audit", login, from = from_text(from), why, "a login was refused");
        }
    }

    fn bad_refresh(&self, from: Option<IpAddr>) -> Error {
        counter!("devanture_tokens_refused_total").increment(1);
        if self.log_quota.take(&()).is_ok() {
            tracing::warn!(target: "audit", from = from_text(from), "a refresh token was refused");
        }
        bad_token().into()
    }
}

pub(super) fn count(outcome: &'static str) {
    counter!("devanture_logins_total", "outcome" => outcome).increment(1);
}

/// Refusal of an attempt beyond the limit; the next is allowed after `wait`.
pub(super) fn limited(wait: Duration) -> Error {
    let seconds = u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX).max(1);
    Problem::new(Code::TooManyAttempts, "There were too many attempts to log in, to this account or from this address.")
        .hint(format!("try again in {}; a token is not held up by this", counted(seconds, "second")))
        .retry_after(seconds)
        .into()
}

/// Returns a new id of a login or session, for the account or token with the id `of`.
pub(super) fn new_id(of: &str) -> String {
    format!("{of}{}", random_hex(tokens::ID_BYTES))
}

/// Returns the actor of a login. Credentials made by the actor do not outlive the login: otherwise a copied access
/// token, valid for minutes, could create a permanent token.
fn actor_of(id: &str, login: &LoginRecord, account: &AccountRecord, from: Option<IpAddr>) -> Actor {
    Actor {
        name: login.account.to_string(),
        app: account.app.clone(),
        environment: account.environment.clone(),
        scope: account.scope.into(),
        from,
        credential: Credential::Login(id.to_owned()),
        root: None,
        expires_ms: Some(login.expires_ms),
        unconfirmed: false,
    }
}

fn answer(id: &str, family: &str, pair: Pair, login: &LoginRecord, account: &AccountRecord) -> LoggedIn {
    let now_ms = clock::now_ms();
    let left_s = |at_ms: u64| at_ms.saturating_sub(now_ms) / 1_000;
    LoggedIn {
        account: login.account.clone(),
        app: account.app.clone(),
        environment: account.environment.clone(),
        scope: account.scope.into(),
        access_token: Secret::new(format!("{ACCESS_TOKEN_PREFIX}_{id}_{}", pair.access)),
        expires_in_s: login.access.last().map_or(0, |token| left_s(token.expires_ms)),
        refresh_token: Secret::new(format!("{REFRESH_TOKEN_PREFIX}_{id}_{family}{}", pair.refresh)),
        refresh_expires_in_s: left_s(login.expires_ms),
    }
}
