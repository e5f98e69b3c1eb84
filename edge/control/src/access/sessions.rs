//! Browser sessions: a secret that acts as an account or token until either ends.
//!
//! A session has no rights of its own: each request reads the rights of its account or token, so the session ends with
//! these, and with a change of the password. A session id begins with the id of its account or token.

use std::net::IpAddr;

use devanture_config::Digest;
use devanture_config::api::{AccountName, SESSION_PREFIX, Scope, Secret, Session, SessionRight};
use devanture_config::problem::{Code, Problem};

use super::accounts::of_account;
use super::logins::{ID_BYTES, count, new_id};
use super::passwords::PasswordOf;
use super::{Credentials, bad_token, is_hex, is_secret, parts_of, random_hex, tokens};
use crate::ledger::{Action, Actor, AuditEvent, Credential, Error, SessionOf, from_text, unless_conflict, update};
use devanture_base::clock;
use devanture_store::catalog::{Change, Check, Commit, Record, Revision};
use devanture_store::records::identities::{AccountRecord, account_key, used_key};
use devanture_store::records::sessions::{SESSIONS_PREFIX, SessionRecord, session_key};
use devanture_store::records::{self, TokenRecord};

/// Longest name of a browser, in characters.
const BROWSER_CHARACTERS_MAX: usize = 200;

/// Browser of a request that begins a session.
#[derive(Debug, Clone)]
pub struct Browser {
    /// Address of the client.
    pub from: Option<IpAddr>,
    /// Name given by the browser.
    pub name: String,
}

/// New session.
pub struct SessionMade {
    /// Session.
    pub session: Session,
    /// Secret for the browser's cookie.
    pub secret: Secret,
    /// Lifetime in seconds.
    pub lifetime_s: u64,
}

/// Present account or token of a session.
pub(super) enum Owner {
    Account(AccountName, AccountRecord),
    Token(String, TokenRecord),
}

/// Session with its record.
pub(super) struct StoredSession {
    pub(super) id: String,
    pub(super) record: SessionRecord,
    pub(super) revision: Revision,
    pub(super) used_ms: u64,
}

impl StoredSession {
    /// Returns true for a session of the account with its present password.
    pub(super) fn is_of(&self, account: &AccountRecord) -> bool {
        self.record.account.is_some() && self.id.starts_with(&account.id) && self.record.stamp == account.stamp
    }
}

/// Valid session.
pub(super) struct InForce {
    pub(super) found: StoredSession,
    pub(super) owner: Owner,
    /// Expiry without a further use.
    pub(super) ends_ms: u64,
}

impl InForce {
    /// Returns the actor of the session. Credentials made by the actor do not outlive the session.
    fn actor(&self, from: Option<IpAddr>) -> Actor {
        let (id, ends_ms) = (self.found.id.clone(), self.found.record.expires_ms);
        let unconfirmed = self.is_unconfirmed();
        match &self.owner {
            Owner::Account(name, account) => Actor {
                name: name.to_string(),
                app: account.app.clone(),
                environment: account.environment.clone(),
                scope: account.scope.into(),
                from,
                credential: Credential::Session(id, SessionOf::Account),
                root: None,
                expires_ms: Some(ends_ms),
                unconfirmed,
            },
            Owner::Token(token, record) => Actor {
                name: record.name.clone(),
                app: record.app.clone(),
                environment: record.environment.clone(),
                scope: record.scope.into(),
                from,
                credential: Credential::Session(id, SessionOf::Token(token.clone())),
                root: record.root.clone(),
                expires_ms: Some(record.expires_ms.map_or(ends_ms, |at_ms| at_ms.min(ends_ms))),
                unconfirmed,
            },
        }
    }
}

