//! Accounts: a name, a password, and the permissions of their logins.

use devanture_config::api::{AccountInfo, AccountList, AccountName, AccountRequest, Secret};
use devanture_config::problem::{Code, Problem};

use super::{Credentials, random_hex};
use crate::catalog::identities::{self, AccountRecord, LoginRecord};
use crate::catalog::records;
use crate::catalog::{self, Change, Check, Commit, Revision};
use crate::ledger::{Action, Actor, AuditEvent, Error, unless_conflict, update};
use crate::telemetry;

/// Random bytes of an account's id.
pub(super) const ID_BYTES: usize = 6;
/// Random bytes of what tells one password of an account from the next.
const STAMP_BYTES: usize = 8;

impl Credentials {
    /// Makes an account.
    ///
    /// # Errors
    /// `forbidden` without lasting rights to run the edge, as for a login, `conflict` where there is one of that name,
    /// `bad_request` for a password that is too short, `too_many`, `busy`.
    pub async fn create_account(&self, actor: &Actor, request: AccountRequest) -> Result<AccountInfo, Error> {
        must_manage_accounts(actor)?;
        let count_max = usize::try_from(self.limits.accounts_max).unwrap_or(usize::MAX);
        if self.catalog.list(identities::ACCOUNTS_PREFIX, None, false, count_max).await?.len() >= count_max {
            return Err(Problem::new(Code::TooMany, format!("There are {count_max} accounts already."))
                .hint("delete those that nobody uses, or raise `accounts_max` in edge.toml")
                .into());
        }
        let key = identities::account_key(&request.name);
        if self.catalog.get(&key).await?.is_some() {
            return Err(there_already(&request.name));
        }
        let password = self.passwords.keep(&request.password).await?;
        let now_ms = telemetry::now_ms();
        let record = AccountRecord {
            id: random_hex(ID_BYTES),
            password,
            stamp: random_hex(STAMP_BYTES),
            app: request.app,
            environment: request.environment,
            scope: request.scope,
            created_ms: now_ms,
            password_ms: now_ms,
            made_by: actor.name.clone(),
        };
        let commit = Commit {
            checks: vec![Check::Absent(key.clone())],
            changes: vec![Change::Put(key.clone(), records::write(&record)?)],
        };
        let event = of_account(Action::CreateAccount, &record).what(format!("{}, {}", request.name, record.scope));
        match self.audit.commit(actor, event, commit).await {
            Ok(_) => self.account_info(request.name, record).await,
            Err(catalog::Error::Conflict { key: taken }) if taken == key => Err(there_already(&request.name)),
            Err(error) => Err(error.into()),
        }
    }

