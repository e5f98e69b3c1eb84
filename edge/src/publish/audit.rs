//! The one way into the catalog: a change and, in the same commit, the entry of the audit log that says who made it.
//!
//! What somebody causes goes by [`Audit::commit`], with a [`Deed`] that says what it is. What the edge writes for itself
//! goes by [`commit_own`], and [`Own`] lists all of that. A test holds that nothing in this room commits in another way.

mod kept;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::sync::Arc;

use devanture_config::api::{AuditEntry, AuditLog, Scope};
use devanture_config::limits::Limits;
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName};
use tokio::sync::OnceCell;

use super::who::{Credential, Writes};
use super::{Actor, Error, Publisher};
use crate::catalog::{self, Catalog, Change, Check, Commit, Record, Revision, gone, records, who};
use crate::telemetry;
use kept::{Kept, REMOVED_MAX};

/// Entries on one page.
const PAGE_MAX: usize = 1_000;
/// Entries that are looked at for one page, where it is for one app.
const LOOKED_AT_MAX: usize = 10_000;
/// Characters of [`AuditEntry::what`].
const WHAT_CHARACTERS_MAX: usize = 300;

macro_rules! actions {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// What can be done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Action {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Action {
            /// All actions.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            /// The action as it stands in the audit log.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

actions! {
    /// A hostname was given to an environment, or the one that the others lead to was said.
    AddHostname = "add_hostname",
    /// A member was added to an upstream, or gets requests again.
    AddMember = "add_member",
    /// An account was made.
    CreateAccount = "create_account",
    /// A token was made.
    CreateToken = "create_token",
    /// An account was deleted, with its logins.
    DeleteAccount = "delete_account",
    /// An alias was deleted.
    DeleteAlias = "delete_alias",
    /// An app was deleted.
    DeleteApp = "delete_app",
    /// An environment was deleted.
    DeleteEnvironment = "delete_environment",
    /// A version was deleted.
    DeleteVersion = "delete_version",
    /// A member of an upstream gets no new requests.
    DrainMember = "drain_member",
    /// An environment was locked, or its lock changed.
    Lock = "lock",
    /// Somebody logged in.
    Login = "login",
    /// Somebody logged out.
    Logout = "logout",
    /// An environment was paused, or its pause changed.
    Pause = "pause",
    /// A version was made live by a promotion.
    Promote = "promote",
    /// A version was made live by a push.
    Push = "push",
    /// A hostname was taken from an environment.
    RemoveHostname = "remove_hostname",
    /// A member was taken from an upstream.
    RemoveMember = "remove_member",
    /// Instances of an environment were started anew.
    Restart = "restart",
    /// A withdrawn path was let answer again.
    Restore = "restore",
    /// A pause was ended.
    Resume = "resume",
    /// An old refresh token was presented, and its login ended.
    ReuseRefreshToken = "reuse_refresh_token",
    /// A token was revoked.
    RevokeToken = "revoke_token",
    /// A version was made live by a rollback.
    Rollback = "rollback",
    /// How many instances there are was changed.
    Scale = "scale",
    /// An alias was pointed to a version.
    SetAlias = "set_alias",
    /// An account got another password.
    SetPassword = "set_password",
    /// A version was stored.
    StoreVersion = "store_version",
    /// Settings of an environment were changed.
    Settings = "settings",
    /// A version was made live by a switch.
    Switch = "switch",
    /// What was deleted was had back.
    Undelete = "undelete",
    /// A lock was ended.
    Unlock = "unlock",
    /// A path was withdrawn.
    Withdraw = "withdraw",
}

impl Action {
    /// Whether it ends what somebody may do, or has a limit of its own: whoever holds a stolen token must not keep its
    /// owner from that by using it up.
    const fn is_always_let(self) -> bool {
        matches!(self, Self::Login | Self::Logout | Self::ReuseRefreshToken | Self::RevokeToken)
    }

    /// Whether a full disk must not prevent it: it frees space, ends what does harm, or is needed for one of these.
    const fn may_use_reserve(self) -> bool {
        self.is_always_let()
            || matches!(
                self,
                Self::DeleteAccount
                    | Self::DeleteAlias
                    | Self::DeleteApp
                    | Self::DeleteEnvironment
                    | Self::DeleteVersion
                    | Self::Pause
                    | Self::Rollback
                    | Self::Withdraw
            )
    }

    /// Whether the app that it is about must not be deleted. Deletions and restorations check for themselves what they
    /// find, and tokens belong to whoever holds them.
    const fn needs_app(self) -> bool {
        !matches!(self, Self::CreateToken | Self::DeleteApp | Self::RevokeToken | Self::Undelete)
    }

    /// Whether the environment must not be deleted either.
    const fn needs_environment(self) -> bool {
        self.needs_app() && !matches!(self, Self::DeleteEnvironment)
    }
}

/// What the edge writes for itself, whoever is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    /// The end of what was deleted or is beyond what is kept: the log tells what it took.
    Collection,
    /// What of a version serves as dictionaries: it follows from what was pushed, and its version has an entry.
    Dictionaries,
    /// The removal of an alias whose time had come.
    ExpiredAlias,
    /// The entry of the history about a deploy that changed nothing but what is stored; its version has an entry of the
    /// audit log where it is new.
    History,
    /// When tokens were used last.
    LastUse,
    /// The next pair of tokens of a login: who they are was said when they logged in.
    Refresh,
    /// The secret that proofs of hostnames are made with.
    ProofSecret,
    /// The number of the user id of an environment: the push that needs it has its entry.
    Uid,
    /// What a push has sent, so that it continues where it was, and the end of that: its version has an entry.
    Sent,
}