impl Credentials {
    /// Begins a session with the password of an account.
    ///
    /// # Errors
    /// `bad_login` for a wrong password or an unknown account, without distinction; `too_many_attempts`, `busy`.
    pub async fn begin_by_password(
        &self,
        login: &str,
        password: &Secret,
        browser: &Browser,
    ) -> Result<SessionMade, Error> {
        let proven = self.prove(PasswordOf::Account, login, password, browser.from).await?;
        update(&account_key(&proven.name), || async {
            let (revision, account, rehashed) = self.proven_account(&proven, browser.from).await?;
            let mut made =
                self.begin(&account.id, Owner::Account(proven.name.clone(), account.clone()), browser).await?;
            made.commit.checks.push(Check::At(account_key(&proven.name), revision));
            made.commit.changes.extend(rehashed);
            self.commit_begun(made, of_account(Action::Login, &account), browser).await
        })
        .await
    }

    /// Begins a session with a token.
    ///
    /// # Errors
    /// `bad_token` as for any request with the token; `too_many_attempts`.
    pub async fn begin_by_token(&self, token: &Secret, browser: &Browser) -> Result<SessionMade, Error> {
        let text = token.expose();
        // Counted by the whole text, so that guesses cannot block the true token.
        let attempt = self.attempts.begin(&format!("token {text}"), browser.from);
        let attempt = attempt.map_err(|wait| self.limited("(token)", browser.from, wait))?;
        let actor = match self.recognise(text, browser.from).await {
            Ok(actor) => actor,
            Err(error) => {
                self.attempts.failed(&attempt);
                return Err(error);
            }
        };
        self.attempts.succeeded(&attempt);
        // Access tokens of a login cannot begin a session.
        let Credential::Token(id) = actor.credential else { return Err(bad_token().into()) };
        update(&records::token_key(&id), || async {
            let Some((revision, token)) = self.token_in_force(&id).await? else { return Err(bad_token().into()) };
            let event = match (&token.app, &token.environment) {
                (Some(app), Some(environment)) => AuditEvent::of(Action::Login).place(app, environment),
                (Some(app), None) => AuditEvent::of(Action::Login).app(app),
                (None, _) => AuditEvent::of(Action::Login),
            };
            let mut made = self.begin(&id, Owner::Token(id.clone(), token), browser).await?;
            made.commit.checks.push(Check::At(records::token_key(&id), revision));
            self.commit_begun(made, event, browser).await
        })
        .await
    }

    /// Builds a new session of the account or token with the id `of`.
    pub(super) async fn begin(&self, of: &str, owner: Owner, browser: &Browser) -> Result<NewSession, Error> {
        let (now_ms, secret) = (clock::now_ms(), random_hex(tokens::SECRET_BYTES));
        let id = new_id(of);
        let (account, stamp, end_ms) = match &owner {
            Owner::Account(name, account) => (Some(name.clone()), account.stamp.clone(), None),
            Owner::Token(_, token) => (None, String::new(), token.expires_ms),
        };
        let longest_ms = now_ms.saturating_add(self.limits.session_ms_max);
        let record = SessionRecord {
            hash: Digest::of(secret.as_bytes()),
            account,
            stamp,
            created_ms: now_ms,
            expires_ms: end_ms.map_or(longest_ms, |at_ms| at_ms.min(longest_ms)),
            from: from_text(browser.from),
            browser: browser.name.chars().filter(|c| !c.is_control()).take(BROWSER_CHARACTERS_MAX).collect(),
            confirmed_until_ms: 0,
            registered_ms: 0,
        };
        let mut changes = self.surplus_sessions(of, &owner).await?;
        changes.push(Change::Put(session_key(&id), records::write(&record)?));
        let commit = Commit { checks: vec![Check::Absent(session_key(&id))], changes };
        let found = StoredSession { id, record, revision: Revision::default(), used_ms: now_ms };
        Ok(NewSession { session: InForce { found, owner, ends_ms: now_ms }, secret, commit })
    }