    /// All accounts.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn accounts(&self, actor: &Actor) -> Result<AccountList, Error> {
        actor.must_be_admin()?;
        let mut list = AccountList::default();
        for (key, record) in self.catalog.list(identities::ACCOUNTS_PREFIX, None, false, usize::MAX).await? {
            let account: AccountRecord = records::read(&key, &record)?;
            let Some(Ok(name)) = key.strip_prefix(identities::ACCOUNTS_PREFIX).map(str::parse) else { continue };
            list.accounts.push(self.account_info(name, account).await?);
        }
        Ok(list)
    }

    /// Gives an account another password; every login of it ends.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `bad_request` for a password that is too short, `busy`.
    pub async fn set_password(&self, actor: &Actor, name: &AccountName, password: &Secret) -> Result<(), Error> {
        must_manage_accounts(actor)?;
        self.account(name).await?.ok_or_else(|| missing(name))?;
        let kept = self.passwords.keep(password).await?;
        let key = identities::account_key(name);
        update(&key, || async {
            let (revision, mut account) = self.account(name).await?.ok_or_else(|| missing(name))?;
            account.password.clone_from(&kept);
            account.stamp = random_hex(STAMP_BYTES);
            account.password_ms = telemetry::now_ms();
            let mut changes = self.end_logins(&account).await?;
            changes.push(Change::Put(key.clone(), records::write(&account)?));
            let event = of_account(Action::SetPassword, &account).what(name);
            let commit = Commit { checks: vec![Check::At(key.clone(), revision)], changes };
            if unless_conflict(self.audit.commit(actor, event, commit).await)?.is_some() {
                return Ok(Some(()));
            }
            Ok(None)
        })
        .await
    }

    /// Deletes an account; every login of it ends. Tokens that it made stay.
    ///
    /// # Errors
    /// `forbidden`, `not_found`.
    pub async fn delete_account(&self, actor: &Actor, name: &AccountName) -> Result<(), Error> {
        must_manage_accounts(actor)?;
        let key = identities::account_key(name);
        update(&key, || async {
            let (revision, account) = self.account(name).await?.ok_or_else(|| missing(name))?;
            let mut changes = self.end_logins(&account).await?;
            changes.push(Change::Delete(key.clone()));
            let event = of_account(Action::DeleteAccount, &account).what(name);
            let commit = Commit { checks: vec![Check::At(key.clone(), revision)], changes };
            if unless_conflict(self.audit.commit(actor, event, commit).await)?.is_some() {
                return Ok(Some(()));
            }
            Ok(None)
        })
        .await
    }

    /// The record of an account.
    pub(super) async fn account(&self, name: &AccountName) -> Result<Option<(Revision, AccountRecord)>, Error> {
        let key = identities::account_key(name);
        let Some(record) = self.catalog.get(&key).await? else { return Ok(None) };
        Ok(Some((record.revision, records::read(&key, &record)?)))
    }

    /// The logins of an account, by their keys.
    pub(super) async fn logins_of(&self, account: &AccountRecord) -> Result<Vec<(String, LoginRecord)>, Error> {
        let found = self.catalog.list(&identities::login_key(&account.id), None, false, usize::MAX).await?;
        let mut logins = Vec::with_capacity(found.len());
        for (key, record) in found {
            let login = records::read(&key, &record)?;
            logins.push((key, login));
        }
        Ok(logins)
    }

    /// Ends every login of an account. One that is made at the same moment has a stale stamp.
    async fn end_logins(&self, account: &AccountRecord) -> Result<Vec<Change>, Error> {
        Ok(self.logins_of(account).await?.into_iter().map(|(key, _)| Change::Delete(key)).collect())
    }

    async fn account_info(&self, name: AccountName, account: AccountRecord) -> Result<AccountInfo, Error> {
        let now_ms = telemetry::now_ms();
        let logins = self.logins_of(&account).await?;
        let in_force = logins.iter().filter(|(_, login)| login.expires_ms > now_ms && login.stamp == account.stamp);
        let in_force: Vec<u64> = in_force.map(|(_, login)| login.created_ms).collect();
        Ok(AccountInfo {
            name,
            app: account.app,
            environment: account.environment,
            scope: account.scope,
            created_ms: account.created_ms,
            password_ms: account.password_ms,
            logins: u64::try_from(in_force.len()).unwrap_or(u64::MAX),
            last_login_ms: in_force.into_iter().max(),
        })
    }
}

/// Accounts last: only an admin whose own credential does not end makes and changes them.
fn must_manage_accounts(actor: &Actor) -> Result<(), Error> {
    actor.must_be_admin()?;
    if actor.expires_ms.is_none() {
        return Ok(());
    }
    let detail = format!("{} ends, and an account would outlive it.", actor.shown());
    Err(Problem::new(Code::Forbidden, detail)
        .hint("`devanture-edge account` on the edge's machine needs no token")
        .into())
}

/// A event that concerns an account: the app's, where it is for one.
pub(super) fn of_account(action: Action, account: &AccountRecord) -> AuditEvent {
    match (&account.app, &account.environment) {
        (Some(app), Some(environment)) => AuditEvent::of(action).place(app, environment),
        (Some(app), None) => AuditEvent::of(action).app(app),
        (None, _) => AuditEvent::of(action),
    }
}

fn missing(name: &AccountName) -> Error {
    let hint = "`devanture-edge account list` lists the accounts";
    Problem::new(Code::NotFound, format!("There is no account {name}.")).hint(hint).into()
}

fn there_already(name: &AccountName) -> Error {
    Problem::new(Code::Conflict, format!("There is an account {name} already."))
        .hint("`devanture-edge account password` gives it another password")
        .into()
}