impl Own {
    /// As [`Action::may_use_reserve`].
    const fn may_use_reserve(self) -> bool {
        matches!(self, Self::Collection | Self::ExpiredAlias | Self::Refresh)
    }
}

/// Makes a commit that is the edge's own.
///
/// # Errors
/// As [`Catalog::commit`].
pub(crate) async fn commit_own(catalog: &dyn Catalog, why: Own, commit: Commit) -> Result<Revision, catalog::Error> {
    tracing::trace!(?why, "a commit of the edge's own");
    if why.may_use_reserve() { catalog.commit_reserved(commit).await } else { catalog.commit(commit).await }
}

/// The revision of a commit; nothing where somebody else was first, and it has to be looked at again.
pub(crate) fn unless_late(committed: Result<Revision, catalog::Error>) -> Result<Option<Revision>, Error> {
    match committed {
        Ok(revision) => Ok(Some(revision)),
        Err(catalog::Error::Conflict { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Publisher {
    /// Makes a commit that `actor` causes and waits until requests see it; false where somebody else was first.
    ///
    /// # Errors
    /// As [`Publisher::committed`].
    pub(super) async fn made(&self, actor: &Actor, deed: Deed, commit: Commit) -> Result<bool, Error> {
        let revision = self.committed(actor, deed, commit).await?;
        if let Some(revision) = revision {
            self.live.wait_for(revision).await;
        }
        Ok(revision.is_some())
    }

    /// Makes a commit that `actor` causes; nothing where somebody else was first.
    ///
    /// # Errors
    /// `deleted` where somebody deleted the app or the environment; those of the catalog.
    pub(super) async fn committed(&self, actor: &Actor, deed: Deed, commit: Commit) -> Result<Option<Revision>, Error> {
        let (app, environment) = (deed.needed_app().cloned(), deed.needed_environment().cloned());
        let revision = unless_late(self.audit.commit(actor, deed, commit).await)?;
        if let (None, Some(app)) = (revision, &app) {
            self.check_there(app, environment.as_ref()).await?;
        }
        Ok(revision)
    }

    /// Waits until requests see a commit; nothing where somebody else was first.
    pub(super) async fn seen(&self, committed: Result<Revision, catalog::Error>) -> Result<Option<Revision>, Error> {
        let revision = unless_late(committed)?;
        if let Some(revision) = revision {
            self.live.wait_for(revision).await;
        }
        Ok(revision)
    }
}

/// What somebody does, as the audit log tells it.
#[derive(Debug, Clone)]
pub(crate) struct Deed {
    action: Action,
    app: Option<AppName>,
    environment: Option<PlaceName>,
    what: String,
}

impl Deed {
    /// Something that concerns no app, or that [`Deed::app`] or [`Deed::place`] says more of.
    pub(crate) fn of(action: Action) -> Self {
        Self { action, app: None, environment: None, what: String::new() }
    }

    /// In which app.
    pub(crate) fn app(mut self, app: &AppName) -> Self {
        self.app = Some(app.clone());
        self
    }

    /// In which environment, or under which alias, of which app.
    pub(crate) fn place(mut self, app: &AppName, environment: &PlaceName) -> Self {
        self.environment = Some(environment.clone());
        self.app(app)
    }

    /// What exactly.
    pub(crate) fn what(mut self, what: impl Display) -> Self {
        self.what = what.to_string().chars().take(WHAT_CHARACTERS_MAX).collect();
        self
    }

    /// That nobody deleted the app, or the environment, since it was looked for: what is written below a deleted one would
    /// be there again once it is restored, or be found by whoever gets its name.
    fn checks(&self) -> impl Iterator<Item = Check> {
        let deleted_app = self.needed_app().map(gone::deleted_app_key);
        let place = self.needed_app().zip(self.needed_environment());
        let deleted_environment = place.map(|(app, environment)| gone::deleted_environment_key(app, environment));
        deleted_app.into_iter().chain(deleted_environment).map(Check::Absent)
    }

    /// The app that must not be deleted.
    fn needed_app(&self) -> Option<&AppName> {
        self.app.as_ref().filter(|_| self.action.needs_app())
    }

    /// The environment that must not be deleted.
    fn needed_environment(&self) -> Option<&PlaceName> {
        self.environment.as_ref().filter(|_| self.action.needs_environment())
    }

    fn entry(&self, actor: &Actor, number: u64) -> AuditEntry {
        AuditEntry {
            number,
            at_ms: telemetry::now_ms(),
            action: self.action.as_str().to_owned(),
            who: actor.name.clone(),
            by: actor.credential.by(),
            credential: actor.credential.id().map(str::to_owned),
            from: actor.address_text(),
            app: self.app.clone(),
            environment: self.environment.clone(),
            what: self.what.clone(),
        }
    }
}

/// The audit log.
#[derive(Clone)]
pub struct Audit(Arc<Inner>);

struct Inner {
    catalog: Arc<dyn Catalog>,
    entries_max: u64,
    days_max: u64,
    /// Which entries there are, read when it is first needed.
    kept: OnceCell<Kept>,
    writes: Writes,
}

impl Audit {
    /// Keeps the log in `catalog`, as long as the limits say.
    #[must_use]
    pub fn new(catalog: Arc<dyn Catalog>, limits: &Limits) -> Self {
        let (entries_max, days_max) = (limits.audit_entries_max, limits.audit_days_max);
        let writes = Writes::new(limits);
        Self(Arc::new(Inner { catalog, entries_max, days_max, kept: OnceCell::new(), writes }))
    }

    /// Makes a commit that `actor` causes, together with its entry of the log. Entries beyond what is kept go with it.
    ///
    /// # Errors
    /// As [`Catalog::commit`], and [`catalog::Error::TooOften`]; nothing was changed then.
    pub(crate) async fn commit(&self, actor: &Actor, deed: Deed, commit: Commit) -> Result<Revision, catalog::Error> {
        let writer = writer_of(actor).filter(|_| !deed.action.is_always_let());
        if let Some(writer) = &writer {
            self.0.writes.begin(writer).map_err(|wait_ms| catalog::Error::TooOften { wait_ms })?;
        }
        let done = self.commit_entry(actor, deed, commit).await;
        if let (Err(_), Some(writer)) = (&done, &writer) {
            self.0.writes.take_back(writer);
        }
        done
    }

    async fn commit_entry(&self, actor: &Actor, deed: Deed, commit: Commit) -> Result<Revision, catalog::Error> {
        let kept = self.kept().await?;
        loop {
            let old = self.too_old().await?;
            let begun = kept.begin(deed.app.as_ref());
            let entry = deed.entry(actor, begun.number);
            let key = who::audit_key(begun.number);
            let mut with_entry = commit.clone();
            // After the caller's, so that of two checks that fail the caller hears of its own.
            with_entry.checks.extend(deed.checks());
            with_entry.checks.push(Check::Absent(key.clone()));
            let surplus = begun.surplus.iter().map(|(_, number)| who::audit_key(*number));
            let gone = surplus.chain(old.iter().map(|(key, _)| key.clone()));
            with_entry.changes.extend(gone.map(Change::Delete));
            with_entry.changes.push(Change::Put(key.clone(), records::write(&entry)?));
            let committed = match deed.action.may_use_reserve() {
                true => self.0.catalog.commit_reserved(with_entry).await,
                false => self.0.catalog.commit(with_entry).await,
            };
            match committed {
                Ok(revision) => {
                    begun.done();
                    kept.forget(&old);
                    tell(&entry);
                    return Ok(revision);
                }
                // Somebody else writes to the same catalog: go on after their last one.
                Err(catalog::Error::Conflict { key: taken }) if taken == key => {
                    begun.failed();
                    kept.read_on(&*self.0.catalog).await?;
                }
                Err(error) => {
                    begun.failed();
                    return Err(error);
                }
            }
        }
    }

    async fn kept(&self) -> Result<&Kept, catalog::Error> {
        self.0.kept.get_or_try_init(|| Kept::read(&*self.0.catalog, self.0.entries_max)).await
    }

    /// The oldest entries, those of them that are too old.
    async fn too_old(&self) -> Result<Vec<(String, Record)>, catalog::Error> {
        let mut oldest = self.0.catalog.list(who::AUDIT_PREFIX, None, false, REMOVED_MAX).await?;
        let since_ms = self.since_ms();
        oldest
            .retain(|(key, record)| records::read::<AuditEntry>(key, record).is_ok_and(|entry| entry.at_ms < since_ms));
        Ok(oldest)
    }

    /// What is older is no longer kept, nor shown.
    fn since_ms(&self) -> u64 {
        telemetry::now_ms().saturating_sub(self.0.days_max.saturating_mul(86_400_000))
    }

    /// Since when the log is told to this actor: whoever runs an app is not told of another that had its name before.
    async fn began_ms(&self, actor: &Actor) -> Result<u64, Error> {
        let Some(app) = &actor.app else { return Ok(0) };
        let key = records::app_key(app);
        let Some(record) = self.0.catalog.get(&key).await? else { return Ok(0) };
        Ok(records::read::<records::AppRecord>(&key, &record)?.created_ms)
    }

    /// A page of the log, newest first: of all, or of one app; from before the entry `before` on.
    ///
    /// # Errors
    /// `forbidden` to whoever is no admin, `not_found` for another app; `bad_request` for a `before` that no page gave.
    pub async fn page(
        &self,
        actor: &Actor,
        app: Option<&AppName>,
        limit: usize,
        before: Option<&str>,
    ) -> Result<AuditLog, Error> {
        // Whoever runs one app asks for that one, also without saying so.
        let app = app.or(actor.app.as_ref());
        match app {
            Some(app) => actor.may(Scope::Admin, app, actor.environment.as_ref())?,
            None => actor.must_be_admin()?,
        }
        let mut after = match before {
            Some(number) if (1..=20).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit()) => {
                // What is too large a number is beyond every entry.
                Some(who::audit_key(number.parse().unwrap_or(u64::MAX)))
            }
            Some(_) => return Err(Problem::new(Code::BadRequest, "`before` is not what a page gave as `next`.").into()),
            None => None,
        };
        let limit = limit.clamp(1, PAGE_MAX);
        let (mut log, mut looked_at) = (AuditLog::default(), 0);
        let since_ms = self.since_ms().max(self.began_ms(actor).await?);
        while looked_at < LOOKED_AT_MAX {
            let page = self.0.catalog.list(who::AUDIT_PREFIX, after.as_deref(), true, PAGE_MAX).await?;
            let is_last = page.len() < PAGE_MAX;
            for (key, record) in page {
                let entry: AuditEntry = records::read(&key, &record)?;
                if entry.at_ms < since_ms {
                    return Ok(log);
                }
                let number = entry.number;
                looked_at += 1;
                let is_there = app.is_none_or(|app| entry.app.as_ref() == Some(app));
                let is_here = actor.environment.as_ref().is_none_or(|own| entry.environment.as_ref() == Some(own));
                if is_there && is_here {
                    log.entries.push(entry);
                    if log.entries.len() == limit {
                        log.next = Some(number.to_string());
                        return Ok(log);
                    }
                }
                after = Some(key);
            }
            if is_last {
                return Ok(log);
            }
        }
        log.next = after.as_deref().and_then(number_of).map(|number| number.to_string());
        Ok(log)
    }
}

/// Whose changes are counted together: those of a token, those of all logins of an account. The edge's own machine writes
/// what it likes.
fn writer_of(actor: &Actor) -> Option<String> {
    match &actor.credential {
        Credential::Local => None,
        Credential::Login(_) => Some(format!("account {}", actor.name)),
        Credential::Token(id) => Some(id.clone()),
    }
}

fn number_of(key: &str) -> Option<u64> {
    key.strip_prefix(who::AUDIT_PREFIX)?.parse().ok()
}

/// One line of the edge's own log, so that the audit log can be kept elsewhere, too.
fn tell(entry: &AuditEntry) {
    let (app, environment) =
        (entry.app.as_ref().map(AppName::as_str), entry.environment.as_ref().map(PlaceName::as_str));
    tracing::info!(
        target: "audit",
        number = entry.number,
        action = entry.action,
        who = entry.who,
        by = ?entry.by,
        credential = entry.credential,
        from = entry.from,
        app,
        environment,
        what = entry.what,
        "done"
    );
}