    /// Commits a new session; `None` if another commit won the race.
    pub(super) async fn commit_begun(
        &self,
        begun: NewSession,
        event: AuditEvent,
        browser: &Browser,
    ) -> Result<Option<SessionMade>, Error> {
        let NewSession { session, secret, commit } = begun;
        let actor = session.actor(browser.from);
        if unless_conflict(self.audit.commit(&actor, event, commit).await)?.is_none() {
            return Ok(None);
        }
        count("ok");
        let record = &session.found.record;
        let lifetime_s = record.expires_ms.saturating_sub(record.created_ms) / 1_000;
        let secret = Secret::new(format!("{SESSION_PREFIX}_{}_{secret}", session.found.id));
        Ok(Some(SessionMade { session: self.session_report(&session).await?, secret, lifetime_s }))
    }

    /// Makes room for a session of an account or token: returns the deletion of ended sessions and of the oldest beyond
    /// the limit.
    async fn surplus_sessions(&self, of: &str, owner: &Owner) -> Result<Vec<Change>, Error> {
        let is_over = |found: &StoredSession| match owner {
            Owner::Account(_, account) => !found.is_of(account),
            Owner::Token(..) => found.record.account.is_some(),
        };
        let (over, mut in_force): (Vec<_>, Vec<_>) =
            self.all_sessions_of(of).await?.into_iter().partition(|found| self.has_ended(found) || is_over(found));
        in_force.sort_by_key(|found| found.record.created_ms);
        let count_max = usize::try_from(self.limits.sessions_per_account_max).unwrap_or(usize::MAX);
        let surplus = (in_force.len() + 1).saturating_sub(count_max);
        let gone = over.into_iter().chain(in_force.into_iter().take(surplus));
        Ok(gone.flat_map(|found| removal(&found.id)).collect())
    }

    /// Authenticates a session secret from the address `from`.
    ///
    /// # Errors
    /// `bad_token` for an unknown, malformed or ended session, without distinction.
    pub async fn recognise_session(&self, secret: &str, from: Option<IpAddr>) -> Result<Actor, Error> {
        let found = match parts_of(secret) {
            Some((SESSION_PREFIX, id, secret)) => {
                self.session_in_force(id).await?.filter(|session| is_secret(secret, &session.found.record.hash))
            }
            _ => None,
        };
        let Some(session) = found else { return Err(ended_session()) };
        self.used.note(&session.found.id, from);
        self.write_late_use(&session.found.id, session.found.record.created_ms).await;
        if let Owner::Token(id, _) = &session.owner {
            self.used.note(id, from);
        }
        Ok(session.actor(from))
    }

    /// Returns an unexpired session of a valid account or token.
    pub(super) async fn session_in_force(&self, id: &str) -> Result<Option<InForce>, Error> {
        self.session_in_force_at(id, clock::now_ms()).await
    }

    /// Returns a session unexpired at `at_ms`, of a valid account or token.
    pub(super) async fn session_in_force_at(&self, id: &str, at_ms: u64) -> Result<Option<InForce>, Error> {
        if !is_hex(id, ID_BYTES) {
            return Ok(None);
        }
        let key = session_key(id);
        let Some(record) = self.catalog.get(&key).await? else { return Ok(None) };
        let found = self.found(id.to_owned(), &record).await?;
        let ends_ms = self.end_of(&found);
        if ends_ms <= at_ms {
            return Ok(None);
        }
        let Some(owner) = self.owner_of(&found).await? else { return Ok(None) };
        Ok(Some(InForce { found, owner, ends_ms }))
    }

    /// Returns the valid account or token of a session, if the session belongs there.
    async fn owner_of(&self, found: &StoredSession) -> Result<Option<Owner>, Error> {
        if let Some(name) = &found.record.account {
            let account = self.account(name).await?.filter(|(_, account)| found.is_of(account));
            return Ok(account.map(|(_, account)| Owner::Account(name.clone(), account)));
        }
        let id = owner_id(&found.id);
        Ok(self.token_in_force(id).await?.map(|(_, token)| Owner::Token(id.to_owned(), token)))
    }

    /// Returns the expiry of a session without a further use.
    fn end_of(&self, found: &StoredSession) -> u64 {
        found.record.expires_ms.min(found.used_ms.saturating_add(self.limits.session_idle_ms_max))
    }

    fn has_ended(&self, found: &StoredSession) -> bool {
        self.end_of(found) <= clock::now_ms()
    }

    async fn found(&self, id: String, record: &Record) -> Result<StoredSession, Error> {
        let session: SessionRecord = records::read(&session_key(&id), record)?;
        let used_ms = self.last_used(&id).await?.map_or(0, |used| used.at_ms).max(session.created_ms);
        Ok(StoredSession { id, record: session, revision: record.revision, used_ms })
    }

    /// Returns all sessions of the account or token with the id, including ended sessions.
    async fn all_sessions_of(&self, of: &str) -> Result<Vec<StoredSession>, Error> {
        let mut all = Vec::new();
        for (key, record) in self.catalog.list(&session_key(of), None, false, usize::MAX).await? {
            all.push(self.found(id_of(&key).to_owned(), &record).await?);
        }
        Ok(all)
    }

    /// Returns the unexpired sessions of the account or token with the id.
    pub(super) async fn sessions_of(&self, of: &str) -> Result<Vec<StoredSession>, Error> {
        let all = self.all_sessions_of(of).await?;
        Ok(all.into_iter().filter(|found| !self.has_ended(found)).collect())
    }

    /// Returns the caller and its permissions.
    ///
    /// # Errors
    /// `bad_token` for a session ended meanwhile; errors of the catalog.
    pub async fn session(&self, actor: &Actor) -> Result<Session, Error> {
        if let Credential::Session(id, _) = &actor.credential {
            return self.session_report(&self.session_in_force(id).await?.ok_or_else(ended_session)?).await;
        }
        let account = match &actor.credential {
            Credential::Login(_) => actor.name.parse().ok(),
            _ => None,
        };
        Ok(Session {
            id: actor.credential.id().unwrap_or_default().to_owned(),
            token: account.is_none().then(|| actor.name.clone()),
            account,
            rights: rights_of(actor),
            created_ms: None,
            expires_ms: actor.expires_ms,
            confirmed_until_ms: None,
            passkeys: 0,
        })
    }

    pub(super) async fn session_report(&self, session: &InForce) -> Result<Session, Error> {
        let (record, actor) = (&session.found.record, session.actor(None));
        let (account, token, passkeys) = match &session.owner {
            Owner::Account(name, account) => (Some(name.clone()), None, self.passkeys_of(account).await?.len()),
            Owner::Token(_, token) => (None, Some(token.name.clone()), 0),
        };
        Ok(Session {
            id: session.found.id.clone(),
            account,
            token,
            rights: rights_of(&actor),
            created_ms: Some(record.created_ms),
            expires_ms: actor.expires_ms,
            confirmed_until_ms: Some(record.confirmed_until_ms).filter(|at_ms| *at_ms > clock::now_ms()),
            passkeys: u64::try_from(passkeys).unwrap_or(u64::MAX),
        })
    }
}

/// Session about to be committed.
pub(super) struct NewSession {
    session: InForce,
    secret: String,
    pub(super) commit: Commit,
}

/// Returns the changes that delete a session.
pub(super) fn removal(id: &str) -> Vec<Change> {
    vec![Change::Delete(session_key(id)), Change::Delete(used_key(id))]
}

pub(super) fn id_of(key: &str) -> &str {
    key.strip_prefix(SESSIONS_PREFIX).unwrap_or_default()
}

// The id of a login or session begins with the id of an account or token.
const _: () = assert!(super::accounts::ID_BYTES == tokens::ID_BYTES, "ids of accounts and tokens have one length");

/// Returns the account or token id of a login or session.
pub(super) fn owner_id(id: &str) -> &str {
    id.get(..tokens::ID_BYTES.saturating_mul(2)).unwrap_or_default()
}

fn rights_of(actor: &Actor) -> Vec<SessionRight> {
    let scopes = Scope::ALL.into_iter().filter(|scope| actor.scope.includes(*scope)).collect();
    vec![SessionRight { app: actor.app.clone(), environment: actor.environment.clone(), scopes }]
}

pub(super) fn ended_session() -> Error {
    Problem::new(Code::BadToken, "The session is unknown or has ended.").hint("log in again").into()
}
